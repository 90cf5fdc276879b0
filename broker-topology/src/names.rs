//! The names Warren gives to what it declares, and the grammar of the names people give to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::priority::Priority;

/// The longest name or key AMQP can carry, in bytes.
pub const MAX_NAME: usize = 255;

/// The stable name of a job type: `[a-z][a-z0-9]*([._-][a-z0-9]+)*`, at most 100 bytes, last word not `dead` or `high`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(Arc<str>);

/// Why a text is not a [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// Empty or over 100 bytes.
    #[error("a kind has 1 to {max} bytes, this one has {0}", max = Kind::MAX)]
    Length(usize),
    /// Outside the grammar.
    #[error(
        "`{0}` is not a kind: lower-case words of letters and digits joined by `.`, `_` or `-`, the first beginning with a letter"
    )]
    Grammar(String),
    /// Would collide with a queue Warren declares beside the work queue.
    #[error("`{0}` is not a kind: its last word must not be `dead` or `high`, Warren names queues so")]
    Reserved(String),
}

impl Kind {
    /// The longest kind, in bytes.
    pub const MAX: usize = 100;

    /// # Errors
    /// When `text` is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, KindError> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(KindError::Length(text.len()));
        }
        let mut words = text.split(['.', '_', '-']);
        let well_formed = text.starts_with(|c: char| c.is_ascii_lowercase())
            && words.all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        if !well_formed {
            return Err(KindError::Grammar(text.chars().take(Self::MAX).collect()));
        }
        match text.rsplit(['.', '_', '-']).next() {
            Some("dead" | "high") => Err(KindError::Reserved(text.to_owned())),
            _ => Ok(Self(text.into())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Kind {
    type Error = KindError;
    fn try_from(text: String) -> Result<Self, KindError> {
        Self::parse(&text)
    }
}

impl serde::Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// One delay queue. Delays are never mixed in one queue, since a queue expires only at its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// One second.
    S1,
    /// Five seconds.
    S5,
    /// Thirty seconds.
    S30,
    /// Two minutes.
    M2,
    /// Ten minutes.
    M10,
}

impl Rung {
    /// All rungs, shortest first.
    pub const ALL: [Self; 5] = [Self::S1, Self::S5, Self::S30, Self::M2, Self::M10];

    /// Its name, as in `warren.retry.30s`.
    pub fn name(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::S5 => "5s",
            Self::S30 => "30s",
            Self::M2 => "2m",
            Self::M10 => "10m",
        }
    }

    /// The rung of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.name() == name)
    }

    /// How long a message waits in it.
    pub fn delay(self) -> Duration {
        Duration::from_secs(match self {
            Self::S1 => 1,
            Self::S5 => 5,
            Self::S30 => 30,
            Self::M2 => 120,
            Self::M10 => 600,
        })
    }

    /// The shortest rung that waits no less than `wait`.
    pub fn at_least(wait: Duration) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.delay() >= wait)
    }
}

/// The names on one broker: `broker.prefix`, empty by default, goes before every one of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Names {
    prefix: Arc<str>,
}

impl Names {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `name` as it is called on this broker.
    pub fn on_broker(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Direct exchange; key = kind.
    pub fn jobs(&self) -> String {
        self.on_broker("warren.jobs")
    }

    /// Direct exchange and queue: jobs and device messages submitted by message.
    pub fn submit(&self) -> String {
        self.on_broker("warren.submit")
    }

    /// Direct exchange and queue: outcomes reported by services and workers.
    pub fn results(&self) -> String {
        self.on_broker("warren.results")
    }

    /// Topic exchange; key = `<domain>.<event>`.
    pub fn events(&self) -> String {
        self.on_broker("warren.events")
    }

    /// Fanout exchange of hub-wide wake-ups.
    pub fn notices(&self) -> String {
        self.on_broker("warren.notices")
    }

    /// Fanout exchange and queue of one rung.
    pub fn retry(&self, rung: Rung) -> String {
        self.on_broker(&format!("warren.retry.{}", rung.name()))
    }

    /// Direct exchange; key = name of the origin queue.
    pub fn return_exchange(&self) -> String {
        self.on_broker("warren.return")
    }

    /// Direct exchange; key = name of the origin queue.
    pub fn dead(&self) -> String {
        self.on_broker("warren.dead")
    }

    /// Fanout exchange and queue: what no queue wanted.
    pub fn lost(&self) -> String {
        self.on_broker("warren.lost")
    }

    /// Queue and fanout exchange: where the messages of `queue`, which is a full name, wait while it is made anew.
    pub fn moving(&self, queue: &str) -> String {
        let bare = queue.strip_prefix(&*self.prefix).unwrap_or(queue);
        self.on_broker(&format!("warren.moving.{bare}"))
    }

    /// The work queue of a kind: where its normal jobs go.
    pub fn work_queue(&self, kind: &Kind) -> String {
        self.queue_of(kind, Priority::Normal)
    }

    /// The queue of a kind's jobs of one class: `jobs.<kind>` or `jobs.<kind>.high`.
    pub fn queue_of(&self, kind: &Kind, priority: Priority) -> String {
        self.on_broker(&format!("jobs.{}", priority.key(kind)))
    }

    /// The kind whose work queue `queue` is, of either class.
    pub fn kind_of_work_queue(&self, queue: &str) -> Option<Kind> {
        let kind = queue.strip_prefix(&*self.prefix)?.strip_prefix("jobs.")?;
        Kind::parse(kind.strip_suffix(".high").unwrap_or(kind)).ok()
    }

    /// The dead letter queue beside `queue`, which is a full name already. That of a kind is beside its work queue, for both
    /// classes.
    pub fn dead_queue(&self, queue: &str) -> String {
        format!("{queue}.dead")
    }
}
