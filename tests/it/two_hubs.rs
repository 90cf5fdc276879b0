//! Two hub processes on one database and one broker: one publishes what it owns, the other takes over when it dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warren_tests::broker::Broker;
use warren_tests::hub::{HubClient, HubOptions, HubProcess, Until};
use warren_tests::proxy::{Mode, Proxy};
use warren_tests::wait::until_true;

use crate::pressure::Pressure;
use crate::world::{Keep, LONG, World, settled};

/// A process lapses 10 s after its last beat, and the others look every 2 s.
const TAKEOVER: Duration = Duration::from_secs(12);

/// For a machine that does other things too.
const SLACK: Duration = Duration::from_secs(3);

/// Copies all that is published for a kind from here on into a queue of the test's own.
async fn tap(world: &World, kind: &str) -> String {
    let queue = format!("tap.{kind}");
    world.vhost.declare_queue(&queue, json!({})).await;
    world.vhost.bind("warren.jobs", &queue, kind).await;
    queue
}

/// How often each attempt was published, by message id and attempt.
async fn published(world: &World, tap: &str) -> BTreeMap<(String, i64), usize> {
    let mut counts = BTreeMap::new();
    loop {
        let messages = world.vhost.get_messages(tap, 500).await;
        if messages.is_empty() {
            return counts;
        }
        for message in messages {
            let id = message.message_id().unwrap().to_owned();
            *counts.entry((id, message.header("warren-attempt").as_i64().unwrap())).or_default() += 1;
        }
    }
}

/// Submits `count` jobs of a kind that nobody works on here, 32 at a time.
async fn accept(client: &HubClient, kind: &str, count: usize) -> Vec<String> {
    let one = |n: usize| async move { client.accepted(kind, &json!({"n": n})).await };
    stream::iter(0..count).map(one).buffer_unordered(32).collect().await
}

/// A hub whose way to the broker leads through a proxy.
async fn behind(world: &World, proxy: &Proxy, options: HubOptions) -> HubProcess {
    let hub = HubProcess::start(&HubOptions { broker_url: proxy.through(&world.vhost.url()), ..options }).await;
    settled(&hub).await;
    hub
}

/// More rows than both memories hold, so that most are owned by nobody and both hubs claim them at once.
#[tokio::test]
async fn nothing_is_published_by_both_hubs() {
    const EACH: usize = 3000;
    let world = World::new(Keep::Postgres).await;
    let proxy = Proxy::to(Broker::shared().await.amqp_addr()).await;
    let options = || HubOptions { roles: vec!["api".to_owned()], ..world.options() };
    let hubs = [behind(&world, &proxy, options()).await, behind(&world, &proxy, options()).await];
    let tap = tap(&world, "demo.noop").await;
    let clients = hubs.each_ref().map(HubProcess::client);
    // First while the broker takes everything at once, then with a backlog.
    let mut jobs = accept(&clients[0], "demo.noop", 300).await;
    jobs.extend(accept(&clients[1], "demo.noop", 300).await);
    until_true(LONG, "the first rows to be published", async || world.vhost.queue_depth(&tap).await == Some(600)).await;
    proxy.set(Mode::Refuse).await;
    let (one, two) = tokio::join!(accept(&clients[0], "demo.noop", EACH), accept(&clients[1], "demo.noop", EACH));
    jobs.extend(one.into_iter().chain(two));
    proxy.set(Mode::Pass).await;
    let all = u32::try_from(jobs.len()).unwrap();
    until_true(LONG, "every row to be published", async || world.vhost.queue_depth(&tap).await >= Some(all)).await;
    until_true(LONG, "every row to be marked", async || waiting(&world).await == 0).await;
    let counts = published(&world, &tap).await;
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} published more than once: {:?}", twice.len(), twice.first());
    for id in jobs {
        assert!(counts.contains_key(&(id.clone(), 1)), "{id} was not published");
    }
    assert_eq!(counts.len() as u32, all, "nothing else was published");
}

