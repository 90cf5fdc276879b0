//! JSON Schemas of kinds: what a body must look like to be taken.
//!
//! Guarantees: checking takes time in proportion to body and schema (patterns run on an engine that never backtracks), and
//! fetches nothing: a `$ref` stays within its document. `format` is checked, not only noted.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Violations told at most; the rest is not looked for.
const TOLD: usize = 20;

/// A schema, ready to check with.
pub struct Schema {
    document: Value,
    validator: Validator,
}

/// Why a document is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no JSON Schema: at `#{pointer}`: {why}")]
pub struct NoSchema {
    /// Where in the document, as a JSON Pointer.
    pub pointer: String,
    /// What is wrong there.
    pub why: String,
}

/// One thing about a body that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the body, as a JSON Pointer; empty for the whole.
    pub pointer: String,
    /// What is wrong there, without the value.
    pub why: String,
}

impl Schema {
    /// The schema in `document`, of the draft that its `$schema` names, 2020-12 without one.
    ///
    /// # Errors
    /// [`NoSchema`] with the first thing that is wrong.
    pub fn compile(document: Value) -> Result<Self, NoSchema> {
        let no_schema = |error: jsonschema::ValidationError<'_>| NoSchema {
            pointer: error.instance_path().to_string(),
            why: error.to_string(),
        };
        jsonschema::meta::validate(&document).map_err(no_schema)?;
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .build(&document)
            .map_err(no_schema)?;
        Ok(Self { document, validator })
    }

    /// The document it was made from.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// What `body` violates, 20 at most; nothing when it fits.
    pub fn violations(&self, body: &Value) -> Vec<Violation> {
        if self.validator.is_valid(body) {
            return Vec::new();
        }
        let errors = self.validator.iter_errors(body).take(TOLD);
        // Masked: what a client sent may be long, or a secret, and it knows it anyway.
        errors.map(|error| Violation { pointer: error.instance_path().to_string(), why: error.masked().to_string() }).collect()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.document).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn order() -> Schema {
        let item =
            json!({"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}}});
        Schema::compile(json!({
            "type": "object",
            "required": ["items"],
            "additionalProperties": false,
            "properties": {"items": {"type": "array", "minItems": 1, "items": item}, "mail": {"type": "string", "format": "email"}},
        }))
        .unwrap()
    }

    #[test]
    fn a_violation_says_where_and_never_what() {
        let schema = order();
        assert_eq!(schema.violations(&json!({"items": [{"sku": "A"}], "mail": "a@b.example"})), []);
        let told = schema.violations(&json!({"items": [{"sku": "A"}, {"sku": "secret"}, {}], "mail": "no"}));
        let pointers: Vec<&str> = told.iter().map(|violation| violation.pointer.as_str()).collect();
        assert_eq!(pointers, ["/items/1/sku", "/items/2", "/mail"]);
        assert!(told.iter().all(|violation| !violation.why.contains("secret")), "{told:?}");
        assert_eq!(schema.violations(&json!([]))[0].pointer, "");
    }

    #[test]
    fn a_body_that_is_wrong_all_over_is_told_some_of_it() {
        let items: Vec<Value> = (0..1000).map(|_| json!({})).collect();
        assert_eq!(order().violations(&json!({ "items": items })).len(), TOLD);
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        for (document, pointer) in [
            (json!({"type": "strin"}), "/type"),
            (json!({"properties": {"a": {"minLength": -1}}}), "/properties/a/minLength"),
            (json!({"required": "a"}), "/required"),
            (json!([]), ""),
        ] {
            assert_eq!(Schema::compile(document.clone()).unwrap_err().pointer, pointer, "{document}");
        }
        for document in
            [json!({"$ref": "https://example.org/other.json"}), json!({"$ref": "#/$defs/missing"}), json!({"pattern": "("})]
        {
            assert!(Schema::compile(document.clone()).is_err(), "{document}");
        }
    }

    #[test]
    fn a_pattern_that_invites_backtracking_costs_nothing() {
        let schema = Schema::compile(json!({"type": "string", "pattern": "^(a+)+$"})).unwrap();
        let begun = Instant::now();
        assert!(!schema.violations(&json!(format!("{}!", "a".repeat(50_000)))).is_empty());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}
