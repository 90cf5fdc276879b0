//! Policies.

use std::fmt;

use crate::argument::Arguments;
use crate::object::{Object, shown_as_label};

/// What a policy is for. RabbitMQ 3.10 knows these three; narrow it further with the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApplyTo {
    /// Queues of every kind.
    Queues,
    /// Exchanges.
    Exchanges,
    /// Both.
    All,
}

impl ApplyTo {
    /// The value of `apply-to`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Exchanges => "exchanges",
            Self::All => "all",
        }
    }
}

impl ApplyTo {
    /// Whether it is for queues too.
    pub(crate) fn queues(self) -> bool {
        self != Self::Exchanges
    }

    /// Whether it is for exchanges too.
    pub(crate) fn exchanges(self) -> bool {
        self != Self::Queues
    }
}

impl fmt::Display for ApplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy: what an operator may tune. What correctness rests on is an argument instead, since AMQP cannot set
/// policies and a plain broker has none. Of all policies that match an object only the one with the highest priority holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// A regular expression on names.
    pub pattern: String,
    /// What it is for.
    pub apply_to: ApplyTo,
    /// The higher one wins.
    pub priority: i64,
    /// What it sets, with the names of policies: `max-length`, not `x-max-length`.
    pub definition: Arguments,
}

impl Object for Policy {
    const SORT: &'static str = "policy";

    fn name(&self) -> &str {
        &self.name
    }

    fn owner(&self) -> Option<&str> {
        None
    }

    fn properties(&self) -> Arguments {
        let defined = self.definition.iter().map(|(name, value)| (format!("definition.{name}"), value.clone()));
        let own = [
            ("pattern".to_owned(), self.pattern.as_str().into()),
            ("apply-to".to_owned(), self.apply_to.as_str().into()),
            ("priority".to_owned(), self.priority.into()),
        ];
        defined.chain(own).collect()
    }
}

shown_as_label!(Policy);
