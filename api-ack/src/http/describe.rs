//! Descriptions of this hub for programs, and that of its own API: the OpenAPI document, with the addresses that its kinds have and the schemas of their
//! bodies.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::kinds::{KindSpec, Kinds, Revision, is_json};

/// Where jobs of any kind are submitted.
const ANY: &str = "/v1/kinds/{kind}/jobs";

/// A document that is made of the kinds, as it is sent: made once for each revision of them, since anybody may ask for it as often as
/// they like.
pub struct Description {
    kinds: Kinds,
    make: Box<dyn Fn(&Kinds) -> Value + Send + Sync>,
    made: Mutex<Option<(Revision, Bytes)>>,
}

impl Description {
    /// The API: what `openapi` says, for these `kinds`.
    pub fn new(openapi: OpenApi, kinds: Kinds) -> Self {
        Self::made_by(kinds, move |kinds| described(&openapi, kinds))
    }

    /// What `make` makes of `kinds`.
    pub fn made_by(kinds: Kinds, make: impl Fn(&Kinds) -> Value + Send + Sync + 'static) -> Self {
        Self { kinds, make: Box::new(make), made: Mutex::default() }
    }

    /// The document as JSON.
    pub fn json(&self) -> Bytes {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is made: should they change meanwhile, it is made again.
        let now = self.kinds.revision();
        match &*made {
            Some((revision, bytes)) if *revision == now => bytes.clone(),
            _ => {
                let bytes = Bytes::from((self.make)(&self.kinds).to_string());
                *made = Some((now, bytes.clone()));
                bytes
            }
        }
    }
}

/// The document as JSON: what `openapi` says, and each address that is mapped to a kind.
fn described(openapi: &OpenApi, kinds: &Kinds) -> Value {
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

#[cfg(test)]
mod tests {
    use broker_topology::Kind;

    use super::*;
    use crate::kinds::Worker;

    #[test]
    fn it_is_made_once_until_the_kinds_change() {
        let spec = |route: &str| KindSpec {
            routes: vec![route.to_owned()],
            ..KindSpec::new(Kind::parse("orders.place").unwrap(), Worker::Amqp)
        };
        let kinds = Kinds::new([spec("/v1/orders")]);
        let description = Description::new(OpenApi::default(), kinds.clone());
        let paths = |json: &Bytes| {
            let document: Value = serde_json::from_slice(json).unwrap();
            document["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        let first = description.json();
        assert_eq!(paths(&first), ["/v1/orders"]);
        assert_eq!(description.json().as_ptr(), first.as_ptr(), "not made again");
        kinds.replace([spec("/v1/purchases")]);
        assert_eq!(paths(&description.json()), ["/v1/purchases"]);
    }
}
