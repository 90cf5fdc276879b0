//! What is refused at the door, how, and that nothing of it is stored.

use std::num::NonZeroU32;
use std::time::Duration;

use database::writer::WriterOptions;
use door::rates::{Rate, RateLimits};
use mobile_delivery::http::ApiOptions;
use reqwest::{RequestBuilder, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ground::{How, problem, shop, start, start_with, token};

/// One way to spoil a send.
type Spoil = fn(RequestBuilder) -> RequestBuilder;

fn replace(request: RequestBuilder, name: &'static str, value: &str) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.headers_mut().insert(name, value.parse().unwrap());
    RequestBuilder::from_parts(client, request)
}

fn remove(request: RequestBuilder, name: &str) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.headers_mut().remove(name);
    RequestBuilder::from_parts(client, request)
}

fn elsewhere(request: RequestBuilder, path: &str) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    let base = request.url().clone();
    *request.url_mut() = base.join(path).unwrap();
    RequestBuilder::from_parts(client, request)
}

#[tokio::test]
async fn every_refusal_is_a_problem_and_stores_nothing() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let cases: &[(u16, &str, Spoil)] = &[
        (400, "empty-body", |r| r.body("")),
        (400, "malformed-json", |r| r.body("{\"n\":")),
        (400, "malformed-json", |r| r.body(&b"\"\xff\xfe\""[..])),
        (400, "too-deep", |r| r.body("[".repeat(50_000))),
        (413, "body-too-large", |r| r.body(vec![b' '; (64 << 10) + 1])),
        (413, "body-too-large", |r| r.body(vec![b' '; 1 << 20])),
        (415, "unsupported-content-encoding", |r| r.header("content-encoding", "gzip")),
        (400, "invalid-message", |r| r.header("content-type", "text/plain")),
        (400, "invalid-message", |r| replace(r, "content-type", "json")),
        (400, "invalid-message", |r| replace(r, "content-type", "/json")),
        (400, "invalid-message", |r| replace(r, "content-type", "a b/c")),
        (400, "invalid-message", |r| replace(r, "content-type", &format!("text/{}", "x".repeat(260)))),
        (400, "invalid-message", |r| r.header("content-type", &b"\xff"[..])),
        (400, "invalid-message", |r| r.header("warren-type", "")),
        (400, "invalid-message", |r| r.header("warren-type", "x".repeat(129))),
        (400, "invalid-message", |r| r.header("warren-type", &b"\xc3\xa4"[..])),
        (400, "invalid-message", |r| r.header("warren-type", "a").header("warren-type", "a")),
        (400, "invalid-message", |r| r.header("warren-ttl", "30")),
        (400, "invalid-message", |r| r.header("warren-ttl", "0s")),
        (400, "invalid-message", |r| r.header("warren-ttl", "29d")),
        (400, "invalid-message", |r| r.header("warren-ttl", "-1h")),
        (400, "invalid-message", |r| r.header("warren-ttl", "1h").header("warren-ttl", "1h")),
        (400, "invalid-message", |r| r.header("warren-collapse-key", "")),
        (400, "invalid-message", |r| r.header("warren-collapse-key", "x".repeat(129))),
        (400, "invalid-message", |r| r.header("warren-receipt", "yes")),
        (400, "invalid-message", |r| r.header("warren-receipt", "")),
        (400, "invalid-message", |r| {
            replace(r, "authorization", &format!("Bearer {}", token("acme", &"s".repeat(129), "messages:send")))
        }),
        (400, "invalid-timing", |r| r.header("warren-delay", "30")),
        (400, "invalid-timing", |r| r.header("warren-delay", "367d")),
        (400, "invalid-timing", |r| r.header("warren-run-at", "tomorrow")),
        (400, "invalid-timing", |r| r.header("warren-run-at", "2930-01-01T00:00:00Z")),
        (400, "invalid-timing", |r| r.header("warren-run-at", "2030-01-01T00:00:00Z").header("warren-delay", "1s")),
        (400, "invalid-timing", |r| r.header("warren-run-at", &b"\xff"[..])),
        (400, "invalid-priority", |r| r.header("warren-priority", "HIGH")),
        (400, "invalid-priority", |r| r.header("warren-priority", "")),
        (400, "invalid-priority", |r| r.header("warren-priority", "high").header("warren-priority", "high")),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "")),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "k".repeat(256))),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "k").header("idempotency-key", "k")),
        (400, "not-supported-yet", |r| r.header("warren-callback", "https://example.com")),
        (400, "not-supported-yet", |r| r.header("Warren-Deadline", "x")),
        (401, "token-missing", |r| remove(r, "authorization")),
        (401, "token-missing", |r| replace(r, "authorization", "Basic YWRhOmFkYQ==")),
        (401, "token-invalid", |r| replace(r, "authorization", "Bearer nonsense")),
        (401, "token-invalid", |r| r.bearer_auth(shop())),
        (403, "scope-missing", |r| {
            replace(r, "authorization", &format!("Bearer {}", token("acme", "shop", "messages:read devices:write")))
        }),
        (400, "invalid-device", |r| elsewhere(r, "/v1/devices/PIXEL/messages")),
        (400, "invalid-device", |r| elsewhere(r, "/v1/devices/%ff/messages")),
        (400, "invalid-device", |r| elsewhere(r, "/v1/devices/%00/messages")),
        (400, "invalid-device", |r| elsewhere(r, "/v1/devices/..%2f..%2fetc/messages")),
        (404, "device-not-found", |r| elsewhere(r, "/v1/devices/nobody/messages")),
        (404, "no-devices", |r| elsewhere(r, "/v1/users/nobody/messages")),
    ];
    for (index, (status, code, spoil)) in cases.iter().enumerate() {
        let response = spoil(ground.sending("pixel-7")).send().await.unwrap();
        let document = problem(response, *status, code).await;
        assert_eq!(ground.pending("acme", "pixel-7").await.len(), 0, "{index} {code}: {document}");
    }
    for code in ["invalid-message", "token-missing", "device-not-found"] {
        let count = cases.iter().filter(|case| case.1 == code).count() as f64;
        assert_eq!(ground.counter("warren_device_requests_refused_total", code), count);
    }
    assert_eq!(ground.sending("pixel-7").send().await.unwrap().status(), 202, "the hub is still up");
}

