//! What the admin API answers, as the CLI reads it. Times are RFC 3339, UTC.

mod callbacks;
mod devices;
mod letters;

pub use callbacks::{CallLine, CallbackDetail, CallbackLine, DeedLine, StopLine};
pub use devices::{DeviceCredentials, DeviceDetail, DeviceLine, DevicePage, GapLine, Kicked, Purged, WaitingLine};
pub use letters::{AuditPage, AuditRecordLine, EditView, GroupLine, GroupPage, RefusalLine, SelectionView};

use api_ack::kinds::{KindSpec, Worker};
use api_ack::store::{self, CallbackState, DeadLetter, DeadState, Job, JobRecord, Pause, Priority, State};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use database::clock::{made_at, timestamp};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Uuid>,
}

/// A job in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobLine {
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it is.
    pub state: State,
    /// `high` before the normal ones of its kind. A hub of before says nothing, and has none.
    #[serde(default)]
    pub priority: Priority,
    /// Grows with every redrive, from 1.
    pub epoch: i32,
    /// The attempt that runs or comes next, from 1.
    pub attempt: i32,
    /// Why it is dead, expired or retrying.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<String>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A kind of job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindLine {
    /// Its name.
    pub kind: String,
    /// Who does the work.
    pub worker: Worker,
    /// Whether it is paused: accepted, and not delivered.
    pub paused: bool,
    /// When it was paused, or resumed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// Who did that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

impl KindLine {
    /// A kind, and how it stands if it was ever paused.
    pub fn of(spec: &KindSpec, pause: Option<Pause>) -> Self {
        let paused = pause.as_ref().is_some_and(|pause| pause.paused);
        let since = pause.as_ref().map(|pause| timestamp(pause.at));
        let actor = pause.as_ref().map(|pause| pause.actor.clone());
        let note = pause.map(|pause| pause.note).filter(|note| !note.is_empty());
        Self { kind: spec.kind.as_str().to_owned(), worker: spec.worker, paused, since, actor, note }
    }
}

/// Everything about a job but its payload's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobDetail {
    /// As in a list.
    #[serde(flatten)]
    pub job: JobLine,
    /// The latest error, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Whether a cancel was asked for while it ran.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub cancel_requested: bool,
    /// Starts of this attempt that have not ended.
    pub starts: i32,
    /// How often a start was cut short.
    pub interrupted: i32,
    /// Grows with every start.
    pub lease: i64,
    /// While it waits to be published: not before this time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due_at: Option<Timestamp>,
    /// When it is given up.
    pub deadline: Timestamp,
    /// When the latest attempt started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// Who runs or ran it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<String>,
    /// What the service that it called answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<i32>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// What was accepted.
    pub payload: PayloadInfo,
    /// How far it is, as its handler last said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<ProgressLine>,
    /// Attempts of the past, oldest first.
    pub history: Vec<AttemptLine>,
    /// How its callback stands, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub callback: Option<CallbackState>,
    /// The dead job it was made from, with another body.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edited_from: Option<Uuid>,
    /// The job that was made from this dead one, with another body.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edited_to: Option<Uuid>,
    /// The result: JSON if it is JSON, else text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
}

/// A payload, without its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PayloadInfo {
    /// Who submitted it.
    pub subject: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// W3C trace context of the request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
}

/// How far a job is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgressLine {
    /// 0 to 100.
    pub percent: i16,
    /// For people.
    pub note: String,
    /// When it was said.
    pub at: Timestamp,
}

/// One attempt of the past.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptLine {
    /// Which epoch.
    pub epoch: i32,
    /// Which attempt.
    pub attempt: i32,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// `failed`, `rejected`, `interrupted`, `late`, `forged`, ...
    pub outcome: String,
    /// How often it was put off by a snooze, if more than once: one line stands for all of them, as the last one left it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub times: Option<i32>,
    /// Stable code of the failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// What the service that it called answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<i32>,
    /// Who ran it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<String>,
}

/// A dead letter in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLine {
    /// Its id.
    pub id: Uuid,
    /// The work queue it came from.
    pub queue: String,
    /// Its kind; empty if it carried none.
    pub kind: String,
    /// Whose; empty if it carried none.
    pub tenant: String,
    /// AMQP `message_id`.
    pub message_id: String,
    /// Its job, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<Uuid>,
    /// What has become of it.
    pub state: DeadState,
    /// Why it died: a stable code.
    pub reason: String,
    /// The code of the failure; empty if there was none.
    #[serde(default)]
    pub code: String,
    /// The group it belongs to: 16 hex digits.
    #[serde(default)]
    pub fingerprint: String,
    /// For people.
    pub error: String,
    /// 0 when it is no job.
    pub epoch: i32,
    /// 0 when it is no job.
    pub attempt: i32,
    /// Bytes of its body.
    pub size: usize,
    /// When it was given up.
    pub died_at: Timestamp,
}

