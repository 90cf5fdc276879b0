//! Databases of released formats, and what is in them.
//!
//! `tests/golden/store-v1.sqlite` is a database of format 1, written by `cargo run -p api-ack --example store_golden`. Once
//! released it is never written again: every later version must read it. A new format gets a file of its own.

use api_ack::store::{
    Attempt, Change, DeadLetterStore, DeadState, Job, JobStore, Move, NewDeadLetter, NewJob, Outlet, Payload, Priority,
    ProcessId, STEPS, State, Status, Stores,
};
use bytes::Bytes;
use database::{Database, StoreError};
use uuid::Uuid;

const AT: i64 = 1_760_000_000_123_456;

/// The id of the `n`th thing.
pub fn id(n: u8) -> Uuid {
    Uuid::from_u128((0x0199_c9f1_f07b_u128 << 80) | (7 << 76) | (0b10 << 62) | u128::from(n))
}

/// One job in every state.
pub fn jobs() -> Vec<NewJob> {
    let job = |(n, state): (u8, State)| {
        let number = i64::from(n);
        let waiting = matches!(state, State::Scheduled | State::Accepted | State::Retrying);
        let ended = matches!(state, State::Succeeded | State::Dead | State::Cancelled | State::Expired);
        let status = Status {
            state,
            epoch: 2,
            attempt: 3,
            spent: 4,
            starts: 1,
            interrupted: 5,
            lease: 6 + number,
            owner: (state == State::Running).then_some(ProcessId(77)),
            due_at: AT + number,
            outlet: waiting.then_some(if n == 0 { Outlet::Return } else { Outlet::Rung(broker_topology::Rung::M10) }),
            deadline: AT + 1_000_000,
            started_at: Some(AT + 1),
            ended_at: ended.then_some(AT + 2),
            updated_at: AT + 3,
            reason: ended.then(|| "exhausted".to_owned()),
            error: ended.then(|| "no answer — 無".to_owned()),
            cancel_epoch: None,
            worker: None,
            http_status: None,
        };
        NewJob {
            job: Job {
                id: id(n),
                kind: "orders.place".into(),
                tenant: "acme".into(),
                version: 1,
                priority: Priority::Normal,
                status,
            },
            payload: Payload {
                subject: "anna".into(),
                content_type: "application/json".into(),
                body: Bytes::from(vec![n, 0, 255]),
                traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            },
            key: (n == 1).then_some(api_ack::store::Key { hash: [1; 32], fingerprint: [2; 32] }),
            tags: Default::default(),
            callback: None,
        }
    };
    (0..).zip(State::ALL).map(job).collect()
}

/// What becomes of the job that succeeded.
pub fn change() -> Change {
    let succeeded = jobs().into_iter().find(|new| new.job.status.state == State::Succeeded).map(|new| new.job);
    let Some(job) = succeeded else { unreachable!("one job in every state") };
    let attempt = Attempt {
        epoch: 1,
        attempt: 2,
        lease: 3,
        started_at: Some(AT),
        ended_at: AT + 1,
        outcome: "failed".into(),
        reason: Some("timeout".into()),
        error: Some("no answer".into()),
        worker: None,
        http_status: None,
        times: 1,
    };
    Change { id: job.id, from: 1, to: job.status, history: Some(attempt), result: Some(Bytes::from_static(b"\0done")) }
}

pub fn letter() -> NewDeadLetter {
    NewDeadLetter {
        queue: "jobs.orders.place".into(),
        message_id: "m1".into(),
        epoch: 2,
        attempt: 3,
        job_id: Some(id(6)),
        kind: "orders.place".into(),
        tenant: "acme".into(),
        reason: "exhausted".into(),
        error: "no answer".into(),
        headers: serde_json::json!({"warren-v": 1}),
        content_type: "application/json".into(),
        body: Bytes::from_static(b"{}"),
        died_at: AT,
    }
}

/// Writes all of it.
pub async fn fill(store: &dyn JobStore, dead: &dyn DeadLetterStore) -> Result<(), api_ack::store::StoreError> {
    store.insert(&jobs()).await?;
    store.apply(&[change()]).await?;
    dead.keep(&[letter()]).await?;
    let filter = api_ack::store::DeadFilter { limit: 1, ..Default::default() };
    for found in dead.dead_letters(&filter).await? {
        dead.resolve(&Move::new(found.id, DeadState::Open, DeadState::Discarded, "olga", "a test", AT + 9)).await?;
    }
    Ok(())
}

/// The stores at `url`; with `migrate`, the schema is brought up to date first.
pub async fn open(url: &str, migrate: bool) -> Result<Stores, StoreError> {
    Stores::on(&Database::open(url, &[STEPS], migrate).await?).await
}
