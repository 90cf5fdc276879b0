//! What is applied, said, and left alone.

use serde_json::json;

use warren_tests::wait::until_true;

use super::{Desk, ended};
use crate::world::LONG;

#[tokio::test]
async fn two_at_once_do_no_harm_and_a_second_run_does_nothing() {
    let desk = Desk::set(&["orders.place", "demo.echo"]).await;
    let both = [desk.start("apply --json", &[]), desk.start("apply --json", &[])];
    for process in both {
        let outcome = ended(process).await.ended(0).json();
        assert_eq!((&outcome["failed"], &outcome["applied"]), (&json!(null), &outcome["planned"]), "{outcome}");
    }
    desk.run("check").await.ended(0);
    let again = desk.run("apply --json").await.ended(0).json();
    assert_eq!((&again["created"], &again["planned"], &again["bindings"]), (&json!([]), &json!(0), &json!(0)), "{again}");
    let dry = desk.run("apply --dry-run").await.ended(0);
    assert!(dry.out.starts_with("0 to create"), "{}", dry.out);
    // And what goes, goes once.
    desk.write(&["orders.place"], "");
    // No hub is asked for what waits: a kind of nobody is gone for good.
    let both = [desk.start("apply --prune --accept-loss", &[]), desk.start("apply --prune --accept-loss", &[])];
    for process in both {
        ended(process).await.ended(0);
    }
    assert_eq!(desk.vhost.queue_depth("jobs.demo.echo").await, None);
    desk.run("check").await.ended(0);
}

#[tokio::test]
async fn what_was_applied_is_said_when_a_later_step_is_refused() {
    let desk = Desk::set(&["orders.place"]).await;
    desk.vhost.set_permissions("^warren\\.", ".*", ".*").await;
    let said = desk.run("apply").await.ended(1);
    let last = said.err.lines().last().unwrap();
    assert!(
        last.contains("applied ") && last.contains(", which stay; then: the broker refuses queue `jobs.orders.place"),
        "{last}"
    );
    assert!(last.contains("ACCESS_REFUSED") && last.contains("docs/permissions.md"), "{last}");
    assert!(said.out.contains("created warren.events\n"), "{}", said.out);
    desk.vhost.set_permissions(".*", ".*", ".*").await;
    desk.run("apply").await.ended(0);
    desk.run("check").await.ended(0);
}

#[tokio::test]
async fn a_prune_takes_what_is_ours_and_leaves_what_is_not() {
    let desk = Desk::set(&[]).await;
    desk.run("apply").await.ended(0);
    let vhost = &desk.vhost;
    // Ours by its mark; a service's; nobody's.
    vhost.declare_queue("old.quorum", json!({"x-queue-type": "quorum", "warren-owner": "hub"})).await;
    vhost.declare_queue("old.classic", json!({"x-queue-type": "classic", "warren-owner": "hub"})).await;
    vhost.declare_exchange("old.events", "topic", json!({"warren-owner": "hub"})).await;
    vhost.declare_queue("billing.invoices", json!({"x-queue-type": "quorum", "warren-owner": "billing"})).await;
    vhost.declare_queue("plain", json!({"x-queue-type": "classic"})).await;
    vhost.bind("old.events", "old.quorum", "#").await;
    vhost.bind("warren.events", "old.classic", "a.b").await;
    vhost.bind("warren.events", "billing.invoices", "order.*").await;
    vhost.bind("amq.topic", "old.quorum", "").await;
    let said = desk.run("apply --prune").await.ended(0);
    for object in
        ["queue old.quorum", "queue old.classic", "exchange old.events", "binding amq.topic -> queue old.quorum (key ``)"]
    {
        assert!(said.out.contains(&format!("removed {object}\n")), "{object}: {}", said.out);
    }
    assert_eq!(vhost.queue_depth("billing.invoices").await, Some(0));
    assert_eq!(vhost.queue_depth("plain").await, Some(0));
    let bound = vhost.definitions().await["bindings"].to_string();
    assert!(bound.contains("billing.invoices") && !bound.contains("old."), "{bound}");
    desk.run("plan --prune").await.ended(0);
}

#[tokio::test]
async fn a_queue_whose_dead_letters_wait_for_their_target_stays() {
    let desk = Desk::set(&[]).await;
    desk.run("apply").await.ended(0);
    let vhost = &desk.vhost;
    vhost.declare_exchange("nowhere", "direct", json!({})).await;
    let letters = json!({"x-queue-type": "quorum", "warren-owner": "hub", "x-message-ttl": 100, "x-dead-letter-exchange": "nowhere",
        "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"});
    vhost.declare_queue("old.letters", letters).await;
    for _ in 0..3 {
        assert!(vhost.publish("", "old.letters", json!({"delivery_mode": 2}), b"{}").await);
    }
    // No list of queues tells of them, and none of them is ready.
    until_true(LONG, "all to wait", async || vhost.queue("old.letters").await["messages_dlx"] == 3).await;
    let refused = desk.run("apply --prune").await.ended(1);
    assert!(refused.err.contains("queue old.letters: 0 messages ready and 3 held"), "{}", refused.err);
    assert_eq!(vhost.queue_depth("old.letters").await, Some(0));
}
