//! A message as Warren publishes and receives it: CloudEvents 1.0 in AMQP binary mode.
//!
//! Written headers are `cloudEvents_*`; `cloudEvents:*` is read too. A message from a foreign publisher that carries none of
//! them is still a message: its AMQP properties fill the gaps.

use std::collections::BTreeMap;
use std::time::Duration;

use broker_topology::{Names, Rung};
use bytes::Bytes;
use jiff::Timestamp;

/// The format version written into `warren-v`.
pub const FORMAT_VERSION: i64 = 1;

/// Where a message is published to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Exchange name; empty is the default exchange.
    pub exchange: String,
    /// Routing key, at most 255 bytes.
    pub key: String,
    /// Where what goes this way waits.
    rung: Option<Rung>,
}

impl Route {
    /// A route to `exchange` with `key`.
    pub fn new(exchange: impl Into<String>, key: impl Into<String>) -> Self {
        Self { exchange: exchange.into(), key: key.into(), rung: None }
    }

    /// A route to `rung`, and from there to `queue`.
    ///
    /// What goes this way carries how long it waits. RabbitMQ 3.10.8 that is killed within seconds of a declaration may come back with a
    /// rung that has forgotten its time to live, and what is in it would wait for ever.
    pub fn waiting(names: &Names, rung: Rung, queue: impl Into<String>) -> Self {
        Self { rung: Some(rung), ..Self::new(names.retry(rung), queue) }
    }

    /// How long what goes this way waits.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.rung.map(Rung::delay)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `message_id` and CloudEvents `id`; never empty on a message Warren publishes; at most 255 bytes.
    pub id: String,
    /// CloudEvents `type`: the kind of a job, or the name of an event such as `orders.placed`.
    pub kind: String,
    /// CloudEvents `source`, `/warren/<service>`.
    pub source: String,
    /// CloudEvents `time`.
    pub time: Timestamp,
    /// MIME type of the body.
    pub content_type: String,
    /// W3C trace context of whoever caused this message.
    pub traceparent: Option<String>,
    /// Which run of a job this is; `None` on events.
    pub run: Option<Run>,
    /// The tenant it belongs to; empty when there is none.
    pub tenant: String,
    /// Everything else, text only. Names beginning with `x-`, `cloudEvents` or `warren-` belong to the broker and to Warren.
    pub headers: BTreeMap<String, String>,
    /// The payload, as it was accepted.
    pub body: Bytes,
}

impl Message {
    /// What shows that whoever holds this message was given its run; `None` on what is no job, and from a hub of before tokens.
    pub fn token(&self) -> Option<&str> {
        self.headers.get(header::TOKEN).map(String::as_str)
    }
}

/// Which run of a job a message stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Grows with every redrive.
    pub epoch: i32,
    /// From 1; never goes back within an epoch.
    pub attempt: i32,
}

impl Default for Run {
    /// What a message that does not say stands for.
    fn default() -> Self {
        Self { epoch: 1, attempt: 1 }
    }
}

/// Header names, spelled once.
pub mod header {
    /// Format version of the `warren-*` headers.
    pub const VERSION: &str = "warren-v";
    /// See [`Run::epoch`](super::Run::epoch).
    pub const EPOCH: &str = "warren-epoch";
    /// See [`Run::attempt`](super::Run::attempt).
    pub const ATTEMPT: &str = "warren-attempt";
    /// When the job is given up, RFC 3339, on every job message.
    pub const DEADLINE: &str = "warren-deadline";
    /// Shows that its holder was given this run, on every job message: to be handed back with what is reported. Not on dead letters.
    pub const TOKEN: &str = "warren-token";
    /// Whose it is.
    pub const TENANT: &str = "warren-tenant";
    /// The exchange it was first published to, on a copy that waits in a rung or lies with the dead letters.
    pub const EXCHANGE: &str = "warren-exchange";
    /// The routing key it was first published with, likewise.
    pub const KEY: &str = "warren-key";
    /// The exchange it came through before its queue was made anew, since which it says another one.
    pub const MOVED_FROM: &str = "warren-moved-from";
    /// The work queue a dead letter came from.
    pub const QUEUE: &str = "warren-queue";
    /// Why it is a dead letter: a stable code.
    pub const REASON: &str = "warren-reason";
    /// Why it is a dead letter, for people.
    pub const ERROR: &str = "warren-error";
    /// The message id of the dead letter that a message is an edited copy of.
    pub const EDITED_FROM: &str = "warren-edited-from";
    /// Which of its device's messages it is, on every message for a device.
    pub const SEQ: &str = "warren-seq";
    /// The seq that was published to the device before it; absent on the first.
    pub const AFTER: &str = "warren-after";
    /// When a message for a device is of no more use, RFC 3339.
    pub const EXPIRES: &str = "warren-expires";
    /// A later message for the device with the same key takes its place.
    pub const COLLAPSE_KEY: &str = "warren-collapse-key";
    /// `high` on a message that is worth waking the device for; absent on others.
    pub const PRIORITY: &str = "warren-priority";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
}