#[tokio::test]
async fn what_is_wrong_is_named_as_the_sender_knows_it() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let refused = ground.sending("pixel-7").header("warren-ttl", "soon").send().await.unwrap();
    let refused = problem(refused, 400, "invalid-message").await;
    assert_eq!(refused["errors"][0]["header"], "warren-ttl");
    assert!(refused["detail"].as_str().unwrap().starts_with("`warren-ttl` must be a duration with its unit"), "{refused}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let options = ApiOptions { body_deadline: Duration::from_millis(50), ..ApiOptions::default() };
    let ground = start_with(How { options, ..How::default() }).await;
    ground.register("pixel-7").await;
    let mut stream = TcpStream::connect(&ground.address).await.unwrap();
    let head = "POST /v1/devices/pixel-7/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Authorization: Bearer {}\r\n\r\nhalf", shop()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer));
    read.await.expect("an answer within 10 s").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"body-too-slow\""), "{answer}");
}

#[tokio::test]
async fn a_rate_counts_registrations_and_messages_and_each_item_of_a_batch() {
    let number = |n| NonZeroU32::new(n).unwrap();
    let rate = Rate { count: number(1), per: Duration::from_secs(3600), burst: number(5) };
    let rates = RateLimits { tenant: Some(rate), subject: None };
    let ground = start_with(How { options: ApiOptions { rates, ..ApiOptions::default() }, ..How::default() }).await;
    ground.register("pixel-7").await;
    let sent = ground.sending("pixel-7").send().await.unwrap();
    assert_eq!((sent.status().as_u16(), sent.headers()["ratelimit"].to_str().unwrap()), (202, "\"tenant\";r=3"));
    let batch = |n: usize| ground.post("/v1/messages").json(&vec![json!({"device": "pixel-7", "data": 1}); n]).send();
    problem(batch(6).await.unwrap(), 413, "batch-too-large").await;
    let many = batch(2).await.unwrap();
    assert_eq!(many.status(), 200);
    let refused = ground.sending("pixel-7").send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 429, "rate-limited").await;
    let put = ground.put("/v1/devices/pixel-8", &json!({"user": "ada"})).send().await.unwrap();
    problem(put, 429, "rate-limited").await;
    assert_eq!(ground.get("/v1/devices/pixel-7", &shop()).await.status(), 200, "reading is not counted");
}

#[tokio::test]
async fn more_than_the_writer_has_room_for_is_told_to_come_back() {
    let writer = WriterOptions { queue: 1, rows: 1, ..WriterOptions::default() };
    let ground = start_with(How { writer, ..How::default() }).await;
    ground.register("pixel-7").await;
    // So many at once that some find the one place taken; each is answered one way or the other.
    let items = vec![json!({"device": "pixel-7", "data": 1}); 200];
    let answer: serde_json::Value = ground.post("/v1/messages").json(&items).send().await.unwrap().json().await.unwrap();
    let items = answer["items"].as_array().unwrap();
    let full = items.iter().filter(|item| item["problem"]["code"] == "backlog-full").count();
    let taken = items.iter().filter(|item| item["status"] == 202).count();
    assert!(full > 0 && taken > 0 && full + taken == 200, "{full} {taken}");
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), taken);
}

#[tokio::test]
async fn a_header_is_no_place_for_a_line_break() {
    let ground = start().await;
    let refused = ground.get("/v1/devices?user=a%0Ab", &shop()).await;
    assert!(!refused.headers().contains_key(header::SET_COOKIE));
    problem(refused, 400, "invalid-parameter").await;
}
