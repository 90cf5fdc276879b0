//! Very many clients that want nothing, beside one that does.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use warren_tests::hub::{ALL_SCOPES, HubClient, token};
use warren_tests::wait::until_true;

use super::connections::{cut, open};
use super::{PATIENCE, connect, hub_with, send};

const IDLE: usize = 5000;

/// What a busy machine adds to a request now and then; below it there is nothing to compare.
const NOISE: Duration = Duration::from_millis(20);

/// The slowest but one in a hundred of 300 submissions, one after the other on one connection.
async fn p99(client: &HubClient) -> Duration {
    let mut times = Vec::new();
    for number in 0..300 {
        let begun = Instant::now();
        client.accepted("demo.echo", &json!({ "n": number })).await;
        times.push(begun.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// Room for both ends of all that: this process's limit is inherited by the hub, which raises its own besides.
fn make_room() {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = 16_384.min(most);
    assert!(wanted > 2 * IDLE as u64, "this needs more open files: ulimit -Hn is {most}");
    setrlimit(Resource::RLIMIT_NOFILE, now.max(wanted), most).unwrap();
}

#[tokio::test]
async fn five_thousand_idle_connections_cost_a_good_client_nothing() {
    make_room();
    let hub = hub_with(&[("LISTEN__MAX_CONNECTIONS", "6000"), ("LISTEN__IDLE", "1h"), ("LISTEN__HEAD_DEADLINE", "5m")]).await;
    let client = hub.client();
    p99(&client).await;
    let alone = p99(&client).await;
    let mut idle: Vec<TcpStream> = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let mut stream = connect(&hub).await;
        // Some have said nothing, some half of something, some have had an answer.
        match number % 3 {
            0 => {}
            1 => send(&mut stream, "GET /live HTTP/1.1\r\nHo").await,
            _ => send(&mut stream, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await,
        }
        idle.push(stream);
    }
    until_true(PATIENCE, "all of them to be open", async || open(&hub).await >= IDLE as f64).await;
    // The machine has other work too: what idle connections cost, they would cost each time.
    let mut beside = Duration::MAX;
    for _ in 0..5 {
        beside = beside.min(p99(&client).await);
        if beside < 2 * alone.max(NOISE) {
            break;
        }
    }
    assert!(beside < 2 * alone.max(NOISE), "{beside:?} beside {IDLE} idle ones, {alone:?} alone");
    assert_eq!(cut(&hub, "full").await, 0.0);
    drop(idle);
    until_true(PATIENCE, "their places to be free", async || open(&hub).await < 10.0).await;
}

/// Streams of events that nobody reads.
#[tokio::test]
async fn readers_that_do_not_read_hold_nobody_up_and_are_cut_off() {
    let hub = hub_with(&[("LISTEN__IDLE", "1s"), ("LISTEN__HEAD_DEADLINE", "5m")]).await;
    let client = hub.client();
    let later = client.request(Method::POST, super::ECHO).header("warren-delay", "1h").json(&json!({}));
    let id = client.send(later).await.unwrap().job_id().unwrap().to_owned();
    let token = token("acme", "tester", ALL_SCOPES);
    let mut streams = Vec::new();
    for _ in 0..300 {
        let mut stream = connect(&hub).await;
        let head = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        send(&mut stream, &head).await;
        streams.push(stream);
    }
    until_true(PATIENCE, "all of them to be served", async || open(&hub).await >= 300.0).await;
    for number in 0..50 {
        client.accepted("demo.echo", &json!({ "n": number })).await;
    }
    let answer = client.send(client.request(Method::POST, &format!("/v1/jobs/{id}/cancel"))).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Their stream ends with the job; who leaves its end lying is idle.
    until_true(PATIENCE, "all of them to be cut off", async || cut(&hub, "idle").await >= 300.0).await;
    drop(streams);
}
