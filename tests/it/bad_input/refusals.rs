//! What is wrong with a body, a header or an address.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::framing::{Then, chunked, is_problem, raw};
use super::{Door, ECHO, check, submission};
use crate::world::LONG;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn every_bad_body_is_a_problem_and_stores_nothing() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let cases: Vec<(u16, &str, Vec<u8>)> = vec![
        (400, "empty-body", b"".to_vec()),
        (400, "malformed-json", b" \r\n\t ".to_vec()),
        (400, "malformed-json", b"{\"n\":".to_vec()),
        (400, "malformed-json", b"{} {}".to_vec()),
        (400, "malformed-json", b"{'n': 1}".to_vec()),
        (400, "malformed-json", b"NaN".to_vec()),
        (400, "malformed-json", b"1e999".to_vec()),
        (400, "malformed-json", b"\"\\ud800\"".to_vec()),
        (400, "malformed-json", b"\"\x01\"".to_vec()),
        (400, "malformed-json", b"\"\xff\xfe\"".to_vec()),
        (400, "malformed-json", b"\"\xc0\x80\"".to_vec()),
        (400, "malformed-json", b"\xef\xbb\xbf{}".to_vec()),
        (400, "malformed-json", "{}".encode_utf16().flat_map(u16::to_be_bytes).collect()),
        (400, "malformed-json", vec![0; 4096]),
        (400, "too-deep", deep(129).into_bytes()),
        (400, "too-deep", deep(400_000).into_bytes()),
        (400, "too-deep", "{\"a\":".repeat(100_000).into_bytes()),
        (413, "body-too-large", format!("\"{}\"", "x".repeat(MIB)).into_bytes()),
        (413, "body-too-large", vec![b' '; MIB + 1]),
        (413, "body-too-large", vec![b' '; 2 * MIB]),
    ];
    for (number, (status, code, body)) in cases.into_iter().enumerate() {
        let what = format!("case {number}");
        let answer = door.client.send(submission(&door.client, ECHO, body.clone())).await.unwrap();
        check(&answer, status, code, &what);
        // The same without a length: in chunks, as it comes.
        let answer = raw(&door, &chunked(&body), Then::Wait).await;
        is_problem(&answer, status, code, &format!("{what} in chunks"));
        door.explains(code).await;
    }
    door.is_up(before).await;
}

#[tokio::test]
async fn every_bad_header_is_a_problem_and_stores_nothing() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let good = || submission(&door.client, ECHO, "{}");
    let key = |value: &[u8]| good().header("idempotency-key", value);
    let typed = |value: &str| door.client.request(Method::POST, ECHO).header("content-type", value).body("{}");
    let cases: Vec<(u16, &str, RequestBuilder)> = vec![
        (400, "invalid-idempotency-key", key(b"")),
        (400, "invalid-idempotency-key", key(b"\"\"")),
        (400, "invalid-idempotency-key", key(b"k\tk")),
        (400, "invalid-idempotency-key", key(b"schl\xc3\xbcssel")),
        (400, "invalid-idempotency-key", key(&[b'k'; 256])),
        (400, "invalid-idempotency-key", key(b"k").header("idempotency-key", "k")),
        (400, "idempotency-key-required", submission(&door.client, "/v1/kinds/test.careful/jobs", "{}")),
        (415, "unsupported-media-type", typed("text/plain")),
        (415, "unsupported-media-type", typed("application/json; charset=utf-16")),
        (415, "unsupported-media-type", good().header("content-type", "application/json")),
        (415, "unsupported-content-encoding", good().header("content-encoding", "gzip")),
        (400, "invalid-timing", good().header("warren-delay", "-30s")),
        (400, "invalid-timing", good().header("warren-run-at", "2020-01-01T00:00:00Z")),
        (400, "invalid-timing", good().header("warren-deadline", "2020-01-01T00:00:00Z")),
        (400, "invalid-priority", good().header("warren-priority", "high")),
        (400, "invalid-priority", good().header("warren-priority", "urgent")),
        (400, "not-supported-yet", good().header("warren-reply-to", "https://example.com")),
        (400, "not-supported-yet", good().header("warren-whatever", "")),
    ];
    for (number, (status, code, request)) in cases.into_iter().enumerate() {
        check(&door.client.send(request).await.unwrap(), status, code, &format!("case {number}"));
        door.explains(code).await;
    }
    door.is_up(before).await;
}

