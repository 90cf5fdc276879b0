//! Connections that a route takes over.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse, Response};
use axum::{Router, http::StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Answers 101 and says everything back from then on.
async fn echo(mut request: Request) -> Response {
    let taken = hyper::upgrade::on(&mut request);
    TaskTracker::new().spawn(async move {
        let mut io = TokioIo::new(taken.await.unwrap());
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = io.read(&mut bytes).await {
            io.write_all(&bytes[..read]).await.unwrap();
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "echo")]).into_response()
}

/// Reads until the text has come.
async fn expect(stream: &mut TcpStream, text: &str) {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(text) {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "closed after {seen:?}");
            seen.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
}

const TAKE: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

#[tokio::test]
async fn a_connection_that_is_taken_over_keeps_its_place_and_is_not_hurried() {
    let registry = Registry::new();
    let edge = Edge {
        head_deadline: Duration::from_secs(5),
        idle: Duration::from_millis(100),
        trusted: Arc::from([]),
        metrics: Arc::new(Metrics::new(&registry).unwrap()),
        tasks: TaskTracker::new(),
        drain: CancellationToken::new(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    edge.open("public", listener, Router::new().fallback(echo), 1);

    let mut one = TcpStream::connect(address).await.unwrap();
    // What is sent ahead of the answer is the other protocol's already.
    one.write_all(&[TAKE, b"early"].concat()).await.unwrap();
    expect(&mut one, "\r\n\r\nearly").await;
    let mut two = TcpStream::connect(address).await.unwrap();
    expect(&mut two, "too-many-connections").await;
    // Longer than an idle connection lives: it is not the edge's any more.
    tokio::time::sleep(edge.idle * 5).await;
    one.write_all(b"still here").await.unwrap();
    expect(&mut one, "still here").await;

    drop(one);
    let free = async {
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            next.write_all(TAKE).await.unwrap();
            let mut answer = [0; 12];
            if next.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 101" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), free).await.unwrap();
    // A drain waits for nobody who was taken over: those who took them see to that.
    edge.drain.cancel();
    edge.tasks.close();
    tokio::time::timeout(Duration::from_secs(20), edge.tasks.wait()).await.unwrap();
}
