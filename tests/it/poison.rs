//! Messages that end processes: dead after three starts, bytes intact, and nobody beside them comes to harm.
//! What panics and what cannot be decoded harms nobody at all.

mod panics;
mod undecodable;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, Until, token};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::{until, until_true};

use crate::world::{LONG, settled};

const KIND: &str = "test.hard";
const QUEUE: &str = "jobs.test.hard";
/// Odd on purpose: nothing that reads JSON and writes it again would keep it.
const ABORT: &[u8] = b"{ \"do\" :\"abort\",  \"note\": \"\\u0000 \xc3\xbc \\ud83d\\ude00\", \"n\": 1.50 }";

/// A broker and a database for the handlers' effects.
struct Scene {
    vhost: Vhost,
    database: String,
    pool: PgPool,
    worker: &'static str,
}

impl Scene {
    /// `worker` is `rust` for the hub's own handler, `amqp` for the service.
    async fn set(worker: &'static str) -> Self {
        let database = Postgres::shared().await.database().await;
        let pool = PgPool::connect(&database).await.unwrap();
        Self { vhost: Broker::shared().await.vhost().await, database, pool, worker }
    }

    fn options(&self) -> HubOptions {
        let program = if self.worker == "rust" { "hard-handlers" } else { "warren" };
        let retry = r#"retry = { delays = ["1s"], max_attempts = 2 }"#;
        let worker = self.worker;
        HubOptions {
            broker_url: self.vhost.url(),
            extra_toml: format!("[[kind]]\nname = \"{KIND}\"\nworker = \"{worker}\"\nprefetch = 64\nconcurrency = 8\n{retry}\n"),
            env: self.env(&[]),
            program: program.to_owned(),
            ..HubOptions::default()
        }
    }

    fn env(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let all = [("DATABASE_URL", self.database.as_str())].into_iter().chain(more.iter().copied());
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// `service` or `subscriber`.
    fn service(&self, role: &str) -> Process {
        let mut command = Command::new(binary("hard-handlers"));
        command.arg(role).env("AMQP_URL", self.vhost.url()).env("DATABASE_URL", &self.database);
        Process::start("hard-handlers", command)
    }

    /// How often the handler was started for a job.
    async fn starts(&self, id: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM runs WHERE id = $1").bind(id).fetch_one(&self.pool).await.unwrap()
    }

    async fn effects(&self) -> BTreeMap<String, i64> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT id, count(*) FROM effects GROUP BY id").fetch_all(&self.pool).await.unwrap();
        rows.into_iter().collect()
    }
}

/// Submits a payload byte for byte.
async fn submit(client: &HubClient, payload: &[u8]) -> String {
    let request = client.request(Method::POST, &format!("/v1/kinds/{KIND}/jobs"));
    let request = request.header("content-type", "application/json").body(payload.to_vec());
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.job_id().unwrap().to_owned()
}

