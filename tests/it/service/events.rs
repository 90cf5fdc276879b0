//! Subscribers run by `Service`: retries through rungs, dead letters, the inbox, the drain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use broker_topology::Names;
use messaging::connection::BrokerOptions;
use messaging::handler::{Context, Failure, Handler, Outcome};
use messaging::inbox::{Entry, Inbox};
use messaging::message::Message;
use messaging::service::{Service, ServiceError, WorkSpec};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warren_tests::wait::until_true;

use super::{LONG, Stage};

/// Does as the body says, and notes which attempts it saw.
#[derive(Clone)]
struct Script {
    pool: PgPool,
    seen: Arc<Mutex<HashMap<String, Vec<i32>>>>,
    started: Arc<Notify>,
}

#[async_trait]
impl Handler<Message> for Script {
    async fn handle(&self, cx: &Context, message: Message) -> Outcome {
        self.seen.lock().unwrap().entry(cx.id.clone()).or_default().push(cx.attempt);
        self.started.notify_one();
        match &message.body[..] {
            b"twice" if cx.attempt < 3 => Outcome::RetryAfter(Duration::from_secs(1), Failure::new("not-yet", "later")),
            b"never" => Outcome::Reject(Failure::new("bad", "of no use")),
            b"snooze" if self.attempts(&cx.id).len() < 2 => Outcome::Snooze(Duration::from_millis(10)),
            b"panic" => panic!("as the body says"),
            b"forever" => std::future::pending().await,
            _ => {
                let mut tx = self.pool.begin().await.unwrap();
                sqlx::query("INSERT INTO effects (id) VALUES ($1)").bind(&cx.id).execute(&mut *tx).await.unwrap();
                match Inbox::record(&mut tx, cx, &Outcome::done()).await.unwrap() {
                    Entry::New => tx.commit().await.unwrap(),
                    Entry::Already(_) => tx.rollback().await.unwrap(),
                }
                Outcome::done()
            }
        }
    }
}

impl Script {
    fn attempts(&self, id: &str) -> Vec<i32> {
        self.seen.lock().unwrap().get(id).cloned().unwrap_or_default()
    }
}

struct Running {
    script: Script,
    drain: CancellationToken,
    service: tokio::task::JoinHandle<Result<(), ServiceError>>,
}

async fn start(stage: &Stage) -> Running {
    sqlx::query("CREATE TABLE IF NOT EXISTS effects (id text)").execute(&stage.pool).await.unwrap();
    let script = Script { pool: stage.pool.clone(), seen: Default::default(), started: Default::default() };
    let broker = BrokerOptions::new(stage.vhost.url(), "billing");
    let spec = WorkSpec { prefetch: 16, concurrency: 4, ..WorkSpec::default() };
    let service = Service::new("billing", broker, stage.pool.clone(), Names::default()).grace(Duration::from_secs(1)).subscribe(
        "billing.invoices",
        &["orders.*"],
        script.clone(),
        spec,
    );
    let drain = CancellationToken::new();
    let service = TaskTracker::new().spawn(service.run(drain.clone()));
    let consuming = async || stage.vhost.consumers("billing.invoices").await == Some(1);
    until_true(LONG, "the service to consume", consuming).await;
    Running { script, drain, service }
}

async fn publish(stage: &Stage, id: &str, body: &str) {
    let properties = json!({"message_id": id, "type": "orders.placed", "delivery_mode": 2, "headers": {"note": "kept"}});
    assert!(stage.vhost.publish("warren.events", "orders.placed", properties, body.as_bytes()).await);
}

async fn stop(running: Running) {
    running.drain.cancel();
    running.service.await.unwrap().unwrap();
}

#[tokio::test]
async fn events_are_retried_snoozed_and_given_up_as_they_ask_for() {
    let stage = Stage::set().await;
    let running = start(&stage).await;
    for body in ["twice", "never", "snooze", "fine", "fine"] {
        publish(&stage, body, body).await;
    }
    until_true(LONG, "all effects", async || stage.count("SELECT count(*) FROM effects").await == 3).await;
    assert_eq!(running.script.attempts("twice"), [1, 2, 3]);
    assert_eq!(running.script.attempts("snooze"), [1, 1], "a snooze spends no attempt");
    until_true(LONG, "the dead letter", async || stage.vhost.queue_depth("billing.invoices.dead").await == Some(1)).await;
    let dead = stage.vhost.get_messages("billing.invoices.dead", 1).await.remove(0);
    assert_eq!((dead.body.as_slice(), dead.message_id()), (b"never".as_slice(), Some("never")));
    for (name, value) in [
        ("warren-queue", "billing.invoices"),
        ("warren-reason", "bad"),
        ("warren-error", "of no use"),
        ("warren-exchange", "warren.events"),
        ("warren-key", "orders.placed"),
        ("note", "kept"),
    ] {
        assert_eq!(dead.header(name), value, "{name}");
    }
    stop(running).await;
    assert_eq!(stage.vhost.queue_depth("billing.invoices").await, Some(0));
    assert_eq!(stage.count("SELECT count(*) FROM effects WHERE id = 'fine'").await, 1, "published twice, done once");
}

#[tokio::test]
async fn a_message_without_an_id_is_a_dead_letter_and_a_panic_is_a_retry() {
    let stage = Stage::set().await;
    let running = start(&stage).await;
    assert!(stage.vhost.publish("warren.events", "orders.placed", json!({"delivery_mode": 2}), b"anonymous").await);
    publish(&stage, "loud", "panic").await;
    until_true(LONG, "the dead letter", async || stage.vhost.queue_depth("billing.invoices.dead").await == Some(1)).await;
    let dead = stage.vhost.get_messages("billing.invoices.dead", 1).await.remove(0);
    assert_eq!((dead.body.as_slice(), dead.header("warren-reason")), (b"anonymous".as_slice(), &json!("no-id")));
    until_true(LONG, "the second attempt", async || running.script.attempts("loud").len() >= 2).await;
    assert_eq!(running.script.attempts("loud")[..2], [1, 2]);
    stop(running).await;
}

#[tokio::test]
async fn a_drain_cuts_short_after_the_grace_period_and_gives_back() {
    let stage = Stage::set().await;
    let running = start(&stage).await;
    publish(&stage, "long", "forever").await;
    tokio::time::timeout(LONG, running.script.started.notified()).await.unwrap();
    stop(running).await;
    assert_eq!(stage.vhost.queue_depth("billing.invoices").await, Some(1), "given back");
    assert_eq!(stage.count("SELECT count(*) FROM warren_processes").await, 0, "left");
    let again = start(&stage).await;
    until_true(LONG, "the next delivery", async || !again.script.attempts("long").is_empty()).await;
    assert_eq!(again.script.attempts("long"), [1], "the attempt is kept");
    stop(again).await;
}
