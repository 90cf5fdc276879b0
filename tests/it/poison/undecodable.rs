//! What no handler can read is a dead letter at once, with its bytes as they came.

use serde_json::{Value, json};
use warren_tests::hub::HubProcess;
use warren_tests::wait::until_true;

use super::{QUEUE, Scene, body, letters, submit};
use crate::world::{LONG, settled};

/// JSON, so that it is accepted, and not what the handler takes.
const WRONG: &[u8] = b"{ \"do\":  \"juggle\" }";
/// Not even text.
const GARBAGE: &[u8] = &[0xff, 0xfe, 0x00, b'{', b'"', 0xc3, 0x28, 0x80];
/// The id of a job nobody accepted.
const STRANGER: &str = "01890000-0000-7000-8000-000000000000";

/// A job whose payload the handler cannot take, and a stranger's bytes straight into the queue.
async fn both_die_at_once(scene: &Scene, hub: &HubProcess, strangers_reason: &str) {
    let client = hub.client();
    let id = submit(&client, WRONG).await;
    let job = client.wait_state(&id, "dead", LONG).await;
    assert_eq!((&job["reason"], &job["attempt"]), (&json!("undecodable"), &json!(1)), "not tried again: {job}");
    assert!(job["error"].as_str().unwrap().starts_with("undecodable: "), "{job}");
    let properties = json!({"message_id": STRANGER, "delivery_mode": 2});
    assert!(scene.vhost.publish("warren.jobs", super::KIND, properties, GARBAGE).await);
    let (admin, letters) = letters(hub, 2).await;
    for (message, reason, bytes) in [(id.as_str(), "undecodable", WRONG), (STRANGER, strangers_reason, GARBAGE)] {
        let letter: &Value = letters.iter().find(|letter| letter["message_id"] == message).unwrap();
        assert_eq!((&letter["reason"], &letter["queue"]), (&json!(reason), &json!(QUEUE)), "{letter}");
        assert_eq!(body(&admin, letter).await, bytes, "{letter}");
    }
    assert_eq!(scene.starts(&id).await, 0, "it never reached the handler");
    for queue in [QUEUE, "jobs.test.hard.dead", "warren.retry.1s", "warren.results"] {
        until_true(LONG, &format!("{queue} to be empty"), async || scene.vhost.queue_depth(queue).await == Some(0)).await;
    }
}

#[tokio::test]
async fn what_the_hub_cannot_decode_is_dead_at_once_bytes_intact() {
    let scene = Scene::set("rust").await;
    let hub = HubProcess::start(&scene.options()).await;
    settled(&hub).await;
    both_die_at_once(&scene, &hub, "unknown-job").await;
}

/// Whoever publishes without an id is nobody's copy: each body is kept.
#[tokio::test]
async fn strangers_without_an_id_are_each_kept() {
    const STRANGERS: u8 = 30;
    let scene = Scene::set("rust").await;
    let hub = HubProcess::start(&scene.options()).await;
    settled(&hub).await;
    for number in 0..STRANGERS {
        assert!(scene.vhost.publish("warren.jobs", super::KIND, json!({"delivery_mode": 2}), &[0xff, number]).await);
    }
    let (admin, letters) = letters(&hub, usize::from(STRANGERS)).await;
    let mut bodies = Vec::new();
    for letter in &letters {
        bodies.push(body(&admin, letter).await);
    }
    bodies.sort_unstable();
    assert_eq!(bodies, (0..STRANGERS).map(|number| vec![0xff, number]).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_service_cannot_decode_is_dead_at_once_bytes_intact() {
    let scene = Scene::set("amqp").await;
    let hub = HubProcess::start(&scene.options()).await;
    settled(&hub).await;
    let _service = scene.service("service");
    both_die_at_once(&scene, &hub, "not-a-job").await;
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_is_dead_at_once_bytes_intact() {
    let scene = Scene::set("amqp").await;
    let mut subscriber = scene.service("subscriber");
    let queue = "hard.orders";
    until_true(LONG, "the subscriber to consume", async || scene.vhost.consumers(queue).await == Some(1)).await;
    let properties = json!({"message_id": "garbage", "type": "orders.placed", "delivery_mode": 2});
    assert!(scene.vhost.publish("warren.events", "orders.placed", properties, GARBAGE).await);
    until_true(LONG, "the dead letter", async || scene.vhost.queue_depth("hard.orders.dead").await == Some(1)).await;
    let dead = scene.vhost.get_messages("hard.orders.dead", 1).await.remove(0);
    assert_eq!((dead.body.as_slice(), dead.message_id()), (GARBAGE, Some("garbage")));
    assert_eq!((dead.header("warren-reason"), dead.header("warren-attempt")), (&json!("undecodable"), &json!(1)));
    assert_eq!(scene.vhost.queue_depth("warren.retry.1s").await, Some(0), "not tried again");
    assert_eq!(scene.starts("garbage").await, 0);
    assert!(subscriber.poll().is_none(), "{}", subscriber.tail());
}