async fn waiting(world: &World) -> i64 {
    let pool = sqlx::PgPool::connect(&world.store_url).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE outlet IS NOT NULL").fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}

/// The rows of the dead hub are in its name: its way to the broker was cut before it accepted them.
#[tokio::test]
async fn what_a_killed_hub_had_not_published_is_taken_over_in_time() {
    const JOBS: usize = 200;
    let world = World::new(Keep::Postgres).await;
    let proxy = Proxy::to(Broker::shared().await.amqp_addr()).await;
    let mut doomed = behind(&world, &proxy, HubOptions { roles: vec!["api".to_owned()], ..world.options() }).await;
    let heir = HubProcess::start(&HubOptions { roles: vec!["api".to_owned()], ..world.options() }).await;
    settled(&heir).await;
    let tap = tap(&world, "demo.noop").await;
    proxy.set(Mode::Refuse).await;
    let jobs = accept(&doomed.client(), "demo.noop", JOBS).await;
    // Longer than a lapse: as long as it lives, nobody touches its rows.
    tokio::time::sleep(TAKEOVER).await;
    assert_eq!(world.vhost.queue_depth(&tap).await, Some(0), "published by another hub while their owner lives");
    doomed.kill9();
    let killed = Instant::now();
    until_true(LONG, "the other hub to take over", async || world.vhost.queue_depth(&tap).await >= Some(JOBS as u32)).await;
    let took = killed.elapsed();
    assert!(took < TAKEOVER + SLACK, "the takeover took {took:?}");
    until_true(LONG, "every row to be marked", async || waiting(&world).await == 0).await;
    let counts = published(&world, &tap).await;
    assert!(counts.len() == JOBS && counts.values().all(|count| *count == 1), "each once: {counts:?}");
    for id in &jobs {
        assert!(counts.contains_key(&(id.clone(), 1)), "{id} was not published");
    }
}

#[tokio::test]
async fn a_hub_killed_under_load_is_survived_by_the_other() {
    let world = World::new(Keep::Postgres).await;
    let mut doomed = world.hub().await;
    let mut other = world.hub().await;
    let _shop = world.shop(None);
    let pressure = Pressure::new(&world, vec![doomed.client(), other.client()], "pair", Duration::from_millis(5));
    let echoes = pressure
        .during(async {
            pressure.more_accepted(100).await;
            // Work of the hubs' own workers, so that some of it runs in the one that dies.
            let mut echoes = accept(&other.client(), "demo.echo", 50).await;
            echoes.extend(accept(&doomed.client(), "demo.echo", 50).await);
            doomed.kill9();
            pressure.more_accepted(200).await;
            echoes
        })
        .await;
    let client = other.client();
    world.assert_clean(&client).await;
    for id in &echoes {
        client.wait_state(id, "succeeded", LONG).await;
    }
    assert!(other.process().poll().is_none());
}

/// Everything of a job that a stale write could change.
fn truth(job: &Value) -> [&Value; 6] {
    ["state", "epoch", "attempt", "result", "ended_at", "reason"].map(|field| &job[field])
}

/// It stands still for longer than a lease, in the middle of publishing, running, marking; then it goes on where it was.
#[tokio::test]
async fn a_hub_that_stood_still_changes_nothing_when_it_goes_on() {
    let world = World::new(Keep::Postgres).await;
    let mut sleeper = world.hub().await;
    let other = world.hub().await;
    let client = other.client();
    let _shop = world.shop(None);
    // Only the other hub is asked once the sleeper stands still: its socket would swallow requests for 30 s.
    let before = Pressure::new(&world, vec![sleeper.client(), client.clone()], "before", Duration::ZERO);
    let mut echoes = before
        .during(async {
            before.more_accepted(100).await;
            let echoes = accept(&sleeper.client(), "demo.echo", 100).await;
            before.more_accepted(50).await;
            echoes
        })
        .await;
    // There is a flood until the sleeper stands still, so that it does so in the middle of it.
    let (still, accepted) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let flood = tokio::spawn({
        let (client, still, accepted) = (sleeper.client(), still.clone(), accepted.clone());
        async move {
            let caller = |_| {
                let (client, still, accepted) = (client.clone(), still.clone(), accepted.clone());
                async move {
                    let mut ids = Vec::new();
                    while !still.is_cancelled() {
                        if let Ok(answer) = client.submit("demo.echo", &json!({}), None).await
                            && let Some(id) = answer.job_id()
                        {
                            ids.push(id.to_owned());
                            accepted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    ids
                }
            };
            futures::future::join_all((0..32).map(caller)).await.concat()
        }
    });
    until_true(LONG, "the flood to rise", async || accepted.load(Ordering::Relaxed) > 300).await;
    sleeper.process().signal(Signal::SIGSTOP);
    still.cancel();
    let after = Pressure::new(&world, vec![client.clone()], "after", Duration::from_millis(20));
    after
        .during(async {
            tokio::time::sleep(TAKEOVER + SLACK).await;
            after.more_accepted(1).await;
        })
        .await;
    // What it had accepted for certain ends without it.
    for id in &echoes {
        client.wait_state(id, "succeeded", LONG).await;
    }
    world.assert_clean(&client).await;
    let mut ended = Vec::new();
    for id in &echoes {
        ended.push(client.job(id).await.unwrap().body);
    }

    sleeper.process().signal(Signal::SIGCONT);
    echoes.extend(flood.await.unwrap());
    settled(&sleeper).await;
    // It is a full member again.
    let fresh = sleeper.client().accepted("demo.echo", &json!({})).await;
    client.wait_state(&fresh, "succeeded", LONG).await;
    for id in &echoes {
        client.wait_state(id, "succeeded", LONG).await;
    }
    until_true(LONG, "every row to be marked", async || waiting(&world).await == 0).await;
    for before in &ended {
        let now = client.job(before["id"].as_str().unwrap()).await.unwrap().body;
        assert_eq!(truth(&now), truth(before), "a stale write changed an ended job: {now}");
    }
    world.assert_clean(&client).await;
    assert!(sleeper.process().poll().is_none());
}

#[tokio::test]
async fn a_second_hub_on_one_sqlite_file_is_refused() {
    let world = World::new(Keep::Sqlite).await;
    let first = HubProcess::start(&world.options()).await;
    let file = first.folder().join("warren.db");
    let store_url = format!("sqlite://{}", file.display());
    let mut second = HubProcess::start(&HubOptions { store_url, until: Until::Started, ..world.options() }).await;
    let status = second.process().wait(Duration::from_secs(30)).await;
    assert!(!status.success(), "{status}");
    let log = second.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("warren: "), "{log}");
    assert!(last.contains(&file.display().to_string()), "names the file: {last}");
    assert!(last.contains("another Warren process") && last.contains("stop that one"), "says why and what to do: {last}");
    assert!(!log.contains("panicked"), "{log}");
    // The first is none the worse for it.
    let client = first.client();
    let id = client.accepted("demo.echo", &json!({})).await;
    client.wait_state(&id, "succeeded", LONG).await;
}
