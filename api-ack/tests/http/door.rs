//! Addresses, media types and schemas of kinds.

use api_ack::store::JobStore;
use reqwest::{RequestBuilder, Response};

use crate::ground::{Ground, accepted, ada, problem, start};

fn order(ground: &Ground, key: &str, body: &'static str) -> RequestBuilder {
    ground.client.post(ground.url("/v1/orders")).bearer_auth(ada()).header("idempotency-key", key).body(body)
}

async fn scan(ground: &Ground, content_type: &str, body: &'static [u8]) -> Response {
    let request = ground.client.post(ground.url("/v1/kinds/scans.read/jobs")).bearer_auth(ada());
    request.header("content-type", content_type).body(body).send().await.unwrap()
}

#[tokio::test]
async fn an_address_of_its_own_is_the_kinds() {
    let ground = start().await;
    let id = accepted(order(&ground, "a", r#"{"sku":"A","count":1}"#).send().await.unwrap()).await;
    let job = ground.store.load(&[id]).await.unwrap().remove(0);
    assert_eq!((job.kind.as_str(), job.tenant.as_str()), ("orders.place", "acme"));
    assert_eq!(accepted(order(&ground, "a", r#"{"sku":"A","count":1}"#).send().await.unwrap()).await, id);
    // A key is scoped by the address it is sent to.
    let other = ground.client.post(ground.url("/v1/kinds/orders.place/jobs")).bearer_auth(ada());
    let other = other.header("idempotency-key", "a").body(r#"{"sku":"A","count":1}"#).send().await.unwrap();
    assert_ne!(accepted(other).await, id);

    let response = ground.client.put(ground.url("/v1/orders")).bearer_auth(ada()).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    problem(response, 405, "method-not-allowed").await;
    for path in ["/v1/orders/", "/v1/Orders", "/v1/orders/1", "/v1/order"] {
        problem(ground.client.post(ground.url(path)).bearer_auth(ada()).send().await.unwrap(), 404, "not-found").await;
    }
    let response = ground.client.post(ground.url("/v1/orders")).bearer_auth(ada()).body(r#"{"sku":"A","count":1}"#);
    problem(response.send().await.unwrap(), 400, "idempotency-key-required").await;
    assert_eq!(ground.jobs().await, 2);
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_told_where() {
    let ground = start().await;
    let document = problem(order(&ground, "a", r#"{"sku":7,"count":0}"#).send().await.unwrap(), 422, "schema-violation").await;
    let pointers: Vec<&str> = document["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["#/count", "#/sku"]);
    let document = problem(order(&ground, "a", "[]").send().await.unwrap(), 422, "schema-violation").await;
    assert_eq!(document["errors"][0]["pointer"], "#");
    problem(order(&ground, "a", "{").send().await.unwrap(), 400, "malformed-json").await;
    assert_eq!(ground.jobs().await, 0);
    // The key was not spent on what was refused.
    accepted(order(&ground, "a", r#"{"sku":"A","count":1}"#).send().await.unwrap()).await;

    let kind = ground.get("/v1/kinds/orders.place", &ada()).await.json::<serde_json::Value>().await.unwrap();
    assert_eq!(kind["schema"]["required"], serde_json::json!(["sku", "count"]));
    assert_eq!(kind["links"]["routes"], serde_json::json!(["/v1/orders"]));
    assert_eq!(kind["key_required"], true);
}

#[tokio::test]
async fn what_is_no_json_is_handed_on_as_it_came() {
    let ground = start().await;
    let bytes = b"\x89PNG\r\n\x1a\n\0\xff";
    for (said, kept) in [("image/jpeg; q=1", "image/jpeg; q=1"), ("", "image/png")] {
        let id = accepted(scan(&ground, said, bytes).await).await;
        let record = ground.store.record_of(id).await.unwrap().unwrap();
        assert_eq!((record.payload.content_type.as_str(), record.payload.size), (kept, bytes.len() as u64));
        assert_eq!(ground.store.payloads(&[id]).await.unwrap()[0].1.body[..], bytes[..]);
    }
    let document = problem(scan(&ground, "application/json", b"{}").await, 415, "unsupported-media-type").await;
    assert!(document["detail"].as_str().unwrap().contains("image/png, image/jpeg"));
    assert_eq!(ground.jobs().await, 2);
}
