use std::time::{Duration, Instant};

use lapin::{Connection, ConnectionProperties};
use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::wait::until_true;

const SOON: Duration = Duration::from_secs(20);

async fn connect(url: &str) -> lapin::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await
}

#[tokio::test]
async fn a_virtual_host_carries_bytes_exactly_and_counts_exactly() {
    let vhost = Broker::shared().await.vhost().await;
    let arguments = json!({"x-queue-type": "quorum", "x-delivery-limit": 100});
    vhost.declare_queue("work", arguments.clone()).await;
    vhost.declare_exchange("door", "direct", json!({})).await;
    vhost.bind("door", "work", "key").await;
    assert_eq!(vhost.queue_arguments("work").await, arguments);
    assert_eq!(vhost.queue_depth("work").await, Some(0));
    assert_eq!(vhost.queue_depth("nowhere").await, None);

    let body: Vec<u8> = (0..=255).collect();
    let properties = json!({"message_id": "m-1", "delivery_mode": 2, "headers": {"attempt": 3}});
    for _ in 0..3 {
        assert!(vhost.publish("door", "key", properties.clone(), &body).await);
    }
    assert!(!vhost.publish("door", "other key", json!({}), b"").await, "no queue is bound to it");
    assert!(vhost.publish("", "work", json!({}), b"by name").await);
    assert_eq!(vhost.queue_depth("work").await, Some(4));

    let taken = vhost.get_messages("work", 1).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].body, body);
    assert_eq!(taken[0].message_id(), Some("m-1"));
    assert_eq!(taken[0].header("attempt"), &json!(3));
    assert_eq!((taken[0].exchange.as_str(), taken[0].routing_key.as_str()), ("door", "key"));
    assert_eq!(vhost.peek_messages("work", 9).await.len(), 3);
    until_true(SOON, "what was peeked at to be back", async || vhost.queue_depth("work").await == Some(3)).await;
    vhost.purge("work").await;
    assert_eq!(vhost.queue_depth("work").await, Some(0));

    let definitions = vhost.definitions().await;
    assert_eq!(definitions["queues"][0]["name"], "work");
    vhost.unbind("door", "work", "key").await;
    assert!(!vhost.publish("door", "key", json!({}), b"").await, "the binding is gone");
    vhost.delete_queue("work").await;
    assert_eq!(vhost.queue_depth("work").await, None);
}

#[tokio::test]
async fn virtual_hosts_are_apart_and_their_users_can_be_locked_out() {
    let broker = Broker::shared().await;
    let (one, other) = (broker.vhost().await, broker.vhost().await);
    assert_ne!(one.url(), other.url());
    one.declare_queue("mine", json!({})).await;
    assert_eq!(other.queue_depth("mine").await, None);

    let connection = connect(&one.url()).await.unwrap();
    assert!(connection.status().connected());
    let trespass = format!("{}{}", one.url().trim_end_matches(char::is_numeric), other.name().trim_start_matches("t/"));
    assert_ne!(trespass, one.url());
    assert!(connect(&trespass).await.is_err(), "a user enters only its own virtual host");
    one.change_password("another").await;
    assert!(connect(&one.url()).await.is_err(), "the old password is refused");
}

#[tokio::test]
async fn a_node_can_be_killed_stopped_and_alarmed() {
    let broker = Broker::dedicated().await;
    let vhost = broker.vhost().await;
    vhost.declare_queue("kept", json!({"x-queue-type": "quorum"})).await;
    assert!(vhost.publish("", "kept", json!({"delivery_mode": 2}), b"survivor").await);
    broker.sync_declarations().await;

    let connection = connect(&vhost.url()).await.unwrap();
    let first = broker.pid();
    broker.kill9();
    until_true(SOON, "the client to notice the death", async || !connection.status().connected()).await;
    assert!(connect(&vhost.url()).await.is_err(), "nothing listens while the node is dead");
    broker.start_again().await;
    assert_ne!(broker.pid(), first);
    until_true(SOON, "the quorum queue to have a leader", async || vhost.queue_depth("kept").await == Some(1)).await;
    assert_eq!(vhost.get_messages("kept", 1).await[0].body, b"survivor");

    // What a deleted virtual host may have taken with it is there again at once.
    broker.ctl(&["eval", "ok = supervisor:terminate_child(rabbit_sup, rabbit_fifo_dlx_sup)."]).await;
    let dead = json!({"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "kept", "x-dead-letter-strategy": "at-least-once"});
    let mended = async || broker.ctl(&["eval", "is_pid(whereis(rabbit_fifo_dlx_sup))."]).await.contains("true");
    until_true(SOON, "what dead-letters to be back", mended).await;
    vhost.declare_queue("with-dead-letters", dead).await;
    assert!(vhost.publish("", "with-dead-letters", json!({"delivery_mode": 2}), b"confirmed").await);

    let connection = connect(&vhost.url()).await.unwrap();
    broker.close_all_connections(vhost.name()).await;
    until_true(SOON, "the closed connection to end", async || !connection.status().connected()).await;

    broker.stop_signal();
    let silent = tokio::time::timeout(Duration::from_secs(2), connect(&vhost.url())).await;
    assert!(silent.is_err(), "a stopped node accepts and says nothing");
    broker.continue_signal();
    let connection = connect(&vhost.url()).await.unwrap();

    broker.raise_memory_alarm().await;
    let channel = connection.create_channel().await.unwrap();
    // The first publish is what makes the broker block the connection.
    let path = ("".into(), "kept".into());
    #[allow(clippy::disallowed_methods)]
    channel.basic_publish(path.0, path.1, Default::default(), b"", Default::default()).await.unwrap();
    until_true(SOON, "the publisher to be blocked", async || connection.status().blocked()).await;
    broker.clear_memory_alarm().await;
    until_true(SOON, "the publisher to go on", async || !connection.status().blocked()).await;

    let asked = Instant::now();
    broker.stop().await;
    assert!(asked.elapsed() < SOON);
    broker.start_again().await;
    assert!(broker.log().contains("Server startup complete"));
}

#[tokio::test]
#[should_panic(expected = "use Broker::dedicated()")]
async fn the_shared_node_is_not_killed() {
    Broker::shared().await.kill9();
}
