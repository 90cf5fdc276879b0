//! Nobody listens where the broker should be: while the hub serves, when it starts, when it leaves.

use std::time::{Duration, Instant};

use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubOptions, HubProcess};
use warren_tests::proxy::{Mode, Proxy};
use warren_tests::wait::{until, until_true};

use super::QUICK;
use crate::world::{KINDS, Keep, LONG, World, settled};

/// A drain with nothing to finish.
const LEAVE: Duration = Duration::from_secs(10);

/// A drain that waits for a broker that says nothing: 4 s for subscriptions to end, 8 s for confirms, 2 s for connections.
const LEAVE_IN_VAIN: Duration = Duration::from_secs(20);

async fn submit(client: &HubClient, kind: &str, key: &str) -> Answer {
    let asked = Instant::now();
    let answer = client.submit(kind, &json!({"key": key}), Some(key)).await.expect("the hub answers");
    assert!(asked.elapsed() < QUICK, "{key} was answered after {:?}", asked.elapsed());
    answer
}

/// Submits with fresh keys until one is turned away; the ids before it, its key, and the answer.
async fn until_full(client: &HubClient, prefix: &str, most: usize) -> (Vec<String>, String, Answer) {
    let mut ids = Vec::new();
    loop {
        let key = format!("{prefix}-{}", ids.len());
        let answer = submit(client, "demo.noop", &key).await;
        if answer.status != 202 {
            return (ids, key, answer);
        }
        ids.push(answer.job_id().unwrap().to_owned());
        assert!(ids.len() <= most, "{} accepted, over the limit of {most}", ids.len());
    }
}

fn assert_full(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, Some("backlog-full")), "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let seconds: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("says when to come back");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn the_backlog_takes_as_many_as_it_may_and_drains() {
    const PER_TENANT: usize = 40;
    const TOTAL: usize = 60;
    // The counts are taken anew every second, so one that is being stored at that moment may be missed.
    const MISSED: usize = 2;
    let world = World::new(Keep::Postgres).await;
    let proxy = Proxy::to(Broker::shared().await.amqp_addr()).await;
    let extra_toml = format!("[limits]\nbacklog_total = {TOTAL}\nbacklog_per_tenant = {PER_TENANT}\n{KINDS}");
    let broker_url = proxy.through(&world.vhost.url());
    let hub = HubProcess::start(&HubOptions { broker_url, extra_toml, ..world.options() }).await;
    settled(&hub).await;
    let acme = hub.client();
    let other = hub.client_as("other", "tester", ALL_SCOPES);
    proxy.set(Mode::Refuse).await;

    let (of_acme, refused, answer) = until_full(&acme, "acme", PER_TENANT + MISSED).await;
    assert_full(&answer);
    assert!(of_acme.len() >= PER_TENANT - MISSED, "only {} of {PER_TENANT} were taken", of_acme.len());
    // One tenant's backlog does not shut out another, until all of it is full.
    let (of_other, _, answer) = until_full(&other, "other", TOTAL - PER_TENANT + MISSED).await;
    assert_full(&answer);
    assert!(of_other.len() >= TOTAL - PER_TENANT - 2 * MISSED, "only {} more were taken", of_other.len());
    let pool = sqlx::PgPool::connect(&world.store_url).await.unwrap();
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&pool).await.unwrap();
    assert_eq!(stored as usize, of_acme.len() + of_other.len(), "what was turned away is not stored");

    proxy.set(Mode::Pass).await;
    for (client, ids) in [(&acme, &of_acme), (&other, &of_other)] {
        for id in ids {
            client.wait_state(id, "succeeded", LONG).await;
        }
    }
    until(LONG, "the door to open again", async || submit(&acme, "demo.noop", &refused).await.job_id().map(str::to_owned)).await;
}

#[tokio::test]
async fn a_hub_starts_accepts_and_leaves_without_a_broker() {
    let world = World::new(Keep::Postgres).await;
    let proxy = Proxy::to(Broker::shared().await.amqp_addr()).await;
    proxy.set(Mode::Refuse).await;
    let broker_url = proxy.through(&world.vhost.url());
    let options = HubOptions { broker_url, roles: vec!["api".to_owned()], ..world.options() };
    let mut hub = HubProcess::start(&options).await;
    let client = hub.client();
    let ready = client.get("/ready").await.unwrap();
    let text = String::from_utf8_lossy(&ready.bytes).into_owned();
    assert!(ready.status == 200 && text.starts_with("degraded\n"), "{} {text}", ready.status);
    let mut jobs = Vec::new();
    for n in 0..20 {
        let answer = submit(&client, "demo.noop", &format!("first-{n}")).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        jobs.push(answer.job_id().unwrap().to_owned());
    }
    // It leaves and comes back with all of that unpublished.
    let asked = Instant::now();
    let status = hub.terminate(LEAVE).await;
    assert!(status.success(), "{status} after {:?}", asked.elapsed());
    hub.start_again().await;
    let queue = "jobs.demo.noop";
    proxy.set(Mode::Pass).await;
    until_true(LONG, "all of it to be published", async || world.vhost.queue_depth(queue).await == Some(20)).await;
    settled(&hub).await;
    // A full hub takes it from there.
    let worker = HubProcess::start(&HubOptions { roles: Vec::new(), ..options.clone() }).await;
    for id in &jobs {
        worker.client().wait_state(id, "succeeded", LONG).await;
    }
}

async fn leaves_while(mode: Mode, within: Duration) {
    let world = World::new(Keep::Sqlite).await;
    let proxy = Proxy::to(Broker::shared().await.amqp_addr()).await;
    let options = HubOptions { broker_url: proxy.through(&world.vhost.url()), ..world.options() };
    let mut hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let client = hub.client();
    let id = client.accepted("demo.echo", &json!({})).await;
    client.wait_state(&id, "succeeded", LONG).await;
    proxy.set(mode).await;
    let mut jobs = Vec::new();
    for n in 0..20 {
        jobs.push(submit(&client, "demo.echo", &n.to_string()).await.job_id().unwrap().to_owned());
    }
    let asked = Instant::now();
    let status = hub.terminate(Duration::from_secs(60)).await;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < within, "it took {:?} to leave", asked.elapsed());
    proxy.cut_all();
    proxy.set(Mode::Pass).await;
    hub.start_again().await;
    for id in &jobs {
        client.wait_state(id, "succeeded", LONG).await;
    }
}

#[tokio::test]
async fn a_hub_leaves_soon_when_nobody_listens() {
    leaves_while(Mode::Refuse, LEAVE).await;
}

#[tokio::test]
async fn a_hub_leaves_soon_when_the_broker_is_silent() {
    leaves_while(Mode::BLACKHOLE, LEAVE_IN_VAIN).await;
}
