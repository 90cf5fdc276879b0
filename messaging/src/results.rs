//! What a service or a worker in any language reports on `warren.results` when a run has ended.
//!
//! The body is JSON; [`JobResult`] is its one definition, for those who report and for the hub that reads it. A field that is
//! not known is skipped on reading, so that an older hub reads a newer service. `docs/worker-contract.md` is its description for
//! workers in other languages.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use broker_topology::Names;

use crate::handler::{Failure, Outcome};
use crate::ledger::{End, Ending};
use crate::message::{Message, Route, Run};

/// The `type` of the message.
pub const KIND: &str = "warren.result";

/// The largest result that is reported, in bytes.
pub const MAX_RESULT: usize = 64 * 1024;

/// The longest failure text that is reported, in bytes.
const MAX_FAILURE: usize = 4 * 1024;

/// How one run of a job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobResult {
    /// The job's id.
    pub job: String,
    /// Which run ended: its epoch.
    pub epoch: i32,
    /// Which run ended: its attempt.
    pub attempt: i32,
    /// The token that the run's message carried ([`Message::token`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How it ended.
    pub outcome: Reported,
    /// What it made, as JSON exactly as the handler wrote it.
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    /// The wait the handler asked for, on `failed` and `snoozed`.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// Why it did not work.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// When the handler was started. Without it: when the run was [reported as started](crate::started_report), or else ended. A service
    /// always says, since a hub of before asks for it; so with the next two.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it came back; without it, when the report came.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// The service that ran it; when empty, who reported the start.
    #[serde(default)]
    pub worker: String,
    /// What a service that it called answered, if it called one over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
}

/// The word for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reported {
    /// It worked.
    Succeeded,
    /// It failed and may work later.
    Failed,
    /// It will never work.
    Rejected,
    /// Not now, and no attempt spent.
    Snoozed,
    /// It was given up without an outcome: `failure` says why, for instance `poison`.
    Dead,
}

/// Bytes that are no [`JobResult`].
#[derive(Debug, thiserror::Error)]
#[error("not a job result: {0}")]
pub struct NotAResult(#[from] serde_json::Error);

impl JobResult {
    /// The end of a run; `None` for one that was interrupted, since nothing is reported of it.
    pub fn of(ending: &Ending, worker: &str) -> Option<Self> {
        let End::Outcome(outcome) = &ending.end else { return None };
        let mut result = Self::from_outcome(&ending.message.id, ending.run, outcome, worker).with_token(ending.message.token());
        (result.started_at, result.ended_at) = (Some(ending.started_at), Some(ending.ended_at));
        result.http_status = ending.http_status;
        Some(result)
    }

    /// `outcome` of a run that started and ended now.
    ///
    /// A result that is not JSON is reported as a JSON string, one over [`MAX_RESULT`] not at all.
    pub fn from_outcome(job: &str, run: Run, outcome: &Outcome, worker: &str) -> Self {
        let now = Timestamp::now();
        let mut reported = Self {
            job: job.to_owned(),
            epoch: run.epoch,
            attempt: run.attempt,
            token: None,
            outcome: Reported::Succeeded,
            result: None,
            retry_after_ms: None,
            failure: None,
            started_at: Some(now),
            ended_at: Some(now),
            worker: worker.to_owned(),
            http_status: None,
        };
        match outcome {
            Outcome::Done(result) => reported.result = result.as_ref().and_then(|bytes| json(job, bytes)),
            Outcome::Retry(failure) => reported.failed(Reported::Failed, failure),
            Outcome::RetryAfter(wait, failure) => {
                reported.failed(Reported::Failed, failure);
                reported.retry_after_ms = Some(millis(*wait));
            }
            Outcome::Reject(failure) => reported.failed(Reported::Rejected, failure),
            Outcome::Snooze(wait) => {
                reported.outcome = Reported::Snoozed;
                reported.retry_after_ms = Some(millis(*wait));
            }
        }
        reported
    }

    /// A run that is given up without an outcome.
    pub fn dead(job: &str, run: Run, failure: &Failure, worker: &str) -> Self {
        let mut reported = Self::from_outcome(job, run, &Outcome::done(), worker);
        reported.failed(Reported::Dead, failure);
        reported
    }

    /// The same, of a run whose message carried this token.
    #[must_use]
    pub fn with_token(self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self }
    }

    fn failed(&mut self, outcome: Reported, failure: &Failure) {
        let mut failure = failure.clone();
        failure.code.truncate(failure.code.floor_char_boundary(MAX_CODE));
        failure.message.truncate(failure.message.floor_char_boundary(MAX_FAILURE));
        (self.outcome, self.failure) = (outcome, Some(failure));
    }

    /// Which run ended.
    pub fn run(&self) -> Run {
        Run { epoch: self.epoch, attempt: self.attempt }
    }

    /// As the handler gave it. [`Reported::Dead`] comes back as [`Outcome::Reject`].
    pub fn outcome(&self) -> Outcome {
        let failure = || self.failure.clone().unwrap_or_else(|| Failure::new("unknown", "the worker gave no reason"));
        let wait = self.retry_after_ms.map(Duration::from_millis);
        match (self.outcome, wait) {
            (Reported::Succeeded, _) => {
                Outcome::Done(self.result.as_ref().map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())))
            }
            (Reported::Failed, Some(wait)) => Outcome::RetryAfter(wait, failure()),
            (Reported::Failed, None) => Outcome::Retry(failure()),
            (Reported::Rejected | Reported::Dead, _) => Outcome::Reject(failure()),
            (Reported::Snoozed, wait) => Outcome::Snooze(wait.unwrap_or_default()),
        }
    }

    /// The body of the message.
    ///
    /// # Errors
    /// Never with the values this type can hold; the signature is that of the JSON library.
    pub fn encode(&self) -> Result<Bytes, NotAResult> {
        Ok(serde_json::to_vec(self)?.into())
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// When it is no JSON, or misses what cannot be guessed.
    pub fn decode(body: &[u8]) -> Result<Self, NotAResult> {
        Ok(serde_json::from_slice(body)?)
    }

    /// The message, and where it goes. Its id names the run, so that one reported twice can be told.
    ///
    /// # Errors
    /// As [`JobResult::encode`].
    pub fn message(&self, names: &Names) -> Result<(Route, Message), NotAResult> {
        let message = Message {
            id: format!("{}/{}/{}", self.job, self.epoch, self.attempt),
            kind: KIND.to_owned(),
            source: format!("/warren/{}", self.worker),
            time: self.ended_at.unwrap_or_else(Timestamp::now),
            content_type: "application/json".to_owned(),
            traceparent: None,
            run: Some(self.run()),
            tenant: String::new(),
            headers: std::collections::BTreeMap::new(),
            body: self.encode()?,
        };
        Ok((Route::new(names.results(), names.results()), message))
    }
}

