//! Kinds, pages, fallbacks, and the description of it all.

use door::problem::Code;
use serde_json::{Value, json};

use crate::ground::{ada, problem, start};

/// The description as it is served: through JSON.
pub async fn described() -> Value {
    serde_json::from_str(&start().await.openapi.to_json().unwrap()).unwrap()
}

#[tokio::test]
async fn kinds_are_listed_and_shown() {
    let ground = start().await;
    let list: Value = ground.get("/v1/kinds", &ada()).await.json().await.unwrap();
    assert_eq!(list["kinds"].as_array().unwrap().len(), 5);
    let echo: Value = ground.get("/v1/kinds/demo.echo", &ada()).await.json().await.unwrap();
    assert_eq!(list["kinds"][0], echo);
    let expected = json!({
        "kind": "demo.echo", "description": "", "worker": "rust", "timeout_seconds": 30.0, "deadline_seconds": 86400.0,
        "max_attempts": 7, "content_types": ["application/json"], "key_required": false, "paused": false,
        "links": {"self": "/v1/kinds/demo.echo", "jobs": "/v1/kinds/demo.echo/jobs", "routes": []},
    });
    assert_eq!(echo, expected);
    problem(ground.get("/v1/kinds/none", &ada()).await, 404, "unknown-kind").await;
}

#[tokio::test]
async fn every_problem_type_leads_to_its_page() {
    let ground = start().await;
    for code in Code::ALL {
        let response = ground.client.get(ground.url(&format!("/problems/{}", code.as_str()))).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.text().await.unwrap(), code.page());
    }
    let response = ground.client.get(ground.url("/problems/none")).send().await.unwrap();
    problem(response, 404, "not-found").await;
}

#[tokio::test]
async fn everything_else_is_a_problem_too() {
    let ground = start().await;
    for path in ["/", "/v1", "/v1/kinds/", "/v2/jobs", "/../etc/passwd", "//", "/v1/jobs/1/2/3", "/%0d%0aX:%20y"] {
        problem(ground.get(path, &ada()).await, 404, "not-found").await;
    }
    let response = ground.client.delete(ground.url("/v1/kinds/demo.echo/jobs")).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    problem(response, 405, "method-not-allowed").await;
    let response = ground.client.patch(ground.url("/v1/jobs")).send().await.unwrap();
    problem(response, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn the_description_names_every_answer() {
    let openapi = described().await;
    assert_eq!(openapi["openapi"], "3.1.0");
    assert_eq!(openapi["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let submit = &openapi["paths"]["/v1/kinds/{kind}/jobs"]["post"];
    let statuses: Vec<_> = submit["responses"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(statuses, ["200", "202", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"]);
    // Each code of the public API is described at least once, with the status it really has.
    let all: Vec<(String, String)> = openapi["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .flat_map(|operation| operation["responses"].as_object().unwrap())
        .map(|(status, response)| (status.clone(), response["description"].as_str().unwrap().to_owned()))
        .collect();
    let elsewhere = [&[Code::MethodNotAllowed], Code::OPERATORS, Code::DEVICES, Code::TRANSPORTS, Code::LISTENERS].concat();
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        // An item of a batch has its status inside an answer of its own.
        let status = if *code == Code::InvalidItem { "200".to_owned() } else { code.status().as_u16().to_string() };
        let words = |text: &str| text.split([',', ':', ' ']).any(|word| word == code.as_str());
        assert!(all.iter().any(|(s, text)| *s == status && words(text)), "{} is described nowhere", code.as_str());
    }
    for reference in references(&openapi) {
        assert!(openapi.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
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
