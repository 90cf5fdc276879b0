//! A queue made anew with other arguments while everybody works: nothing that was confirmed is lost.
//!
//! ```text
//! collect    holding queue declared | queue -> holding, ahead of all consumers | holding bound, queue unbound | settle | queue deleted
//! create     queue declared with the arguments it should have
//! give back  holding -> queue | queue bound, holding unbound | settle | holding deleted
//! ```
//!
//! How far it has come is told by the broker alone ([`broker_topology::stage`]), so a run that died is gone on with by the next, on
//! any machine. Each step may be done twice. Of two runs one is refused: each holds an exclusive queue, on the connection that it takes
//! messages, acks, binds, declares and deletes over. What it publishes goes over another one, since a broker that blocks publishers (memory,
//! disk) reads nothing of theirs any more, acks included.
//!
//! *Settle* is what an unbind lacks: it keeps messages away that are routed from now on, not those routed before it. So the queue is
//! watched until, for as long as publishers wait for a confirm, nothing came, nothing is ready, no consumer holds anything, and no
//! dead letter is on its way. What
//! comes up to the moment of its end is in hand, since the run goes on consuming beyond it. A publish that took longer was not
//! confirmed in time, and is repeated by whoever made it.
//!
//! Messages may come twice: those in flight when a run dies, and those routed in the moment when both queues are bound. Where the time
//! is up before the queue is deleted, all is put back.

mod broken;
mod carry;
mod moved;
mod run;
mod session;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use broker_topology::{Arguments, Binding, LiveBinding, Queue, Stage};

pub use run::{migrate, see};

/// What only the management API tells.
#[async_trait]
pub trait Observer: Send + Sync {
    /// A queue; `None` when it is not there.
    ///
    /// # Errors
    /// A sentence for people.
    async fn queue(&self, name: &str) -> Result<Option<LiveQueue>, String>;

    /// The bindings that lead to a queue, without that of the default exchange.
    ///
    /// # Errors
    /// A sentence for people.
    async fn bindings(&self, queue: &str) -> Result<Vec<LiveBinding>, String>;

    /// Removes one of them; one that is not there is no error.
    ///
    /// # Errors
    /// A sentence for people.
    async fn unbind(&self, binding: &LiveBinding) -> Result<(), String>;
}

/// A queue as it is on the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveQueue {
    /// As it was declared, `x-queue-type` always among them.
    pub arguments: Arguments,
    /// Whether it outlives a restart.
    pub durable: bool,
    /// Whether it belongs to one connection.
    pub exclusive: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// Messages, and their bytes. Seconds old.
    pub messages: u64,
    /// Seconds old too.
    pub bytes: u64,
    /// Messages that go with the queue and are not ready: delivered and not acked, or dead-lettered and not taken by their target. Seconds
    /// old, `None` before the first figure.
    pub held: Option<u64>,
    /// What policies set for it, an operator's too: `message-ttl`, `dead-letter-exchange`, ...; seconds old, `None` before the first
    /// figure.
    pub policy: Option<Arguments>,
}

/// One queue that is to be made anew.
#[derive(Clone, Debug)]
pub struct Migration {
    /// As it should be.
    pub queue: Queue,
    /// Bindings that it should have, beside those it has.
    pub bindings: Vec<Binding>,
    /// The name of the queue, and of the fanout exchange, for what is held.
    pub holding: String,
    /// How long a queue must be at rest before it is deleted. No less than publishers wait for a confirm; it is 10 s at least, as old as
    /// the broker's statistics may be unless they are configured otherwise.
    pub settle: Duration,
    /// How long until the queue is to be empty; then all is put back, for as long again.
    pub timeout: Duration,
    /// Whether the queue may have a limit or a time to live that some of its messages do not outlast.
    pub accept_loss: bool,
}

/// What there is of a queue and of what is held of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The queue.
    pub live: Option<LiveQueue>,
    /// Its holding queue.
    pub held: Option<LiveQueue>,
    /// What comes next.
    pub stage: Stage,
    /// What would be lost of its messages by the limits it should have.
    pub loss: Option<String>,
}

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Messages go to the holding queue.
    Collecting,
    /// The queue is unbound, and must come to rest.
    Settling,
    /// It is made.
    Creating,
    /// Messages go back.
    GivingBack,
    /// The holding queue is unbound, and must come to rest.
    Closing,
}

/// Said at each change, and every two seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub doing: Doing,
    /// Messages moved by this run in this direction.
    pub moved: u64,
    /// What is left, or what is waited for; empty when there is nothing to say.
    pub note: String,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.doing {
            Doing::Collecting => "moving messages to the holding queue",
            Doing::Settling => "unbound, waiting for the queue to come to rest",
            Doing::Creating => "making the queue anew",
            Doing::GivingBack => "moving messages back",
            Doing::Closing => "bound again, waiting for the holding queue to come to rest",
        };
        write!(f, "{doing}: moved {}", self.moved)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, ", {}", self.note) }
    }
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// The queue.
    pub queue: String,
    /// What differed: `x-delivery-limit from 100 to 50`. Empty when it had been made anew before, or never differed.
    pub changes: Vec<String>,
    /// Messages moved to the holding queue.
    pub collected: u64,
    /// Messages moved back from it.
    pub given_back: u64,
}

/// Why a queue was not made anew. Each says where the messages are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrationError {
    /// Another run holds the lock.
    #[error("another migration of the queue `{0}` is running: wait for it, or end it")]
    Busy(String),
    /// Neither the queue nor what would be held of it is there.
    #[error("the queue `{0}` is not on the broker: make it with `warren topology apply`")]
    Absent(String),
    /// It cannot be done with this queue. Nothing was changed.
    #[error("the queue `{queue}` cannot be migrated: {why}; nothing was changed")]
    Unfit {
        /// The queue.
        queue: String,
        /// Why, and what to do.
        why: String,
    },
    /// The time was up before the queue was at rest; all is as it was.
    #[error("gave up on the queue `{queue}` after {after:?}: {why}; all was put back, nothing is changed")]
    GaveUp {
        /// The queue.
        queue: String,
        /// What kept it busy, and what to do.
        why: String,
        /// The time it had.
        after: Duration,
    },
    /// It broke off on the way.
    #[error(
        "the migration of the queue `{queue}` broke off: {why}; messages wait in `{holding}`, and the same command goes on where this \
         one was"
    )]
    BrokeOff {
        /// The queue.
        queue: String,
        /// Where messages may wait.
        holding: String,
        /// What happened.
        why: String,
    },
    /// The broker or its management API refuses, or does not answer, before anything was changed.
    #[error("{0}")]
    Failed(String),
}
