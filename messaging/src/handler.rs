//! What a team writes: a [`Handler`], which turns a message into an [`Outcome`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::ledger::End;
use crate::message::Message;
use crate::said::{Progress, Said};

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It worked. The bytes, JSON by convention, are kept as the job's result; more than 64 KiB are not kept.
    Done(Option<Bytes>),
    /// It failed and may work later: the retry policy says when, or gives up.
    Retry(Failure),
    /// As [`Outcome::Retry`], and not before this long from now; the attempt counts all the same.
    RetryAfter(Duration, Failure),
    /// It will never work: a dead letter at once.
    Reject(Failure),
    /// Not now, and no attempt spent. Capped by the job's deadline.
    Snooze(Duration),
}

impl Outcome {
    /// It worked and there is nothing to tell.
    pub fn done() -> Self {
        Self::Done(None)
    }

    /// The word for it in metrics and in the attempt history.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "succeeded",
            Self::Retry(_) | Self::RetryAfter(..) => "failed",
            Self::Reject(_) => "rejected",
            Self::Snooze(_) => "snoozed",
        }
    }
}

/// Why an attempt did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Stable, kebab-case; dead letters are grouped by it.
    pub code: String,
    /// For people; cut to 4 KiB when stored.
    pub message: String,
}

impl Failure {
    /// A failure with a stable code and a text for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// What a handler may know about the attempt it runs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The job's or event's id: the key to be idempotent by.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The queue it came from; for jobs of both classes that of the normal ones.
    pub queue: String,
    /// From 1; 0 on an event without a count.
    pub attempt: i32,
    /// Grows with every redrive.
    pub epoch: i32,
    /// Whose it is; empty when there is none.
    pub tenant: String,
    /// When the job is given up, if it has a deadline.
    pub deadline: Option<Timestamp>,
    /// W3C trace context to pass on.
    pub traceparent: Option<String>,
    /// Set when the process drains: stop early if you can, the attempt is kept.
    pub interrupted: CancellationToken,
    /// Set when nobody wants this run any more: somebody asked for a cancel, or the job ended without it (its deadline passed).
    /// Within about a second, in hub processes; never in a service. Stop early if you can, and come back with [`Outcome::Retry`]
    /// or [`Outcome::Snooze`]: the job is then cancelled. `Done` and `Reject` count as they do otherwise.
    pub cancelled: CancellationToken,
    /// What the handler says while it runs, by the methods below.
    pub said: Said,
}

impl Context {
    /// Says what a service that the handler called has answered, an HTTP status: shown with the attempt, of several the last one.
    pub fn answered(&self, http_status: u16) {
        self.said.answered(http_status);
    }

    /// Says how far the work is: `percent` of 100, and a note for people of 200 characters at most; what is more is cut. Costs next to
    /// nothing and never waits: the last word of each second is passed on, and shown with the job until the next one. Words of
    /// an event go nowhere.
    pub fn progress(&self, percent: u8, note: impl AsRef<str>) {
        self.said.progress(Progress::now(percent, note.as_ref()));
    }
}

/// Work for one kind of message.
///
/// A panic counts as [`Outcome::Retry`]; a body that does not decode as `M` is [`Outcome::Reject`] and never reaches the handler.
#[async_trait]
pub trait Handler<M>: Send + Sync + 'static {
    /// Does the work. Runs more than once for one message when a process dies in between: make the effect and the
    /// [`inbox`](crate::inbox) entry one transaction.
    async fn handle(&self, cx: &Context, message: M) -> Outcome;
}

/// How a message's bytes become what a handler takes.
pub trait Decode: Sized + Send + 'static {
    /// # Errors
    /// A text for people; the message becomes a dead letter with reason `undecodable`.
    fn decode(message: &Message) -> Result<Self, String>;
}

/// A body that is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> Decode for Json<T> {
    fn decode(message: &Message) -> Result<Self, String> {
        serde_json::from_slice(&message.body).map(Json).map_err(|e| e.to_string())
    }
}

impl Decode for Message {
    fn decode(message: &Message) -> Result<Self, String> {
        Ok(message.clone())
    }
}

/// A [`Handler`] whose message type is forgotten, so that a process can hold many kinds in one table.
#[async_trait]
pub trait AnyHandler: Send + Sync + 'static {
    /// Decodes and handles. [`End::Parked`] only where the ledger is the hub's own.
    async fn handle_any(&self, cx: &Context, message: Message) -> End;
}

/// Forgets the message type of `handler`.
pub fn any<M: Decode, H: Handler<M>>(handler: H) -> impl AnyHandler {
    Erased { handler, decodes: std::marker::PhantomData::<fn() -> M> }
}

struct Erased<H, M> {
    handler: H,
    decodes: std::marker::PhantomData<fn() -> M>,
}

#[async_trait]
impl<M: Decode, H: Handler<M>> AnyHandler for Erased<H, M> {
    async fn handle_any(&self, cx: &Context, message: Message) -> End {
        End::Outcome(match M::decode(&message) {
            Ok(decoded) => self.handler.handle(cx, decoded).await,
            Err(why) => Outcome::Reject(Failure::new("undecodable", why)),
        })
    }
}
