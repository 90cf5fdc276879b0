//! The hub's database dies, hangs, refuses, answers too late, is full. No 202 without a row, and every 202 ends.

mod disk;
mod rows;

use std::time::{Duration, Instant};

use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::hub::{Answer, HubClient, HubOptions, HubProcess};
use warren_tests::postgres::Postgres;
use warren_tests::proxy::{Mode, Proxy};
use warren_tests::wait::{until, until_true};

use crate::pressure::Pressure;
use crate::world::{Keep, LONG, World, settled};

/// A call of the store gives up after 2.5 s without a connection and 5 s without an answer. A request waits for the batch that
/// is being written and then for its own.
const BOUND: Duration = Duration::from_secs(16);

/// Submits with a key until it is accepted; returns the id.
async fn accepted_in_the_end(client: &HubClient, kind: &str, key: &str) -> String {
    until(LONG, "a request to be accepted", async || {
        let answer = client.submit(kind, &json!({"key": key}), Some(key)).await.ok()?;
        answer.job_id().map(str::to_owned)
    })
    .await
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, Some("store-unavailable")), "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
}

#[tokio::test]
async fn postgres_is_killed_under_load() {
    let postgres = Postgres::dedicated().await;
    let world = World::on(Broker::shared().await, &postgres, Keep::Postgres).await;
    let mut hub = world.hub().await;
    let client = hub.client();
    let mut shop = world.shop(None);
    let pressure = Pressure::new(&world, vec![client.clone()], "killed", Duration::from_millis(5));
    let gaps = pressure
        .during(async {
            let mut gaps = Vec::new();
            for _ in 0..3 {
                pressure.more_accepted(60).await;
                postgres.kill9().await;
                let dead = Instant::now();
                let answer = client.submit("demo.noop", &json!({}), None).await.expect("the hub answers without its store");
                assert_unavailable(&answer);
                gaps.push((dead, Instant::now()));
                postgres.start_again().await;
            }
            pressure.more_accepted(60).await;
            gaps
        })
        .await;
    for (dead, started) in gaps {
        for seen in pressure.sent_between(dead, started) {
            let over = seen.sent + seen.took;
            assert!(over >= started || seen.code.as_deref() == Some("store-unavailable"), "stored by the dead: {seen:?}");
        }
    }
    world.assert_clean(&client).await;
    assert!(pressure.seen().iter().all(|seen| seen.took < BOUND), "an answer took too long");
    assert!(pressure.seen().iter().all(|seen| seen.status.is_some()), "a request without an answer");
    assert!(hub.process().poll().is_none() && shop.poll().is_none(), "nobody exits because a database does");
}

#[tokio::test]
async fn postgres_stands_still_under_load() {
    let postgres = Postgres::dedicated().await;
    let world = World::on(Broker::shared().await, &postgres, Keep::Postgres).await;
    let mut hub = world.hub().await;
    let client = hub.client();
    let _shop = world.shop(None);
    let pressure = Pressure::new(&world, vec![client.clone()], "still", Duration::from_millis(5));
    let (from, to) = pressure
        .during(async {
            pressure.more_accepted(100).await;
            postgres.stop_signal();
            let from = Instant::now();
            // Longer than a lease: the hub must take up its own rows again.
            until_true(LONG, "the hub to know that it lapsed", async || hub.log().contains("this process counts as gone")).await;
            let to = Instant::now();
            postgres.continue_signal();
            pressure.more_accepted(100).await;
            (from, to)
        })
        .await;
    world.assert_clean(&client).await;
    let during = pressure.sent_between(from, to);
    assert!(!during.is_empty());
    for seen in &pressure.seen() {
        assert!(seen.took < BOUND, "not answered in time: {seen:?}");
        assert!(seen.status.is_some(), "no answer: {seen:?}");
    }
    for seen in during {
        let over = seen.sent + seen.took;
        assert!(
            over >= to || seen.code.as_deref() == Some("store-unavailable"),
            "answered by a store that stood still: {seen:?}"
        );
    }
    assert!(hub.process().poll().is_none());
}

/// The commit is on disk and its answer is lost: the caller hears 503, comes again with the same key and is told 202. Nobody
/// holds that row in memory.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_ends_all_the_same() {
    let world = World::new(Keep::Postgres).await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    let hub = HubProcess::start(&HubOptions { store_url: proxy.through(&world.store_url), ..world.options() }).await;
    settled(&hub).await;
    let client = hub.client();
    client.accepted("demo.noop", &json!({})).await;
    proxy.set(Mode::Blackhole { client_to_server: false, server_to_client: true }).await;
    let answer = client.submit("demo.noop", &json!({"key": "lost"}), Some("lost")).await.unwrap();
    assert_unavailable(&answer);
    proxy.cut_all();
    proxy.set(Mode::Pass).await;
    let id = accepted_in_the_end(&client, "demo.noop", "lost").await;
    client.wait_state(&id, "succeeded", Duration::from_secs(60)).await;
}

/// The broker is away, so the rows wait in memory; the store is away for longer than a lease, so they are let go; nobody else is
/// there to take them.
#[tokio::test]
async fn rows_in_memory_outlive_a_lapse() {
    let world = World::new(Keep::Postgres).await;
    let store = Proxy::to(Postgres::shared().await.addr()).await;
    let broker = Proxy::to(Broker::shared().await.amqp_addr()).await;
    let options = HubOptions {
        broker_url: broker.through(&world.vhost.url()),
        store_url: store.through(&world.store_url),
        ..world.options()
    };
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let client = hub.client();
    broker.set(Mode::Refuse).await;
    let mut jobs = Vec::new();
    for n in 0..50 {
        jobs.push(client.accepted("demo.noop", &json!({"n": n})).await);
    }
    store.set(Mode::Refuse).await;
    until_true(LONG, "the hub to know that it lapsed", async || hub.log().contains("this process counts as gone")).await;
    store.set(Mode::Pass).await;
    // It lives again before it can publish.
    accepted_in_the_end(&client, "demo.noop", "alive").await;
    broker.set(Mode::Pass).await;
    for id in &jobs {
        client.wait_state(id, "succeeded", Duration::from_secs(60)).await;
    }
}
