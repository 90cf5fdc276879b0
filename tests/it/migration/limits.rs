//! Limits and policies: what a queue is to have, and what holds for it while its messages are elsewhere.

use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::wait::until_true;

use super::{Migrator, SETTLE, assert_made};
use crate::world::LONG;

const QUEUE: &str = "reports";
const LIMITED: &str =
    "\n[[queue]]\nname = \"reports\"\nowner = \"team\"\narguments = { x-max-length = 2, x-delivery-limit = 1000000 }\n";

#[tokio::test]
async fn a_limit_below_what_is_there_is_refused() {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "quorum"})).await;
    let migrator = Migrator::new(&vhost, LIMITED).await;
    migrator.apply().await;
    vhost.declare_exchange("orders", "fanout", json!({})).await;
    vhost.bind("orders", QUEUE, "").await;
    migrator.dies_at(QUEUE, "M4").await;
    // They come while it is unbound: no figure of the queue tells of them.
    for _ in 0..3 {
        assert!(vhost.publish("orders", "", json!({"delivery_mode": 2}), b"").await);
    }
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(!done && said.contains("3 messages are to be kept, and `x-max-length` lets it keep 2"), "{said}");
    let depth = async |queue: &str| vhost.queue_depth(queue).await.unwrap_or_default();
    assert_eq!(depth(QUEUE).await + depth("warren.moving.reports").await, 3, "{said}");
    let (done, out, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE, "--accept-loss"]).await;
    assert!(done, "{out}{said}");
    assert_made(&vhost, QUEUE, "x-max-length", 2).await;
    assert_eq!(depth(QUEUE).await, 2);
}

#[tokio::test]
async fn a_plan_tells_what_a_limit_would_drop() {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "quorum"})).await;
    let migrator = Migrator::new(&vhost, LIMITED).await;
    for _ in 0..3 {
        assert!(vhost.publish("", QUEUE, json!({"delivery_mode": 2}), b"").await);
    }
    until_true(LONG, "the figures", async || vhost.queue(QUEUE).await["messages"] == json!(3)).await;
    let (done, out, said) = migrator.ran(&["migrate", QUEUE, "--plan"]).await;
    let told = "  3 messages are to be kept, and `x-max-length` lets it keep 2: refused without --accept-loss\n";
    assert!(done && out.ends_with(told), "{out}{said}");
    let (done, _, said) = migrator.ran(&["migrate", QUEUE, "--settle", SETTLE]).await;
    assert!(!done && said.contains("lets it keep 2: raise it") && said.contains("nothing was changed"), "{said}");
    assert_eq!(vhost.queue_depth(QUEUE).await, Some(3));
}

/// A policy that is for the queue is not for its holding queue, whose name is another.
#[tokio::test]
async fn what_dies_while_it_is_held_goes_where_the_policy_of_its_queue_says() {
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic"})).await;
    let policy = json!({"dead-letter-exchange": "letters"});
    vhost.set_policy("dying", "^reports$", "queues", policy.clone()).await;
    // What the broker tells of a queue is seconds old.
    until_true(LONG, "the policy to be told of", async || vhost.queue(QUEUE).await["effective_policy_definition"] == policy)
        .await;
    let migrator = Migrator::new(&vhost, LIMITED).await;
    migrator.dies_at(QUEUE, "M1").await;
    assert_eq!(vhost.queue_arguments("warren.moving.reports").await["x-dead-letter-exchange"], json!("letters"));
}
