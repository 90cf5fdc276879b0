//! Runs that go on elsewhere, and what whoever holds their tokens says about them.

use api_ack::store::{State, Status};
use messaging::message::Run;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ground::{Ground, accepted, ada, problem, start, token};

const FIRST: Run = Run { epoch: 1, attempt: 1 };

/// As the ledger leaves a run that goes on elsewhere.
fn outside(status: &Status) -> Status {
    let worker = Some("here:11".to_owned());
    Status {
        state: State::Running,
        owner: None,
        outlet: None,
        lease: 1,
        starts: 0,
        started_at: Some(status.updated_at),
        worker,
        http_status: Some(202),
        ..status.clone()
    }
}

/// A job that runs elsewhere, and the token of its run.
async fn parked(ground: &Ground) -> (Uuid, String) {
    let id = accepted(ground.submission().send().await.unwrap()).await;
    ground.change(id, None, outside).await;
    (id, ground.tokens.bearer(id, FIRST))
}

async fn send(ground: &Ground, method: Method, path: &str, token: &str, body: &str) -> Response {
    let request = ground.client.request(method, ground.url(path)).bearer_auth(token);
    request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap()
}

async fn result(ground: &Ground, id: Uuid, token: &str, body: &Value) -> Response {
    send(ground, Method::PUT, &format!("/v1/jobs/{id}/result"), token, &body.to_string()).await
}

async fn progress(ground: &Ground, id: Uuid, token: &str, body: &Value) -> Response {
    send(ground, Method::POST, &format!("/v1/jobs/{id}/progress"), token, &body.to_string()).await
}

async fn shown(ground: &Ground, id: Uuid) -> Value {
    ground.get(&format!("/v1/jobs/{id}"), &ada()).await.json().await.unwrap()
}

fn outcomes(job: &Value) -> Vec<&str> {
    job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].as_str().unwrap_or("?")).collect()
}

#[tokio::test]
async fn a_result_ends_the_run_once_and_the_same_again_is_answered_the_same() {
    let ground = start().await;
    let (id, token) = parked(&ground).await;
    let done = json!({"outcome": "succeeded", "result": {"built": 3}});
    for _ in 0..3 {
        assert_eq!(result(&ground, id, &token, &done).await.status(), 204);
    }
    let job = shown(&ground, id).await;
    assert_eq!((&job["state"], &job["result"], outcomes(&job)), (&json!("succeeded"), &json!({"built": 3}), vec!["succeeded"]));
    assert_eq!((&job["attempts"][0]["worker"], &job["attempts"][0]["http_status"]), (&json!("here:11"), &json!(202)));

    for other in [
        json!({"outcome": "succeeded", "result": {"built": 4}}),
        json!({"outcome": "succeeded"}),
        json!({"outcome": "failed", "failure": {"code": "no", "message": "after all"}}),
    ] {
        problem(result(&ground, id, &token, &other).await, 409, "run-over").await;
    }
    problem(progress(&ground, id, &token, &json!({"percent": 1})).await, 409, "run-over").await;
    let after = shown(&ground, id).await;
    assert_eq!((&after["state"], &after["result"], &after["ended_at"]), (&job["state"], &job["result"], &job["ended_at"]));
    assert_eq!(outcomes(&after), ["late", "succeeded"], "what came too late is on record, once");
}

#[tokio::test]
async fn a_failure_is_tried_again_and_its_token_is_used_up() {
    let ground = start().await;
    let (id, token) = parked(&ground).await;
    let failed = json!({"outcome": "failed", "failure": {"code": "no-stock", "message": "none left"}, "retry_after_ms": 90_000});
    for _ in 0..2 {
        assert_eq!(result(&ground, id, &token, &failed).await.status(), 204);
    }
    let job = shown(&ground, id).await;
    assert_eq!((&job["state"], &job["attempt"], outcomes(&job)), (&json!("retrying"), &json!(2), vec!["failed"]), "{job}");
    let said = problem(result(&ground, id, &token, &json!({"outcome": "succeeded"})).await, 409, "run-over").await;
    assert!(said["detail"].as_str().unwrap().contains("attempt 2 of epoch 1, and this is of attempt 1"), "{said}");

    let (id, token) = parked(&ground).await;
    let rejected = json!({"outcome": "rejected", "failure": {"code": "no-such-order"}});
    for _ in 0..2 {
        assert_eq!(result(&ground, id, &token, &rejected).await.status(), 204);
    }
    let job = shown(&ground, id).await;
    assert_eq!((&job["state"], &job["reason"], outcomes(&job)), (&json!("dead"), &json!("rejected"), vec!["rejected"]), "{job}");
}

