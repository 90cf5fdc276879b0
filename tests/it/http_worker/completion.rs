//! Services that say later how it ended.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::downstream::{Asked, Downstream, Reply};
use warren_tests::hub::{Answer, HubClient, HubProcess};
use warren_tests::wait::until_true;

use super::{Stage, kind};
use crate::world::{Keep, LONG};

const RENDER: &str = "films.render";

fn later(service: &Downstream, more: &str) -> String {
    kind(RENDER, service, more) + "completion = \"async\"\n"
}

fn promised() -> Reply {
    Downstream::status(202)
}

/// The `nth` call for a job, from 1.
async fn call(service: &Downstream, id: &str, nth: usize) -> Asked {
    let of = || service.asked().into_iter().filter(|asked| asked.header("ce-id") == id).collect::<Vec<_>>();
    until_true(LONG, &format!("call {nth} for {id}"), async || of().len() >= nth).await;
    of()[nth - 1].clone()
}

/// Says how a run ended, as a service would: with what the call brought and nothing else.
async fn tell(hub: &HubProcess, call: &Asked, body: &Value) -> Answer {
    let client = HubClient::new(hub.public_url(), Some(call.header("warren-token").to_owned()));
    let path = format!("/v1/jobs/{}/result", call.header("ce-id"));
    client.send(client.request(Method::PUT, &path).json(body)).await.unwrap()
}

/// It has been called and runs on without a delivery.
async fn parked(client: &HubClient, id: &str) -> Value {
    until_true(LONG, "the run to go on elsewhere", async || {
        let job = client.job(id).await.unwrap().body;
        job["state"] == "running" && job["attempts"][0]["http_status"] == 202
    })
    .await;
    client.job(id).await.unwrap().body
}

async fn ends_later(keep: Keep) {
    let service = Downstream::start(promised()).await;
    let stage = Stage::set(keep).await;
    let mut hub = stage.hub(&later(&service, "concurrency = 1")).await;
    let client = hub.client();
    let (first, second) = (client.accepted(RENDER, &json!({"n": 1})).await, client.accepted(RENDER, &json!({"n": 2})).await);
    parked(&client, &first).await;
    let runs = parked(&client, &second).await;
    assert_eq!((&runs["attempt"], &runs["progress"]), (&json!(1), &Value::Null), "the one slot is free again");
    let queue = "jobs.films.render";
    until_true(LONG, "nothing to lie at the broker", async || stage.vhost.queue_depth(queue).await == Some(0)).await;

    // Nothing of the hub is needed meanwhile.
    hub.kill9();
    hub.start_again().await;
    let client = hub.client();
    let (one, two) = (call(&service, &first, 1).await, call(&service, &second, 1).await);
    assert_ne!(one.header("warren-token"), two.header("warren-token"));
    let swapped = HubClient::new(hub.public_url(), Some(one.header("warren-token").to_owned()));
    let swapped = swapped.request(Method::PUT, &format!("/v1/jobs/{second}/result")).json(&json!({"outcome": "succeeded"}));
    assert_eq!(client.send(swapped).await.unwrap().code(), Some("token-invalid"));

    let progress = HubClient::new(hub.public_url(), Some(one.header("warren-token").to_owned()));
    let said = progress.request(Method::POST, &format!("/v1/jobs/{first}/progress")).json(&json!({"percent": 40}));
    assert_eq!(client.send(said).await.unwrap().status, 204);
    assert_eq!(client.job(&first).await.unwrap().body["progress"]["percent"], 40);

    let done = json!({"outcome": "succeeded", "result": {"frames": 7}});
    for _ in 0..2 {
        assert_eq!(tell(&hub, &one, &done).await.status, 204);
    }
    let job = client.wait_state(&first, "succeeded", LONG).await;
    assert_eq!((&job["result"], job["attempts"].as_array().unwrap().len()), (&json!({"frames": 7}), 1), "{job}");

    // A failure is called again, and has a token of its own.
    let failed = json!({"outcome": "failed", "failure": {"code": "no-disk", "message": "full"}});
    assert_eq!(tell(&hub, &two, &failed).await.status, 204);
    let again = call(&service, &second, 2).await;
    assert_eq!((again.header("warren-attempt"), again.header("idempotency-key")), ("2", two.header("idempotency-key")));
    parked_again(&client, &second).await;
    assert_eq!(tell(&hub, &two, &done).await.code(), Some("run-over"), "the first attempt is over");
    assert_eq!(tell(&hub, &again, &json!({"outcome": "rejected"})).await.status, 204);
    client.wait_state(&second, "dead", LONG).await;
    assert_eq!(service.asked().len(), 3);
}

