//! Queues.

use std::fmt;

use crate::argument::{Argument, Arguments, DESCRIPTION, OWNER, QUEUE_TYPE};
use crate::object::{Object, shown_as_label};

/// How a queue keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueKind {
    /// Replicated and counted: work, delays, dead letters.
    Quorum,
    /// One copy on one node: fleets of queues that come and go.
    Classic,
    /// A replicated log: reading takes nothing out of it, age and size do.
    Stream,
}

impl QueueKind {
    /// The value of `x-queue-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
            Self::Stream => "stream",
        }
    }
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A durable queue, neither exclusive nor auto-delete.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    /// The full name, prefix included.
    pub name: String,
    /// How it keeps its messages.
    pub kind: QueueKind,
    /// Arguments beyond those that the other fields state.
    pub arguments: Arguments,
    /// Who declares it: `hub`, or a service.
    pub owner: String,
    /// What it is for, in a few words.
    pub description: String,
}

impl Queue {
    /// A queue without further arguments.
    pub fn new(name: impl Into<String>, kind: QueueKind, owner: &str, description: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            arguments: Arguments::new(),
            owner: owner.to_owned(),
            description: description.to_owned(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Argument>) -> Self {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }

    /// The complete AMQP arguments, queue type and marks included.
    ///
    /// A redeclare with another value is refused by RabbitMQ, but for the marks `warren-owner` and
    /// `warren-description`, where it ignores the difference.
    pub fn arguments(&self) -> Arguments {
        let mut arguments = self.arguments.clone();
        arguments.insert(QUEUE_TYPE.to_owned(), self.kind.as_str().into());
        arguments.insert(OWNER.to_owned(), self.owner.as_str().into());
        arguments.insert(DESCRIPTION.to_owned(), self.description.as_str().into());
        arguments
    }

    /// The text argument of that name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.arguments.get(name)?.as_text()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.arguments.contains_key(name)
    }
}

impl Object for Queue {
    const SORT: &'static str = "queue";

    fn name(&self) -> &str {
        &self.name
    }

    fn owner(&self) -> Option<&str> {
        Some(&self.owner)
    }

    fn properties(&self) -> Arguments {
        self.arguments()
    }
}

shown_as_label!(Queue);