#[tokio::test]
async fn a_run_that_is_over_otherwise_is_not_ended_again() {
    let ground = start().await;
    let done = json!({"outcome": "succeeded"});
    // A cancel does not wait for whoever may never answer.
    let (id, run) = parked(&ground).await;
    let cancel = token("acme", "ada", "jobs:cancel");
    assert_eq!(send(&ground, Method::POST, &format!("/v1/jobs/{id}/cancel"), &cancel, "").await.status(), 200);
    problem(result(&ground, id, &run, &done).await, 409, "run-over").await;
    assert_eq!(shown(&ground, id).await["state"], "cancelled");
    // Nor is there anything to be told of a job that is gone, or never was.
    let (gone, never) = ("0188a000-0000-7000-8000-000000000000".parse().unwrap(), Uuid::now_v7());
    problem(result(&ground, gone, &ground.tokens.bearer(gone, FIRST), &done).await, 410, "purged").await;
    problem(progress(&ground, never, &ground.tokens.bearer(never, FIRST), &json!({"percent": 1})).await, 404, "job-not-found")
        .await;
}

#[tokio::test]
async fn of_many_at_once_each_run_has_one_end() {
    let ground = start().await;
    let mut runs = Vec::new();
    for _ in 0..40 {
        runs.push(parked(&ground).await);
    }
    let ends = [json!({"outcome": "succeeded", "result": 1}), json!({"outcome": "rejected"}), json!({"outcome": "failed"})];
    let told = runs.iter().flat_map(|run| ends.iter().cycle().take(6).map(move |end| (run, end)));
    let told: Vec<_> = told.map(|((id, token), end)| result(&ground, *id, token, end)).collect();
    let statuses: Vec<u16> = futures::future::join_all(told).await.iter().map(|answer| answer.status().as_u16()).collect();
    for ((id, _), answers) in runs.iter().zip(statuses.chunks(6)) {
        let heard: Vec<usize> = (0..6).filter(|at| answers[*at] == 204).map(|at| at % 3).collect();
        assert!(heard.len() == 2 && heard[0] == heard[1], "one end, told twice: {answers:?}");
        assert!(answers.iter().all(|status| [204, 409].contains(status)), "{answers:?}");
        let state = shown(&ground, *id).await["state"].clone();
        assert_eq!(state, ["succeeded", "dead", "retrying"][heard[0]]);
    }
}

#[tokio::test]
async fn progress_is_shown_while_the_run_goes_on() {
    let ground = start().await;
    let (id, token) = parked(&ground).await;
    let said = progress(&ground, id, &token, &json!({"percent": 40, "note": "page 4 of 10"})).await;
    assert_eq!(said.status(), 204);
    let job = shown(&ground, id).await;
    assert_eq!((&job["progress"]["percent"], &job["progress"]["note"]), (&json!(40), &json!("page 4 of 10")));
    let said = progress(&ground, id, &token, &json!({"percent": 101})).await;
    assert_eq!(problem(said, 400, "invalid-parameter").await["errors"][0]["pointer"], "#/percent");
}