/// All dead letters there are, of every tenant, once there are `count`.
async fn letters(hub: &HubProcess, count: usize) -> (HubClient, Vec<Value>) {
    let admin = HubClient::new(hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
    let letters = until(LONG, &format!("{count} dead letters"), async || {
        let page = admin.get("/admin/dead-letters?limit=500").await.ok()?.body;
        let letters = page["items"].as_array()?.clone();
        (letters.len() >= count).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), count, "{letters:?}");
    (admin, letters)
}

async fn body(admin: &HubClient, letter: &Value) -> Vec<u8> {
    admin.get(&format!("/admin/dead-letters/{}/body", letter["id"].as_str().unwrap())).await.unwrap().bytes
}

/// The jobs of one test: a message that aborts in the middle of forty that do no harm.
struct Jobs {
    poison: String,
    neighbours: Vec<String>,
}

impl Jobs {
    /// Submits them while nobody works, so that they are prefetched together.
    async fn queued(scene: &Scene, client: &HubClient) -> Self {
        let (mut neighbours, mut poison) = (Vec::new(), String::new());
        for number in 0..40 {
            if number == 20 {
                poison = submit(client, ABORT).await;
            }
            neighbours.push(submit(client, json!({"do": "work", "n": number}).to_string().as_bytes()).await);
        }
        until_true(LONG, "all jobs to be queued", async || scene.vhost.queue_depth(QUEUE).await == Some(41)).await;
        Self { poison, neighbours }
    }

    /// Starts the process anew each time it has died, as a supervisor would, until the poison is dead. Gives the deaths.
    async fn supervised(&self, client: &HubClient, revive: impl AsyncFn() -> Option<ExitStatus>) -> usize {
        let deaths = std::cell::Cell::new(0);
        until_true(LONG, "the message that aborts to be dead", async || {
            if let Some(status) = revive().await {
                assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "it ended otherwise: {status}");
                deaths.set(deaths.get() + 1);
            }
            client.job(&self.poison).await.is_ok_and(|job| job.state() == Some("dead"))
        })
        .await;
        deaths.get()
    }

    async fn check(&self, scene: &Scene, hub: &HubProcess) {
        let client = hub.client();
        for id in &self.neighbours {
            client.wait_state(id, "succeeded", LONG).await;
        }
        let once: BTreeMap<String, i64> = self.neighbours.iter().map(|id| (id.clone(), 1)).collect();
        assert_eq!(scene.effects().await, once, "each neighbour has its effect once");
        assert_eq!(scene.starts(&self.poison).await, 3);
        let job = client.job(&self.poison).await.unwrap().body;
        assert_eq!((&job["state"], &job["reason"], &job["attempt"]), (&json!("dead"), &json!("poison"), &json!(1)), "{job}");
        let (admin, letters) = letters(hub, 1).await;
        let letter = &letters[0];
        assert_eq!((&letter["reason"], &letter["job_id"]), (&json!("poison"), &json!(self.poison)), "{letter}");
        assert_eq!(body(&admin, letter).await, ABORT, "its bytes are what was accepted");
        for queue in [QUEUE, "jobs.test.hard.dead", "warren.retry.1s", "warren.results", "warren.lost"] {
            until_true(LONG, &format!("{queue} to be empty"), async || scene.vhost.queue_depth(queue).await == Some(0)).await;
        }
    }
}

#[tokio::test]
async fn a_message_that_aborts_the_hub_is_dead_after_three_starts_and_its_neighbours_are_done() {
    let scene = Scene::set("rust").await;
    let mut hub =
        HubProcess::start(&HubOptions { env: scene.env(&[("WARREN__ROLES", "api")]), until: Until::Started, ..scene.options() })
            .await;
    hub.ready(Until::Ready).await;
    settled(&hub).await;
    let client = hub.client();
    let jobs = Jobs::queued(&scene, &client).await;
    hub.kill9();
    let env = scene.env(&[]);
    hub.start_again_with(&env).await;
    let hub = tokio::sync::Mutex::new(hub);
    let deaths = jobs.supervised(&client, async || {
        let mut hub = hub.lock().await;
        let ended = hub.process().poll()?;
        hub.start_again_with(&env).await;
        Some(ended)
    });
    assert_eq!(deaths.await, 3);
    let mut hub = hub.into_inner();
    jobs.check(&scene, &hub).await;
    assert!(hub.process().poll().is_none(), "it lives: {}", hub.process().tail());
}

#[tokio::test]
async fn a_message_that_aborts_a_service_is_dead_after_three_starts_and_its_neighbours_are_done() {
    let scene = Scene::set("amqp").await;
    let hub = HubProcess::start(&scene.options()).await;
    settled(&hub).await;
    let client = hub.client();
    let jobs = Jobs::queued(&scene, &client).await;
    let service = tokio::sync::Mutex::new(scene.service("service"));
    let deaths = jobs.supervised(&client, async || {
        let mut service = service.lock().await;
        let ended = service.poll()?;
        *service = scene.service("service");
        Some(ended)
    });
    assert_eq!(deaths.await, 3);
    jobs.check(&scene, &hub).await;
    let mut service = service.into_inner();
    assert!(service.poll().is_none(), "it lives: {}", service.tail());
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM warren_starts").fetch_one(&scene.pool).await.unwrap();
    assert_eq!(left, 1, "only the poison is remembered");
}
