//! What people change while work goes on, over real processes: cancels that reach a handler elsewhere, pauses that every process
//! heeds and that outlive them.

mod pausing;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubOptions, HubProcess, token};
use warren_tests::postgres::Postgres;
use warren_tests::process::binary;
use warren_tests::wait::{until, until_true};

use crate::world::{Keep, LONG, RESERVE, World, settled};

const KIND: &str = "test.hard";
const QUEUE: &str = "jobs.test.hard";

/// A broker, a database for the hub's jobs and one for its handlers' effects.
struct Stage {
    vhost: Vhost,
    store_url: String,
    effects_url: String,
    effects: PgPool,
}

impl Stage {
    /// On Postgres, for several processes.
    async fn new() -> Self {
        let postgres = Postgres::shared().await;
        let effects_url = postgres.database().await;
        let effects = PgPool::connect(&effects_url).await.unwrap();
        Self { vhost: Broker::shared().await.vhost().await, store_url: postgres.database().await, effects_url, effects }
    }

    /// A hub whose handlers do as their messages ask: two at a time, and two more prefetched.
    async fn hub(&self, roles: &[&str]) -> HubProcess {
        self.hub_with(roles, "5m").await
    }

    async fn hub_with(&self, roles: &[&str], limit: &str) -> HubProcess {
        let hub = HubProcess::start(&HubOptions {
            broker_url: self.vhost.url(),
            store_url: self.store_url.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            env: vec![("DATABASE_URL".to_owned(), self.effects_url.clone())],
            extra_toml: format!(
                "[[kind]]\nname = \"{KIND}\"\nprefetch = 4\nconcurrency = 2\ntimeout = \"{limit}\"\ndeadline = \"{limit}\"\nretry = {{ delays = [\"1s\"] }}\n\
                 [[kind]]\nname = \"demo.other\"\nworker = \"amqp\"\n[[kind]]\nname = \"demo.served\"\n"
            ),
            program: "hard-handlers".to_owned(),
            ..HubOptions::default()
        })
        .await;
        if roles.contains(&"api") {
            settled(&hub).await;
        }
        hub
    }

    /// How often the handler was started for a job.
    async fn starts(&self, id: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM runs WHERE id = $1").bind(id).fetch_one(&self.effects).await.unwrap()
    }

    async fn all_starts(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&self.effects).await.unwrap()
    }
}

async fn post(client: &HubClient, path: &str) -> Answer {
    client.send(client.request(Method::POST, path)).await.unwrap()
}

/// The operator of all tenants.
fn operator(hub: &HubProcess) -> HubClient {
    HubClient::new(hub.admin_url(), Some(token("*", "olga", ALL_SCOPES)))
}

#[tokio::test]
async fn a_cancel_reaches_the_handler_in_another_process() {
    let stage = Stage::new().await;
    let (front, _back) = (stage.hub(&["api", "keeper"]).await, stage.hub(&["worker"]).await);
    let client = front.client();
    let id = client.accepted(KIND, &json!({"do": "wait"})).await;
    client.wait_state(&id, "running", LONG).await;

    let asked = std::time::Instant::now();
    let answer = post(&client, &format!("/v1/jobs/{id}/cancel")).await;
    assert_eq!((answer.status, answer.state()), (202, Some("running")), "{}", answer.body);
    let job = client.wait_state(&id, "cancelled", LONG).await;
    // Half a second between two looks, and slack for a busy machine.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!((&job["attempts"][0]["outcome"], &job["attempts"][0]["reason"]), (&json!("failed"), &json!("unwanted")), "{job}");
    assert_eq!(post(&client, &format!("/v1/jobs/{id}/cancel")).await.status, 200, "asked again, it is cancelled");
    assert_eq!(stage.starts(&id).await, 1, "and never tried again");
    until_true(LONG, "the queue to be empty", async || stage.vhost.queue_depth(QUEUE).await == Some(0)).await;
}

#[tokio::test]
async fn a_handler_hears_that_its_job_ended_without_it() {
    let stage = Stage::new().await;
    let hub = stage.hub_with(&[], "10s").await;
    let client = hub.client();
    // It is begun so late that its deadline comes well before its time limit.
    let switch = async |what: &str| post(&operator(&hub), &format!("/admin/kinds/{KIND}/{what}")).await;
    assert_eq!(switch("pause").await.status, 200);
    let accepted = std::time::Instant::now();
    let id = client.accepted(KIND, &json!({"do": "wait"})).await;
    until_true(LONG, "some of its time to pass", async || accepted.elapsed() > Duration::from_secs(5)).await;
    assert_eq!(switch("resume").await.status, 200);
    client.wait_state(&id, "expired", LONG).await;
    let late = until(LONG, "its late end to be on record", async || {
        let attempts = client.job(&id).await.ok()?.body["attempts"].as_array()?.clone();
        attempts.into_iter().find(|attempt| attempt["outcome"] == "late")
    })
    .await;
    assert_eq!(late["reason"], "unwanted", "it was told, and not cut off by its time limit: {late}");
    assert_eq!(client.job(&id).await.unwrap().state(), Some("expired"));
}

