//! The accept path: one durable write, shared with whoever else is waiting, then the answer.
//!
//! ```text
//! request -> Acceptor (kind, backlog, key) -> Writer (group commit) -> 202
//!                                               '-> hand-over to the relay, in memory
//! ```
//!
//! A 202 means fsynced. Whatever else comes back means: not promised; the caller tries again with the same key and gets one job.

mod backlog;
mod priority;
mod timing;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use messaging::trace::{SpanKind, Tracer};
use uuid::Uuid;

pub use backlog::{Backlog, BacklogLimits};
pub use priority::{PRIORITY_HEADER, PriorityError, parse as parse_priority};
pub(crate) use timing::run_at;
pub use timing::{TIMING_HEADERS, Timing, TimingError};
pub use writer::{Writer, WriterOptions};

use crate::callbacks::{CallbackError, CallbackRules};
use crate::destinations::Destinations;
use crate::estimates::Estimates;
use crate::kinds::{KindSpec, Kinds};
use crate::store::{Job, Key, Micros, NewJob, Payload, Priority, State, Status, Target};
use crate::tags::Tags;
use database::clock;

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
    /// The class that was asked for; `None` for that of its kind.
    pub priority: Option<Priority>,
    /// Words to find it by.
    pub tags: Tags,
    /// Who is to be told of its end; `None` for whom its kind says, if any.
    pub callback: Option<String>,
    /// Nobody waits for the answer, and what is refused would be lost or kept elsewhere: it may wait as long as its deadline
    /// lets it, so the kind's `max_wait` does not refuse it, and a time to run at that went by on its way means now.
    pub patient: bool,
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
    /// It asks for a class that its kind has not.
    #[error("`priority` {0}")]
    Priority(#[from] PriorityError),
    /// It asks to tell somebody whom it may not.
    #[error("`callback` {0}")]
    Callback(#[from] CallbackError),
    /// The key was used before, for another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The key's first request is not decided after 2 s.
    #[error("the first request with this Idempotency-Key is not decided yet")]
    Undecided,
    /// Too much waits already, in all.
    #[error("too many jobs wait to be published")]
    Backlog {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much waits already for this tenant; there is room for others.
    #[error("too many jobs of this tenant wait to be published")]
    TenantBacklog {
        /// When to try again.
        retry_after: Duration,
    },
    /// It would wait too long for its start.
    #[error("a job of this kind would wait longer than its kind allows")]
    Overloaded {
        /// When it would not.
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
    callbacks: CallbackRules,
    destinations: Option<Arc<Destinations>>,
    estimates: Option<Arc<Estimates>>,
    tracer: Tracer,
}

impl Acceptor {
    /// An acceptor for `kinds` that stores through `writer`.
    pub fn new(kinds: Kinds, backlog: Arc<Backlog>, writer: Writer) -> Self {
        Self {
            kinds,
            backlog,
            writer,
            callbacks: CallbackRules::default(),
            destinations: None,
            estimates: None,
            tracer: Tracer::default(),
        }
    }

    /// Takes callbacks as `rules` allow; without them none are.
    #[must_use]
    pub fn with_callbacks(mut self, rules: CallbackRules) -> Self {
        self.callbacks = rules;
        self
    }

    /// Tells when jobs will start whose destination is held, and refuses those that may not wait so long.
    #[must_use]
    pub fn with_destinations(mut self, destinations: Arc<Destinations>) -> Self {
        self.destinations = Some(destinations);
        self
    }

    /// Tells when jobs will start that come behind many others, and refuses those that may not wait so long.
    #[must_use]
    pub fn with_estimates(mut self, estimates: Arc<Estimates>) -> Self {
        self.estimates = Some(estimates);
        self
    }

    /// Tells of what is accepted.
    #[must_use]
    pub fn with_tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// What the doors tell of what they take.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// As [`Acceptor::accept`], told of as a span of its own: for what comes by no request.
    pub(crate) async fn accept_traced(&self, mut submission: Submission) -> Result<Accepted, AcceptError> {
        let entered = self.tracer.enter(SpanKind::Internal, submission.traceparent.take());
        submission.traceparent = entered.traceparent;
        let mut span = entered.span;
        if let Some(span) = &mut span {
            span.name(format!("accept {}", submission.kind));
            span.set("warren.job.kind", submission.kind.as_str());
        }
        let accepted = self.accept(submission).await;
        if let Some(span) = &mut span {
            match &accepted {
                Ok(accepted) => span.set("warren.job.id", accepted.id.to_string()),
                Err(error) => span.failed("not-accepted", &error.to_string()),
            }
        }
        accepted
    }

    /// When a job of `kind` and `class` that is accepted now will start, as far as is known; `None` for at once, or not known. What
    /// waits is not counted by class: of a high job, which goes before most of it, nothing is said by that.
    pub fn starts_at(&self, kind: &str, class: Priority) -> Option<Micros> {
        let held = self.destinations.as_ref().and_then(|destinations| destinations.held_until(kind));
        held.or_else(|| {
            let wait = self.estimates.as_ref().filter(|_| class == Priority::Normal)?.wait(kind)?;
            Some(clock::now().saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
        })
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
        match self.admit(&spec, &submission) {
            Ok((priority, status, callback)) => {
                let (tenant, for_later) = (submission.tenant.clone(), status.state == State::Scheduled);
                let stored = self.writer.store(new_job(submission, priority, status, key, callback)).await;
                let is_new = stored.as_ref().is_ok_and(|accepted| !accepted.replayed);
                match &self.estimates {
                    _ if for_later => {}
                    _ if !is_new => self.backlog.release(&tenant),
                    Some(estimates) => estimates.accepted(spec.kind.as_str()),
                    None => {}
                }
                stored
            }
            // What was answered once is answered so again, however much waits, and though its time is over by now.
            Err(refused) => self.writer.first_answer(key).await?.ok_or(refused),
        }
    }

    /// The answer that was given to this very submission before, if it carries a key and was: nothing is stored.
    ///
    /// # Errors
    /// [`AcceptError::KeyReused`] when the key stands for another request, `Unavailable`.
    pub async fn first_answer(&self, submission: &Submission) -> Result<Option<Accepted>, AcceptError> {
        self.writer.first_answer(key_of(submission)).await
    }

    /// What the job will be, and a place in the backlog for it.
    fn admit(&self, spec: &KindSpec, submission: &Submission) -> Result<(Priority, Status, Option<Target>), AcceptError> {
        let priority = priority::class(spec, submission.priority)?;
        let callback = submission.callback.as_ref().or(spec.callback.as_ref());
        let callback = callback.map(|url| self.callbacks.check(&submission.tenant, url)).transpose()?;
        let status = submission.timing.status(spec.deadline, clock::now(), submission.patient)?;
        if !submission.patient {
            self.keeps_up(spec, priority, &status)?;
        }
        self.backlog.admit(&submission.tenant, status.state == State::Scheduled)?;
        Ok((priority, status, callback))
    }

    /// Whether a job would start soon enough for its kind.
    fn keeps_up(&self, spec: &KindSpec, class: Priority, status: &Status) -> Result<(), AcceptError> {
        let Some(most) = spec.max_wait else { return Ok(()) };
        let Some(starts_at) = self.starts_at(spec.kind.as_str(), class) else { return Ok(()) };
        // One that is scheduled for later waits for that by itself.
        let left = starts_at.saturating_sub(status.due_at.max(clock::now()));
        let wait = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        // By then the wait has come down to what the kind allows.
        if wait > most { Err(AcceptError::Overloaded { retry_after: wait.saturating_sub(most) }) } else { Ok(()) }
    }
}

fn key_of(submission: &Submission) -> Option<Key> {
    let key = submission.key.as_ref()?;
    let tags = submission.tags.text();
    let priority = submission.priority.map(|priority| ("priority", priority.name()));
    let callback = submission.callback.as_deref().map(|url| ("callback", url));
    let said =
        submission.timing.said().chain(priority).chain(callback).chain((!tags.is_empty()).then_some(("tags", tags.as_str())));
    Some(Key {
        hash: door::key::hash(&submission.tenant, &submission.subject, &submission.route, key),
        fingerprint: door::key::fingerprint(&submission.content_type, &submission.body, said),
    })
}

fn new_job(submission: Submission, priority: Priority, status: Status, key: Option<Key>, callback: Option<Target>) -> NewJob {
    NewJob {
        job: Job { id: Uuid::now_v7(), kind: submission.kind, tenant: submission.tenant, version: 1, priority, status },
        payload: Payload {
            subject: submission.subject,
            content_type: submission.content_type,
            body: submission.body,
            traceparent: submission.traceparent,
        },
        key,
        tags: submission.tags,
        callback,
    }
}
