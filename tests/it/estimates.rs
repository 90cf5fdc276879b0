//! How long a job will wait for its start, as the door tells it, against how long it does wait.

use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::{Answer, HubClient, HubProcess};
use warren_tests::wait::{until, until_true};

use crate::http_worker::{Stage, kind};
use crate::world::{Keep, LONG};

const SLOW: &str = "reports.build";

async fn submit(client: &HubClient) -> Answer {
    let answer = client.submit(SLOW, &json!({}), None).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer
}

fn estimate(answer: &Answer) -> Option<Timestamp> {
    answer.header("warren-estimated-start").map(|at| at.parse().unwrap())
}

async fn submit_many(client: &HubClient, count: usize) -> Vec<String> {
    let one = |_| async { submit(client).await.job_id().unwrap().to_owned() };
    stream::iter(0..count).map(one).buffer_unordered(16).collect().await
}

/// When a job has started, once it has.
async fn started(client: &HubClient, id: &str) -> Timestamp {
    let job = client.wait_state(id, "succeeded", LONG).await;
    job["started_at"].as_str().unwrap().parse().unwrap()
}

/// Submits one more job. While it waits the answer takes a second, so that whoever asks again and again adds few.
async fn ask(client: &HubClient) -> Answer {
    let request = client.request(Method::POST, &format!("/v1/kinds/{SLOW}/jobs")).json(&json!({}));
    client.send(request.header("prefer", "wait=1")).await.unwrap()
}

/// The first estimate that a door gives, with the job it was given for and when.
async fn first_estimate(client: &HubClient) -> (String, Timestamp, Timestamp) {
    until(LONG, "an estimate", async || {
        let asked = Timestamp::now();
        let answer = ask(client).await;
        Some((answer.job_id().unwrap().to_owned(), estimate(&answer)?, asked))
    })
    .await
}

fn is_within_a_factor_of_two(said: Timestamp, asked: Timestamp, started: Timestamp) {
    let (said, real) = (said.duration_since(asked).as_secs_f64(), started.duration_since(asked).as_secs_f64());
    eprintln!("said {said:.1} s, started after {real:.1} s");
    assert!(said / 2.0 <= real && real <= said * 2.0, "said {said} s, started after {real} s");
}

/// Both hubs work on it, so neither knows the pace by itself; half of the queue waits beyond the window.
#[tokio::test]
async fn two_hubs_say_when_a_job_will_start_and_nothing_when_they_are_idle() {
    let service = Downstream::start(Reply::Late(Duration::from_millis(500))).await;
    let stage = Stage::set(Keep::Postgres).await;
    let toml = kind(SLOW, &service, "concurrency = 1\nwindow = 30");
    let hubs = [stage.hub(&toml).await, stage.hub(&toml).await];
    let clients = hubs.each_ref().map(HubProcess::client);
    for client in &clients {
        let idle = submit(client).await;
        assert_eq!(estimate(&idle), None, "nothing is before it");
        started(client, idle.job_id().unwrap()).await;
    }
    tokio::join!(submit_many(&clients[0], 35), submit_many(&clients[1], 35));
    until_true(LONG, "the pace to be known", async || service.asked().len() >= 20).await;
    let (one, other) = tokio::join!(first_estimate(&clients[0]), first_estimate(&clients[1]));
    for (client, (id, said, asked)) in clients.iter().zip([&one, &other]) {
        is_within_a_factor_of_two(*said, *asked, started(client, id).await);
    }
    for client in &clients {
        until_true(LONG, "no estimate once the queue is drained", async || {
            let answer = submit(client).await;
            started(client, answer.job_id().unwrap()).await;
            estimate(&answer).is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn a_job_that_would_come_behind_too_many_is_refused_and_one_accepted_before_is_not() {
    let service = Downstream::start(Reply::Late(Duration::from_millis(500))).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&kind(SLOW, &service, "concurrency = 1\nmax_wait = \"5s\"")).await;
    let client = hub.client();
    let first = client.submit(SLOW, &json!({}), Some("first")).await.unwrap();
    assert_eq!((first.status, estimate(&first)), (202, None));
    submit_many(&client, 30).await;
    until_true(LONG, "the pace to be known", async || service.asked().len() >= 10).await;
    let refused = until(LONG, "a refusal", async || {
        let answer = ask(&client).await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!((refused.status, refused.code()), (503, Some("overloaded")), "{}", refused.body);
    let seconds: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..60).contains(&seconds), "{seconds}");
    let replayed = client.submit(SLOW, &json!({}), Some("first")).await.unwrap();
    assert_eq!((replayed.status, replayed.job_id(), estimate(&replayed)), (202, first.job_id(), None));
    // What is for later is not behind them.
    let later = client.request(Method::POST, &format!("/v1/kinds/{SLOW}/jobs")).json(&json!({}));
    assert_eq!(client.send(later.header("warren-delay", "1h")).await.unwrap().status, 202);
    // Once enough is done, the door is open again.
    let taken = until(LONG, "the door to open", async || {
        let answer = ask(&client).await;
        (answer.status == 202).then_some(answer)
    })
    .await;
    assert!(estimate(&taken).is_none_or(|at| at.duration_since(Timestamp::now()) <= jiff::SignedDuration::from_secs(6)));
}
