//! What a message is when it has been moved there and back.

use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Vhost};

use super::{Migrator, SETTLE, assert_made};

const QUEUE: &str = "jobs.reports.build";
const REPORTS: &str = "\n[[kind]]\nname = \"reports.build\"\nworker = \"amqp\"\n";

#[tokio::test]
async fn a_message_is_what_it_was_and_comes_in_its_turn() {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic", "x-max-priority": 5})).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    let count = 600;
    for number in 0..count {
        let properties = json!({
            "message_id": format!("m-{number}"), "content_type": "text/x-own", "content_encoding": "none", "correlation_id": "c",
            "reply_to": "r", "expiration": "3600000", "timestamp": 1_700_000_000, "type": "t", "app_id": "a", "delivery_mode": 2,
            "headers": {"mine": 7, "x-death": [{"queue": QUEUE, "reason": "expired", "count": 1}], "x-delivery-count": 3}
        });
        assert!(vhost.publish("warren.jobs", "reports.build", properties, &[0, 255, b'"']).await);
    }
    // Nothing is known of this one.
    assert!(vhost.publish("warren.return", QUEUE, json!({}), b"").await);
    let (done, out, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE, "--json"]).await;
    assert!(done, "{said}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report[0]["collected"], &report[0]["given_back"]), (&json!(count + 1), &json!(count + 1)), "{report}");
    assert_made(&vhost, QUEUE, "x-queue-type", "quorum").await;
    let mut messages = vhost.get_messages(QUEUE, count + 10).await;
    for message in &mut messages {
        // Each version counts in its own way.
        let headers = message.properties["headers"].as_object_mut().unwrap();
        headers.retain(|name, _| !["x-delivery-count", "x-acquired-count"].contains(&name.as_str()));
    }
    assert_eq!(messages.len(), count + 1);
    for (number, message) in messages[..count].iter().enumerate() {
        let headers = json!({"mine": 7, "warren-moved-from": "warren.jobs"});
        let expected = json!({
            "message_id": format!("m-{number}"), "content_type": "text/x-own", "content_encoding": "none", "correlation_id": "c",
            "reply_to": "r", "expiration": "3600000", "timestamp": 1_700_000_000, "type": "t", "app_id": "a", "delivery_mode": 2,
            "headers": headers
        });
        assert_eq!((&message.properties, &message.body[..]), (&expected, &[0, 255, b'"'][..]));
        assert_eq!(message.routing_key, "reports.build");
    }
    let last = &messages[count];
    assert_eq!((last.routing_key.as_str(), last.header("warren-moved-from")), (QUEUE, &json!("warren.return")));
}

/// An exchange that routes by headers, and a client that says how wide a number is.
struct Match {
    channel: lapin::Channel,
    _connection: lapin::Connection,
}

impl Match {
    async fn open(vhost: &Vhost) -> Self {
        vhost.declare_exchange("match", "headers", json!({})).await;
        let connection = lapin::Connection::connect(&vhost.url(), lapin::ConnectionProperties::default()).await.unwrap();
        Self { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }

    async fn bind(&self, on: &[(&str, AMQPValue)]) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-match".into(), AMQPValue::LongString("all".into()));
        for (name, value) in on {
            arguments.insert((*name).into(), value.clone());
        }
        self.channel.queue_bind(QUEUE.into(), "match".into(), "".into(), Default::default(), arguments).await.unwrap();
    }
}

#[tokio::test]
async fn a_binding_keeps_its_arguments() {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic"})).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    let match_on = Match::open(&vhost).await;
    // As a client of another language writes a number: in 32 bits.
    match_on.bind(&[("size", AMQPValue::LongInt(7))]).await;
    match_on
        .bind(&[("size", AMQPValue::ShortInt(9)), ("weight", AMQPValue::LongUInt(3)), ("day", AMQPValue::Timestamp(5))])
        .await;
    let bound = vhost.definitions().await["bindings"].as_array().unwrap().len();
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(done, "{said}");
    assert!(vhost.publish("match", "", json!({"headers": {"size": 7}}), b"").await);
    assert!(!vhost.publish("match", "", json!({"headers": {"size": 8}}), b"").await);
    assert!(vhost.publish("match", "", json!({"headers": {"size": 9, "weight": 3, "day": 5}}), b"").await);
    assert_eq!(vhost.queue_depth(QUEUE).await, Some(2));
    assert_eq!(vhost.definitions().await["bindings"].as_array().unwrap().len(), bound, "none is there twice, and none is left");
}

#[tokio::test]
async fn a_binding_that_cannot_be_made_again_is_left_alone() {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic"})).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    let match_on = Match::open(&vhost).await;
    match_on.bind(&[("ratio", AMQPValue::Double(1.5))]).await;
    let before = vhost.definitions().await["bindings"].clone();
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(!done && said.contains("exchange `match` has the argument `ratio` with the value 1.5"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(vhost.definitions().await["bindings"], before);
    assert_made(&vhost, QUEUE, "x-queue-type", "classic").await;
}
