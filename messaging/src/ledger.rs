//! The port through which the consumer records a job's start and end.
//!
//! The consumer asks [`JobLedger::begin`] before it runs deliveries and [`JobLedger::finish`] before it acks them, both in
//! batches. A process with the hub's database answers from the jobs table; one without answers from its inbox and publishes
//! to `warren.results`. The consumer knows neither.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::handler::{Failure, Outcome};
use crate::message::{Message, Run};

/// A delivery that wants to run.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The message as it came; its id names the job.
    pub message: Arc<Message>,
    /// Which run it stands for; a message that does not say stands for the first.
    pub run: Run,
    /// The queue it came from; for jobs of both classes that of the normal ones.
    pub queue: Arc<str>,
    /// The consumer gives it the process to itself. A run that was started before and never ended is only begun like this,
    /// so that a message that kills processes takes no neighbours with it.
    pub alone: bool,
    /// It is acked as soon as its start is durable: from then on nothing but the ledger knows of the run, and it is for the ledger
    /// to have it done again if this process dies.
    pub early: bool,
}

/// The answer to an [`Arrival`].
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Run it, and hand the lease back with its end.
    Run {
        /// Fences the end: a later start of the same run makes the end void.
        lease: i64,
        /// When the job is given up.
        deadline: Option<Timestamp>,
    },
    /// It was started before without an end: ask again with [`Arrival::alone`].
    Alone,
    /// Another live process runs it: give it back through the first rung, no attempt spent.
    Busy,
    /// Over, cancelled, or not the run the job is at: ack and count.
    Stale,
    /// Not now: the ledger has it published again later. Ack.
    PutOff,
    /// Started too often without an end. The ledger has made it a dead letter: ack.
    Poisoned,
    /// No job this ledger could know: publish it to the dead letters with this reason, then ack.
    Refused(Failure),
}

/// The end of one run.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The message that ran.
    pub message: Arc<Message>,
    /// Which run ended.
    pub run: Run,
    /// The queue it came from; for jobs of both classes that of the normal ones.
    pub queue: Arc<str>,
    /// The lease [`Verdict::Run`] gave.
    pub lease: i64,
    /// How it ended.
    pub end: End,
    /// When the handler was started.
    pub started_at: Timestamp,
    /// When it came back.
    pub ended_at: Timestamp,
    /// What a service that the handler called answered, if it says so ([`Context::answered`](crate::handler::Context::answered)).
    pub http_status: Option<u16>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The handler came back, panicked or timed out.
    Outcome(Outcome),
    /// The drain cut it short: it keeps its attempt and is delivered again.
    Interrupted,
    /// It goes on elsewhere, without a process of the hub: whoever was given its token says how it ends.
    Parked,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

/// What became of an [`Ending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Durable: ack.
    Applied,
    /// The job had moved on; the end is on record as late and changes nothing: ack.
    Late,
}

/// The ledger could not answer; nothing is known to be written. The consumer keeps the deliveries and asks again.
#[derive(Debug, thiserror::Error)]
#[error("record the state of jobs: {0}")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Records starts and ends of jobs.
#[async_trait]
pub trait JobLedger: Send + Sync + 'static {
    /// Claims deliveries before they run; answers in the order of `arrivals`, at most 512.
    ///
    /// # Errors
    /// When nothing is known to be written. Asking again is safe: the same process may claim a run twice, as long as it
    /// does not run it at that moment.
    async fn begin(&self, arrivals: &[Arrival]) -> Result<Vec<Verdict>, LedgerError>;

    /// Makes ends durable, with whatever follows from them (a retry, a dead letter); answers in the order of `endings`.
    ///
    /// # Errors
    /// When nothing is known to be written. Asking again is safe.
    async fn finish(&self, endings: &[Ending]) -> Result<Vec<Recorded>, LedgerError>;
}
