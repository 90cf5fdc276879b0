//! The relay's memory is for what can go out: kinds that cannot take nothing of it from the others, however much of them waits.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::{HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::{until, until_true};

use crate::world::{Keep, LONG, World, settled};

/// Nobody takes its jobs.
const STUCK: &str = "test.stuck";

/// More tenants than can fill the memory with 2048 rows each, and more rows of each.
const TENANTS: usize = 5;
const EACH: usize = 2200;

const WINDOW: i64 = 10;

const KINDS: &str = r#"
[[kind]]
name = "test.stuck"
worker = "amqp"
window = 10

[[kind]]
name = "demo.noop"
"#;

async fn hub(world: &World, kinds: &str) -> HubProcess {
    let hub = HubProcess::start(&HubOptions { extra_toml: kinds.to_owned(), ..world.options() }).await;
    settled(&hub).await;
    hub
}

/// A backlog larger than all of the relay's memory.
async fn flood(hub: &HubProcess) {
    for tenant in 0..TENANTS {
        let token = token(&format!("tenant-{tenant}"), "ada", "jobs:submit jobs:read");
        let client = HubClient::new(hub.public_url(), Some(token));
        for at in (0..EACH).step_by(1000) {
            let items: Vec<Value> = (at..EACH.min(at + 1000)).map(|n| json!({"kind": STUCK, "data": {"n": n}})).collect();
            let answer = client.send(client.request(Method::POST, "/v1/jobs").json(&items)).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
}

/// Jobs of another kind are published as ever: those that come through the door, and those that come out of the store.
async fn others_go_on(hub: &HubProcess) {
    let client = hub.client();
    let mut took = Vec::new();
    for round in 0..20 {
        let request = client.request(Method::POST, "/v1/kinds/demo.noop/jobs").json(&json!({"n": round}));
        let from_the_store = round % 2 == 1;
        let request = if from_the_store { request.header("warren-delay", "1s") } else { request };
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let due = Instant::now() + if from_the_store { Duration::from_secs(1) } else { Duration::ZERO };
        client.wait_state(answer.job_id().unwrap(), "succeeded", Duration::from_secs(10)).await;
        took.push(due.elapsed());
    }
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
}

/// Rows of the stuck kind in a process's memory, or on their way to the broker.
async fn in_memory(pool: &PgPool) -> i64 {
    let sql = "SELECT count(*) FROM jobs WHERE kind = 'test.stuck' AND outlet IS NOT NULL AND owner IS NOT NULL";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

async fn a_full_window_takes_no_memory_from_other_kinds(keep: Keep) {
    let world = World::new(keep).await;
    let hub = hub(&world, KINDS).await;
    flood(&hub).await;
    until_true(LONG, "the window to be full", async || world.vhost.queue_depth("jobs.test.stuck").await == Some(10)).await;
    others_go_on(&hub).await;
    assert_eq!(world.vhost.queue_depth("jobs.test.stuck").await, Some(10), "the window holds");
}

#[tokio::test]
async fn a_full_window_takes_no_memory_from_other_kinds_on_sqlite() {
    a_full_window_takes_no_memory_from_other_kinds(Keep::Sqlite).await;
}

#[tokio::test]
async fn a_full_window_takes_no_memory_from_other_kinds_on_postgres() {
    a_full_window_takes_no_memory_from_other_kinds(Keep::Postgres).await;
}

/// Each tenant has its part of a window that is always full, and what waits for it costs the store little.
#[tokio::test]
async fn a_full_window_is_shared_by_tenants_and_waited_for_in_peace() {
    let world = World::new(Keep::Postgres).await;
    let hub = hub(&world, KINDS).await;
    let pool = PgPool::connect(&world.store_url).await.unwrap();
    flood(&hub).await;
    let queue = "jobs.test.stuck";
    let depth = async || world.vhost.queue_depth(queue).await.unwrap();
    until_true(LONG, "the window to be full", async || depth().await == 10).await;
    until_true(LONG, "no more to be in memory", async || in_memory(&pool).await == 0).await;

    // In a second: two reads of what waits, ten counts of the window, and what goes on in any case. Asking for it counts too,
    // so that is not done meanwhile.
    let commits = async || -> i64 {
        let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
    };
    let (clock, before) = (Instant::now(), commits().await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rate = (commits().await - before) as f64 / clock.elapsed().as_secs_f64();
    eprintln!("{rate:.0} transactions a second");
    assert!(rate < 60.0, "{rate} transactions a second");

    // Places fall free one by one: each tenant has its turn.
    let ran = async || -> Vec<(String, i64)> {
        let sql =
            "SELECT tenant, count(*) FROM jobs WHERE kind = 'test.stuck' AND outlet IS NULL GROUP BY tenant ORDER BY tenant";
        sqlx::query_as(sql).fetch_all(&pool).await.unwrap()
    };
    for _ in 0..30 {
        let message = until(LONG, "a message", async || world.vhost.get_messages(queue, 1).await.into_iter().next()).await;
        let id = message.message_id().unwrap().to_owned();
        let body = json!({
            "job": id, "epoch": 1, "attempt": 1, "token": message.header("warren-token"), "outcome": "succeeded",
            "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z", "worker": "test",
        });
        let properties = json!({"message_id": format!("{id}/1/1"), "type": "warren.result", "delivery_mode": 2});
        assert!(world.vhost.publish("warren.results", "warren.results", properties, body.to_string().as_bytes()).await);
        until_true(LONG, "its place to be taken", async || depth().await == 10).await;
        assert!(in_memory(&pool).await <= WINDOW);
    }
    let ran = until(LONG, "40 to be marked", async || {
        let ran = ran().await;
        (ran.iter().map(|(_, count)| count).sum::<i64>() == 40).then_some(ran)
    })
    .await;
    // The first ten were those who came first.
    let later: Vec<&(String, i64)> = ran.iter().filter(|(tenant, _)| tenant != "tenant-0").collect();
    assert!(later.len() == TENANTS - 1 && later.iter().all(|(_, count)| (5..=9).contains(count)), "{ran:?}");
}

#[tokio::test]
async fn a_queue_that_is_gone_takes_no_memory_from_other_kinds_and_is_tried_until_it_is_back() {
    let world = World::new(Keep::Postgres).await;
    let hub = hub(&world, &KINDS.replace("window = 10\n", "")).await;
    let pool = PgPool::connect(&world.store_url).await.unwrap();
    let queue = "jobs.test.stuck";
    world.vhost.delete_queue(queue).await;
    flood(&hub).await;
    others_go_on(&hub).await;
    until_true(LONG, "its memory to be given up", async || in_memory(&pool).await <= TENANTS as i64).await;

    let arguments = json!({
        "x-queue-type": "quorum", "x-dead-letter-exchange": "warren.dead", "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish", "x-delivery-limit": 100,
    });
    world.vhost.declare_queue(queue, arguments).await;
    world.vhost.bind("warren.jobs", queue, STUCK).await;
    until_true(LONG, "all of it to go out", async || world.vhost.queue_depth(queue).await == Some(10_000)).await;
}

#[tokio::test]
async fn a_sick_destination_takes_no_memory_from_other_kinds() {
    // It is tried for a second each time.
    let service = Downstream::start(Reply::Hang).await;
    let world = World::new(Keep::Postgres).await;
    let kinds = format!(
        "[[kind]]\nname = \"{STUCK}\"\nworker = \"http\"\nwindow = 100\ntimeout = \"1s\"\n[kind.retry]\ndelays = [\"1s\"]\nmax_attempts = 20\n\
         [kind.http]\nurl = \"{0}/work\"\n\
         [[destination]]\nname = \"{0}\"\nbreaker = {{ min_calls = 2, open = \"1s\" }}\n\
         [[kind]]\nname = \"demo.noop\"\n",
        service.origin()
    );
    let hub = hub(&world, &kinds).await;
    flood(&hub).await;
    let asked = service.asked().len();
    until_true(LONG, "five probes that fail", async || service.asked().len() >= asked + 5).await;
    others_go_on(&hub).await;
    let pool = PgPool::connect(&world.store_url).await.unwrap();
    // A probe, or what was given back a moment later.
    until_true(LONG, "its memory to be given up", async || in_memory(&pool).await <= 1).await;
    let asked = service.asked().len();
    until_true(LONG, "it to be tried again", async || service.asked().len() > asked).await;
}
