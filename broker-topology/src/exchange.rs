//! Exchanges.

use std::fmt;

use crate::argument::{ALTERNATE_EXCHANGE, Arguments, DESCRIPTION, OWNER};
use crate::object::{Object, shown_as_label};

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExchangeKind {
    /// By patterns of words, `*` for one word and `#` for any number.
    Topic,
    /// To everything that is bound.
    Fanout,
    /// By the equal key.
    Direct,
    /// By message headers.
    Headers,
}

impl ExchangeKind {
    /// The type as AMQP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Direct => "direct",
            Self::Headers => "headers",
        }
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A durable exchange. There is no other sort here: neither transient nor auto-delete.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange {
    /// The full name, prefix included.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Where a message goes that no binding wants. `None`: back to the publisher, if it asked for that, else nowhere.
    pub alternate: Option<String>,
    /// Whether only bindings lead to it: RabbitMQ refuses what is published to an internal exchange.
    pub internal: bool,
    /// Who declares it: `hub`, or a service.
    pub owner: String,
    /// What it is for, in a few words.
    pub description: String,
}

impl Exchange {
    /// An exchange without an alternate.
    pub fn new(name: impl Into<String>, kind: ExchangeKind, owner: &str, description: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            alternate: None,
            internal: false,
            owner: owner.to_owned(),
            description: description.to_owned(),
        }
    }

    /// Sends what no binding wants to the exchange `alternate`.
    #[must_use]
    pub fn with_alternate(self, alternate: impl Into<String>) -> Self {
        Self { alternate: Some(alternate.into()), ..self }
    }

    /// The complete AMQP arguments.
    ///
    /// On a redeclare RabbitMQ compares only `alternate-exchange`; a change of the two marks is ignored.
    pub fn arguments(&self) -> Arguments {
        let mut arguments = Arguments::from([
            (OWNER.to_owned(), self.owner.as_str().into()),
            (DESCRIPTION.to_owned(), self.description.as_str().into()),
        ]);
        if let Some(alternate) = &self.alternate {
            arguments.insert(ALTERNATE_EXCHANGE.to_owned(), alternate.as_str().into());
        }
        arguments
    }
}

impl Object for Exchange {
    const SORT: &'static str = "exchange";

    fn name(&self) -> &str {
        &self.name
    }

    fn owner(&self) -> Option<&str> {
        Some(&self.owner)
    }

    fn properties(&self) -> Arguments {
        let mut properties = self.arguments();
        properties.insert("type".to_owned(), self.kind.as_str().into());
        if self.internal {
            properties.insert("internal".to_owned(), true.into());
        }
        properties
    }
}

shown_as_label!(Exchange);
