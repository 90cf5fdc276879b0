//! What is refused at the door, how, and that nothing of it is stored.

use api_ack::accept::BacklogLimits;
use api_ack::http::ApiOptions;
use reqwest::{Body, RequestBuilder, header};

use crate::ground::{ECHO, accepted, ada, key, problem, start, start_with, token};

/// One way to spoil a submission.
type Spoil = fn(RequestBuilder) -> RequestBuilder;

#[tokio::test]
async fn every_refusal_is_a_problem_and_stores_nothing() {
    let ground = start().await;
    let cases: &[(u16, &str, Spoil)] = &[
        (400, "empty-body", |r| r.body("")),
        (400, "malformed-json", |r| r.body("{\"n\":")),
        (400, "malformed-json", |r| r.body("{} {}")),
        (400, "malformed-json", |r| r.body(&b"\"\xff\xfe\""[..])),
        (400, "malformed-json", |r| r.body(&b"\xef\xbb\xbf{}"[..])),
        (400, "malformed-json", |r| r.body("1e999")),
        (400, "too-deep", |r| r.body("[".repeat(100_000) + &"]".repeat(100_000))),
        (400, "too-deep", |r| r.body("{\"a\":".repeat(100_000))),
        (413, "body-too-large", |r| r.body(format!("\"{}\"", "x".repeat(1 << 20)))),
        (413, "body-too-large", |r| r.body(Body::from(vec![b' '; (1 << 20) + 1]))),
        (415, "unsupported-media-type", |r| replace(r, "content-type", "text/plain")),
        (415, "unsupported-media-type", |r| r.header("content-type", "application/json")),
        (415, "unsupported-content-encoding", |r| r.header("content-encoding", "gzip").body(&b"\x1f\x8b\x08"[..])),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "")),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "\"\"")),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "k".repeat(256))),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "k\tk")),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", &b"schl\xc3\xbcssel"[..])),
        (400, "invalid-idempotency-key", |r| r.header("idempotency-key", "k").header("idempotency-key", "k")),
        (400, "invalid-timing", |r| r.header("warren-run-at", "2020-01-01T00:00:00Z")),
        (400, "invalid-timing", |r| r.header("warren-run-at", "2930-01-01T00:00:00Z")),
        (400, "invalid-timing", |r| r.header("warren-run-at", "tomorrow")),
        (400, "invalid-tags", |r| r.header("warren-tags", "two words")),
        (400, "invalid-tags", |r| r.header("warren-tags", "1,2,3,4,5,6,7,8,9")),
        (400, "invalid-tags", |r| r.header("warren-tags", "1,2,3,4,5").header("warren-tags", "6,7,8,9")),
        (400, "invalid-tags", |r| r.header("warren-tags", &b"\xff"[..])),
        (400, "invalid-timing", |r| r.header("warren-run-at", &b"\xff"[..])),
        (400, "invalid-timing", |r| r.header("warren-delay", "-30s")),
        (400, "invalid-timing", |r| r.header("warren-delay", "30")),
        (400, "invalid-timing", |r| r.header("warren-delay", "1s").header("warren-delay", "1s")),
        (400, "invalid-timing", |r| r.header("warren-delay", "1s").header("warren-run-at", "2930-01-01T00:00:00Z")),
        (400, "invalid-timing", |r| r.header("warren-deadline", "2020-01-01T00:00:00Z")),
        (400, "invalid-priority", |r| r.header("warren-priority", "high")),
        (400, "invalid-priority", |r| r.header("warren-priority", "HIGH")),
        (400, "invalid-priority", |r| r.header("warren-priority", "")),
        (400, "invalid-priority", |r| r.header("warren-priority", &b"\xff"[..])),
        (400, "invalid-priority", |r| r.header("warren-priority", "normal").header("warren-priority", "normal")),
        (400, "not-supported-yet", |r| r.header("warren-reply-to", "https://example.com")),
        (400, "not-supported-yet", |r| r.header("Warren-Anything", "")),
        (401, "token-missing", |r| remove(r, "authorization")),
        (401, "token-missing", |r| replace(r, "authorization", "Basic YWRhOmFkYQ==")),
        (401, "token-missing", |r| replace(r, "authorization", "Bearer ")),
        (401, "token-invalid", |r| replace(r, "authorization", "Bearer nonsense")),
        (401, "token-invalid", |r| r.bearer_auth(ada())),
        (403, "scope-missing", |r| {
            replace(r, "authorization", &format!("Bearer {}", token("acme", "ada", "jobs:read jobs:admin")))
        }),
        (404, "unknown-kind", |r| elsewhere(r, "/v1/kinds/demo.eco/jobs")),
        (404, "unknown-kind", |r| elsewhere(r, "/v1/kinds/..%2f..%2fetc/jobs")),
        (404, "unknown-kind", |r| elsewhere(r, "/v1/kinds/%00/jobs")),
        (404, "unknown-kind", |r| elsewhere(r, "/v1/kinds/%ff/jobs")),
        (404, "unknown-kind", |r| elsewhere(r, "/v1/kinds/DEMO.ECHO/jobs")),
    ];
    for (status, code, spoil) in cases {
        let response = spoil(ground.submission()).send().await.unwrap();
        problem(response, *status, code).await;
        assert_eq!(ground.jobs().await, 0, "{code}");
    }
    for code in ["empty-body", "token-missing", "unknown-kind", "not-supported-yet"] {
        assert_eq!(
            ground.counter("warren_accept_refused_total", code),
            cases.iter().filter(|case| case.1 == code).count() as f64
        );
    }
    assert_eq!(ground.submission().send().await.unwrap().status(), 202, "the hub is still up");
    assert_eq!(ground.jobs().await, 1);
    assert_eq!(ground.counter("warren_jobs_accepted_total", "demo.echo"), 1.0);
}

