//! Requests that no client library would send: framed in two ways, cut in the middle, endless.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use warren_tests::hub::{ALL_SCOPES, token};
use warren_tests::wait::until_true;

use super::{Door, ECHO, document};

const PATIENCE: Duration = Duration::from_secs(20);

/// How a raw request ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    /// It waits for the answer.
    Wait,
    /// It waits until the hub closes.
    Listen,
    /// It sends no more, and waits until the hub closes.
    HalfClose,
    /// It is gone, with a reset.
    Reset,
}

/// The head of a submission up to its own headers.
fn head() -> String {
    format!("POST {ECHO} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", token("acme", "tester", ALL_SCOPES))
}

/// A submission without a length, 64 KiB a chunk.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    let mut request = format!("{}Transfer-Encoding: chunked\r\n\r\n", head()).into_bytes();
    for chunk in body.chunks(1 << 16) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// A whole good submission, for behind a bad one; if it is read, it is the last.
fn second() -> String {
    let body = r#"{"second":true}"#;
    format!("{}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", head(), body.len())
}

/// Sends bytes, and gives what comes back until the hub closes; a second answer would be in it too.
pub async fn raw(door: &Door, bytes: &[u8], then: Then) -> String {
    let address = door.hub.public_url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The hub may have answered and closed already.
    let _ = stream.write_all(bytes).await;
    match then {
        Then::Wait | Then::Listen => {}
        Then::HalfClose => stream.shutdown().await.unwrap(),
        Then::Reset => {
            stream.set_zero_linger().unwrap();
            return String::new();
        }
    }
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..n]);
            if then == Then::Wait && complete(&answer) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the answer's body is as long as its head says.
fn complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

pub fn is_problem(answer: &str, status: u16, code: &str, what: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: no answer: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/problem+json"), "{what}: {answer}");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: one document: {body}"));
    document(&body, status, code, what);
}

/// Nothing is stored of it, now or a moment later: whatever comes after it on the way to the store is stored by then.
async fn nothing_stored(door: &Door, before: (usize, f64), what: &str) {
    assert_eq!(door.counts().await, before, "{what}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let declared = format!("{}Content-Length: 99999999999\r\n\r\n{{}}", head());
    is_problem(&raw(&door, declared.as_bytes(), Then::Wait).await, 413, "body-too-large", "declared");
    is_problem(&raw(&door, &chunked(&[b' '; 17 << 16]), Then::Wait).await, 413, "body-too-large", "in chunks");
    // One that never ends is cut off, with or without an answer that gets through.
    let answer = raw(&door, &chunked(&[b' '; 100 << 16]), Then::Wait).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    nothing_stored(&door, before, "oversized").await;
    door.is_up(before).await;
}

/// What could be read in two ways is not read at all, and what follows it is not taken for a request.
#[tokio::test]
async fn framing_that_could_be_read_in_two_ways_is_refused() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    for framing in [
        "Content-Length: 2\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2x\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Idempotency-Key: a\rb\r\nContent-Length: 2\r\n",
        "Idempotency-Key: a\0b\r\nContent-Length: 2\r\n",
        "Idempotency Key: a\r\nContent-Length: 2\r\n",
        ": a\r\nContent-Length: 2\r\n",
    ] {
        let request = format!("{}{framing}\r\n{{}}{}", head(), second());
        let answer = raw(&door, request.as_bytes(), Then::Listen).await;
        is_problem(&answer, 400, "malformed-request", framing);
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing:?}: what follows is no request: {answer}");
        nothing_stored(&door, before, framing).await;
    }
    door.is_up(before).await;
}

/// Both framings at once (RFC 9112, 6.1): chunks count, nothing is read by the length, and the connection ends there.
#[tokio::test]
async fn with_a_length_and_chunks_nothing_behind_is_read() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    // By its length the request would end in the middle of a chunk.
    let body = "1\r\n!\r\n0\r\n\r\n";
    for framing in ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"]
    {
        let request = format!("{}{framing}\r\n{body}{}", head(), second());
        let answer = raw(&door, request.as_bytes(), Then::Listen).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing:?}: what follows is no request: {answer}");
        nothing_stored(&door, before, framing).await;
    }
    // The same without the ambiguity: two requests.
    let request = format!("{}Transfer-Encoding: chunked\r\n\r\n{body}{}", head(), second());
    let answer = raw(&door, request.as_bytes(), Then::Listen).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("HTTP/1.1 202 "), "{answer}");
    door.is_up((before.0 + 1, before.1 + 1.0)).await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let many = (0..500).map(|n| format!("X-Header-{n}: v\r\n")).collect::<String>();
    let long = format!("X-Long: {}\r\n", "v".repeat(1 << 20));
    for headers in [many, long] {
        let request = format!("{}{headers}Content-Length: 2\r\n\r\n{{}}", head());
        let answer = raw(&door, request.as_bytes(), Then::Wait).await;
        is_problem(&answer, 431, "head-too-large", "a head without end");
    }
    let address = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 17));
    let answer = raw(&door, address.as_bytes(), Then::Wait).await;
    is_problem(&answer, 431, "head-too-large", "an address without end");
    let garbage = raw(&door, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS, or so\r\n\r\n", Then::HalfClose).await;
    is_problem(&garbage, 400, "malformed-request", "no HTTP at all");
    // Also behind a good request on the same connection, whose answer is not touched.
    let both = raw(&door, b"GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nno header\r\n\r\n", Then::Listen).await;
    let second = both.find("HTTP/1.1 400 ").unwrap_or_else(|| panic!("two answers: {both}"));
    assert!(both.starts_with("HTTP/1.1 200 ") && both[..second].ends_with("ok\n"), "{both}");
    is_problem(&both[second..], 400, "malformed-request", "behind a good one");
    door.is_up(before).await;
}

#[tokio::test]
async fn a_request_that_is_cut_in_the_middle_stores_nothing() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    // JSON that is whole before the announced end: it must not count as the body.
    let early = format!("{}Content-Length: 20\r\n\r\n{{\"n\":1}}", head());
    let chunk = format!("{}Transfer-Encoding: chunked\r\n\r\n7\r\n{{\"n\":1}}\r\n", head());
    for request in [&early, &chunk] {
        let answer = raw(&door, request.as_bytes(), Then::HalfClose).await;
        if !answer.is_empty() {
            is_problem(&answer, 400, "body-incomplete", "half closed");
        }
    }
    let whole = format!("{}Content-Length: 7\r\n\r\n{{\"n\":1}}", head());
    let cuts = [0, 1, 20, whole.len() / 2, whole.len() - 12, whole.len() - 8, whole.len() - 7, whole.len() - 1];
    for cut in cuts {
        raw(&door, &whole.as_bytes()[..cut], Then::Reset).await;
        raw(&door, &early.as_bytes()[..cut.min(early.len())], Then::Reset).await;
        raw(&door, &chunk.as_bytes()[..cut.min(chunk.len())], Then::Reset).await;
    }
    // Many at once that never come to an end, held open: the others are served all the same.
    let address = door.hub.public_url().replace("http://", "");
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&early.as_bytes()[..early.len() - 3]).await.unwrap();
        held.push(stream);
    }
    nothing_stored(&door, before, "cut").await;
    door.is_up(before).await;
    drop(held);
    until_true(PATIENCE, "the hub to answer", async || door.client.get("/ready").await.is_ok_and(|a| a.status == 200)).await;
    nothing_stored(&door, (before.0 + 1, before.1 + 1.0), "cut off at last").await;
}
