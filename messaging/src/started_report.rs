//! That a run has begun, as a worker in any language may say on `warren.results`: a message of `type` [`KIND`].
//!
//! The body is JSON; [`StartedReport`] is its one definition. With it the job shows as running, and its time limit holds; without it
//! nothing is lost. The hub ignores it unless it names the run that the job is at.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::message::Run;

/// The `type` of the message.
pub const KIND: &str = "warren.started";

/// That one run of a job has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedReport {
    /// The job's id.
    pub job: String,
    /// Which run: its epoch.
    pub epoch: i32,
    /// Which run: its attempt.
    pub attempt: i32,
    /// The token that the run's message carried.
    #[serde(default)]
    pub token: Option<String>,
    /// When. A later one than the last says that the message came again, after whoever had it died.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Who has it: a name of its choice.
    #[serde(default)]
    pub worker: String,
}

/// Bytes that are no [`StartedReport`].
#[derive(Debug, thiserror::Error)]
#[error("not a report of a start: {0}")]
pub struct NotAStart(#[from] serde_json::Error);

impl StartedReport {
    /// Which run.
    pub fn run(&self) -> Run {
        Run { epoch: self.epoch, attempt: self.attempt }
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// When it is no JSON, or misses what cannot be guessed.
    pub fn decode(body: &[u8]) -> Result<Self, NotAStart> {
        Ok(serde_json::from_slice(body)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_wire_form_is_this() {
        let body =
            br#"{"job":"j","epoch":1,"attempt":2,"token":"t","started_at":"2026-01-01T00:00:00Z","worker":"w","later":true}"#;
        let read = StartedReport::decode(body).unwrap();
        assert_eq!((read.run(), read.token.as_deref(), read.worker.as_str()), (Run { epoch: 1, attempt: 2 }, Some("t"), "w"));
        let least = StartedReport::decode(br#"{"job":"j","epoch":1,"attempt":2}"#).unwrap();
        assert_eq!((least.token, least.started_at, least.worker), (None, None, String::new()));
        assert!(StartedReport::decode(br#"{"job":"j","epoch":1}"#).is_err());
    }
}
