//! Messages that end under a session, and what devices say of those they refuse, over two real hubs: the one that hears of it is not the one
//! that has the device.

use std::time::{Duration, Instant};

use mobile_delivery::protocol::{ClientFrame, How, ServerFrame, Window, Withdrawal};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{HubClient, HubProcess};
use warren_tests::wait::{until, until_true};

use super::fleet::{OWNER, Registered, address, hub, register};
use super::sessions::socket::{Said, Socket};
use crate::world::{Keep, LONG, World};

async fn two(world: &World) -> (HubProcess, HubProcess) {
    tokio::join!(hub(world, ""), hub(world, ""))
}

async fn connected(hub: &HubProcess, device: &Registered, messages: u16) -> Socket {
    let mut socket = Socket::open(address(hub), Some(&device.token)).await;
    socket.hello(&device.id, Window { messages, ..Window::default() }).await;
    let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
    socket.is_idle().await;
    socket
}

async fn send(owner: &HubClient, device: &Registered, headers: &[(&str, &str)]) -> String {
    let mut request = owner.request(Method::POST, &format!("/v1/devices/{}/messages", device.id)).json(&json!({}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = owner.send(request.header("warren-receipt", "true")).await.unwrap();
    assert_eq!(sent.status, 202, "{}", sent.body);
    sent.body["id"].as_str().unwrap().to_owned()
}

async fn cancel(owner: &HubClient, id: &str) {
    let cancelled = owner.send(owner.request(Method::DELETE, &format!("/v1/messages/{id}"))).await.unwrap();
    assert_eq!((cancelled.status, &cancelled.body["cancelled"]), (200, &json!(1)), "{}", cancelled.body);
}

#[tokio::test]
async fn what_is_cancelled_at_one_hub_is_taken_back_from_a_device_at_another_and_not_given() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let device = register(&one, "acme", "phone").await;
    let owner = one.client_as("acme", "app", OWNER);
    let mut socket = connected(&two, &device, 1).await;
    let given = send(&owner, &device, &[]).await;
    assert_eq!(socket.message().await.id.to_string(), given);
    // The window is full: these wait in its queue, and are young enough to be given without a look at their rows.
    let began = Instant::now();
    let withdrawn = send(&owner, &device, &[]).await;
    let last = send(&owner, &device, &[]).await;
    cancel(&owner, &withdrawn).await;
    cancel(&owner, &given).await;
    let taken_back = match socket.next().await {
        Said::Frame(ServerFrame::Cancel { ids, reason: Withdrawal::Cancelled }) => ids,
        other => panic!("{other:?} came instead of a cancel"),
    };
    assert_eq!(taken_back.iter().map(ToString::to_string).collect::<Vec<_>>(), [given]);
    let next = socket.message().await;
    eprintln!("told within {:?}", began.elapsed());
    assert_eq!(next.id.to_string(), last, "the one between is not given");
    socket.ack(next.seq).await;
    socket.is_idle().await;
}

#[tokio::test]
async fn what_expires_under_a_session_is_taken_back_and_the_gap_is_told_at_once() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let device = register(&one, "acme", "phone").await;
    let owner = one.client_as("acme", "app", OWNER);
    let mut socket = connected(&two, &device, 2).await;
    let short = send(&owner, &device, &[("warren-ttl", "1s")]).await;
    assert_eq!(socket.message().await.id.to_string(), short);
    let (mut is_cancelled, mut gap) = (false, None);
    while !is_cancelled || gap.is_none() {
        match socket.next().await {
            Said::Frame(ServerFrame::Cancel { ids, reason: Withdrawal::Expired }) => {
                assert_eq!(ids.len(), 1);
                is_cancelled = true;
            }
            Said::Frame(ServerFrame::Gap(told)) => gap = Some(told),
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gap.map(|gap| (gap.reason, gap.count)), Some(("expired".to_owned(), Some(1))));
    // A newer one of its key takes its place in the device as well.
    let older = send(&owner, &device, &[("warren-collapse-key", "score")]).await;
    let first = loop {
        match socket.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => break message,
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(first.id.to_string(), older);
    let newer = send(&owner, &device, &[("warren-collapse-key", "score")]).await;
    let (mut is_taken_back, mut is_given) = (false, false);
    while !is_taken_back || !is_given {
        match socket.next().await {
            Said::Frame(ServerFrame::Cancel { ids, reason: Withdrawal::Collapsed }) => is_taken_back = ids == [first.id],
            Said::Frame(ServerFrame::Deliver(message)) => is_given = message.id.to_string() == newer,
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_device_refuses_is_told_to_its_sender_in_its_words() {
    let world = World::new(Keep::Sqlite).await;
    let hub = hub(&world, "").await;
    world.vhost.declare_queue("dropped", json!({})).await;
    world.vhost.bind("warren.events", "dropped", "delivery.dropped").await;
    let device = register(&hub, "acme", "phone").await;
    let owner = hub.client_as("acme", "app", OWNER);
    let mut socket = connected(&hub, &device, 8).await;
    // No database has a place for NUL, and no session ends by it.
    for (reason, said) in
        [(Some("no such screen: \u{1F4F1}"), Some("no such screen: \u{1F4F1}")), (Some("a\0b"), Some("ab")), (None, None)]
    {
        let id = send(&owner, &device, &[]).await;
        let seq = loop {
            match socket.next().await {
                Said::Frame(ServerFrame::Deliver(message)) => break message.seq,
                Said::Frame(ServerFrame::Idle) => {}
                other => panic!("{other:?}"),
            }
        };
        socket.say(&ClientFrame::Nack { seq, how: How::Reject, reason: reason.map(str::to_owned) }).await;
        let told = until(LONG, "the receipt", async || world.vhost.get_messages("dropped", 1).await.pop()).await;
        let body: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!((&body["message"], &body["reason"]), (&json!(id), &json!("rejected")));
        assert_eq!(body.get("detail").and_then(Value::as_str), said, "{body}");
        let message = owner.get(&format!("/v1/messages/{id}")).await.unwrap().body;
        let fate = &message["devices"][0];
        assert_eq!((&fate["state"], fate.get("detail").and_then(Value::as_str)), (&json!("dropped"), said), "{message}");
    }
    until_true(Duration::from_secs(60), "all to have ended", async || {
        owner.get("/v1/devices/phone").await.is_ok_and(|device| device.body["backlog"] == 0)
    })
    .await;
}
