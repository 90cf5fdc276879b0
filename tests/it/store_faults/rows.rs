//! Rows that the database refuses, and keys that many want at once: each fails or wins alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use sqlx::PgPool;
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubOptions, HubProcess};
use warren_tests::wait::{until_true, within};

use crate::edge::metric;
use crate::world::{Keep, World, settled};

/// What a writer commits at once.
const BATCH: usize = 512;

async fn submit(client: &HubClient, n: usize, key: &str) -> Answer {
    client.submit("demo.noop", &json!({"n": n}), Some(key)).await.expect("the hub answers")
}

/// A hub that only accepts, so that the rows stay as they were stored.
async fn door(world: &World) -> HubProcess {
    let hub = HubProcess::start(&HubOptions { roles: vec!["api".to_owned()], ..world.options() }).await;
    settled(&hub).await;
    hub
}

/// Nothing that passes the door is refused by Postgres, so the table gets a rule of its own for this test.
#[tokio::test]
async fn one_row_the_database_refuses_fails_alone_in_its_batch() {
    let world = World::new(Keep::Postgres).await;
    let hub = door(&world).await;
    let pool = PgPool::connect(&world.store_url).await.unwrap();
    sqlx::raw_sql("ALTER TABLE job_payloads ADD CHECK (subject <> 'mallory')").execute(&pool).await.unwrap();
    let nul = hub.client_as("acme", "nul\u{0}", ALL_SCOPES);
    assert_eq!(submit(&nul, 0, "nul").await.status, 401, "a NUL does not pass the door");

    // The writer is held at the table with one row, so that all that comes meanwhile is one batch.
    let mut gate = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE jobs").execute(&mut *gate).await.unwrap();
    let (good, bad) = (hub.client(), hub.client_as("acme", "mallory", ALL_SCOPES));
    let first = submit(&good, 0, "first");
    let held = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'jobs'::regclass)";
        until_true(Duration::from_secs(10), "the writer to be held", async || {
            sqlx::query_scalar(waits).fetch_one(&pool).await.unwrap()
        })
        .await;
        let rest = join_all((1..BATCH).map(|n| {
            // Number 200 is the bad one; 300 and 301 share a key, and 302 has it with another body.
            let client = if n == 200 { &bad } else { &good };
            let (n, key) = if (300..=302).contains(&n) { (300 + n / 302, "shared".to_owned()) } else { (n, n.to_string()) };
            async move { submit(client, n, &key).await }
        }));
        let release = async {
            // Well under the 2 s after which the hub gives a lock up. That they came together is checked below.
            let here = async || (metric(&hub, "warren_connections{listener=\"public\"}").await >= BATCH as f64).then_some(());
            let _ = within(Duration::from_millis(1500), here).await;
            gate.rollback().await.unwrap();
        };
        tokio::join!(rest, release).0
    };
    let (first, rest) = tokio::join!(first, held);
    assert_eq!(first.status, 202, "{}", first.body);
    for (at, answer) in rest.iter().enumerate() {
        match at + 1 {
            200 => {
                assert_eq!((answer.status, answer.code()), (400, Some("refused")), "{}", answer.body);
                assert!(!answer.body.to_string().contains("job_payloads"), "the database's words stay inside: {}", answer.body);
            }
            // Whoever of them came first has the key.
            n @ 300..=302 if answer.status == 422 => {
                assert_eq!(answer.code(), Some("idempotency-key-reused"), "{}", answer.body);
                let other = if n == 302 { &rest[299] } else { &rest[301] };
                assert_eq!(other.status, 202, "number {n} lost to nobody: {}", answer.body);
            }
            n => assert_eq!(answer.status, 202, "number {n}: {}", answer.body),
        }
    }
    assert_eq!(rest[299].job_id(), rest[300].job_id(), "one key, one job");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&pool).await.unwrap();
    assert_eq!(rows as usize, 1 + (BATCH - 1) - 3, "no row but those of a 202");
    let commits: i64 = sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM job_payloads").fetch_one(&pool).await.unwrap();
    assert!(commits < 40, "the rows came in {commits} commits: the bad one was hardly in a batch");
}

/// Two hubs on one database. They go before the virtual host they declare their queues in.
struct Pair {
    hubs: [HubProcess; 2],
    pool: PgPool,
    _world: World,
}

impl Pair {
    async fn start() -> Self {
        let world = World::new(Keep::Postgres).await;
        let pool = PgPool::connect(&world.store_url).await.unwrap();
        let hubs = [door(&world).await, door(&world).await];
        Self { hubs, pool, _world: world }
    }

    fn clients(&self) -> [HubClient; 2] {
        self.hubs.each_ref().map(HubProcess::client)
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test]
async fn one_key_sixty_four_times_over_two_hubs_is_one_job() {
    let pair = Pair::start().await;
    let clients = pair.clients();
    let answers = join_all((0..64).map(|n| submit(&clients[n % 2], 7, "the-key"))).await;
    let ids: BTreeSet<Option<&str>> = answers.iter().map(Answer::job_id).collect();
    for answer in &answers {
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.bytes, answers[0].bytes, "a replay is the first answer to the byte");
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("true")).count();
    assert_eq!(replayed, 63, "all but the first are replays");
    for client in &clients {
        let other = submit(client, 8, "the-key").await;
        assert_eq!((other.status, other.code()), (422, Some("idempotency-key-reused")), "{}", other.body);
        // Quoted, it is the same key.
        assert_eq!(submit(client, 7, "\"the-key\"").await.bytes, answers[0].bytes);
    }
    let stranger = pair.hubs[0].client_as("acme", "somebody else", ALL_SCOPES);
    let theirs = submit(&stranger, 8, "the-key").await;
    assert_eq!(theirs.status, 202, "another subject's key is another key: {}", theirs.body);
    assert_eq!(pair.count("SELECT count(*) FROM jobs").await, 2);
    assert_eq!(pair.count("SELECT count(*) FROM job_payloads").await, 2, "no payload without its job");
}

#[tokio::test]
async fn keys_in_opposite_order_over_two_hubs_never_deadlock() {
    const ROUNDS: usize = 20;
    const KEYS: usize = 64;
    let pair = Pair::start().await;
    let [one, two] = pair.clients();
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let send = |client: HubClient, n: usize| async move {
            let key = format!("{round}-{n}");
            (key.clone(), submit(&client, n, &key).await)
        };
        let up = join_all((0..KEYS).map(|n| send(one.clone(), n)));
        let down = join_all((0..KEYS).rev().map(|n| send(two.clone(), n)));
        let (up, down) = tokio::join!(up, down);
        for (key, answer) in up.into_iter().chain(down) {
            assert_eq!(answer.status, 202, "{key}: {}", answer.body);
            ids.entry(key).or_default().insert(answer.job_id().unwrap().to_owned());
        }
    }
    assert!(ids.len() == ROUNDS * KEYS && ids.values().all(|ids| ids.len() == 1), "one job per key: {ids:?}");
    assert_eq!(pair.count("SELECT count(*) FROM jobs").await as usize, ROUNDS * KEYS);
    assert_eq!(pair.count("SELECT count(*) FROM job_payloads").await as usize, ROUNDS * KEYS);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(pair.count(deadlocks).await, 0, "Postgres had to break a deadlock");
}
