//! `Prefer: wait`: the ended job instead of the 202, if it ends in time.

use std::time::{Duration, Instant};

use api_ack::store::{State, Status};
use serde_json::{Value, json};

use crate::ground::{Ground, accepted, ada, problem, start, token};

fn ended(state: State) -> impl Fn(&Status) -> Status {
    move |status| Status { state, owner: None, outlet: None, ended_at: Some(status.updated_at), ..status.clone() }
}

/// Ends the only job there is, as soon as it is there.
async fn end_it(ground: &Ground, state: State, result: Option<&'static [u8]>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let jobs = ground.all().await;
        if let Some(job) = jobs.iter().find(|job| !job.status.state.is_end()) {
            return ground.change(job.id, result, ended(state)).await;
        }
        assert!(Instant::now() < deadline, "no job is there to end");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_waits_gets_the_end_well_or_not() {
    let ground = start().await;
    let waiting = ground.submission().header("prefer", "respond-async, wait=20").header("idempotency-key", "k").send();
    let (response, ()) = tokio::join!(waiting, end_it(&ground, State::Succeeded, Some(b"{\"ok\":true}")));
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["preference-applied"], "wait=20");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert!(!response.headers().contains_key("retry-after"));
    let job: Value = response.json().await.unwrap();
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!({"ok": true})));
    assert_eq!(location, format!("/v1/jobs/{}", job["id"].as_str().unwrap()));

    // The same request again has the same job, and its end at once.
    let begun = Instant::now();
    let again = ground.submission().header("prefer", "wait=20").header("idempotency-key", "k").send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["idempotency-replayed"]), (200, &"true".parse().unwrap()));
    assert!(begun.elapsed() < Duration::from_secs(10));

    let waiting = ground.submission().header("prefer", "wait=20").send();
    let (response, ()) = tokio::join!(waiting, end_it(&ground, State::Dead, None));
    let response = response.unwrap();
    assert_eq!(response.status(), 200, "what failed is no failure of the request");
    assert_eq!(response.json::<Value>().await.unwrap()["state"], "dead");
}

#[tokio::test]
async fn who_waits_in_vain_or_may_not_wait_has_the_202() {
    let ground = start().await;
    let begun = Instant::now();
    let response = ground.submission().header("prefer", "wait=1").send().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(response.headers()["preference-applied"], "wait=1");
    accepted(response).await;

    let submitter = token("acme", "ada", "jobs:submit");
    let unheeded = [
        ground.client.post(ground.url(crate::ground::ECHO)).bearer_auth(submitter).header("prefer", "wait=20").body("1"),
        ground.submission().header("prefer", "wait=0"),
        ground.submission().header("prefer", "wait=soon"),
        ground.submission().header("prefer", "wait=20").header("warren-delay", "1h"),
    ];
    for request in unheeded {
        let begun = Instant::now();
        let response = request.send().await.unwrap();
        assert!(!response.headers().contains_key("preference-applied") && begun.elapsed() < Duration::from_secs(10));
        accepted(response).await;
    }
    problem(
        ground.client.get(ground.url("/v1/kinds")).bearer_auth(ada()).header("prefer", "wait=1").send().await.unwrap(),
        400,
        "not-supported-yet",
    )
    .await;
}
