//! What outsiders hear.

use broker_topology::{Binding, Exchange, ExchangeKind, HUB, Queue, QueueKind, Topology};
use database::clock;
use mobile_delivery::receipts::Presence;
use mobile_delivery::store::{Limits, Transport};
use serde_json::{Value, json};
use uuid::Uuid;
use warren_tests::wait::{until, until_true};

use super::SOON;
use super::ground::{Ground, How, Process, message};
use super::phone::Phone;

fn subscribed() -> Topology {
    Topology::default()
        .exchange(Exchange::new("warren.events", ExchangeKind::Topic, HUB, "events"))
        .queue(Queue::new("sender.receipts", QueueKind::Quorum, "sender", "what became of messages"))
        .binding(Binding::to_queue("warren.events", "sender.receipts", "delivery.*"))
}

async fn acked(ground: &Ground, process: &Process) -> Uuid {
    let mut phone = Phone::connect(ground, process, "phone", 0).await;
    let mut wanted = message("phone");
    wanted.receipt = true;
    ground.stores.messages.send(&[wanted.clone()], &Limits::default(), clock::now()).await.unwrap();
    ground.send(process, "phone", 1).await;
    phone.until(2).await;
    process.outlet.written();
    wanted.message.id
}

#[tokio::test]
async fn a_sender_hears_that_his_message_was_delivered_once_it_can_be_told() {
    let ground = Ground::set().await;
    let process = Process::with(&ground, How { topology: subscribed(), ..How::default() }).await;
    let id = acked(&ground, &process).await;
    // The topology names a subscriber whose queue is not there yet: nothing is forgotten.
    let receipts = async || ground.stores.messages.receipts(0, 10).await.unwrap();
    assert_eq!(receipts().await.len(), 1);
    ground.vhost.declare_queue("sender.receipts", json!({})).await;
    ground.vhost.bind("warren.events", "sender.receipts", "delivery.*").await;
    let told = until(SOON, "the receipt", async || ground.vhost.get_messages("sender.receipts", 1).await.pop()).await;
    assert_eq!(told.message_id(), Some(format!("{id}/phone/delivered").as_str()));
    assert_eq!(told.routing_key, "delivery.delivered");
    let body: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!((&body["device"], &body["user"], &body["state"]), (&json!("phone"), &json!("user-of-phone"), &json!("delivered")));
    until_true(SOON, "it to be forgotten", async || receipts().await.is_empty()).await;
}

/// More of them than are read at once, for a subscriber whose queue is not there.
#[tokio::test]
async fn receipts_that_cannot_be_told_hold_back_no_others_and_are_told_once_they_can() {
    const STUCK: usize = 600;
    let ground = Ground::set().await;
    let process = Process::with(&ground, How { topology: subscribed(), ..How::default() }).await;
    ground.vhost.declare_queue("dropped", json!({})).await;
    ground.vhost.bind("warren.events", "dropped", "delivery.dropped").await;
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    let wanted = || mobile_delivery::store::NewMessage { receipt: true, ..message("phone") };
    for _ in 0..2 {
        let sends: Vec<_> = (0..STUCK / 2).map(|_| wanted()).collect();
        ground.stores.messages.send(&sends, &Limits::default(), clock::now()).await.unwrap();
    }
    ground.send(&process, "phone", 1).await;
    phone.until(i64::try_from(STUCK).unwrap() + 1).await;
    let left = async || ground.stores.messages.receipts(0, 1000).await.unwrap().len();
    until_true(SOON, "all to be acked", async || left().await == STUCK).await;
    phone.leave().await;
    for _ in 0..2 {
        let cancelled = wanted();
        ground.stores.messages.send(std::slice::from_ref(&cancelled), &Limits::default(), clock::now()).await.unwrap();
        ground.stores.messages.cancel("acme", cancelled.message.id, clock::now()).await.unwrap();
        process.outlet.written();
        let told = until(SOON, "its receipt", async || ground.vhost.get_messages("dropped", 1).await.pop()).await;
        assert_eq!(told.message_id(), Some(format!("{}/phone/dropped", cancelled.message.id).as_str()));
        until_true(SOON, "it to be forgotten", async || left().await == STUCK).await;
    }
    ground.vhost.declare_queue("sender.receipts", json!({})).await;
    ground.vhost.bind("warren.events", "sender.receipts", "delivery.*").await;
    until_true(SOON, "all to be told", async || left().await == 0).await;
    let told = ground.vhost.get_messages("sender.receipts", 2 * STUCK).await;
    let distinct: std::collections::BTreeSet<_> = told.iter().map(|told| told.message_id().unwrap().to_owned()).collect();
    assert_eq!(distinct.len(), STUCK);
}

#[tokio::test]
async fn receipts_that_nobody_wants_do_not_pile_up_and_presences_are_told() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    acked(&ground, &process).await;
    until_true(SOON, "it to be forgotten", async || ground.stores.messages.receipts(0, 10).await.unwrap().is_empty()).await;
    ground.vhost.declare_queue("presence", json!({})).await;
    ground.vhost.bind("warren.events", "presence", "devices.*").await;
    let online = Presence {
        online: true,
        tenant: "acme".into(),
        device: "phone".into(),
        user: "ann".into(),
        session: Uuid::now_v7(),
        transport: Transport::Poll,
        at: clock::now(),
    };
    process.outlet.tell(online.clone());
    process.outlet.tell(Presence { online: false, ..online });
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let told = until(SOON, "a presence", async || ground.vhost.get_messages("presence", 1).await.pop()).await;
        kinds.push(told.routing_key);
    }
    assert_eq!(kinds, ["devices.online", "devices.offline"]);
}
