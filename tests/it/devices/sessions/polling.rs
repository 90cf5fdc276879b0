//! Devices that ask now and then.

use std::time::{Duration, Instant};

use futures::future::join;
use mobile_delivery::store::Temperature;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, Process, token};
use super::socket::Socket;

pub(super) struct Poller {
    http: Client,
    token: String,
}

impl Poller {
    pub(super) fn of(id: &str) -> Self {
        Self { http: Client::new(), token: token(id) }
    }

    pub(super) async fn get(&self, process: &Process, query: &str) -> Response {
        let url = format!("http://{}/v1/device/messages?{query}", process.address);
        self.http.get(url).bearer_auth(&self.token).send().await.unwrap()
    }

    pub(super) async fn seqs(&self, process: &Process, query: &str) -> Vec<u64> {
        let response = self.get(process, query).await;
        assert_eq!(response.status(), 200);
        let polled: Value = response.json().await.unwrap();
        polled["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect()
    }

    pub(super) async fn ack(&self, process: &Process, body: Value) -> u16 {
        let url = format!("http://{}/v1/device/acks", process.address);
        self.http.post(url).bearer_auth(&self.token).body(body.to_string()).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_poll_is_answered_at_once_leases_what_it_gives_and_ends_what_is_acked() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let device = ground.device("sensor").await;
    let sensor = Poller::of("sensor");
    assert!(sensor.seqs(&process, "wait=0").await.is_empty());
    let ids = ground.send_texts(&process, "sensor", 10).await;
    let began = Instant::now();
    let polled: Value = sensor.get(&process, "wait=30&max=4").await.json().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "what is there is not waited for");
    assert_eq!(polled["more"], true);
    assert_eq!(polled["messages"][0]["id"], ids[0].to_string());
    assert_eq!(polled["messages"][0]["data"], "message 0");
    // What is leased is not given again, and what is acked has ended.
    assert_eq!(sensor.seqs(&process, "max=4").await, [5, 6, 7, 8]);
    assert_eq!(sensor.ack(&process, json!({"up_to": 4, "ids": [ids[5], ids[6]]})).await, 204);
    assert_eq!(ground.pending(device).await, [5, 8, 9, 10]);
    assert_eq!(sensor.ack(&process, json!({"up_to": 4})).await, 204, "again");
    assert_eq!(sensor.seqs(&process, "max=256").await, [9, 10]);
    assert_eq!(sensor.ack(&process, json!({"up_to": 9_007_199_254_740_991_i64})).await, 204);
    assert!(ground.pending(device).await.is_empty());
    // Nothing was declared for it.
    assert_eq!(ground.look("sensor").await.temperature, Temperature::Cold);
    assert_eq!(process.metric("warren_device_declares_total", None), 0);
}

#[tokio::test]
async fn a_poll_that_waits_is_woken_and_a_newer_one_ends_it() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::start(&ground), Process::start(&ground));
    ground.device("sensor").await;
    let sensor = Poller::of("sensor");
    let waiting = sensor.get(&one, "wait=50");
    let sent = async {
        until_true(SOON, "the poll to wait", async || one.metric("warren_device_sessions", Some("poll")) == 1).await;
        ground.send_texts(&one, "sensor", 1).await;
    };
    let (woken, ()) = join(waiting, sent).await;
    let polled: Value = woken.json().await.unwrap();
    assert_eq!(polled["messages"][0]["seq"], 1);
    // By who sends elsewhere too, by the look of every second.
    let waiting = sensor.seqs(&one, "wait=50");
    let (woken, _) = join(waiting, ground.send_texts(&two, "sensor", 1)).await;
    assert_eq!(woken, [2]);
    assert_eq!(sensor.ack(&one, json!({"up_to": 2})).await, 204);
    // A newer one in the same process, and one in another.
    for newer in [&one, &two] {
        let older = sensor.get(&one, "wait=50");
        let newest = async {
            until_true(SOON, "the older poll to wait", async || one.metric("warren_device_sessions", Some("poll")) == 1).await;
            let fence = ground.look("sensor").await.session.map(|session| session.fence);
            sensor.get(newer, "wait=1").await;
            fence
        };
        let (ended, _) = join(older, newest).await;
        // The newer one may have come first, on a busy day: then it was ended itself.
        assert!(matches!(ended.status().as_u16(), 409 | 200), "{}", ended.status());
    }
}

#[tokio::test]
async fn polls_come_to_any_process_and_a_socket_takes_the_place_of_one() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::start(&ground), Process::start(&ground));
    let device = ground.device("sensor").await;
    let sensor = Poller::of("sensor");
    ground.send_texts(&one, "sensor", 3).await;
    assert_eq!(sensor.seqs(&one, "max=2").await, [1, 2]);
    // Leases are a process's own: another one gives what is not acked.
    assert_eq!(sensor.seqs(&two, "max=2").await, [1, 2]);
    // An ack goes anywhere.
    assert_eq!(sensor.ack(&one, json!({"up_to": 2})).await, 204);
    assert_eq!(ground.pending(device).await, [3]);
    let mut socket = Socket::welcome(two.address, "sensor", Default::default()).await;
    assert_eq!(socket.message().await.seq, 3);
    assert_eq!(sensor.ack(&one, json!({"up_to": 3})).await, 204, "by the device itself, whichever session it has");
    assert!(ground.pending(device).await.is_empty());
    socket.ack(3).await;
    socket.is_idle().await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_its_name() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    ground.device("sensor").await;
    let sensor = Poller::of("sensor");
    for (query, status) in [("wait=56", 400), ("wait=-1", 400), ("max=0", 400), ("max=257", 400), ("forever=1", 400), ("", 200)] {
        assert_eq!(sensor.get(&process, query).await.status().as_u16(), status, "{query}");
    }
    for (body, status) in [
        (json!({}), 400),
        (json!({"up_to": -1}), 400),
        (json!({"ids": ["x"]}), 400),
        (json!([]), 400),
        (json!({"up_to": 0}), 204),
    ] {
        assert_eq!(sensor.ack(&process, body.clone()).await, status, "{body}");
    }
    let stranger = Poller { http: Client::new(), token: "x".to_owned() };
    assert_eq!(stranger.get(&process, "").await.status(), 401);
    assert_eq!(Poller::of("nobody").get(&process, "").await.status(), 404);
}
