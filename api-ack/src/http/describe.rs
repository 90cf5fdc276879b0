//! The description of this hub's own API: the OpenAPI document, with the addresses that its kinds have and the schemas of their
//! bodies.

use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::kinds::{KindSpec, Kinds, is_json};

/// Where jobs of any kind are submitted.
const ANY: &str = "/v1/kinds/{kind}/jobs";

/// The document as JSON: what `openapi` says, and each address that is mapped to a kind.
pub fn described(openapi: &OpenApi, kinds: &Kinds) -> Value {
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    let any = document["paths"][ANY]["post"].clone();
    for spec in kinds.iter() {
        for route in &spec.routes {
            document["paths"][route] = json!({ "post": mapped(&any, &spec, route) });
        }
    }
    document
}

/// The operation of one mapped address.
fn mapped(any: &Value, spec: &KindSpec, route: &str) -> Value {
    let mut operation = any.clone();
    operation["operationId"] = format!("submit{}", route.replace('/', "_")).into();
    operation["summary"] = format!("Submit a job of the kind {}", spec.kind).into();
    if !spec.description.is_empty() {
        operation["description"] = spec.description.clone().into();
    }
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["in"] != "path");
        for parameter in parameters.iter_mut().filter(|parameter| parameter["name"] == "Idempotency-Key") {
            parameter["required"] = spec.key_required.into();
        }
    }
    let content = spec.content_types.iter().map(|content_type| {
        let schema = spec.schema.as_ref().filter(|_| is_json(content_type)).map(|schema| schema.document().clone());
        (content_type.clone(), json!({ "schema": schema.unwrap_or_else(|| json!({})) }))
    });
    operation["requestBody"] = json!({ "required": true, "content": content.collect::<serde_json::Map<_, _>>() });
    operation
}