#[tokio::test]
async fn every_bad_address_is_a_problem_and_stores_nothing() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let id = "01890000-0000-7000-8000-000000000000";
    let fresh = "ffffffff-ffff-7fff-bfff-ffffffffffff";
    let cases = [
        (404, "unknown-kind", Method::POST, "/v1/kinds/demo.eco/jobs".to_owned()),
        (404, "unknown-kind", Method::POST, "/v1/kinds/DEMO.ECHO/jobs".to_owned()),
        (404, "unknown-kind", Method::POST, "/v1/kinds/%00/jobs".to_owned()),
        (404, "unknown-kind", Method::POST, "/v1/kinds/%ff/jobs".to_owned()),
        (404, "unknown-kind", Method::POST, "/v1/kinds/..%2f..%2fetc/jobs".to_owned()),
        (404, "unknown-kind", Method::POST, format!("/v1/kinds/{}/jobs", "k".repeat(5000))),
        (404, "not-found", Method::POST, "/v1/kinds//jobs/".to_owned()),
        (404, "not-found", Method::POST, "/v2/kinds/demo.echo/jobs".to_owned()),
        (405, "method-not-allowed", Method::DELETE, ECHO.to_owned()),
        (405, "method-not-allowed", Method::PUT, ECHO.to_owned()),
        (400, "invalid-parameter", Method::GET, "/v1/jobs?state=done".to_owned()),
        (400, "invalid-parameter", Method::GET, "/v1/jobs?limit=-1".to_owned()),
        (400, "invalid-parameter", Method::GET, "/v1/jobs?cursor=%00".to_owned()),
        (410, "purged", Method::POST, format!("/v1/jobs/{id}/cancel")),
        (404, "job-not-found", Method::GET, format!("/v1/jobs/{fresh}/events")),
        (400, "invalid-job-id", Method::PATCH, "/v1/jobs/7".to_owned()),
        (401, "token-invalid", Method::PUT, format!("/v1/jobs/{id}/result")),
        (401, "token-invalid", Method::POST, format!("/v1/jobs/{id}/progress")),
        (400, "invalid-job-id", Method::GET, "/v1/jobs/7".to_owned()),
        (400, "invalid-job-id", Method::GET, "/v1/jobs/%27%20OR%201=1--".to_owned()),
        (404, "job-not-found", Method::GET, format!("/v1/jobs/{fresh}")),
        (410, "purged", Method::GET, format!("/v1/jobs/{id}")),
    ];
    for (status, code, method, path) in cases {
        let request = door.client.request(method, &path).header("content-type", "application/json").body("[{}]");
        check(&door.client.send(request).await.unwrap(), status, code, &path);
        door.explains(code).await;
    }
    let admin = [
        (400, "invalid-parameter", Method::GET, "/admin/jobs?limit=many".to_owned()),
        (400, "invalid-parameter", Method::GET, "/admin/jobs?stat=dead".to_owned()),
        (400, "invalid-job-id", Method::GET, "/admin/jobs/7".to_owned()),
        (404, "job-not-found", Method::GET, format!("/admin/jobs/{id}")),
        (404, "dead-letter-not-found", Method::GET, format!("/admin/dead-letters/{id}")),
        (404, "dead-letter-not-found", Method::POST, format!("/admin/dead-letters/{id}/redrive")),
    ];
    for (status, code, method, path) in admin {
        let request = door.admin.request(method, &path).json(&json!({}));
        check(&door.admin.send(request).await.unwrap(), status, code, &path);
    }
    door.is_up(before).await;
}

/// JSON readers differ on a key that is there twice; the hub hands on what it was given and chooses nothing.
#[tokio::test]
async fn a_key_that_is_there_twice_is_handed_on_as_it_came() {
    let door = Door::new().await;
    let payload = "{\"a\": 1, \"a\" :2}";
    let answer = door.client.send(submission(&door.client, ECHO, payload)).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.job_id().unwrap().to_owned();
    door.client.wait_state(&id, "succeeded", LONG).await;
    let text = String::from_utf8(door.client.job(&id).await.unwrap().bytes).unwrap();
    assert!(text.contains(&format!("\"result\":{payload}")), "{text}");
}
