//! Bindings.

use std::fmt;

use crate::argument::{Argument, Arguments};
use crate::object::readable;

/// Where a binding leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// To the queue of that name.
    Queue(String),
    /// To the exchange of that name.
    Exchange(String),
}

impl Destination {
    /// The name of the queue or exchange.
    pub fn name(&self) -> &str {
        match self {
            Self::Queue(name) | Self::Exchange(name) => name,
        }
    }

    /// The sort as the definitions file spells it.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Exchange(_) => "exchange",
        }
    }
}

/// A binding. It is its own identity: RabbitMQ knows no second one with the same four fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding {
    /// The exchange that routes.
    pub source: String,
    /// Where it routes to.
    pub destination: Destination,
    /// The key or pattern; empty for fanout and headers exchanges.
    pub key: String,
    /// What a headers exchange matches; empty for all others.
    pub arguments: Arguments,
}

impl Binding {
    /// From exchange `source` to queue `queue`.
    pub fn to_queue(source: impl Into<String>, queue: impl Into<String>, key: impl Into<String>) -> Self {
        Self::to(source, Destination::Queue(queue.into()), key)
    }

    /// From exchange `source` to exchange `exchange`.
    pub fn to_exchange(source: impl Into<String>, exchange: impl Into<String>, key: impl Into<String>) -> Self {
        Self::to(source, Destination::Exchange(exchange.into()), key)
    }

    fn to(source: impl Into<String>, destination: Destination, key: impl Into<String>) -> Self {
        Self { source: source.into(), destination, key: key.into(), arguments: Arguments::new() }
    }

    /// Adds one argument: for a headers exchange a header to match, or how, as `x-match`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Argument>) -> Self {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, key, arguments } = self;
        let (from, to, key) = (readable(source), readable(destination.name()), readable(key));
        write!(f, "binding {from} -> {} {to} (key `{key}`", destination.sort())?;
        for (name, value) in arguments {
            write!(f, ", {} = {}", readable(name), readable(&value.to_string()))?;
        }
        f.write_str(")")
    }
}