#[tokio::test]
async fn the_token_comes_before_all_else_and_the_kind_before_the_body() {
    let ground = start().await;
    let bad = |path: &str| ground.client.post(ground.url(path)).header("content-type", "text/plain").body("{");
    problem(bad("/v1/kinds/none/jobs").send().await.unwrap(), 401, "token-missing").await;
    problem(bad("/v1/kinds/none/jobs").bearer_auth(ada()).send().await.unwrap(), 404, "unknown-kind").await;
    problem(bad(ECHO).bearer_auth(ada()).send().await.unwrap(), 415, "unsupported-media-type").await;
}

#[tokio::test]
async fn a_401_says_how_to_authenticate_and_a_403_what_is_missing() {
    let ground = start().await;
    let response = ground.client.post(ground.url(ECHO)).body("{}").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let response = ground.client.post(ground.url(ECHO)).bearer_auth("a.b.c").body("{}").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    let reader = token("acme", "ada", "jobs:read");
    let response = ground.client.post(ground.url(ECHO)).bearer_auth(reader).body("{}").send().await.unwrap();
    let document = problem(response, 403, "scope-missing").await;
    assert!(document["detail"].as_str().unwrap().contains("jobs:submit"));
}

#[tokio::test]
async fn the_header_at_fault_is_named() {
    let ground = start().await;
    for (header, value, code) in [
        ("Warren-Reply-To", "https://example.com", "not-supported-yet"),
        ("Warren-Priority", "high", "invalid-priority"),
        ("Warren-Delay", "-1s", "invalid-timing"),
    ] {
        let response = ground.submission().header(header, value).send().await.unwrap();
        let document = problem(response, 400, code).await;
        assert_eq!(document["errors"][0]["header"], header.to_lowercase());
    }
}

#[tokio::test]
async fn a_full_backlog_says_when_to_come_back() {
    let ground = start_with(&[key()], ApiOptions::default(), BacklogLimits { total: 10, per_tenant: 2 }).await;
    let keyed = |key: &str| ground.submission().header("idempotency-key", key).send();
    let first = accepted(keyed("a").await.unwrap()).await;
    assert_eq!(ground.submission().send().await.unwrap().status(), 202);
    problem(keyed("b").await.unwrap(), 503, "backlog-full").await;
    assert_eq!(accepted(keyed("a").await.unwrap()).await, first, "what was answered once is answered so again");
    let response = ground.submission().send().await.unwrap();
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    problem(response, 503, "backlog-full").await;
    assert_eq!(ground.jobs().await, 2);
}

#[tokio::test]
async fn without_the_store_nothing_is_promised_and_nothing_told() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let submission = || ground.submission().header("idempotency-key", "k");
    ground.tamper("ALTER TABLE jobs RENAME TO hidden").await;
    for response in [submission().send().await.unwrap(), ground.get(&format!("/v1/jobs/{id}"), &ada()).await] {
        assert_eq!(response.headers()["retry-after"], "1");
        let document = problem(response, 503, "store-unavailable").await;
        assert!(!document.to_string().contains("no such table"), "{document}");
    }
    ground.tamper("ALTER TABLE hidden RENAME TO jobs").await;
    let first = accepted(submission().send().await.unwrap()).await;
    assert_eq!(accepted(submission().send().await.unwrap()).await, first);
    assert_eq!(ground.jobs().await, 2);
}

#[tokio::test]
async fn the_limit_is_exact() {
    let ground = start_with(&[key()], ApiOptions { body_limit: 100, ..ApiOptions::default() }, BacklogLimits::default()).await;
    let body = |n: usize| format!("\"{}\"", "x".repeat(n - 2));
    assert_eq!(ground.submission().body(body(100)).send().await.unwrap().status(), 202);
    problem(ground.submission().body(body(101)).send().await.unwrap(), 413, "body-too-large").await;
}

fn rebuilt(request: RequestBuilder, change: impl FnOnce(&mut reqwest::Request)) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    change(&mut request);
    RequestBuilder::from_parts(client, request)
}

fn remove(request: RequestBuilder, name: &'static str) -> RequestBuilder {
    rebuilt(request, |request| drop(request.headers_mut().remove(name)))
}

fn replace(request: RequestBuilder, name: &'static str, value: &str) -> RequestBuilder {
    let value = header::HeaderValue::try_from(value).unwrap();
    rebuilt(request, |request| drop(request.headers_mut().insert(name, value)))
}

fn elsewhere(request: RequestBuilder, path: &str) -> RequestBuilder {
    rebuilt(request, |request| request.url_mut().set_path(path))
}
