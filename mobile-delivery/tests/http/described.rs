//! What the API says about itself.

use door::problem::Code;
use serde_json::Value;

use crate::ground::start;

/// The description as it is served: through JSON.
pub async fn described() -> Value {
    serde_json::from_str(&start().await.openapi.to_json().unwrap()).unwrap()
}

#[tokio::test]
async fn the_description_names_every_answer() {
    let openapi = described().await;
    let all: Vec<(String, String)> = openapi["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .flat_map(|operation| operation["responses"].as_object().unwrap())
        .map(|(status, response)| (status.clone(), response["description"].as_str().unwrap().to_owned()))
        .collect();
    for code in Code::DEVICES {
        let status = code.status().as_u16().to_string();
        let words = |text: &str| text.split([',', ':', ' ']).any(|word| word == code.as_str());
        assert!(all.iter().any(|(s, text)| *s == status && words(text)), "{} is described nowhere", code.as_str());
    }
    // What a description names is a code of that status.
    for (status, text) in all.iter().filter(|(status, _)| status.as_str() >= "400") {
        // `code, code: when, and so on`: what follows a colon is for people.
        for word in text.split(", ").filter_map(|part| part.split(':').next()).filter(|word| word.contains('-')) {
            let code = Code::parse(word).unwrap_or_else(|| panic!("{word} is no code"));
            assert_eq!(&code.status().as_u16().to_string(), status, "{word}");
        }
    }
    for reference in references(&openapi) {
        assert!(openapi.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    for schema in ["Registration", "Registered", "Device", "Devices", "Refresh", "SentMessage", "MessageItem", "Message"] {
        assert!(openapi["components"]["schemas"][schema].is_object(), "{schema}");
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