/// Everything about a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadDetail {
    /// As in a list.
    #[serde(flatten)]
    pub letter: DeadLine,
    /// Headers and properties as they came.
    pub headers: Value,
    /// MIME type.
    pub content_type: String,
    /// How `body` is written: `text` (it is UTF-8) or `base64`.
    pub encoding: Encoding,
    /// The body.
    pub body: String,
    /// Who moved it last; empty while it is open.
    pub actor: String,
    /// Why.
    pub note: String,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// What was done to it, oldest first.
    pub audit: Vec<AuditLine>,
}

/// How bytes are written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As they are.
    Text,
    /// RFC 4648.
    Base64,
}

/// One entry of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditLine {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub note: String,
    /// What it was.
    pub from: DeadState,
    /// What it became.
    pub to: DeadState,
}

impl From<Job> for JobLine {
    fn from(job: Job) -> Self {
        let updated_at = timestamp(job.status.updated_at);
        Self {
            id: job.id,
            kind: job.kind,
            tenant: job.tenant,
            state: job.status.state,
            priority: job.priority,
            epoch: job.status.epoch,
            attempt: job.status.attempt,
            reason: job.status.reason,
            tags: Vec::new(),
            accepted_at: made_at(job.id).map_or(updated_at, timestamp),
            updated_at,
        }
    }
}

impl JobDetail {
    /// A record, and the trace context of the request that made the job.
    pub fn new(record: JobRecord, traceparent: Option<String>) -> Self {
        let status = record.job.status.clone();
        let payload = record.payload;
        Self {
            job: JobLine { tags: record.tags.into_words(), ..record.job.into() },
            cancel_requested: status.cancel_asked(),
            error: status.error,
            starts: status.starts,
            interrupted: status.interrupted,
            lease: status.lease,
            due_at: status.outlet.filter(|_| status.state != State::Running).map(|_| timestamp(status.due_at)),
            deadline: timestamp(status.deadline),
            started_at: status.started_at.map(timestamp),
            worker: status.worker,
            http_status: status.http_status,
            ended_at: status.ended_at.map(timestamp),
            payload: PayloadInfo {
                subject: payload.subject,
                content_type: payload.content_type,
                size: payload.size,
                traceparent,
            },
            progress: record.progress.map(|said| ProgressLine { percent: said.percent, note: said.note, at: timestamp(said.at) }),
            history: record.history.into_iter().map(AttemptLine::from).collect(),
            callback: record.callback.map(|callback| callback.state),
            edited_from: record.edited_from,
            edited_to: record.edited_to,
            result: record.result.map(|bytes| {
                serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
            }),
        }
    }
}

impl From<store::Attempt> for AttemptLine {
    fn from(attempt: store::Attempt) -> Self {
        Self {
            epoch: attempt.epoch,
            attempt: attempt.attempt,
            started_at: attempt.started_at.map(timestamp),
            ended_at: timestamp(attempt.ended_at),
            outcome: attempt.outcome,
            times: (attempt.times > 1).then_some(attempt.times),
            reason: attempt.reason,
            error: attempt.error,
            http_status: attempt.http_status,
            worker: attempt.worker,
        }
    }
}

impl From<DeadLetter> for DeadLine {
    fn from(dead: DeadLetter) -> Self {
        let letter = dead.letter;
        Self {
            id: dead.id,
            queue: letter.queue,
            kind: letter.kind,
            tenant: letter.tenant,
            message_id: letter.message_id,
            job_id: letter.job_id,
            state: dead.state,
            reason: letter.reason,
            code: dead.fingerprint.code,
            fingerprint: dead.fingerprint.hash,
            error: letter.error,
            epoch: letter.epoch,
            attempt: letter.attempt,
            size: letter.body.len(),
            died_at: timestamp(letter.died_at),
        }
    }
}

impl DeadDetail {
    pub(super) fn new(dead: DeadLetter, audit: Vec<store::AuditEntry>) -> Self {
        let (encoding, body) = match std::str::from_utf8(&dead.letter.body) {
            Ok(text) => (Encoding::Text, text.to_owned()),
            Err(_) => (Encoding::Base64, BASE64_STANDARD.encode(&dead.letter.body)),
        };
        Self {
            headers: dead.letter.headers.clone(),
            content_type: dead.letter.content_type.clone(),
            encoding,
            body,
            actor: dead.actor.clone(),
            note: dead.note.clone(),
            updated_at: timestamp(dead.updated_at),
            audit: audit.into_iter().map(AuditLine::from).collect(),
            letter: dead.into(),
        }
    }
}

impl From<store::AuditEntry> for AuditLine {
    fn from(entry: store::AuditEntry) -> Self {
        Self { at: timestamp(entry.at), actor: entry.actor, note: entry.note, from: entry.from, to: entry.to }
    }
}