async fn parked_again(client: &HubClient, id: &str) {
    until_true(LONG, "the second attempt to go on elsewhere", async || {
        client.job(id).await.unwrap().body["attempts"][1]["http_status"] == 202
    })
    .await;
}

#[tokio::test]
async fn a_service_says_later_how_it_ended_on_postgres() {
    ends_later(Keep::Postgres).await;
}

#[tokio::test]
async fn a_service_says_later_how_it_ended_on_sqlite() {
    ends_later(Keep::Sqlite).await;
}

#[tokio::test]
async fn an_end_that_is_told_before_the_202_counts() {
    let service = Downstream::start(Reply::Held(202)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&later(&service, "concurrency = 1")).await;
    let client = hub.client();
    let id = client.accepted(RENDER, &json!({})).await;
    let asked = call(&service, &id, 1).await;
    assert_eq!(tell(&hub, &asked, &json!({"outcome": "succeeded", "result": "quick"})).await.status, 204);
    let before = client.wait_state(&id, "succeeded", LONG).await;
    service.set(Reply::Status(200, vec![], "\"at once\""));
    service.let_go();
    // The slot is free once the call has ended. And any other 2xx is the result.
    let next = client.accepted(RENDER, &json!({})).await;
    assert_eq!(client.wait_state(&next, "succeeded", LONG).await["result"], "at once");
    let after = client.job(&id).await.unwrap().body;
    assert_eq!((&after["state"], &after["result"], &after["ended_at"]), (&before["state"], &json!("quick"), &before["ended_at"]));
    assert_eq!(
        after["attempts"].as_array().unwrap().len(),
        1,
        "the promise of what is done already is not held against it: {after}"
    );
}

/// The service keeps its promise to whoever comes: the same key, the same attempt, the same token.
#[tokio::test]
async fn a_process_that_dies_with_the_202_in_hand_calls_again_and_either_end_counts() {
    let service = Downstream::start(promised()).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let mut options = stage.options(&later(&service, ""));
    options.env.push(("WARREN_CRASH_POINT".to_owned(), "K14".to_owned()));
    let mut hub = HubProcess::start(&options).await;
    let id = hub.client().accepted(RENDER, &json!({})).await;
    hub.crashed(LONG).await;
    hub.start_again_with(&[]).await;
    let (first, again) = (call(&service, &id, 1).await, call(&service, &id, 2).await);
    for name in ["idempotency-key", "warren-attempt", "warren-token"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
    assert_eq!(tell(&hub, &first, &json!({"outcome": "succeeded", "result": 1})).await.status, 204);
    let job = hub.client().wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["attempt"], &job["result"]), (&json!(1), &json!(1)), "{job}");
}

#[tokio::test]
async fn when_nothing_comes_the_deadline_decides() {
    let service = Downstream::start(promised()).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&later(&service, "")).await;
    let client = hub.client();
    let soon = jiff::Timestamp::now() + Duration::from_secs(4);
    let request = client.request(Method::POST, &format!("/v1/kinds/{RENDER}/jobs")).json(&json!({}));
    let answer = client.send(request.header("warren-deadline", soon.to_string())).await.unwrap();
    let id = answer.job_id().unwrap().to_owned();
    let asked = call(&service, &id, 1).await;
    client.wait_state(&id, "expired", LONG).await;
    let late = tell(&hub, &asked, &json!({"outcome": "succeeded"})).await;
    assert_eq!((late.status, late.code()), (409, Some("run-over")), "{}", late.body);
    let job = client.job(&id).await.unwrap().body;
    assert_eq!((&job["state"], &job["result"]), (&json!("expired"), &Value::Null));
    assert!(job["attempts"].as_array().unwrap().iter().any(|attempt| attempt["outcome"] == "late"), "{job}");
}
