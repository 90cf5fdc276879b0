//! The accept path: one durable write, shared with whoever else is waiting, then the answer.
//!
//! ```text
//! request -> Acceptor (kind, backlog, key) -> Writer (group commit) -> 202
//!                                               '-> hand-over to the relay, in memory
//! ```
//!
//! A 202 means fsynced. Whatever else comes back means: not promised; the caller tries again with the same key and gets one job.

mod backlog;
mod key;
mod timing;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use broker_topology::Kind;
use bytes::Bytes;
use uuid::Uuid;

pub use backlog::{Backlog, BacklogLimits};
pub use key::{KEY_MAX, KeyError, key_hash, parse as parse_key};
pub use timing::{TIMING_HEADERS, Timing, TimingError};
pub use writer::{Writer, WriterOptions};

use crate::clock;
use crate::kinds::Kinds;
use crate::store::{Job, Key, NewJob, Payload, Status};

/// A job that somebody asks for. Size and shape are checked at the door, before this.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The kind, as it was given.
    pub kind: String,
    /// Whose it will be.
    pub tenant: String,
    /// Who asks.
    pub subject: String,
    /// The route it came by: part of the scope of `key`.
    pub route: String,
    /// MIME type of the body.
    pub content_type: String,
    /// The payload.
    pub body: Bytes,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// `Idempotency-Key`, without its quotes.
    pub key: Option<String>,
    /// When it is to run.
    pub timing: Timing,
}

/// The answer: durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The job.
    pub id: Uuid,
    /// The key was used before, with the same request: this is the first answer again.
    pub replayed: bool,
}

/// Why a job was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// No such kind here.
    #[error("there is no kind `{0}`")]
    UnknownKind(String),
    /// It asks for a time that cannot be had.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The key was used before, for another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The key's first request is not decided after 2 s.
    #[error("the first request with this Idempotency-Key is not decided yet")]
    Undecided,
    /// Too much waits already: for this tenant, or in all.
    #[error("too many jobs wait to be published")]
    Backlog {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database does not answer. Whether the job is stored is unknown: try again with the same key.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The database refuses this very job.
    #[error("the store refuses this job: {0}")]
    Refused(String),
}

/// Accepts jobs. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    kinds: Kinds,
    backlog: Arc<Backlog>,
    writer: Writer,
}

impl Acceptor {
    /// An acceptor for `kinds` that stores through `writer`.
    pub fn new(kinds: Kinds, backlog: Arc<Backlog>, writer: Writer) -> Self {
        Self { kinds, backlog, writer }
    }

    /// The kinds it accepts.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Stores a job durably, or says why not. The only wait is for the commit.
    ///
    /// # Errors
    /// As [`AcceptError`]; only `Unavailable` leaves it open whether the job is stored.
    pub async fn accept(&self, submission: Submission) -> Result<Accepted, AcceptError> {
        let spec = self.kinds.get(&submission.kind).ok_or_else(|| AcceptError::UnknownKind(submission.kind.clone()))?;
        let key = key_of(&submission);
        let admitted = submission.timing.status(spec.deadline, clock::now()).map_err(AcceptError::from).and_then(|status| {
            self.backlog.admit(&submission.tenant)?;
            Ok(status)
        });
        match admitted {
            Ok(status) => {
                let tenant = submission.tenant.clone();
                let stored = self.writer.store(new_job(submission, status, key)).await;
                if !stored.as_ref().is_ok_and(|accepted| !accepted.replayed) {
                    self.backlog.release(&tenant);
                }
                stored
            }
            // What was answered once is answered so again, however much waits, and though its time is over by now.
            Err(refused) => self.writer.first_answer(key).await?.ok_or(refused),
        }
    }

    /// Whether `kind` is one of ours, as a [`Kind`].
    pub fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name).map(|spec| &spec.kind)
    }
}

fn key_of(submission: &Submission) -> Option<Key> {
    submission.key.as_ref().map(|key| Key {
        hash: key::key_hash(&submission.tenant, &submission.subject, &submission.route, key),
        fingerprint: key::fingerprint(&submission.content_type, &submission.body, submission.timing.said()),
    })
}

fn new_job(submission: Submission, status: Status, key: Option<Key>) -> NewJob {
    NewJob {
        job: Job { id: Uuid::now_v7(), kind: submission.kind, tenant: submission.tenant, version: 1, status },
        payload: Payload {
            subject: submission.subject,
            content_type: submission.content_type,
            body: submission.body,
            traceparent: submission.traceparent,
        },
        key,
    }
}
