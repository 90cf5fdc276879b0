//! Exchanges of the team's own.

use broker_topology::{Exchange, ExchangeKind, Names, Topology};
use serde::Serialize;

use super::{Declared, description, on_broker, owner};
use crate::config::section::Section;
use crate::config::value::words;

/// One `[[exchange]]`: durable, never deleted by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExchangeConfig {
    /// Its name without `broker.prefix`; required.
    pub name: String,
    /// How it routes; required.
    #[serde(rename = "type")]
    pub kind: ExchangeType,
    /// The team or service it belongs to, 1 to 100 bytes; required.
    pub owner: String,
    /// What it is for, 500 bytes at most; empty by default.
    pub description: String,
    /// The exchange that takes what no binding of this one wants; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate: Option<String>,
    /// Whether only bindings may lead to it, and nobody may publish there; default `false`.
    pub internal: bool,
}

words! {
    /// How an exchange routes.
    ExchangeType {
        /// By patterns of words.
        Topic = "topic",
        /// To everything that is bound.
        Fanout = "fanout",
        /// By the equal key.
        Direct = "direct",
        /// By headers of the message.
        Headers = "headers",
    }
}

impl Declared for ExchangeConfig {
    const KEY: &'static str = "exchange";
    const MOST: usize = 1_000;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "give the exchange its name");
        let kind = section.required("type", "write \"topic\", \"fanout\", \"direct\" or \"headers\"");
        let (owner, description) = (owner(section), description(section));
        let (alternate, internal) = (section.opt("alternate"), section.get("internal", false));
        Some(Self { name: name?, kind: kind?, owner: owner?, description, alternate, internal })
    }

    fn own(&self, names: &Names) -> Topology {
        let kind = match self.kind {
            ExchangeType::Topic => ExchangeKind::Topic,
            ExchangeType::Fanout => ExchangeKind::Fanout,
            ExchangeType::Direct => ExchangeKind::Direct,
            ExchangeType::Headers => ExchangeKind::Headers,
        };
        Topology::default().exchange(Exchange {
            alternate: self.alternate.as_ref().map(|name| on_broker(names, name)),
            internal: self.internal,
            ..Exchange::new(on_broker(names, &self.name), kind, &self.owner, &self.description)
        })
    }
}
