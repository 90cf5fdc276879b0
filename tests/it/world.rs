//! A hub, a broker, a database and the shop's inventory: the main job with a real effect, under load.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use api_ack::run_token::RunTokens;
use futures::StreamExt;
use futures::stream;
use messaging::message::Run;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use warren_tests::broker::{Broker, Cluster, Vhost};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::ledger::{Ledger, Observed, Verdict};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::{until, until_true};

/// Long enough for a lapse of 10 s, a few rungs and a busy machine.
pub const LONG: Duration = Duration::from_secs(120);

/// The kind whose work is done by `shop inventory`.
pub const RESERVE: &str = "inventory.reserve";

/// Kinds every test hub has.
pub const KINDS: &str = r#"
[[kind]]
name = "inventory.reserve"
worker = "amqp"

[[kind]]
name = "demo.echo"

[[kind]]
name = "demo.flaky"

[[kind]]
name = "demo.noop"
"#;

/// Which database the hub keeps its jobs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Sqlite,
    Postgres,
}

/// Waits until a hub is not only ready to accept, but has its broker and its topology.
pub async fn settled(hub: &HubProcess) {
    let client = hub.client();
    until_true(LONG, "the hub to have all it needs", async || {
        client.get("/health").await.is_ok_and(|health| health.body["ok"] == true)
    })
    .await;
}

/// What a hub signs the tokens of runs with, read past it: for a test that reports without having taken the message. `store_url` as in
/// its options.
pub async fn run_tokens(hub: &HubProcess, store_url: &str) -> RunTokens {
    const SECRET: &str = "SELECT secret FROM secrets WHERE name = 'run-token'";
    let secret: Vec<u8> = if store_url.is_empty() {
        let file = SqliteConnectOptions::new().filename(hub.folder().join("warren.db")).read_only(true);
        sqlx::query_scalar(SECRET).fetch_one(&mut file.connect().await.unwrap()).await.unwrap()
    } else {
        sqlx::query_scalar(SECRET).fetch_one(&mut sqlx::PgConnection::connect(store_url).await.unwrap()).await.unwrap()
    };
    RunTokens::with(&secret.try_into().expect("32 bytes"))
}

/// The token of a run, as its message carries it.
pub fn token_of(tokens: &RunTokens, job: &str, epoch: i32, attempt: i32) -> String {
    tokens.of(job.parse().expect("the id of a job"), Run { epoch, attempt })
}

/// Everything of one test.
pub struct World {
    pub vhost: Vhost,
    /// Of `vhost`, on each node that can be reached.
    pub broker_urls: Vec<String>,
    pub store_url: String,
    pub shop_url: String,
    pub shop_pool: PgPool,
    pub ledger: Arc<Ledger>,
}

impl World {
    /// On the shared servers.
    pub async fn new(keep: Keep) -> Self {
        Self::on(Broker::shared().await, Postgres::shared().await, keep).await
    }

    /// On servers that may be hurt.
    pub async fn on(broker: &Broker, postgres: &Postgres, keep: Keep) -> Self {
        let shop_url = Postgres::shared().await.database().await;
        let shop_pool = PgPool::connect(&shop_url).await.unwrap();
        messaging::migrate(&shop_pool).await.unwrap();
        inventory::migrate(&shop_pool).await.unwrap();
        inventory::stock::set(&shop_pool, "tea", 1_000_000).await.unwrap();
        let store_url = match keep {
            Keep::Sqlite => String::new(),
            Keep::Postgres => postgres.database().await,
        };
        let vhost = broker.vhost().await;
        Self { broker_urls: vec![vhost.url()], vhost, store_url, shop_url, shop_pool, ledger: Arc::default() }
    }

    /// On every node of a cluster.
    pub async fn across(cluster: &Cluster, postgres: &Postgres, keep: Keep) -> Self {
        let world = Self::on(&cluster.nodes()[0], postgres, keep).await;
        Self { broker_urls: cluster.urls(&world.vhost), ..world }
    }

    pub fn options(&self) -> HubOptions {
        HubOptions {
            broker_url: self.broker_urls.join(","),
            store_url: self.store_url.clone(),
            extra_toml: KINDS.to_owned(),
            ..HubOptions::default()
        }
    }

    pub async fn hub(&self) -> HubProcess {
        self.hub_with(&[]).await
    }

    pub async fn hub_with(&self, env: &[(&str, &str)]) -> HubProcess {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let hub = HubProcess::start(&HubOptions { env, ..self.options() }).await;
        settled(&hub).await;
        hub
    }

    pub fn shop(&self, crash: Option<&str>) -> Process {
        let mut command = Command::new(binary("shop"));
        command.args(["inventory", "--prefetch", "64", "--concurrency", "16", "--grace", "5s"]);
        command.env("AMQP_URL", self.broker_urls.join(",")).env("DATABASE_URL", &self.shop_url);
        if let Some(point) = crash {
            command.env("WARREN_CRASH_POINT", point);
        }
        Process::start("shop", command)
    }

    /// Sends `count` requests, `at_once` at a time, each again with the same key until it is answered 2xx.
    pub async fn load(&self, client: &HubClient, prefix: &str, count: usize, at_once: usize) {
        let ledger = &self.ledger;
        stream::iter(0..count)
            .for_each_concurrent(at_once, |number| async move {
                let key = format!("{prefix}-{number}");
                let body = json!({"order_id": key, "sku": "tea", "quantity": 1});
                ledger.sent(&key);
                until_true(LONG, "a request to be accepted", async || match client.submit(RESERVE, &body, Some(&key)).await {
                    Ok(answer) => {
                        ledger.answered(&key, answer.status, answer.job_id());
                        answer.status == 202
                    }
                    Err(_) => false,
                })
                .await;
            })
            .await;
    }

    /// Waits until every accepted job has ended, then compares.
    pub async fn verdict(&self, client: &HubClient) -> Verdict {
        let jobs = self.ledger.jobs();
        let states = until(LONG, "every accepted job to end", async || {
            let states: BTreeMap<String, String> = stream::iter(jobs.iter())
                .map(|id| async move { Some((id.clone(), client.job(id).await.ok()?.state()?.to_owned())) })
                .buffer_unordered(16)
                .filter_map(|state| async { state })
                .collect()
                .await;
            let ended = |state: &String| ["succeeded", "dead", "cancelled", "expired"].contains(&state.as_str());
            (states.len() == jobs.len() && states.values().all(ended)).then_some(states)
        })
        .await;
        let effects = sqlx::query_scalar("SELECT order_id FROM reservations").fetch_all(&self.shop_pool).await.unwrap();
        let verdict = self.ledger.verdict(async || Observed { effects, states }).await;
        // Added up by the soak.
        eprintln!("verdict: accepted {} lost {} duplicate {}", verdict.accepted, verdict.lost.len(), verdict.duplicate.len());
        verdict
    }

    /// Clean, every job succeeded, and nothing left in the queues.
    pub async fn assert_clean(&self, client: &HubClient) {
        let verdict = self.verdict(client).await;
        verdict.assert_clean();
        assert_eq!(verdict.done, verdict.accepted, "every accepted job had its effect: {verdict}");
        let work = ["jobs.inventory.reserve", "jobs.inventory.reserve.dead", "warren.lost", "warren.results", "warren.retry.1s"];
        for queue in work {
            until_true(LONG, &format!("{queue} to be empty"), async || self.vhost.queue_depth(queue).await == Some(0)).await;
        }
    }
}
