//! What a client is told that is sent away before there is a request: a whole answer, written at once, best effort.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::response::IntoResponse;
use door::current::{Current, X_REQUEST_ID};
use door::problem::{Code, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a client may take to read its farewell.
const LINGER: Duration = Duration::from_secs(2);

/// There is no place for this connection.
pub(super) async fn no_place(stream: TcpStream, peer: IpAddr) {
    let detail = "the listener has as many connections as it may: try again, over fewer connections";
    say(stream, peer, Problem::new(Code::TooManyConnections, detail).retry_after(1)).await;
}

/// The head of a request began and did not end.
pub(super) async fn slow_head(stream: TcpStream, peer: IpAddr, deadline: Duration) {
    let detail = format!("the request line and the headers must arrive within {} s", deadline.as_secs_f32());
    say(stream, peer, Problem::new(Code::HeadTooSlow, detail)).await;
}

/// The head of a request cannot be read.
pub(super) async fn unreadable(stream: TcpStream, peer: IpAddr, status: u16, error: &hyper::Error) {
    let problem = match status {
        431 => Problem::new(Code::HeadTooLarge, "the head may have 32 KiB and 100 headers: send fewer and shorter ones"),
        // Its words are about the request, and hold nothing of it.
        _ => Problem::new(Code::MalformedRequest, format!("the request cannot be read: {error}")),
    };
    say(stream, peer, problem).await;
}

async fn say(mut stream: TcpStream, peer: IpAddr, problem: Problem) {
    let answer = whole(peer, problem).await;
    let linger = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // What is unread when a socket closes resets it, and the client may never see the answer.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Nobody is left to be told of a failure.
    let _ = tokio::time::timeout(LINGER, linger).await;
}

/// The answer to the byte, with an id of its own.
async fn whole(peer: IpAddr, problem: Problem) -> Vec<u8> {
    let current = Current::new(&HeaderMap::new(), Some(peer));
    let response = current.clone().scope(async { problem.into_response() }).await;
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(X_REQUEST_ID, current.id().clone());
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}
