//! What cannot be done is said in one sentence, and everything is as it was.

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::json;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::wait::{until, until_true};

use super::{Migrator, SETTLE, assert_made};
use crate::world::LONG;

const QUEUE: &str = "jobs.reports.build";
const REPORTS: &str = "\n[[kind]]\nname = \"reports.build\"\nworker = \"amqp\"\n";

async fn stage() -> (Vhost, Migrator) {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic"})).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    (vhost, migrator)
}

async fn bindings(vhost: &Vhost) -> serde_json::Value {
    vhost.definitions().await["bindings"].clone()
}

#[tokio::test]
async fn what_a_consumer_holds_is_not_taken_from_it() {
    let (vhost, migrator) = stage().await;
    // One that the configuration gives the queue, and somebody took away.
    vhost.unbind("warren.return", QUEUE, QUEUE).await;
    let before = bindings(&vhost).await;
    for id in ["held", "waiting"] {
        assert!(vhost.publish("warren.jobs", "reports.build", json!({"message_id": id}), b"").await);
    }
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.basic_qos(1, Default::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await.unwrap();
    let held = deliveries.next().await.unwrap().unwrap();
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", "1s", "--timeout", "40s"]).await;
    assert!(!done);
    assert!(said.contains("1 messages are with consumers") && said.contains("all was put back"), "{said}");
    assert!(said.contains(" s of 10 s"), "figures may be that old: {said}");
    assert_eq!(bindings(&vhost).await, before);
    assert_made(&vhost, QUEUE, "x-queue-type", "classic").await;
    // It is acked as ever, and what waited comes.
    held.ack(BasicAckOptions::default()).await.unwrap();
    let next = tokio::time::timeout(LONG, deliveries.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.properties.message_id().as_ref().map(|id| id.as_str()), Some("waiting"));
    next.ack(BasicAckOptions::default()).await.unwrap();
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(done, "{said}");
    assert_made(&vhost, QUEUE, "x-queue-type", "quorum").await;
    assert!(vhost.publish("warren.return", QUEUE, json!({}), b"").await, "made anew it has what its configuration gives it");
}

/// A dead letter that its target has not taken is in no count of ready messages, and would go with its queue.
#[tokio::test]
async fn dead_letters_on_their_way_are_waited_for() {
    const RUNG: &str = "warren.retry.1s";
    const LETTERS: u32 = 40;
    let vhost = Broker::shared().await.vhost().await;
    let before = json!({
        "x-queue-type": "quorum", "x-message-ttl": 1, "x-dead-letter-exchange": "nowhere", "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish"
    });
    vhost.declare_queue(RUNG, before).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    for _ in 0..LETTERS {
        assert!(vhost.publish(RUNG, QUEUE, json!({"delivery_mode": 2}), b"").await);
    }
    until_true(LONG, "all to expire", async || vhost.queue_depth(RUNG).await == Some(0)).await;
    let (done, _, said) = migrator.ran(&["migrate", RUNG, "--settle", SETTLE, "--timeout", "40s"]).await;
    assert!(!done && said.contains("or dead letters that their target has not taken: stop"), "{said}");
    assert!(said.contains("all was put back"), "{said}");
    assert_eq!(vhost.queue_arguments(RUNG).await["x-message-ttl"], json!(1));
    until_true(LONG, "the figures to show every letter", async || vhost.queue(RUNG).await["messages"] == json!(LETTERS)).await;
}

#[tokio::test]
async fn who_publishes_by_the_name_of_the_queue_is_found_out() {
    let (vhost, migrator) = stage().await;
    let run = Mutex::new(migrator.run(&["migrate", QUEUE, "--settle", SETTLE, "--timeout", "30s"], None));
    let status = until(LONG, "it to give up", async || {
        assert!(vhost.publish("", QUEUE, json!({}), b"by name").await);
        run.lock().unwrap().poll()
    })
    .await;
    assert!(!status.success());
    let said = run.lock().unwrap().stderr();
    assert!(said.contains("somebody publishes to it by its name") && said.contains("all was put back"), "{said}");
    assert_made(&vhost, QUEUE, "x-queue-type", "classic").await;
}

#[tokio::test]
async fn one_at_a_time() {
    let (vhost, migrator) = stage().await;
    let mut first = migrator.run(&["migrate", QUEUE, "--settle", "30s"], None);
    until_true(LONG, "the first to begin", async || vhost.queue_depth("warren.moving.jobs.reports.build").await.is_some()).await;
    let (done, _, said) = migrator.ran(&["migrate", QUEUE]).await;
    assert!(!done && said.contains("another migration of the queue `jobs.reports.build` is running"), "{said}");
    assert!(first.poll().is_none(), "the first goes on: {}", first.tail());
    first.kill9();
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(done, "the lock goes with its holder: {said}");
}

#[tokio::test]
async fn what_cannot_be_is_said_and_nothing_is_changed() {
    let (vhost, migrator) = stage().await;
    let (done, out, _) = migrator.ran(&["migrate", QUEUE, "--plan"]).await;
    assert!(done && out.contains("x-queue-type from `classic` to `quorum`") && out.contains("2 bindings"), "{out}");
    let (done, out, _) = migrator.ran(&["migrate", "warren.lost", "--plan"]).await;
    assert!(done && out == "warren.lost is as it should be\n", "{out}");
    let (done, _, said) = migrator.ran(&["migrate", "jobs.report.build"]).await;
    assert!(!done && said.contains("no queue `jobs.report.build` is in the configuration; the nearest is `jobs.reports.build`"));
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--set", "broker.management_url=http://127.0.0.1:9"]).await;
    assert!(!done && said.contains("no management API answers at http://127.0.0.1:9"), "{said}");
    vhost.set_policy("all", ".*", "queues", json!({"max-length": 5})).await;
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(
        !done && said.contains("a policy sets max-length for its holding queue `warren.moving.jobs.reports.build`"),
        "{said}"
    );
    assert_made(&vhost, QUEUE, "x-queue-type", "classic").await;
    let single = "warren.lost";
    vhost.delete_queue(single).await;
    vhost.declare_queue(single, json!({"x-queue-type": "quorum", "x-single-active-consumer": true})).await;
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let _consumer = channel.basic_consume(single.into(), "".into(), options, FieldTable::default()).await.unwrap();
    let (done, _, said) = migrator.ran(&["migrate", single]).await;
    assert!(!done && said.contains("stop its consumers until this is done; nothing was changed"), "{said}");
    vhost.delete_queue(single).await;
    let (done, _, said) = migrator.ran(&["migrate", single]).await;
    assert!(
        !done && said.contains("the queue `warren.lost` is not on the broker: make it with `warren topology apply`"),
        "{said}"
    );
}

/// A user who may not make the holding queue is told its name.
#[tokio::test]
async fn without_permission_nothing_is_begun() {
    let (vhost, migrator) = stage().await;
    vhost.set_permissions("^jobs.*", ".*", ".*").await;
    let (done, _, said) = migrator.ran(&["migrate", QUEUE]).await;
    assert!(!done && said.contains("warren.moving.jobs.reports.build") && said.contains("ACCESS_REFUSED"), "{said}");
    assert_made(&vhost, QUEUE, "x-queue-type", "classic").await;
}

/// A broker that blocks publishers takes no message anywhere. The time is up, and then the way back has its time.
#[tokio::test]
async fn where_nothing_can_be_published_the_way_back_is_tried_and_nothing_is_lost() {
    let broker = Broker::dedicated().await;
    let vhost = broker.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic"})).await;
    let migrator = Migrator::on(&broker, &vhost, REPORTS);
    migrator.apply().await;
    let sent: BTreeSet<String> = (0..20).map(|number| format!("m-{number}")).collect();
    for id in &sent {
        assert!(vhost.publish("warren.jobs", "reports.build", json!({"message_id": id, "delivery_mode": 2}), b"").await);
    }
    broker.raise_memory_alarm().await;
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE, "--timeout", "20s"]).await;
    assert!(!done && said.contains("messages cannot be moved through the exchange"), "{said}");
    assert!(said.contains("all was put back") || said.contains("; putting it back, "), "{said}");
    broker.clear_memory_alarm().await;
    migrator.ends(QUEUE).await;
    let messages = vhost.get_messages(QUEUE, 100).await;
    let came: BTreeSet<String> = messages.iter().filter_map(|message| message.message_id().map(str::to_owned)).collect();
    assert_eq!(came, sent);
}

/// RabbitMQ has one code for "it is there with other arguments", "nobody may have it with these" and "there are queues enough".
#[tokio::test]
async fn a_queue_that_cannot_be_made_again_is_not_deleted_and_not_tried_for_ever() {
    let (vhost, migrator) = stage().await;
    let limit = async |count: usize| vhost.limit_queues(count).await;
    let queues = async || vhost.definitions().await["queues"].as_array().unwrap().len();
    // The lock is one too.
    limit(queues().await + 1).await;
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(!done && said.contains("cannot be made") && said.contains("queue limit"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_made(&vhost, QUEUE, "x-queue-type", "classic").await;

    limit(queues().await + 10).await;
    assert!(vhost.publish("warren.jobs", "reports.build", json!({}), b"").await);
    migrator.dies_at(QUEUE, "M6").await;
    assert_eq!(vhost.queue_depth(QUEUE).await, None);
    limit(queues().await + 1).await;
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(!done && said.contains("queue limit") && said.contains("the same command goes on"), "{said}");
    limit(queues().await + 10).await;
    migrator.ends(QUEUE).await;
    assert_eq!(vhost.queue_depth(QUEUE).await, Some(1));
}
