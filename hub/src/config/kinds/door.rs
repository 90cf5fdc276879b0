//! What a kind takes at the door: addresses, media types, a schema.

use std::path::PathBuf;
use std::sync::Arc;

use api_ack::schema::Schema;
use serde::{Serialize, Serializer};
use toml::Value;

use crate::config::sources::read;
use crate::config::value::FromValue;

/// What Warren answers itself, or will.
const OURS: [&str; 20] = [
    "/admin",
    "/asyncapi.json",
    "/auth",
    "/docs",
    "/health",
    "/live",
    "/metrics",
    "/openapi.json",
    "/problems",
    "/ready",
    "/v1/broadcasts",
    "/v1/device",
    "/v1/devices",
    "/v1/groups",
    "/v1/jobs",
    "/v1/kinds",
    "/v1/messages",
    "/v1/rooms",
    "/v1/users",
    "/console",
];

/// The longest address, in bytes.
const LONGEST: usize = 200;

/// An address that is mapped to a kind, such as `/v1/orders`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Route(pub String);

impl FromValue for Route {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = String::from_value(value)?;
        let word = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
        };
        let grammar = text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(word));
        if !grammar || text.len() > LONGEST {
            return Err(format!("has the address `{text}`: write it as `/v1/orders`, of letters, digits, `-`, `_`, `.` and `~`"));
        }
        let ours = |own: &&&str| text == **own || text.strip_prefix(**own).is_some_and(|rest| rest.starts_with('/'));
        match OURS.iter().find(ours) {
            Some(own) => Err(format!("has the address `{text}`, but {own} is Warren's own: take another one")),
            None => Ok(Self(text)),
        }
    }
}

/// A media type without parameters, such as `application/json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ContentType(pub String);

impl FromValue for ContentType {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = String::from_value(value)?.to_ascii_lowercase();
        let token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
        let grammar = text.len() <= 127 && text.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
        if grammar { Ok(Self(text)) } else { Err(format!("has `{text}`: write a media type, such as \"application/json\"")) }
    }
}

/// A JSON Schema in a file of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaFile {
    path: PathBuf,
    /// What it says.
    pub schema: Arc<Schema>,
}

impl FromValue for SchemaFile {
    fn from_value(value: &Value) -> Result<Self, String> {
        let path = PathBuf::from_value(value)?;
        let text = read(&path)?;
        let at =
            |error: serde_json::Error| format!("is no JSON: {}:{}:{}: {error}", path.display(), error.line(), error.column());
        let document = serde_json::from_str(&text).map_err(at)?;
        let schema = Schema::compile(document).map_err(|error| format!("{error}, in {}", path.display()))?;
        Ok(Self { schema: Arc::new(schema), path })
    }
}

impl Serialize for SchemaFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    #[test]
    fn an_address_is_plain_and_not_warrens_own() {
        for good in ["/v1/orders", "/orders", "/v1/kind", "/v1/jobs-of-mine", "/a/b.c~d_e/F"] {
            assert_eq!(Route::from_value(&text(good)).unwrap().0, good);
        }
        let long = format!("/{}", "a".repeat(200));
        for bad in ["orders", "/", "/v1/", "//a", "/v1/../a", "/a b", "/{id}", "/ä", "/v1/jobs", "/v1/kinds/x", "/live", &long] {
            assert!(Route::from_value(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_media_type_has_two_words_and_no_parameters() {
        assert_eq!(ContentType::from_value(&text("Application/Vnd.Shop+JSON")).unwrap().0, "application/vnd.shop+json");
        for bad in ["json", "application/", "a/b; charset=utf-8", "a/b/c", "*/*"] {
            assert!(ContentType::from_value(&text(bad)).is_err(), "{bad}");
        }
    }
}
