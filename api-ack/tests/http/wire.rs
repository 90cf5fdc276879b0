//! Requests that no client library would send.

use std::time::Duration;

use api_ack::accept::BacklogLimits;
use api_ack::http::ApiOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ground::{ECHO, Ground, ada, key, start_with};

/// What the hub answers to raw bytes, until it closes or has answered.
async fn raw(ground: &Ground, framing: &str, body: &[u8], close: bool) -> String {
    let mut stream = TcpStream::connect(&ground.address).await.unwrap();
    let head = format!("POST {ECHO} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{framing}\r\n", ada());
    stream.write_all(head.as_bytes()).await.unwrap();
    // The hub may have answered and closed already.
    let _ = stream.write_all(body).await;
    if close {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..n]);
            if answer.windows(4).any(|w| w == b"\r\n\r\n") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("an answer within 10 s");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn small() -> Ground {
    let options = ApiOptions { body_limit: 1000, body_deadline: Duration::from_millis(300), ..ApiOptions::default() };
    start_with(&[key()], options, BacklogLimits::default()).await
}

#[tokio::test]
async fn a_chunked_body_is_counted_as_it_arrives() {
    let ground = small().await;
    let chunk = [b"3e8\r\n".as_slice(), &[b' '; 1000], b"\r\n"].concat();
    let answer = raw(&ground, "Transfer-Encoding: chunked\r\n", &[chunk.repeat(3), b"0\r\n\r\n".to_vec()].concat(), false).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let fits = raw(&ground, "Transfer-Encoding: chunked\r\n", b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n", false).await;
    assert!(fits.starts_with("HTTP/1.1 202 "), "{fits}");
    assert_eq!(ground.jobs().await, 1);
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let ground = small().await;
    let answer =
        raw(&ground, "Transfer-Encoding: chunked\r\n", &[b"400000\r\n".as_slice(), &[b' '; 4 << 20]].concat(), false).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let declared = raw(&ground, "Content-Length: 99999999999\r\n", b"{}", false).await;
    assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
    assert_eq!(ground.jobs().await, 0);
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let ground = small().await;
    let answer = raw(&ground, "Content-Length: 10\r\n", b"{", false).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(ground.jobs().await, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_stored() {
    let ground = small().await;
    let answer = raw(&ground, "Content-Length: 10\r\n", b"[1,2]", true).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(ground.jobs().await, 0);
}

#[tokio::test]
async fn framing_that_could_be_read_in_two_ways_is_not() {
    let ground = small().await;
    for framing in ["Content-Length: 2\r\nContent-Length: 5\r\n", "Content-Length: -1\r\n", "Content-Length: 2x\r\n"] {
        let answer = raw(&ground, framing, b"{}", false).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
    }
    assert_eq!(ground.jobs().await, 0);
    // Both framings: chunked counts (RFC 9112), and the rest is never taken for a second request.
    let smuggled = b"2\r\n{}\r\n0\r\n\r\n";
    let answer = raw(&ground, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", smuggled, false).await;
    assert!(answer.starts_with("HTTP/1.1 202 ") || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(ground.jobs().await <= 1);
}

#[tokio::test]
async fn a_line_break_in_a_header_is_no_header() {
    let ground = small().await;
    let answer = raw(&ground, "Idempotency-Key: a\rb\r\nContent-Length: 2\r\n", b"{}", false).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(ground.jobs().await, 0);
}
