use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::{until, until_true};

use super::Events;
use crate::world::{LONG, run_tokens, settled, token_of};

const KIND: &str = "test.hard";

/// A broker, a database for the hub's jobs and one for its handlers' effects.
struct Stage {
    vhost: Vhost,
    store_url: String,
    effects_url: String,
}

impl Stage {
    async fn new() -> Self {
        let postgres = Postgres::shared().await;
        let (store_url, effects_url) = (postgres.database().await, postgres.database().await);
        Self { vhost: Broker::shared().await.vhost().await, store_url, effects_url }
    }

    async fn hub(&self, worker: &str, roles: &[&str]) -> HubProcess {
        let retry = r#"retry = { delays = ["1s"], max_attempts = 2 }"#;
        let hub = HubProcess::start(&HubOptions {
            broker_url: self.vhost.url(),
            store_url: self.store_url.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            env: vec![("DATABASE_URL".to_owned(), self.effects_url.clone())],
            extra_toml: format!("[[kind]]\nname = \"{KIND}\"\nworker = \"{worker}\"\n{retry}\n"),
            program: if worker == "rust" { "hard-handlers" } else { "warren" }.to_owned(),
            ..HubOptions::default()
        })
        .await;
        settled(&hub).await;
        hub
    }
}

/// How many words of progress a hub has put down, or not.
async fn words(hub: &HubProcess, result: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    let series = format!("warren_progress_total{{result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_handler_says_how_far_it_is_and_who_follows_the_job_elsewhere_hears() {
    let stage = Stage::new().await;
    let (front, back) = (stage.hub("rust", &["api", "keeper"]).await, stage.hub("rust", &["worker"]).await);
    let client = front.client();
    let id = client.accepted(KIND, &json!({"do": "tell"})).await;
    let mut events = Events::open(&client, &format!("/v1/jobs/{id}/events")).await;
    let said = loop {
        let (event, data) = events.next().await.expect("the stream goes on");
        match event.as_str() {
            "progress" => break data,
            _ if data["progress"].is_object() => break data["progress"].clone(),
            _ => {}
        }
    };
    // A hundred words at once are one.
    assert_eq!((&said["percent"], &said["note"]), (&json!(40), &json!("word 99")), "{said}");
    let job = client.job(&id).await.unwrap().body;
    assert_eq!((&job["progress"], &job["state"]), (&said, &json!("running")), "{job}");
    assert_eq!((words(&back, "kept").await, words(&back, "late").await), (1, 0));

    client.send(client.request(Method::POST, &format!("/v1/jobs/{id}/cancel"))).await.unwrap();
    let job = client.wait_state(&id, "cancelled", LONG).await;
    assert_eq!(job["progress"], said, "what did not succeed shows how far it came");
}

#[tokio::test]
async fn a_service_says_how_far_it_is() {
    let stage = Stage::new().await;
    let hub = stage.hub("amqp", &[]).await;
    let mut command = Command::new(binary("hard-handlers"));
    command.arg("service").env("AMQP_URL", stage.vhost.url()).env("DATABASE_URL", &stage.effects_url);
    let _service = Process::start("hard-handlers", command);
    let client = hub.client();
    let id = client.accepted(KIND, &json!({"do": "tell"})).await;
    let said = until(LONG, "its progress", async || {
        let said = client.job(&id).await.ok()?.body["progress"].clone();
        said.is_object().then_some(said)
    })
    .await;
    assert_eq!((&said["percent"], &said["note"]), (&json!(40), &json!("word 99")), "{said}");
}

#[tokio::test]
async fn a_report_is_heard_for_the_run_that_the_job_is_at_and_no_other() {
    let stage = Stage::new().await;
    let hub = stage.hub("amqp", &[]).await;
    let client = hub.client();
    // The test is its worker.
    let id = client.accepted(KIND, &json!({})).await;
    client.wait_state(&id, "queued", LONG).await;
    let tokens = run_tokens(&hub, &stage.store_url).await;
    let speak = async |job: &str, epoch: i32, attempt: i32, lease: i64, percent: i32, at: &str, token: Option<String>| {
        let body = json!({"job": job, "epoch": epoch, "attempt": attempt, "token": token, "lease": lease, "percent": percent,
            "note": "n", "at": at});
        let properties = json!({"type": "warren.progress", "delivery_mode": 2});
        assert!(stage.vhost.publish("warren.results", "warren.results", properties, body.to_string().as_bytes()).await);
    };
    let say = async |job: &str, epoch: i32, attempt: i32, lease: i64, percent: i32, at: &str| {
        let token = job.parse().is_ok_and(|_: uuid::Uuid| true).then(|| token_of(&tokens, job, epoch, attempt));
        speak(job, epoch, attempt, lease, percent, at, token).await;
    };
    let shown = async || client.job(&id).await.unwrap().body["progress"]["percent"].clone();
    let counted = async |result: &str, count: u64| {
        until_true(LONG, &format!("{count} {result} reports"), async || words(&hub, result).await == count).await;
    };
    say(&id, 1, 1, 2, 30, "2026-01-01T00:00:10Z").await;
    counted("kept", 1).await;
    assert_eq!(shown().await, 30);
    // Of the past, of an earlier start, of runs that are not, of a job that is not, and nonsense.
    say(&id, 1, 1, 2, 20, "2026-01-01T00:00:09Z").await;
    say(&id, 1, 1, 1, 21, "2026-01-01T00:00:20Z").await;
    say(&id, 1, 2, 1, 22, "2026-01-01T00:00:20Z").await;
    say(&id, 2, 1, 1, 23, "2026-01-01T00:00:20Z").await;
    say("01890000-0000-7000-8000-000000000000", 1, 1, 1, 24, "2026-01-01T00:00:20Z").await;
    say("no job", 1, 1, 1, 25, "2026-01-01T00:00:20Z").await;
    counted("late", 6).await;
    say(&id, 1, 1, 2, 101, "2026-01-01T00:00:20Z").await;
    counted("invalid", 1).await;
    // Whoever was not given the run does not speak of it, and does not drown the word of who was.
    for (epoch, token) in [(1, None), (9, None), (1, Some(token_of(&tokens, &id, 1, 2)))] {
        speak(&id, epoch, 1, 9, 99, "2026-01-01T00:00:30Z", token).await;
    }
    counted("forged", 3).await;
    assert_eq!(shown().await, 30);
    // A clock that is ahead does not silence what follows.
    say(&id, 1, 1, 2, 40, "2999-01-01T00:00:00Z").await;
    counted("kept", 2).await;
    say(&id, 1, 1, 2, 50, "2999-01-01T00:00:01Z").await;
    counted("kept", 3).await;
    assert_eq!(shown().await, 50);

    // The attempt fails: its last word stays until the next one speaks, and its own later words are late.
    let token = token_of(&tokens, &id, 1, 1);
    let end = json!({"job": id, "epoch": 1, "attempt": 1, "token": token, "outcome": "failed", "failure": {"code": "c", "message": "m"},
        "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:30Z", "worker": "test"});
    let properties = json!({"message_id": "end", "type": "warren.result", "delivery_mode": 2});
    assert!(stage.vhost.publish("warren.results", "warren.results", properties, end.to_string().as_bytes()).await);
    until_true(LONG, "the second attempt", async || client.job(&id).await.is_ok_and(|job| job.body["attempt"] == 2)).await;
    assert_eq!(shown().await, 50);
    say(&id, 1, 1, 3, 60, "2999-01-01T00:00:02Z").await;
    counted("late", 7).await;
    say(&id, 1, 2, 1, 5, "2026-01-01T00:01:00Z").await;
    counted("kept", 4).await;
    assert_eq!(shown().await, 5);
    let letters: Value = hub.admin().get("/admin/dead-letters?limit=10").await.unwrap().body;
    assert_eq!(letters["items"], json!([]), "nothing of it is a dead letter");
}
