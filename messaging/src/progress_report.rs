//! How far a run is, as a service or a worker in any language says on `warren.results`: a message of `type` [`KIND`].
//!
//! The body is JSON; [`ProgressReport`] is its one definition. Such a report is lost without harm: nobody waits for it, and a later one
//! says more. The hub ignores it unless it names the run that the job is at.

use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use broker_topology::Names;

use crate::consumer::{Running, Word};
use crate::message::{Message, Route, Run};
use crate::publisher::Publisher;
use crate::said::{NOTE_MAX, PACE, Progress};
use crate::wire::Outbound;

/// The `type` of the message.
pub const KIND: &str = "warren.progress";

/// How far one run of a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressReport {
    /// The job's id.
    pub job: String,
    /// Which run: its epoch.
    pub epoch: i32,
    /// Which run: its attempt.
    pub attempt: i32,
    /// The token that the run's message carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Grows with each start of that run, if its worker counts them: an earlier start is not heard after a later one.
    #[serde(default)]
    pub lease: i64,
    /// 0 to 100.
    pub percent: u8,
    /// For people; cut to 200 characters.
    #[serde(default)]
    pub note: String,
    /// When it was said.
    pub at: Timestamp,
}

/// Bytes that are no [`ProgressReport`].
#[derive(Debug, thiserror::Error)]
pub enum NotProgress {
    /// No JSON, or a field is missing.
    #[error("not a report of progress: {0}")]
    Json(#[from] serde_json::Error),
    /// Over 100.
    #[error("the percentage is {0}: it may be 0 to 100")]
    Percent(u8),
}

impl ProgressReport {
    /// What a handler said.
    pub fn of(word: &Word) -> Self {
        let Word { id, run, token, lease, progress } = word;
        let (Progress { percent, note, at }, token) = (progress.clone(), token.clone());
        Self { job: id.clone(), epoch: run.epoch, attempt: run.attempt, token, lease: *lease, percent, note, at }
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// As [`NotProgress`].
    pub fn decode(body: &[u8]) -> Result<Self, NotProgress> {
        let report: Self = serde_json::from_slice(body)?;
        if report.percent > 100 {
            return Err(NotProgress::Percent(report.percent));
        }
        Ok(report)
    }

    /// As a handler in the hub would have said it.
    pub fn into_word(self) -> Word {
        let run = Run { epoch: self.epoch, attempt: self.attempt };
        let note = self.note.chars().take(NOTE_MAX).collect();
        let progress = Progress { percent: self.percent, note, at: self.at };
        Word { id: self.job, run, token: self.token, lease: self.lease, progress }
    }

    fn message(&self, names: &Names, service: &str) -> Result<(Route, Message), serde_json::Error> {
        let message = Message {
            id: format!("{}/{}/{}/{}", self.job, self.epoch, self.attempt, self.at.as_microsecond()),
            kind: KIND.to_owned(),
            source: format!("/warren/{service}"),
            time: self.at,
            content_type: "application/json".to_owned(),
            traceparent: None,
            run: Some(Run { epoch: self.epoch, attempt: self.attempt }),
            tenant: String::new(),
            headers: std::collections::BTreeMap::new(),
            body: Bytes::from(serde_json::to_vec(self)?),
        };
        Ok((Route::new(names.results(), names.results()), message))
    }
}

/// Reports about once a second what the handlers of this process say, until `stop`.
pub(crate) async fn pass_on(running: Running, publisher: Publisher, names: Names, service: String, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let words = running.words();
        let reports = words.iter().map(async |word| {
            let (route, message) = ProgressReport::of(word).message(&names, &service).map_err(|error| error.to_string())?;
            let outbound = Outbound::new(route, &message).map_err(|error| error.to_string())?;
            publisher.publish(outbound).await.map_err(|error| error.to_string())
        });
        let passing = join_all(reports);
        tokio::select! {
            () = stop.cancelled() => return,
            passed = passing => {
                for why in passed.into_iter().filter_map(Result::err) {
                    tracing::debug!(why, "progress is not reported, and the next word will say more");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_wire_form_is_this() {
        let body = br#"{"job":"j","epoch":1,"attempt":2,"percent":40,"at":"2026-01-01T00:00:00Z","later":true}"#;
        let read = ProgressReport::decode(body).unwrap();
        assert_eq!((read.lease, read.note.as_str()), (0, ""));
        let word = read.clone().into_word();
        assert_eq!((ProgressReport::of(&word), word.progress.percent), (read, 40));
        for bad in [&b"{"[..], br#"{"job":"j","epoch":1,"attempt":2,"percent":101,"at":"2026-01-01T00:00:00Z"}"#] {
            assert!(ProgressReport::decode(bad).is_err());
        }
    }
}
