//! Many messages in one request.

use base64::Engine;
use serde_json::{Value, json};

use crate::ground::{Ground, problem, start};

async fn batch(ground: &Ground, items: &Value) -> Vec<Value> {
    let response = ground.post("/v1/messages").json(items).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let items = answer["items"].as_array().unwrap().clone();
    let accepted = items.iter().filter(|item| item["status"] == 202).count();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(accepted), &json!(items.len() - accepted)));
    items
}

#[tokio::test]
async fn each_item_has_a_fate_of_its_own() {
    let ground = start().await;
    ground.register("a").await;
    ground.register("b").await;
    ground.register("r").await;
    assert_eq!(ground.post("/v1/devices/r/revoke").send().await.unwrap().status(), 200);
    let cases = [
        (
            202,
            "",
            "",
            json!({"device": "a", "data": {"n": 1}, "type": "t", "ttl": "1h", "priority": "high", "collapse_key": "c", "receipt": true}),
        ),
        (202, "", "", json!({"devices": ["a", "b", "a"], "data": null})),
        (202, "", "", json!({"user": "ada", "except": "b", "data": "text", "content_type": "text/plain"})),
        (202, "", "", json!({"device": "a", "data_base64": "/wA="})),
        (202, "", "", json!({"device": "a", "data": 1, "delay": "1h"})),
        (404, "device-not-found", "", json!({"device": "nobody", "data": 1})),
        (404, "device-not-found", "", json!({"devices": ["a", "nobody"], "data": 1})),
        (404, "no-devices", "", json!({"user": "nobody", "data": 1})),
        (410, "device-revoked", "", json!({"device": "r", "data": 1})),
        (409, "too-many-devices", "", json!({"devices": (0..101).map(|n| format!("d{n}")).collect::<Vec<_>>(), "data": 1})),
        (422, "invalid-item", "", json!({"device": "a", "data": 1, "more": 1})),
        (422, "invalid-item", "", json!({"device": 7, "data": 1})),
        (422, "invalid-item", "", json!("a")),
        (400, "invalid-message", "", json!({"data": 1})),
        (400, "invalid-message", "", json!({"device": "a"})),
        (400, "invalid-message", "", json!({"device": "a", "user": "ada", "data": 1})),
        (400, "invalid-message", "", json!({"device": "a", "data": 1, "data_base64": "AA=="})),
        (400, "invalid-message", "/device", json!({"device": "A", "data": 1})),
        (400, "invalid-message", "/devices", json!({"devices": [], "data": 1})),
        (400, "invalid-message", "/user", json!({"user": "", "data": 1})),
        (400, "invalid-message", "/except", json!({"device": "a", "except": "b", "data": 1})),
        (400, "invalid-message", "/except", json!({"user": "ada", "except": "B", "data": 1})),
        (400, "invalid-message", "/data_base64", json!({"device": "a", "data_base64": "?"})),
        (400, "invalid-message", "/data", json!({"device": "a", "data": 1, "content_type": "text/plain"})),
        (400, "invalid-message", "/content_type", json!({"device": "a", "data": 1, "content_type": "json"})),
        (
            400,
            "malformed-json",
            "/data_base64",
            json!({"device": "a", "data_base64": "ew==", "content_type": "application/json"}),
        ),
        (400, "invalid-message", "/ttl", json!({"device": "a", "data": 1, "ttl": "29d"})),
        (400, "invalid-message", "/type", json!({"device": "a", "data": 1, "type": "a\nb"})),
        (400, "invalid-message", "/collapse_key", json!({"device": "a", "data": 1, "collapse_key": ""})),
        (400, "invalid-timing", "/run_at", json!({"device": "a", "data": 1, "run_at": "soon"})),
        (400, "invalid-timing", "/delay", json!({"device": "a", "data": 1, "delay": "1"})),
        (400, "invalid-priority", "/priority", json!({"device": "a", "data": 1, "priority": "urgent"})),
        (400, "invalid-idempotency-key", "/key", json!({"device": "a", "data": 1, "key": ""})),
    ];
    let answers = batch(&ground, &cases.iter().map(|case| case.3.clone()).collect()).await;
    for (index, ((status, code, pointer, item), answer)) in cases.iter().zip(&answers).enumerate() {
        assert_eq!(&answer["status"], status, "{item}: {answer}");
        match *status {
            202 => {
                let id = answer["id"].as_str().unwrap();
                assert_eq!(answer["links"]["self"], format!("/v1/messages/{id}"));
                assert_eq!(answer["state"], if item["delay"].is_null() { "queued" } else { "scheduled" });
            }
            _ => {
                assert_eq!(answer["problem"]["code"], *code, "{item}: {answer}");
                let at = format!("#/{index}{pointer}");
                let errors = answer["problem"]["errors"].as_array();
                assert!(pointer.is_empty() || errors.unwrap().iter().any(|error| error["pointer"] == at), "{item}: {answer}");
            }
        }
    }
    let given = ground.pending("acme", "a").await;
    let bodies: Vec<&[u8]> = given.iter().map(|given| &given.message.body[..]).collect();
    assert_eq!(bodies, [&b"{\"n\":1}"[..], b"null", b"text", b"\xff\x00"], "in the order of the batch, as they are");
    let types: Vec<&str> = given.iter().map(|given| given.message.content_type.as_str()).collect();
    assert_eq!(types, ["application/json", "application/json", "text/plain", "application/octet-stream"]);
    assert_eq!(ground.pending("acme", "b").await.len(), 1);
    assert_eq!(ground.counter("warren_device_requests_refused_total", "invalid-item"), 3.0);
}

