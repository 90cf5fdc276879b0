//! `kill -9` of the migration at each of its steps, under load, and the same command again until it is done: nothing is lost.
//!
//! | point | where |
//! |---|---|
//! | M1, M2 | the holding queue is declared; a batch is in it and not acked in the queue |
//! | M3, M4 | both are bound; the queue is unbound |
//! | M5, M6, M7 | the queue is at rest; it is deleted; it is made |
//! | M8 | a batch is back and not acked in the holding queue |
//! | M9, M10 | both are bound; the holding queue is unbound |
//! | M11, M12 | the holding queue is at rest; it is deleted |
//! | M13 | a queue is deleted; what came to it until then is in hand |

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::ledger::Verdict;
use warren_tests::wait::until_true;

use super::traffic::Traffic;
use super::{Migrator, assert_made};
use crate::world::{KINDS, Keep, LONG, World};

/// What one kill may bring twice: a batch, and what was routed while both queues were bound.
const TWICE_PER_KILL: usize = 256 + 128;

fn assert_in_flight_only(verdict: &Verdict, kills: usize) {
    assert_eq!((&verdict.lost[..], &verdict.unexpected[..]), (&[][..], &[][..]), "{verdict}");
    assert_eq!(verdict.done, verdict.accepted, "{verdict}");
    assert!(verdict.duplicate.len() <= TWICE_PER_KILL * (kills + 1), "{verdict}");
}

/// A quorum queue as it was before its limit was thought better of, of the owner that makes it.
async fn declared_before(vhost: &Vhost, queue: &str, arguments: &[(&str, serde_json::Value)]) {
    let mut all = json!({"x-queue-type": "quorum"});
    for (name, value) in arguments {
        all[*name] = value.clone();
    }
    vhost.declare_queue(queue, all).await;
}

/// The main job: a hub accepts, a service works, the limit of the work queue changes, and hubs start in the middle of it.
#[tokio::test]
async fn a_work_queue_is_made_anew_while_jobs_run() {
    const QUEUE: &str = "jobs.inventory.reserve";
    let world = World::new(Keep::Postgres).await;
    let before = [
        ("x-dead-letter-exchange", json!("warren.dead")),
        ("x-dead-letter-routing-key", json!(QUEUE)),
        ("x-dead-letter-strategy", json!("at-least-once")),
        ("x-overflow", json!("reject-publish")),
        ("x-delivery-limit", json!(20)),
    ];
    declared_before(&world.vhost, QUEUE, &before).await;
    let mut hub = world.hub().await;
    let mut shop = world.shop(None);
    let migrator = Migrator::new(&world.vhost, KINDS).await;
    let client = hub.client();
    let done = Cell::new(false);
    let load = async {
        let mut pace = tokio::time::interval(Duration::from_millis(250));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for lot in 0.. {
            pace.tick().await;
            world.load(&client, &format!("migrated-{lot}"), 4, 4).await;
            if done.get() {
                break;
            }
        }
    };
    let migration = async {
        for point in ["M1", "M3", "M4"] {
            migrator.dies_at(QUEUE, point).await;
        }
        // A hub that starts binds what its topology binds.
        hub.kill9();
        hub.start_again().await;
        for point in ["M5", "M6"] {
            migrator.dies_at(QUEUE, point).await;
        }
        // And makes what is missing.
        hub.kill9();
        hub.start_again().await;
        until_true(LONG, "the hub to make the queue", async || world.vhost.queue_depth(QUEUE).await.is_some()).await;
        migrator.killed_at(QUEUE, &["M8", "M9", "M10", "M11", "M12"]).await;
        done.set(true);
    };
    tokio::join!(load, migration);
    world.assert_clean(&hub.client()).await;
    assert_made(&world.vhost, QUEUE, "x-delivery-limit", 100).await;
    assert!(shop.poll().is_none(), "the shop never dies here: {}", shop.tail());
}

const REPORTS: &str = "\n[[kind]]\nname = \"reports.build\"\nworker = \"amqp\"\n";

/// A queue bound to events by hand, with a key that no configuration knows; it stays bound.
#[tokio::test]
async fn a_classic_queue_of_events_becomes_a_quorum_queue() {
    const QUEUE: &str = "jobs.reports.build";
    let vhost = Broker::shared().await.vhost().await;
    vhost.declare_queue(QUEUE, json!({"x-queue-type": "classic"})).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    vhost.bind("warren.events", QUEUE, "orders.#").await;
    let traffic = Traffic::start(&vhost, "warren.events", "orders.placed", QUEUE);
    let points = ["M2", "M2", "M3", "M4", "M6", "M7", "M8", "M9", "M10"];
    migrator.killed_at(QUEUE, &points).await;
    assert_in_flight_only(&traffic.verdict().await, points.len());
    assert_made(&vhost, QUEUE, "x-queue-type", "quorum").await;
    assert!(vhost.publish("warren.events", "orders.placed", json!({}), b"").await, "the binding is there");
}

/// Messages wait in it for their time; made anew it holds them for the new one, and they come back to their own queue.
#[tokio::test]
async fn a_rung_is_made_anew_with_messages_in_it() {
    const RUNG: &str = "warren.retry.5s";
    let vhost = Broker::shared().await.vhost().await;
    let before = [
        ("x-dead-letter-exchange", json!("warren.return")),
        ("x-dead-letter-strategy", json!("at-least-once")),
        ("x-overflow", json!("reject-publish")),
        ("x-delivery-limit", json!(1_000_000)),
        ("x-message-ttl", json!(3000)),
    ];
    declared_before(&vhost, RUNG, &before).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    let traffic = Traffic::start(&vhost, RUNG, "jobs.reports.build", "jobs.reports.build");
    let points = ["M1", "M2", "M5", "M8", "M11"];
    migrator.killed_at(RUNG, &points).await;
    assert_in_flight_only(&traffic.verdict().await, points.len());
    assert_made(&vhost, RUNG, "x-message-ttl", 5000).await;
    assert_eq!(vhost.queue_depth("warren.lost").await, Some(0), "each knew its way back");
}

#[tokio::test]
async fn a_dead_letter_queue_is_made_anew() {
    const QUEUE: &str = "jobs.reports.build.dead";
    let vhost = Broker::shared().await.vhost().await;
    declared_before(&vhost, QUEUE, &[("x-delivery-limit", json!(1000))]).await;
    let migrator = Migrator::new(&vhost, REPORTS).await;
    migrator.apply().await;
    let traffic = Traffic::start(&vhost, "warren.dead", "jobs.reports.build", QUEUE);
    let points = ["M3", "M4", "M13", "M7", "M9", "M12"];
    migrator.killed_at(QUEUE, &points).await;
    assert_in_flight_only(&traffic.verdict().await, points.len());
    assert_made(&vhost, QUEUE, "x-delivery-limit", 1_000_000).await;
    assert_eq!(vhost.queue_depth("warren.lost").await, Some(0));
}
