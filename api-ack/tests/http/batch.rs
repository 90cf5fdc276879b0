//! Many jobs in one request.

use std::collections::HashSet;

use api_ack::store::{JobStore, State};
use reqwest::Response;
use serde_json::{Value, json};

use crate::ground::{Ground, accepted, ada, problem, start};

async fn post(ground: &Ground, content_type: &str, body: String) -> Response {
    let request = ground.client.post(ground.url("/v1/jobs")).bearer_auth(ada());
    request.header("content-type", content_type).body(body).send().await.unwrap()
}

async fn batch(ground: &Ground, items: &Value) -> Value {
    let response = post(ground, "application/json", items.to_string()).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

fn id(item: &Value) -> uuid::Uuid {
    item["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn one_bad_item_among_a_thousand_fails_alone() {
    let ground = start().await;
    let mut items: Vec<Value> =
        (0..1000).map(|n| json!({"kind": "demo.echo", "data": {"n": n}, "key": format!("k{n}")})).collect();
    items[500] = json!({"kind": "demo.eco", "data": {}});
    let answer = batch(&ground, &json!(items)).await;
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(999), &json!(1)));
    let answers = answer["items"].as_array().unwrap();
    assert_eq!(answers[500]["status"], 404);
    assert_eq!(answers[500]["problem"]["code"], "unknown-kind");
    assert_eq!(answers[500]["problem"]["errors"][0]["pointer"], "#/500/kind");
    let ids: HashSet<uuid::Uuid> = answers.iter().filter(|item| item["status"] == 202).map(id).collect();
    assert_eq!((ids.len(), ground.jobs().await), (999, 999));
    let record = ground.store.record_of(id(&answers[999])).await.unwrap().unwrap();
    assert_eq!(record.payload.size, 9);
    assert_eq!(&ground.store.payloads(&[record.job.id]).await.unwrap()[0].1.body[..], br#"{"n":999}"#);

    items[500] = json!({"kind": "demo.echo", "data": {"n": 500}, "key": "k500"});
    let again = batch(&ground, &json!(items)).await;
    assert_eq!((&again["accepted"], ground.jobs().await), (&json!(1000), 1000));
    assert_eq!((&again["items"][7]["id"], &again["items"][7]["replayed"]), (&answers[7]["id"], &json!(true)));
    assert_eq!(ground.counter("warren_jobs_accepted_total", "demo.echo"), 1000.0);
}

#[tokio::test]
async fn an_item_is_what_a_request_of_its_own_would_be() {
    let ground = start().await;
    let single =
        accepted(ground.submission().header("idempotency-key", "k").header("warren-delay", "1h").send().await.unwrap()).await;
    let answer = batch(
        &ground,
        &json!([
            {"kind": "demo.echo", "data": {"n": 1}, "key": "k", "delay": "1h"},
            {"kind": "demo.echo", "data": {"n": 1}, "key": "k"},
            {"kind": "demo.echo", "data": null},
            {"kind": "demo.echo", "data": 1, "delay": "-1s"},
            {"kind": "demo.echo", "data": 1, "key": ""},
            {"kind": "orders.place", "data": {"sku": 7, "count": 1}, "key": "o"},
            {"kind": "orders.place", "data": {"sku": "A", "count": 1}},
            {"kind": "scans.read", "data": {}},
            {"kind": "demo.echo"},
            {"kind": "demo.echo", "data": {}, "importance": "high"},
            {"kind": 7, "data": {}},
            "demo.echo",
            {"kind": "demo.echo", "data": {}, "priority": "high"},
            {"kind": "orders.rush", "data": {}, "priority": "urgent"},
            {"kind": "orders.rush", "data": {}, "priority": "high"},
            {"kind": "demo.echo", "data": 1, "tags": ["fine", "not fine"]},
        ]),
    )
    .await;
    let items = answer["items"].as_array().unwrap();
    assert_eq!((id(&items[0]), &items[0]["state"], &items[0]["replayed"]), (single, &json!("scheduled"), &json!(true)));
    assert_eq!((&items[2]["status"], &items[2]["state"]), (&json!(202), &json!("accepted")));
    assert_eq!(items[14]["status"], 202, "{}", items[14]);
    for (index, status, code, pointer) in [
        (1, 422, "idempotency-key-reused", ""),
        (3, 400, "invalid-timing", "#/3/delay"),
        (4, 400, "invalid-idempotency-key", "#/4/key"),
        (5, 422, "schema-violation", "#/5/data/sku"),
        (6, 400, "idempotency-key-required", ""),
        (7, 415, "unsupported-media-type", "#/7/kind"),
        (8, 422, "invalid-item", "#/8"),
        (9, 422, "invalid-item", "#/9"),
        (10, 422, "invalid-item", "#/10"),
        (11, 422, "invalid-item", "#/11"),
        (12, 400, "invalid-priority", "#/12/priority"),
        (13, 400, "invalid-priority", "#/13/priority"),
        (15, 400, "invalid-tags", "#/15/tags"),
    ] {
        let problem = &items[index]["problem"];
        assert_eq!((&items[index]["status"], &problem["code"]), (&json!(status), &json!(code)), "{index}");
        assert_eq!(problem["errors"][0]["pointer"].as_str().unwrap_or_default(), pointer, "{index}");
    }
    assert_eq!(ground.store.load(&[single]).await.unwrap()[0].status.state, State::Scheduled);
    assert_eq!(ground.jobs().await, 3);
}

#[tokio::test]
async fn lines_are_items_too() {
    let ground = start().await;
    let body = "{\"kind\":\"demo.echo\",\"data\":1}\r\n\n{\"kind\":\n{\"kind\":\"demo.echo\",\"data\":[2]}\n".to_owned();
    let answer: Value = post(&ground, "application/x-ndjson; charset=utf-8", body).await.json().await.unwrap();
    let statuses: Vec<u64> = answer["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 202]);
    assert_eq!(ground.jobs().await, 2);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_whole() {
    let ground = start().await;
    let good = r#"[{"kind":"demo.echo","data":1}]"#;
    let many = format!("[{}]", vec![r#"{"kind":"demo.echo","data":1}"#; 10_000].join(","));
    for (status, code, content_type, body) in [
        (400, "empty-body", "application/json", String::new()),
        (400, "malformed-batch", "application/json", "[]".to_owned()),
        (400, "malformed-batch", "application/json", "{}".to_owned()),
        (400, "malformed-batch", "application/x-ndjson", "\n\n".to_owned()),
        (400, "malformed-json", "application/json", format!("{good},")),
        (400, "malformed-json", "application/json", good[..10].to_owned()),
        (413, "batch-too-large", "application/json", many),
        (413, "body-too-large", "application/json", format!("[{}]", " ".repeat(8 << 20))),
        (415, "unsupported-media-type", "text/csv", "demo.echo,1".to_owned()),
    ] {
        problem(post(&ground, content_type, body).await, status, code).await;
    }
    for (name, value, code) in [
        ("idempotency-key", "k", "malformed-batch"),
        ("warren-delay", "1s", "not-supported-yet"),
        ("warren-tags", "a", "not-supported-yet"),
        ("prefer", "wait=1", "not-supported-yet"),
    ] {
        let request = ground.client.post(ground.url("/v1/jobs")).bearer_auth(ada()).header(name, value).body(good);
        problem(request.send().await.unwrap(), 400, code).await;
    }
    assert_eq!(ground.jobs().await, 0);
}

#[tokio::test]
async fn an_item_as_deep_as_the_sea_is_refused_and_the_rest_is_taken() {
    let ground = start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"[{{"kind":"demo.echo","data":{deep}}},{{"kind":"demo.echo","data":1}}]"#);
    let answer: Value = post(&ground, "application/json", body).await.json().await.unwrap();
    assert_eq!(answer["items"][0]["problem"]["code"], "too-deep");
    assert_eq!(answer["items"][1]["status"], 202);
}
