//! The outbox and its relay: committed means published, and no row stands in another's way.

use std::time::Duration;

use messaging::message::{Message, Route};
use messaging::outbox::{Outbox, OutboxError, Relay, RelayMetrics, Unrouted};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use warren_tests::wait::until_true;

use super::{LONG, Stage};

fn event(id: &str) -> Message {
    Message {
        id: id.to_owned(),
        kind: "orders.placed".to_owned(),
        source: "/warren/orders".to_owned(),
        time: "2023-11-14T22:13:20.123456Z".parse().unwrap(),
        content_type: "application/json".to_owned(),
        traceparent: None,
        run: None,
        tenant: "acme".to_owned(),
        headers: [("note".to_owned(), "kept".to_owned())].into(),
        body: b"{\"n\":1}\0\xff".to_vec().into(),
    }
}

async fn put(stage: &Stage, outbox: &Outbox, key: &str, id: &str, unrouted: Unrouted) {
    let mut tx = stage.pool.begin().await.unwrap();
    outbox.publish_tx(&mut tx, Route::new("warren.events", key), &event(id), unrouted).await.unwrap();
    tx.commit().await.unwrap();
    outbox.committed();
}

/// Starts a relay; gives what stops it.
fn relay(stage: &Stage, outbox: &Outbox) -> CancellationToken {
    let stop = stage.stop.child_token();
    let relay = Relay {
        pool: stage.pool.clone(),
        outbox: outbox.clone(),
        link: stage.link.clone(),
        publisher: stage.publisher.clone(),
        metrics: RelayMetrics::new(&Default::default()).unwrap(),
    };
    tokio_util::task::TaskTracker::new().spawn(relay.run(stop.clone()));
    stop
}

async fn subscriber(stage: &Stage, queue: &str, key: &str) {
    stage.vhost.declare_queue(queue, json!({"x-queue-type": "quorum", "x-delivery-limit": 100})).await;
    stage.vhost.bind("warren.events", queue, key).await;
}

async fn gone(stage: &Stage) {
    until_true(LONG, "the outbox to be empty", async || stage.count("SELECT count(*) FROM warren_outbox").await == 0).await;
}

#[tokio::test]
async fn what_commits_is_published_as_it_was_and_what_rolls_back_is_not() {
    let stage = Stage::set().await;
    subscriber(&stage, "q", "orders.*").await;
    let outbox = Outbox::default();
    let mut tx = stage.pool.begin().await.unwrap();
    outbox.publish_tx(&mut tx, Route::new("warren.events", "orders.placed"), &event("never"), Unrouted::IsFine).await.unwrap();
    tx.rollback().await.unwrap();
    for number in 0..600 {
        put(&stage, &outbox, "orders.placed", &format!("e-{number}"), Unrouted::IsAFailure).await;
    }
    relay(&stage, &outbox);
    gone(&stage).await;
    let messages = stage.vhost.get_messages("q", 1000).await;
    let ids: Vec<&str> = messages.iter().filter_map(|message| message.message_id()).collect();
    let expected: Vec<String> = (0..600).map(|number| format!("e-{number}")).collect();
    assert!(ids == expected, "in order, each once: {ids:?}");
    assert_eq!(messages[0].body, event("").body);
    assert_eq!(messages[0].header("note"), "kept");
    assert_eq!(messages[0].header("cloudEvents_time"), "2023-11-14T22:13:20.123456Z");
}

#[tokio::test]
async fn rows_that_cannot_go_hold_up_nobody() {
    let stage = Stage::set().await;
    subscriber(&stage, "q", "fine").await;
    let outbox = Outbox::default();
    put(&stage, &outbox, "nobody", "unheard", Unrouted::IsFine).await;
    put(&stage, &outbox, "later", "waits", Unrouted::IsAFailure).await;
    put(&stage, &outbox, "fine", "closes the channel", Unrouted::IsAFailure).await;
    put(&stage, &outbox, "fine", "unreadable", Unrouted::IsAFailure).await;
    for sql in [
        "UPDATE warren_outbox SET exchange = 'missing' WHERE message_id = 'closes the channel'",
        "UPDATE warren_outbox SET head = '{' WHERE message_id = 'unreadable'",
    ] {
        sqlx::query(sql).execute(&stage.pool).await.unwrap();
    }
    for number in 0..300 {
        put(&stage, &outbox, "fine", &format!("e-{number}"), Unrouted::IsAFailure).await;
    }
    relay(&stage, &outbox);
    until_true(LONG, "the good ones to arrive", async || stage.vhost.queue_depth("q").await == Some(300)).await;
    assert_eq!(stage.count("SELECT count(*) FROM warren_outbox WHERE message_id = 'unheard'").await, 0);
    assert_eq!(stage.count("SELECT count(*) FROM warren_outbox WHERE parked LIKE '%head%'").await, 1);
    assert_eq!(stage.count("SELECT count(*) FROM warren_outbox WHERE failures > 0 AND parked IS NULL").await, 2);
    // The reasons go away: so do the rows.
    subscriber(&stage, "later", "later").await;
    stage.vhost.declare_exchange("missing", "fanout", json!({})).await;
    stage.vhost.bind("missing", "later", "").await;
    until_true(LONG, "the others to arrive", async || stage.vhost.queue_depth("later").await == Some(2)).await;
}

#[tokio::test]
async fn two_relays_share_the_work() {
    let stage = Stage::set().await;
    subscriber(&stage, "q", "#").await;
    let outbox = Outbox::default();
    let stops = [relay(&stage, &outbox), relay(&stage, &outbox)];
    for number in 0..400 {
        put(&stage, &outbox, "orders.placed", &format!("e-{number}"), Unrouted::IsAFailure).await;
    }
    gone(&stage).await;
    assert_eq!(stage.vhost.queue_depth("q").await, Some(400), "each once");
    stops.iter().for_each(CancellationToken::cancel);
}

#[tokio::test]
async fn what_could_never_be_sent_is_refused_at_the_door() {
    let stage = Stage::set().await;
    let outbox = Outbox::default();
    let mut tx = stage.pool.begin().await.unwrap();
    let route = || Route::new("warren.events", "k");
    let no_id = outbox.publish_tx(&mut tx, route(), &event(""), Unrouted::IsFine).await;
    assert!(matches!(no_id, Err(OutboxError::Unsendable(_))), "{no_id:?}");
    let large = Message { body: vec![0; messaging::outbox::MAX_BODY + 1].into(), ..event("e") };
    let large = outbox.publish_tx(&mut tx, route(), &large, Unrouted::IsFine).await;
    assert!(matches!(large, Err(OutboxError::TooLarge(_))), "{large:?}");
    // Neither spoils the transaction.
    outbox.publish_tx(&mut tx, route(), &event("good"), Unrouted::IsFine).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), tx.commit()).await.unwrap().unwrap();
}