#[tokio::test]
async fn only_who_holds_its_token_speaks_for_a_run() {
    let ground = start().await;
    let (one, other) = (parked(&ground).await, parked(&ground).await);
    let done = json!({"outcome": "succeeded"});
    let second = ground.tokens.bearer(one.0, Run { epoch: 1, attempt: 2 });
    let bare = ground.tokens.of(one.0, FIRST);
    // Of another job, altered, without its run, and what lets anybody else in.
    for bad in [&other.1, &second.replacen("1.2", "1.1", 1), &one.1.replacen("1.1", "1.2", 1), &bare, "1.1.", &ada()] {
        problem(result(&ground, one.0, bad, &done).await, 401, "token-invalid").await;
        problem(progress(&ground, one.0, bad, &json!({"percent": 1})).await, 401, "token-invalid").await;
    }
    let request = ground.client.put(ground.url(&format!("/v1/jobs/{}/result", one.0))).body("{}");
    problem(request.send().await.unwrap(), 401, "token-missing").await;
    // One of an attempt that is still to come is no guess, and too early.
    problem(result(&ground, one.0, &second, &done).await, 409, "run-over").await;
    for (id, _) in [&one, &other] {
        let job = shown(&ground, *id).await;
        assert_eq!((&job["state"], &job["progress"]), (&json!("running"), &Value::Null));
    }
    // And a token is good for nothing else.
    problem(ground.get(&format!("/v1/jobs/{}", one.0), &one.1).await, 401, "token-invalid").await;
}

#[tokio::test]
async fn what_cannot_be_a_result_is_refused_by_name_and_changes_nothing() {
    let ground = start().await;
    let (id, token) = parked(&ground).await;
    let path = format!("/v1/jobs/{id}/result");
    let large = json!({"outcome": "succeeded", "result": "x".repeat(65_535)}).to_string();
    let endless = format!("{{\"outcome\":\"succeeded\",\"result\":\"{}\"}}", "x".repeat(200_000));
    for (body, status, code, part) in [
        ("", 400, "empty-body", "empty"),
        ("{", 400, "malformed-json", ""),
        ("[\"succeeded\"]", 400, "invalid-parameter", "object"),
        ("{}", 400, "invalid-parameter", "outcome"),
        ("{\"outcome\":\"snoozed\"}", 400, "invalid-parameter", "snoozed"),
        ("{\"outcome\":\"succeeded\",\"resutl\":1}", 400, "invalid-parameter", "resutl"),
        ("{\"outcome\":\"failed\",\"result\":1}", 400, "invalid-parameter", "`failure`"),
        ("{\"outcome\":\"succeeded\",\"failure\":{\"code\":\"c\"}}", 400, "invalid-parameter", "failure"),
        ("{\"outcome\":\"rejected\",\"retry_after_ms\":1}", 400, "invalid-parameter", "retry_after_ms"),
        ("{\"outcome\":\"failed\",\"retry_after_ms\":-1}", 400, "invalid-parameter", "-1"),
        ("{\"outcome\":\"failed\",\"failure\":\"no\"}", 400, "invalid-parameter", "RunFailure"),
        (&large, 413, "body-too-large", "65536 bytes"),
        (&endless, 413, "body-too-large", "bytes"),
    ] {
        let said = problem(send(&ground, Method::PUT, &path, &token, body).await, status, code).await;
        assert!(said["detail"].as_str().unwrap().contains(part), "{said}");
    }
    let request = ground.client.put(ground.url(&path)).bearer_auth(&token).header("content-type", "text/plain").body("{}");
    problem(request.send().await.unwrap(), 415, "unsupported-media-type").await;
    problem(send(&ground, Method::PUT, "/v1/jobs/7/result", &token, "{}").await, 400, "invalid-job-id").await;
    assert_eq!(shown(&ground, id).await["state"], "running");
    // What just fits is kept, and a wait without end ends with the job's deadline.
    let fits = json!({"outcome": "succeeded", "result": "x".repeat(65_534)});
    assert_eq!(result(&ground, id, &token, &fits).await.status(), 204);
    let (id, token) = parked(&ground).await;
    assert_eq!(result(&ground, id, &token, &json!({"outcome": "failed", "retry_after_ms": u64::MAX})).await.status(), 204);
    let status = ground.store_job(id).await.status;
    assert_eq!((status.state, status.due_at), (State::Retrying, status.deadline));
}
