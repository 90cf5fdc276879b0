//! When a job is to run, as a caller says it.

use api_ack::store::{JobStore, Outlet, ProcessId, State};
use jiff::{Timestamp, ToSpan};
use reqwest::Response;

use crate::ground::{Ground, accepted, problem, start};

async fn submit(ground: &Ground, key: &str, header: &'static str, value: &str) -> Response {
    ground.submission().header("idempotency-key", key).header(header, value).send().await.unwrap()
}

#[tokio::test]
async fn a_job_for_later_waits_in_the_store_for_anybody() {
    let ground = start().await;
    let at = Timestamp::now() + 1.hour();
    let id = accepted(submit(&ground, "a", "warren-run-at", &at.to_string()).await).await;
    let job = ground.store.load(&[id]).await.unwrap().remove(0);
    assert_eq!((job.status.state, job.status.due_at), (State::Scheduled, at.as_microsecond()));
    assert_eq!((job.status.owner, job.status.outlet), (None, Some(Outlet::Jobs)));
    assert_eq!(job.status.deadline, (at + 24.hours()).as_microsecond(), "its patience begins when it is due");

    let id = accepted(submit(&ground, "b", "warren-delay", "90 s").await).await;
    let job = ground.store.load(&[id]).await.unwrap().remove(0);
    let wait = job.status.due_at - job.status.updated_at;
    assert_eq!((job.status.state, wait), (State::Scheduled, 90_000_000));
    assert!(ground.store.lanes(job.status.due_at - 1).await.unwrap().is_empty(), "not before its time");
    let lanes = ground.store.lanes(job.status.due_at).await.unwrap();
    let portion = api_ack::store::Portion { rows: 10, bytes: 1 << 20 };
    let claimed = ground.store.claim(ProcessId(2), &lanes[0], job.status.due_at, portion).await.unwrap();
    assert_eq!(claimed.iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [id]);

    let at = Timestamp::now() + 10.minutes();
    let id = accepted(submit(&ground, "c", "warren-deadline", &at.to_string()).await).await;
    let job = ground.store.load(&[id]).await.unwrap().remove(0);
    assert_eq!((job.status.state, job.status.deadline), (State::Accepted, at.as_microsecond()));
}

#[tokio::test]
async fn the_time_is_part_of_what_a_key_stands_for() {
    let ground = start().await;
    let first = submit(&ground, "k", "warren-delay", "1h").await.bytes().await.unwrap();
    assert!(std::str::from_utf8(&first).unwrap().contains(r#""state":"scheduled""#));
    assert_eq!(submit(&ground, "k", "warren-delay", "1h").await.bytes().await.unwrap(), first);
    problem(submit(&ground, "k", "warren-delay", "2h").await, 422, "idempotency-key-reused").await;
    let without = ground.submission().header("idempotency-key", "k").send().await.unwrap();
    problem(without, 422, "idempotency-key-reused").await;
    assert_eq!(ground.jobs().await, 1);
}

#[tokio::test]
async fn what_was_answered_once_is_answered_so_again_when_its_time_is_over() {
    let ground = start().await;
    // The oldest time that is still taken, and one that will be over in a moment.
    let at = (Timestamp::now() - 59.seconds()).to_string();
    let first = accepted(submit(&ground, "k", "warren-run-at", &at).await).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let fresh = submit(&ground, &Timestamp::now().to_string(), "warren-run-at", &at).await;
        if fresh.status() == 400 {
            problem(fresh, 400, "invalid-timing").await;
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "a time in the past is taken for ever");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(accepted(submit(&ground, "k", "warren-run-at", &at).await).await, first);
}
