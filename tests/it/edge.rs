//! The edge of a real hub, over real sockets: what it does with connections that misuse it, and what it adds to answers.
//!
//! The hub has the role `api` and a broker that is away: what is tested here comes before it.

mod answers;
mod bombs;
mod connections;
mod crowds;
mod guesses;
mod rates;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubOptions, HubProcess, token};

use crate::world::KINDS;

/// Far over every limit the tests set.
const PATIENCE: Duration = Duration::from_secs(90);
const ECHO: &str = "/v1/kinds/demo.echo/jobs";

/// A hub with these settings, such as `("LISTEN__IDLE", "1s")`.
async fn hub_with(settings: &[(&str, &str)]) -> HubProcess {
    hub_under(&[], settings).await
}

async fn hub_under(launcher: &[&str], settings: &[(&str, &str)]) -> HubProcess {
    let options = HubOptions {
        broker_url: "amqp://guest:guest@127.0.0.1:1".to_owned(),
        roles: vec!["api".to_owned()],
        env: settings.iter().map(|(key, value)| (format!("WARREN__{key}"), (*value).to_owned())).collect(),
        extra_toml: KINDS.to_owned(),
        launcher: launcher.iter().map(|word| (*word).to_owned()).collect(),
        ..HubOptions::default()
    };
    HubProcess::start(&options).await
}

async fn connect(hub: &HubProcess) -> TcpStream {
    TcpStream::connect(hub.public_url().replace("http://", "")).await.unwrap()
}

/// The head of a submission with a body of `length` bytes, but for the line that ends it.
fn head(length: usize) -> String {
    let token = token("acme", "tester", ALL_SCOPES);
    format!("POST {ECHO} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// What comes until the hub closes; a reset counts as closed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the hub to close");
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer, by its `Content-Length`; the connection stays.
async fn one(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if length.is_some_and(|length| body.len() >= length) {
                    return text;
                }
            }
            answer.push(stream.read_u8().await.expect("more of the answer"));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer")
}

/// The problem document of a raw answer.
fn problem(answer: &str, status: u16, code: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(head.contains("content-type: application/problem+json") && head.contains("connection: close"), "{answer}");
    let document: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("one document: {answer}"));
    assert_eq!((&document["code"], &document["status"]), (&json!(code), &json!(status)), "{answer}");
    assert!(head.contains(&format!("x-request-id: {}", document["request_id"].as_str().unwrap())), "{answer}");
    document
}

/// What a metric stands at, with exactly these labels; 0 when it has no such series.
pub async fn metric(hub: &HubProcess, series: &str) -> f64 {
    let answer = HubClient::new(hub.internal_url(), None).get("/metrics").await.unwrap();
    let text = String::from_utf8(answer.bytes).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or(0.0)
}

/// `GET` with headers.
async fn get(client: &HubClient, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(client, Method::GET, path, headers).await
}

async fn ask(client: &HubClient, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(client.request(method, path), |request, (name, value)| request.header(*name, *value));
    client.send(request).await.unwrap()
}
