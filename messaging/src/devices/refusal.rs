//! Why something about a lane did not work, and what to do.

use std::time::Duration;

use lapin::ErrorKind;

use crate::connection::Stopped;

/// What AMQP says of what is not there.
const NOT_FOUND: u16 = 404;

/// Why something about a lane did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The broker said no. Asking again gives the same until somebody has put it right.
    #[error("the broker refuses to {what}: {why}{}", remedy(*.code))]
    Refused {
        /// What was asked.
        what: String,
        /// The reply code of AMQP.
        code: u16,
        /// The broker's words.
        why: String,
    },
    /// The queue is not there, or its node is not. Declaring it again may help.
    #[error("there is no queue `{queue}`: {why}")]
    Gone {
        /// Its name.
        queue: String,
        /// The broker's words.
        why: String,
    },
    /// The broker was away, or did not answer in time. It may have done what was asked: ask again, nothing here harms when done twice.
    #[error("the broker did not answer within {after:?}, asked to {what}: {why}")]
    Away {
        /// What was asked.
        what: String,
        /// What went wrong last.
        why: String,
        /// How long it was tried.
        after: Duration,
    },
    /// Too much waits already. Nothing was done.
    #[error("{0}: try again later, or give more room (LanesOptions)")]
    Busy(&'static str),
    /// AMQP cannot carry it.
    #[error("{0}")]
    Unfit(String),
    /// No queue is to be made at this broker now. Nothing was asked of it.
    #[error("no queue is made at the broker `{shard}`: {why}")]
    Shut {
        /// What it is called.
        shard: String,
        /// Why.
        why: String,
    },
    /// Somebody consumes from the queue, or still publishes to it: it stays.
    #[error("the queue `{queue}` is in use: {why}; fence the device and detach its session first")]
    InUse {
        /// Its name.
        queue: String,
        /// Who or what.
        why: String,
    },
    /// The process drains.
    #[error("the process is shutting down")]
    Stopped,
}

/// What to do about a refusal with this code.
fn remedy(code: u16) -> &'static str {
    match code {
        403 => "; give the user the permission it lacks: docs/permissions.md says which",
        404 => "; `warren topology apply` makes what all devices share",
        406 => "; the queue was declared by somebody else, or by another version: retire or delete it",
        _ => "",
    }
}

impl From<Stopped> for LaneError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What became of one try.
#[derive(Debug)]
pub(super) enum Failed {
    /// The broker's answer.
    Said(u16, String),
    /// The way to it.
    Lost(String),
    /// Nobody waits any more, or for nothing.
    Over(LaneError),
}

impl From<lapin::Error> for Failed {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            // 3xx and 5xx end a connection: its own fault, and the next one may do.
            ErrorKind::ProtocolError(said) if (400..500).contains(&said.get_id()) => Self::Said(said.get_id(), error.to_string()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl From<Stopped> for Failed {
    fn from(_: Stopped) -> Self {
        Self::Over(LaneError::Stopped)
    }
}

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        Self::Over(error)
    }
}

impl Failed {
    /// Whether the broker says that something is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Said(NOT_FOUND, _))
    }

    /// The same for the one who asked; `Err` with why when it is worth another try.
    pub(super) fn told(self, what: &str) -> Result<LaneError, String> {
        match self {
            Self::Said(code, why) => Ok(LaneError::Refused { what: what.to_owned(), code, why }),
            Self::Over(error) => Ok(error),
            Self::Lost(why) => Err(why),
        }
    }
}

/// A name or a key as AMQP carries it.
pub(super) fn short(text: &str) -> Result<lapin::types::ShortString, LaneError> {
    crate::apply::name(text).map_err(|why| LaneError::Unfit(format!("`{}`: {why}", text.chars().take(80).collect::<String>())))
}