#[tokio::test]
async fn a_stubborn_handler_ends_as_it_ends() {
    let stage = Stage::new().await;
    let hub = stage.hub(&[]).await;
    let client = hub.client();
    let id = client.accepted(KIND, &json!({"do": "linger"})).await;
    client.wait_state(&id, "running", LONG).await;
    assert_eq!(post(&client, &format!("/v1/jobs/{id}/cancel")).await.status, 202);
    client.wait_state(&id, "succeeded", LONG).await;
    let late = post(&client, &format!("/v1/jobs/{id}/cancel")).await;
    assert_eq!((late.status, late.code()), (409, Some("job-ended")), "{}", late.body);
}

#[tokio::test]
async fn a_job_whose_process_dies_is_cancelled_and_not_started_again() {
    let stage = Stage::new().await;
    let (front, mut back) = (stage.hub(&["api", "keeper"]).await, stage.hub(&["worker"]).await);
    let client = front.client();
    // It hears nothing, so only its death ends it.
    let id = client.accepted(KIND, &json!({"do": "deaf"})).await;
    client.wait_state(&id, "running", LONG).await;
    assert_eq!(post(&client, &format!("/v1/jobs/{id}/cancel")).await.status, 202);
    back.kill9();
    let _other = stage.hub(&["worker"]).await;
    client.wait_state(&id, "cancelled", LONG).await;
    assert_eq!(stage.starts(&id).await, 1);
}

#[tokio::test]
async fn what_waits_in_the_queue_is_cancelled_and_its_message_is_stale() {
    let stage = Stage::new().await;
    let front = stage.hub(&["api", "keeper"]).await;
    let client = front.client();
    let id = client.accepted(KIND, &json!({"do": "work"})).await;
    client.wait_state(&id, "queued", LONG).await;
    until_true(LONG, "its message in the queue", async || stage.vhost.queue_depth(QUEUE).await == Some(1)).await;
    // By the command line, as an operator would.
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(binary("warren"));
        command.args(arguments).arg("--admin-url").arg(front.admin_url());
        command.arg("--token").arg(token("*", "olga", ALL_SCOPES)).current_dir(front.folder());
        command.output().await.unwrap()
    };
    let output = run(&["jobs", "cancel", &id, "01890000-0000-7000-8000-000000000000"]).await;
    let (out, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains(&id) && out.contains("cancelled"), "{out}{talk}");
    assert!(talk.contains("job-not-found") && output.status.code() == Some(1), "what is refused is told: {talk}");
    let _back = stage.hub(&["worker"]).await;
    until_true(LONG, "the queue to be empty", async || stage.vhost.queue_depth(QUEUE).await == Some(0)).await;
    assert_eq!(client.job(&id).await.unwrap().state(), Some("cancelled"));
    assert_eq!(stage.starts(&id).await, 0, "it was never run");
}

#[tokio::test]
async fn a_stream_does_not_hold_up_a_drain() {
    let world = World::new(Keep::Sqlite).await;
    let mut hub = world.hub().await;
    let client = hub.client();
    // Nobody works on it here.
    let id = client.accepted(RESERVE, &json!({})).await;
    let mut stream = client.request(Method::GET, &format!("/v1/jobs/{id}/events")).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    // Well under the grace of handlers, for which a drain would wait.
    assert!(hub.terminate(Duration::from_secs(15)).await.success());
    while stream.chunk().await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_stream_follows_a_job_that_another_process_runs() {
    let stage = Stage::new().await;
    let (front, _back) = (stage.hub(&["api", "keeper"]).await, stage.hub(&["worker"]).await);
    let client = front.client();
    let id = client.accepted(KIND, &json!({"do": "retry"})).await;
    // It ends with the job, so all of it can be read at once.
    let answer = client.get(&format!("/v1/jobs/{id}/events")).await.unwrap();
    let text = String::from_utf8(answer.bytes).unwrap();
    let jobs: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let last = jobs.last().unwrap();
    assert_eq!((&last["id"], &last["state"], &last["attempt"]), (&json!(id), &json!("succeeded"), &json!(2)), "{text}");
    assert!(jobs.len() >= 2 && jobs.iter().any(|job| job["state"] != "succeeded"), "{text}");
}
