//! Why RabbitMQ refused, for people.

use serde_json::Value;

/// What the API gives as `reason`: a text, or an Erlang term as JSON, in which a text is a list of characters, as of definitions with an argument
/// that is wrong.
pub(super) fn readable(reason: &Value) -> String {
    match reason {
        Value::String(text) => text.clone(),
        Value::Array(parts) => text_of(parts).unwrap_or_else(|| parts.iter().map(readable).collect::<Vec<_>>().join(": ")),
        other => other.to_string(),
    }
}

/// A list of characters. One of small numbers is no text.
fn text_of(list: &[Value]) -> Option<String> {
    let character = |value: &Value| char::from_u32(u32::try_from(value.as_u64()?).ok()?).filter(|c| !c.is_control());
    list.iter().map(character).collect::<Option<String>>().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_characters_is_a_text() {
        // As 3.10.8 says it of `x-max-length` -1 in definitions, cut short.
        let reason = json!(["amqp_error", "precondition_failed", [105, 110, 118, 97, 108, 105, 100, 32, 97, 114, 103], "none"]);
        assert_eq!(readable(&reason), "amqp_error: precondition_failed: invalid arg: none");
        assert_eq!(readable(&json!("no such user")), "no such user");
        assert_eq!(readable(&json!({"a": [1, 2]})), r#"{"a":[1,2]}"#);
        assert_eq!(readable(&json!([[1, 2], []])), "1: 2: ");
    }
}
