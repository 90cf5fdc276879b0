//! A job as a client sees it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::rules;
use crate::store::{Attempt, Call, Callback, CallbackState, JobRecord, Micros, Priority, Progress, State, Status};
use database::clock;

/// Addresses that belong to a job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    #[schema(example = "/v1/jobs/01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    this: String,
}

impl Links {
    pub(super) fn of(id: Uuid) -> Self {
        Self { this: format!("/v1/jobs/{id}") }
    }
}

/// A job with all that is known about it, but for its payload.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// UUIDv7.
    id: String,
    /// Its kind.
    kind: String,
    /// Whose it is.
    tenant: String,
    /// `scheduled`, `accepted`, `queued`, `running`, `retrying`, `succeeded`, `dead`, `cancelled` or `expired`.
    #[schema(value_type = String, example = "succeeded")]
    state: State,
    /// `normal`, or `high`: before the normal jobs of its kind.
    #[schema(value_type = String, example = "normal")]
    priority: Priority,
    /// From 1; grows with every redrive.
    epoch: i32,
    /// The attempt that runs, ran last, or comes next; from 1.
    attempt: i32,
    /// Words to find it by, as its submission gave them.
    #[schema(example = json!(["batch-7", "region=eu"]))]
    tags: Vec<String>,
    /// All attempts that were started, oldest first.
    attempts: Vec<AttemptView>,
    /// How far it is, as its handler last said, which may have been in an attempt before; absent when it never said, and once it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressView>,
    /// What the handler returned, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// What the handler returned, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    /// Who is told of its end, and how far that is; absent when nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<CallbackView>,
    /// The latest error, for people.
    error: Option<String>,
    /// Why it is dead, cancelled, expired or retrying, why the broker does not take it, or why it succeeded without its result: a
    /// stable code.
    #[schema(example = "exhausted")]
    reason: Option<String>,
    /// There, and true, when a cancel was asked for while it ran.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
    /// While it is scheduled: when it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// When it is given up.
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
    /// When the latest attempt was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// How often an attempt was cut short and started again, which costs no attempt.
    interrupted: i32,
    /// The dead job this one was made from, with another body.
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_from: Option<String>,
    /// The job that was made from this dead one, with another body.
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_to: Option<String>,
    /// Addresses.
    links: Links,
}

/// How far a job is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Progress)]
pub struct ProgressView {
    /// 0 to 100.
    #[schema(example = 40)]
    percent: i16,
    /// For people, 200 characters at most.
    note: String,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl ProgressView {
    pub(super) fn of(progress: Progress) -> Self {
        Self { percent: progress.percent, note: progress.note, at: clock::timestamp(progress.at) }
    }
}

/// The callback of a job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Callback)]
pub struct CallbackView {
    /// Where it goes, without its query.
    #[schema(example = "https://example.com/hook")]
    url: String,
    /// `waiting` for the end of the job, `owed`, `delivered`, `failed` (given up), or `disabled`: the receiver has answered 410.
    #[schema(value_type = String, example = "delivered")]
    state: CallbackState,
    /// While it is owed: when it is called next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// The latest calls, oldest first; 20 at most.
    calls: Vec<CallView>,
}

/// One call of a callback.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CallbackCall)]
pub struct CallView {
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What was answered, if there was an answer.
    #[schema(example = 503)]
    status: Option<u16>,
    /// Why it was no success.
    error: Option<String>,
    /// How long it took.
    took_ms: u32,
}

impl CallbackView {
    fn of(callback: Callback) -> Self {
        let Callback { mut target, state, due_at, history, .. } = callback;
        // A query may hold what only the receiver is to know.
        target.url.truncate(target.url.find('?').unwrap_or(target.url.len()));
        Self { url: target.url, state, next_at: when(due_at), calls: history.into_iter().map(CallView::of).collect() }
    }
}

impl CallView {
    fn of(call: Call) -> Self {
        Self { at: clock::timestamp(call.at), status: call.status, error: call.error, took_ms: call.took_ms }
    }
}

/// One attempt.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// Which epoch.
    epoch: i32,
    /// Which attempt.
    attempt: i32,
    /// When it was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended; none while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// `succeeded`, `failed`, `rejected`, `snoozed`, `interrupted`, `late`, `forged`, ...; none while it runs.
    #[schema(example = "failed")]
    outcome: Option<String>,
    /// How often the attempt was put off by a snooze, if more than once: one entry stands for all of them, as the last one left it.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<i32>,
    /// Stable code of the failure.
    reason: Option<String>,
    /// The error, for people.
    error: Option<String>,
    /// What the service that it called answered, if it called one and there was an answer.
    #[schema(example = 503)]
    http_status: Option<i32>,
    /// Who ran it: `host:pid` of a hub process, or the name under which a service reports.
    #[schema(example = "hub-1:4711")]
    worker: Option<String>,
}