#[tokio::test]
async fn numbers_are_not_read_and_written_anew() {
    let ground = start().await;
    ground.register("a").await;
    let exact = "{\"big\": 123456789012345678901234567890.10, \"b\":1,\"a\":1}";
    let sent = ground.post("/v1/messages").header("content-type", "application/x-ndjson");
    let sent =
        sent.body(format!("{{\"device\":\"a\",\"data\":{exact}}}\n\n{{\"device\":\"a\",\"data\":2}}\n")).send().await.unwrap();
    assert_eq!(sent.json::<Value>().await.unwrap()["accepted"], 2);
    assert_eq!(ground.pending("acme", "a").await[0].message.body, exact.as_bytes());
}

#[tokio::test]
async fn two_of_one_key_are_one_message() {
    let ground = start().await;
    ground.register("a").await;
    let item = |n: i32| json!({"device": "a", "data": n, "key": "k"});
    let answers = batch(&ground, &json!([item(1), item(1), item(2)])).await;
    assert_eq!(answers[0]["id"], answers[1]["id"]);
    assert_eq!((&answers[1]["replayed"], &answers[2]["status"]), (&json!(true), &json!(422)));
    assert_eq!(answers[2]["problem"]["code"], "idempotency-key-reused");
    assert_eq!(ground.pending("acme", "a").await.len(), 1);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let ground = start().await;
    ground.register("a").await;
    let post = |content_type: &'static str, body: String| {
        ground.post("/v1/messages").header("content-type", content_type).body(body).send()
    };
    let many = |n: usize| vec!["{\"device\":\"a\",\"data\":1}"; n].join(",");
    for (status, code, content_type, body) in [
        (400, "empty-body", "application/json", String::new()),
        (400, "malformed-batch", "application/json", "{}".to_owned()),
        (400, "malformed-batch", "application/json", "[]".to_owned()),
        (400, "malformed-json", "application/json", "[{".to_owned()),
        (400, "malformed-batch", "application/x-ndjson", "\n\n".to_owned()),
        (413, "batch-too-large", "application/json", format!("[{}]", many(1001))),
        (413, "body-too-large", "application/json", " ".repeat((8 << 20) + 1)),
        (415, "unsupported-media-type", "text/plain", "[]".to_owned()),
    ] {
        problem(post(content_type, body).await.unwrap(), status, code).await;
    }
    let keyed = ground.post("/v1/messages").header("idempotency-key", "k").json(&json!([])).send().await.unwrap();
    problem(keyed, 400, "malformed-batch").await;
    let option = ground.post("/v1/messages").header("warren-ttl", "1h").json(&json!([])).send().await.unwrap();
    problem(option, 400, "not-supported-yet").await;
    assert_eq!(ground.pending("acme", "a").await.len(), 0);
}

#[tokio::test]
async fn a_full_batch_is_stored_in_its_order() {
    let ground = start().await;
    ground.register("a").await;
    let items: Vec<Value> = (0..1000).map(|n| json!({"device": "a", "data": n})).collect();
    let answers = batch(&ground, &items.into()).await;
    assert!(answers.iter().all(|answer| answer["status"] == 202));
    let given = ground.pending("acme", "a").await;
    let ids: Vec<String> = given.iter().map(|given| given.message.id.to_string()).collect();
    let told: Vec<&str> = answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect();
    assert_eq!(ids, told);
}

#[tokio::test]
async fn more_deliveries_than_one_transaction_holds_are_all_stored() {
    let ground = start().await;
    for n in 0..100 {
        ground.register(&format!("d{n}")).await;
    }
    // 60 messages to 100 devices are 6,000 deliveries: the store leaves a part of them for the next commit.
    let items = vec![json!({"user": "ada", "data": base64::engine::general_purpose::STANDARD.encode([7; 30])}); 60];
    let answers = batch(&ground, &items.into()).await;
    assert!(answers.iter().all(|answer| answer["status"] == 202));
    let told: Vec<String> = answers.iter().map(|answer| answer["id"].as_str().unwrap().to_owned()).collect();
    for id in ["d0", "d99"] {
        let ids: Vec<String> = ground.pending("acme", id).await.iter().map(|given| given.message.id.to_string()).collect();
        assert_eq!(ids, told, "all of them, in order");
    }
    assert_eq!(ground.heard.placed.lock().unwrap().len(), 6000);
}
