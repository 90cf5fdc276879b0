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
use warren_tests::wait::until_true;

use super::traffic::{Mark, Traffic};
use super::{Migrator, assert_made};
use crate::world::{KINDS, Keep, LONG, World};

/// What a run has in hand at one time at most, and so what may come twice for having been killed.
const IN_HAND: usize = 256;

/// The points in the order in which a migration passes them.
const POINTS: [&str; 13] = ["M1", "M2", "M3", "M4", "M5", "M13", "M6", "M7", "M8", "M9", "M10", "M11", "M12"];

/// Between these two both queues are bound: before the first, one after the other is, and at the second, one is no more.
const BOTH_BOUND: [(&str, &str); 2] = [("M3", "M4"), ("M9", "M10")];

fn place(point: &str) -> usize {
    POINTS.iter().position(|known| *known == point).expect("a point")
}

/// How far a run may have come that dies at `point`: a batch is moved before and after the queue is unbound, whenever there is one.
fn furthest(point: &str) -> usize {
    place(match point {
        "M2" => "M4",
        "M8" => "M10",
        other => other,
    })
}

/// Kills a migration at each of `points` and runs it again until it is done, and judges what came of the traffic meanwhile.
///
/// Nothing is lost. What was routed while both queues were bound may come twice, by whichever it came; of everything else no more than a batch for
/// each kill. This goes by what the publishers have done by then, so that it holds however long anything takes.
async fn kill_under(traffic: Traffic, migrator: &Migrator, queue: &str, points: &[&str]) {
    let mut both_bound: Vec<(Mark, Mark)> = Vec::new();
    let (mut reached, mut before) = (None, traffic.mark());
    for point in points.iter().map(|point| Some(*point)).chain([None]) {
        match point {
            Some(point) => migrator.dies_at(queue, point).await,
            None => migrator.ends(queue).await,
        }
        let (furthest, after) = (point.map_or(POINTS.len(), furthest), traffic.mark());
        let meets = |(first, last): (&str, &str)| furthest >= place(first) && reached.is_none_or(|reached| reached < place(last));
        if BOTH_BOUND.into_iter().any(meets) {
            both_bound.push((before, after));
        }
        (reached, before) = (point.map(place), after);
    }
    let verdict = traffic.verdict().await;
    assert_eq!((&verdict.lost[..], &verdict.unexpected[..]), (&[][..], &[][..]), "{verdict}");
    assert_eq!(verdict.done, verdict.accepted, "{verdict}");
    let is_routed_twice = |id: &&String| both_bound.iter().any(|(start, end)| start.may_have_seen(end, id));
    let (routed, carried): (Vec<&String>, Vec<&String>) = verdict.duplicate.iter().partition(is_routed_twice);
    eprintln!("twice: {} while both queues were bound, {} else", routed.len(), carried.len());
    assert!(carried.len() <= IN_HAND * points.len(), "{} came twice for {} kills: {verdict}", carried.len(), points.len());
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
    kill_under(traffic, &migrator, QUEUE, &points).await;
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
    kill_under(traffic, &migrator, RUNG, &points).await;
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
    kill_under(traffic, &migrator, QUEUE, &points).await;
    assert_made(&vhost, QUEUE, "x-delivery-limit", 1_000_000).await;
    assert_eq!(vhost.queue_depth("warren.lost").await, Some(0));
}