impl JobView {
    /// The view of a record.
    pub fn of(record: JobRecord) -> Self {
        let JobRecord { job, history, result, edited_from, edited_to, tags, progress, callback, .. } = record;
        let latest = latest(&job.status);
        let status = job.status;
        let cancel_requested = status.cancel_asked();
        let (result, result_base64) = split(result.as_deref());
        Self {
            links: Links::of(job.id),
            accepted_at: clock::timestamp(clock::made_at(job.id).unwrap_or_default()),
            id: job.id.to_string(),
            kind: job.kind,
            tenant: job.tenant,
            state: status.state,
            priority: job.priority,
            epoch: status.epoch,
            attempt: status.attempt,
            tags: tags.into_words(),
            progress: progress.filter(|_| status.state != State::Succeeded).map(ProgressView::of),
            attempts: history.into_iter().map(AttemptView::past).chain(latest).collect(),
            result,
            result_base64,
            callback: callback.map(CallbackView::of),
            error: status.error,
            reason: status.reason,
            cancel_requested,
            run_at: (status.state == State::Scheduled).then(|| clock::timestamp(status.due_at)),
            deadline: clock::timestamp(status.deadline),
            started_at: when(status.started_at),
            ended_at: when(status.ended_at),
            interrupted: status.interrupted,
            edited_from: edited_from.map(|id| id.to_string()),
            edited_to: edited_to.map(|id| id.to_string()),
        }
    }
}

impl AttemptView {
    fn past(attempt: Attempt) -> Self {
        Self {
            epoch: attempt.epoch,
            attempt: attempt.attempt,
            started_at: when(attempt.started_at),
            ended_at: when(Some(attempt.ended_at)),
            outcome: Some(attempt.outcome),
            times: (attempt.times > 1).then_some(attempt.times),
            reason: attempt.reason,
            error: attempt.error,
            http_status: attempt.http_status,
            worker: attempt.worker,
        }
    }
}

/// The attempt that only the row knows: the one that runs, or the one that ended the job.
fn latest(status: &Status) -> Option<AttemptView> {
    let runs = status.state == State::Running;
    // An attempt that waits has not started.
    status.started_at?;
    Some(AttemptView {
        epoch: status.epoch,
        attempt: status.attempt,
        started_at: when(status.started_at),
        ended_at: when(status.ended_at),
        outcome: rules::outcome(status).map(str::to_owned),
        times: None,
        reason: if runs { None } else { status.reason.clone() },
        error: if runs { None } else { status.error.clone() },
        http_status: status.http_status,
        worker: status.worker.clone(),
    })
}

fn when(at: Option<Micros>) -> Option<Timestamp> {
    at.map(clock::timestamp)
}

/// A result as JSON if it is, or else as base64 (RFC 4648 section 4, with padding).
pub(crate) fn split(result: Option<&[u8]>) -> (Option<Box<RawValue>>, Option<String>) {
    match result {
        None => (None, None),
        Some(bytes) => match serde_json::from_slice(bytes) {
            Ok(json) => (Some(json), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_no_json_is_shown_all_the_same() {
        assert_eq!(split(Some(b"{\"a\": 1}")).0.unwrap().get(), "{\"a\": 1}");
        assert_eq!(split(Some(b"\xff")).1.as_deref(), Some("/w=="));
        assert!(split(None).0.is_none() && split(None).1.is_none());
    }

    #[test]
    fn the_latest_attempt_comes_from_the_row_once() {
        let accepted = Status::accepted(10, 1000);
        assert!(latest(&accepted).is_none(), "not started");
        let running = Status { state: State::Running, started_at: Some(20), ..accepted };
        assert_eq!(latest(&running).and_then(|a| a.outcome), None);
        assert!(latest(&running).is_some());

        let retrying = Status { state: State::Retrying, attempt: 2, started_at: None, ..running.clone() };
        assert!(latest(&retrying).is_none(), "the second has not started");
        let buried =
            Status { state: State::Dead, ended_at: Some(40), reason: Some("origin-gone".to_owned()), ..retrying.clone() };
        assert!(latest(&buried).is_none(), "it never will");
        let exhausted = Status {
            state: State::Dead,
            started_at: Some(50),
            ended_at: Some(60),
            reason: Some("exhausted".to_owned()),
            ..retrying
        };
        assert_eq!(latest(&exhausted).and_then(|a| a.outcome).as_deref(), Some("failed"));
    }
}
