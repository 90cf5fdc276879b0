//! Who may read which job, and what they see.

use std::time::{Duration, SystemTime};

use api_ack::kinds::KindSpec;
use api_ack::store::{JobStore, State, Status};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ground::{accepted, ada, problem, start, token};

#[tokio::test]
async fn a_fresh_job_is_shown_as_it_is() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let response = ground.get(&format!("/v1/jobs/{id}"), &ada()).await;
    assert_eq!(response.status(), 200);
    let job: Value = response.json().await.unwrap();
    let expected = json!({
        "tags": [], "id": id.to_string(), "kind": "demo.echo", "tenant": "acme", "state": "accepted", "priority": "normal", "epoch": 1,
        "attempt": 1, "attempts": [], "error": null, "reason": null, "started_at": null, "ended_at": null, "interrupted": 0,
        "accepted_at": job["accepted_at"], "deadline": job["deadline"], "links": {"self": format!("/v1/jobs/{id}")},
    });
    assert_eq!(job, expected);
    for member in ["accepted_at", "deadline"] {
        assert!(job[member].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
}

#[tokio::test]
async fn an_ended_job_shows_its_attempt_and_its_result() {
    let ground = start().await;
    for (bytes, member, value) in
        [(&b"{\"sum\":3}"[..], "result", json!({"sum": 3})), (b"\xff\xfe", "result_base64", json!("//4="))]
    {
        let id = accepted(ground.submission().send().await.unwrap()).await;
        let ended = |status: &Status| {
            let at = Some(status.updated_at);
            Status {
                state: State::Succeeded,
                owner: None,
                due_at: 0,
                outlet: None,
                started_at: at,
                ended_at: at,
                ..status.clone()
            }
        };
        ground.change(id, Some(bytes), ended).await;
        let job: Value = ground.get(&format!("/v1/jobs/{id}"), &ada()).await.json().await.unwrap();
        assert_eq!(job["state"], "succeeded");
        assert_eq!(job[member], value);
        assert_eq!(job["attempts"][0]["outcome"], "succeeded");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_job_that_is_not_yours_is_not_there() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let path = format!("/v1/jobs/{id}");
    for (tenant, subject, scopes, status) in [
        ("acme", "ada", "jobs:read", 200),
        ("acme", "bob", "jobs:read:all", 200),
        ("acme", "bob", "jobs:read", 404),
        ("other", "ada", "jobs:read", 404),
        ("other", "ada", "jobs:read jobs:read:all", 404),
        ("acme", "ada", "jobs:submit", 403),
        ("acme", "ada", "jobs:admin", 403),
    ] {
        let response = ground.get(&path, &token(tenant, subject, scopes)).await;
        assert_eq!(response.status(), status, "{tenant} {subject} {scopes}");
    }
}

#[tokio::test]
async fn unknown_and_foreign_are_one_answer() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let bob = token("acme", "bob", "jobs:read");
    let mut foreign = problem(ground.get(&format!("/v1/jobs/{id}"), &bob).await, 404, "job-not-found").await;
    let mut unknown = problem(ground.get(&format!("/v1/jobs/{}", Uuid::now_v7()), &bob).await, 404, "job-not-found").await;
    for document in [&mut foreign, &mut unknown] {
        document["instance"].take();
    }
    assert_eq!(foreign, unknown);
}

/// An id as one accepted so many seconds ago has it.
fn made(age: u64) -> Uuid {
    let at = SystemTime::now() - Duration::from_secs(age);
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at.as_secs(), at.subsec_nanos()))
}

/// Nothing is left of a purged job to tell its kind by.
#[tokio::test]
async fn an_id_older_than_the_shortest_retention_of_any_kind_is_purged() {
    let ground = start().await;
    let hour = 3600;
    let answer = async |id: Uuid, status, code| {
        problem(ground.get(&format!("/v1/jobs/{id}"), &ada()).await, status, code).await;
    };
    ground.treat("scans.read", |spec| KindSpec { retention: Some(Duration::from_secs(30 * 24 * hour)), ..spec });
    answer(made(2 * hour), 404, "job-not-found").await;
    answer(made(8 * 24 * hour), 410, "purged").await;
    ground.treat("scans.read", |spec| KindSpec { retention: Some(Duration::from_secs(hour)), ..spec });
    answer(made(2 * hour), 410, "purged").await;
    answer(made(hour / 2), 404, "job-not-found").await;
    // What is there is there, and what is another's is told like what is not.
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let old = made(2 * hour);
    ground.rename(id, old).await;
    assert_eq!(ground.get(&format!("/v1/jobs/{old}"), &ada()).await.status(), 200);
    let bob = token("acme", "bob", "jobs:read");
    problem(ground.get(&format!("/v1/jobs/{old}"), &bob).await, 410, "purged").await;
}

#[tokio::test]
async fn an_id_older_than_the_retention_is_purged() {
    let ground = start().await;
    let day = 24 * 3600;
    problem(ground.get(&format!("/v1/jobs/{}", made(8 * day)), &ada()).await, 410, "purged").await;
    problem(ground.get(&format!("/v1/jobs/{}", made(6 * day)), &ada()).await, 404, "job-not-found").await;
    problem(ground.get("/v1/jobs/67e55044-10b1-426f-9247-bb680e5fe0c8", &ada()).await, 404, "job-not-found").await;
}

/// The key is kept for its own time: whoever tries again hears of the job that was made, and that it is gone when asking for it.
#[tokio::test]
async fn a_key_that_outlives_its_job_makes_no_second_one() {
    let ground = start().await;
    ground.treat("demo.echo", |spec| KindSpec { retention: Some(Duration::from_secs(60)), ..spec });
    let submit = || ground.submission().header("idempotency-key", "one").header("prefer", "wait=1");
    let id = accepted(submit().send().await.unwrap()).await;
    let old = made(3600);
    ground.rename(id, old).await;
    ground.tamper("UPDATE idempotency_keys SET job_id = (SELECT id FROM jobs)").await;
    ground.tamper("DELETE FROM jobs").await;
    let again = submit().send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(accepted(again).await, old);
    assert_eq!(ground.jobs().await, 0);
    problem(ground.get(&format!("/v1/jobs/{old}"), &ada()).await, 410, "purged").await;
}

#[tokio::test]
async fn what_is_no_id_is_told() {
    let ground = start().await;
    for id in ["1", "not-a-uuid", "%00", "%ff", "..%2f..%2fetc", "' or 1=1 --"] {
        problem(ground.get(&format!("/v1/jobs/{id}"), &ada()).await, 400, "invalid-job-id").await;
    }
}

#[tokio::test]
async fn the_payload_is_kept_to_the_byte_with_its_trace() {
    let ground = start().await;
    let (body, trace) = (" {\"b\":1,  \"a\":\"\\u00e4\"}\n", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let id = accepted(ground.submission().header("traceparent", trace).body(body).send().await.unwrap()).await;
    let payload = ground.store.payloads(&[id]).await.unwrap().remove(0).1;
    assert_eq!(payload.body, body.as_bytes());
    assert_eq!(payload.traceparent.as_deref(), Some(trace));
    assert_eq!((payload.subject.as_str(), payload.content_type.as_str()), ("ada", "application/json"));
    let id = accepted(ground.submission().header("traceparent", "rubbish").send().await.unwrap()).await;
    assert_eq!(ground.store.payloads(&[id]).await.unwrap()[0].1.traceparent, None);
}