/// The longest failure code that is reported, in bytes.
pub const MAX_CODE: usize = 128;

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

fn json(job: &str, bytes: &[u8]) -> Option<Box<RawValue>> {
    if bytes.len() > MAX_RESULT {
        tracing::warn!(job, bytes = bytes.len(), limit = MAX_RESULT, "the result is too large and is not reported");
        return None;
    }
    let raw = serde_json::from_slice::<Box<RawValue>>(bytes).ok();
    raw.or_else(|| serde_json::value::to_raw_value(&String::from_utf8_lossy(bytes)).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const RUN: Run = Run { epoch: 1, attempt: 2 };

    #[test]
    fn every_outcome_comes_back_as_it_went() {
        let why = || Failure::new("out-of-stock", "none left");
        let outcomes = [
            Outcome::done(),
            Outcome::Done(Some(Bytes::from_static(b"{\"b\":1,\"a\":2.50}"))),
            Outcome::Retry(why()),
            Outcome::RetryAfter(Duration::from_millis(1500), why()),
            Outcome::Reject(why()),
            Outcome::Snooze(Duration::from_secs(3)),
        ];
        for outcome in outcomes {
            let sent = JobResult::from_outcome("j", RUN, &outcome, "inventory").encode().unwrap();
            let read = JobResult::decode(&sent).unwrap();
            assert_eq!((read.outcome(), read.run()), (outcome, RUN));
        }
    }

    #[test]
    fn the_wire_form_is_this() {
        let body = br#"{"job":"j","epoch":1,"attempt":2,"token":"t","outcome":"dead","result":null,"retry_after_ms":null,
            "failure":{"code":"poison","message":"m"},"started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:01Z",
            "worker":"inventory","later":true}"#;
        let read = JobResult::decode(body).unwrap();
        assert_eq!(read.outcome(), Outcome::Reject(Failure::new("poison", "m")));
        let written: serde_json::Value = serde_json::from_slice(&read.encode().unwrap()).unwrap();
        let mut expected: serde_json::Value = serde_json::from_slice(body).unwrap();
        expected.as_object_mut().unwrap().remove("later");
        assert_eq!(written, expected);
    }

    #[test]
    fn a_worker_may_leave_out_what_the_hub_can_tell() {
        let read = JobResult::decode(br#"{"job":"j","epoch":1,"attempt":2,"outcome":"failed"}"#).unwrap();
        assert_eq!((read.token.as_deref(), read.started_at, read.ended_at, read.worker.as_str()), (None, None, None, ""));
        assert_eq!(read.outcome(), Outcome::Retry(Failure::new("unknown", "the worker gave no reason")));
        let whole = JobResult::from_outcome("j", RUN, &Outcome::done(), "w").with_token(Some("t"));
        assert_eq!((whole.token.as_deref(), whole.started_at.is_some(), whole.ended_at.is_some()), (Some("t"), true, true));
        for short in [r#"{"job":"j","epoch":1,"attempt":2}"#, r#"{"job":"j","epoch":1,"attempt":2,"outcome":"done"}"#, "[]"] {
            assert!(JobResult::decode(short.as_bytes()).is_err(), "{short}");
        }
    }

    #[test]
    fn what_is_too_large_or_no_json_still_reports_the_end() {
        let text = Outcome::Done(Some(Bytes::from_static(b"plain")));
        let read = JobResult::from_outcome("j", RUN, &text, "w").outcome();
        assert_eq!(read, Outcome::Done(Some(Bytes::from_static(b"\"plain\""))));
        let large = Outcome::Done(Some(vec![b'1'; MAX_RESULT + 1].into()));
        assert_eq!(JobResult::from_outcome("j", RUN, &large, "w").outcome(), Outcome::done());
        let failure = Outcome::Retry(Failure::new("c", "ä".repeat(MAX_FAILURE)));
        assert!(JobResult::from_outcome("j", RUN, &failure, "w").failure.unwrap().message.len() <= MAX_FAILURE);
    }
}
