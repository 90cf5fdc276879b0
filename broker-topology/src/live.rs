//! What a broker holds, in the words of RabbitMQ's management API: any type of exchange and queue, any JSON as argument.
//!
//! Read from JSON by whoever asks the broker; unknown fields are left out, and a field that the broker leaves out is its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::argument::{Arguments, OWNER};
use crate::binding::Binding;
use crate::exchange::{Exchange, ExchangeKind};
use crate::policy::Policy;
use crate::queue::{Queue, QueueKind};
use crate::topology::Topology;

/// An argument table as JSON carries it.
pub type LiveArguments = BTreeMap<String, Value>;

/// Everything in one virtual host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Its name, as people have to spell it.
    pub vhost: String,
    /// Exchanges by name; the default one and `amq.*` too.
    pub exchanges: BTreeMap<String, LiveExchange>,
    /// Queues by name.
    pub queues: BTreeMap<String, LiveQueue>,
    /// Bindings, those of the default exchange too.
    pub bindings: Vec<LiveBinding>,
    /// Policies; `None` when they could not be seen.
    pub policies: Option<Vec<LivePolicy>>,
    /// Operator policies, which hold beside the others; `None` when they could not be seen.
    pub operator_policies: Option<Vec<LivePolicy>>,
    /// How much of it was seen.
    pub sight: Sight,
}

/// How much could be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// Everything.
    #[default]
    Full,
    /// Whether exchanges and queues that were asked for are there, and nothing else: no arguments, bindings, policies, strangers.
    Existence,
}

/// An exchange.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct LiveExchange {
    /// Its name.
    pub name: String,
    /// `topic`, `fanout`, `direct`, `headers`, or that of a plugin.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Survives a restart.
    #[serde(default)]
    pub durable: bool,
    /// Goes with its last binding.
    #[serde(default)]
    pub auto_delete: bool,
    /// Takes no messages of clients.
    #[serde(default)]
    pub internal: bool,
    /// Its arguments.
    #[serde(default, deserialize_with = "table")]
    pub arguments: LiveArguments,
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct LiveQueue {
    /// Its name.
    pub name: String,
    /// `quorum`, `classic`, `stream`, ...
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Survives a restart.
    #[serde(default)]
    pub durable: bool,
    /// Goes with its last consumer.
    #[serde(default)]
    pub auto_delete: bool,
    /// Belongs to one connection; RabbitMQ says nothing of it for quorum queues.
    #[serde(default)]
    pub exclusive: Option<bool>,
    /// Its arguments.
    #[serde(default, deserialize_with = "table")]
    pub arguments: LiveArguments,
    /// Messages that wait for a consumer, at least; `None` before the first figure.
    #[serde(rename = "messages_ready", default)]
    pub ready: Option<u64>,
    /// Messages that a consumer holds, at least; `None` before the first figure.
    #[serde(rename = "messages_unacknowledged", default)]
    pub unacked: Option<u64>,
    /// The policy that holds for it.
    #[serde(default)]
    pub policy: Option<String>,
}

/// A binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveBinding {
    /// The exchange that routes.
    pub source: String,
    /// Where to.
    pub destination: String,
    /// `queue` or `exchange`.
    pub destination_type: String,
    /// The key or pattern.
    #[serde(rename(deserialize = "routing_key", serialize = "key"), default)]
    pub key: String,
    /// What a headers exchange matches.
    #[serde(default, deserialize_with = "table")]
    pub arguments: LiveArguments,
    /// By what the management API knows it.
    #[serde(default, skip_serializing)]
    pub properties_key: String,
}

/// A policy, or an operator policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct LivePolicy {
    /// Its name.
    pub name: String,
    /// A regular expression on names, in the syntax of PCRE.
    pub pattern: String,
    /// `queues`, `exchanges`, `all`; newer brokers know `classic_queues`, `quorum_queues`, `streams` as well.
    #[serde(rename = "apply-to", default)]
    pub apply_to: String,
    /// The higher one wins.
    #[serde(default)]
    pub priority: i64,
    /// What it sets.
    #[serde(default, deserialize_with = "table")]
    pub definition: LiveArguments,
}

impl Live {
    /// A broker that holds `topology` in the virtual host `/` and nothing else, each queue empty.
    pub fn of(topology: &Topology) -> Self {
        let exchange = |exchange: &Exchange| LiveExchange {
            name: exchange.name.clone(),
            kind: exchange.kind.as_str().to_owned(),
            durable: true,
            arguments: json(&exchange.arguments()),
            ..LiveExchange::default()
        };
        let queue = |queue: &Queue| LiveQueue {
            name: queue.name.clone(),
            kind: Some(queue.kind.as_str().to_owned()),
            durable: true,
            arguments: json(&queue.arguments()),
            ..LiveQueue::default()
        };
        Self {
            vhost: "/".to_owned(),
            exchanges: topology.exchanges.iter().map(|found| (found.name.clone(), exchange(found))).collect(),
            queues: topology.queues.iter().map(|found| (found.name.clone(), queue(found))).collect(),
            bindings: topology.bindings.iter().map(LiveBinding::of).collect(),
            policies: Some(topology.policies.iter().map(LivePolicy::of).collect()),
            operator_policies: Some(Vec::new()),
            sight: Sight::Full,
        }
    }

    /// What messages would do here. Exchanges of types that Warren does not know lead nowhere, as those that go by headers.
    pub fn routes(&self) -> Topology {
        let mut routes = Topology::default();
        for exchange in self.exchanges.values().filter(|exchange| !exchange.name.is_empty()) {
            let mut found = Exchange::new(&exchange.name, kind_of(&exchange.kind), "", "");
            found.alternate = exchange.arguments.get("alternate-exchange").and_then(Value::as_str).map(str::to_owned);
            routes.exchanges.insert(found);
        }
        for name in self.queues.keys() {
            routes.queues.insert(Queue::new(name, QueueKind::Classic, "", ""));
        }
        routes.bindings.extend(self.bindings.iter().filter(|binding| !binding.source.is_empty()).map(LiveBinding::route));
        routes
    }
}

impl LiveExchange {
    /// Who declared it, if it carries Warren's mark.
    pub fn owner(&self) -> Option<&str> {
        self.arguments.get(OWNER)?.as_str()
    }
}

impl LiveQueue {
    /// Who declared it, if it carries Warren's mark.
    pub fn owner(&self) -> Option<&str> {
        self.arguments.get(OWNER)?.as_str()
    }

    /// All messages that are known of. Dead letters that their target has not taken are in no list of the broker's.
    pub fn messages(&self) -> u64 {
        self.ready.unwrap_or(0) + self.unacked.unwrap_or(0)
    }

    /// Gone with the connection that made it.
    pub(crate) fn is_passing(&self) -> bool {
        self.exclusive == Some(true) || !self.durable
    }
}

impl LiveBinding {
    /// `binding` as the broker would tell of it.
    pub fn of(binding: &Binding) -> Self {
        Self {
            source: binding.source.clone(),
            destination: binding.destination.name().to_owned(),
            destination_type: binding.destination.sort().to_owned(),
            key: binding.key.clone(),
            arguments: json(&binding.arguments),
            properties_key: String::new(),
        }
    }

    /// Where its messages go, without what a headers exchange matches.
    fn route(&self) -> Binding {
        match self.destination_type == "queue" {
            true => Binding::to_queue(&self.source, &self.destination, &self.key),
            false => Binding::to_exchange(&self.source, &self.destination, &self.key),
        }
    }

    /// What makes it another binding than any other.
    pub(crate) fn identity(&self) -> (&str, &str, &str, &str, &LiveArguments) {
        (&self.source, &self.destination_type, &self.destination, &self.key, &self.arguments)
    }
}

impl LivePolicy {
    /// `policy` as the broker would tell of it.
    pub fn of(policy: &Policy) -> Self {
        Self {
            name: policy.name.clone(),
            pattern: policy.pattern.clone(),
            apply_to: policy.apply_to.as_str().to_owned(),
            priority: policy.priority,
            definition: json(&policy.definition),
        }
    }
}

/// An empty table is an empty list to some versions of RabbitMQ.
fn table<'de, D: Deserializer<'de>>(from: D) -> Result<LiveArguments, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Table {
        Full(LiveArguments),
        Empty([Value; 0]),
    }
    Ok(match Table::deserialize(from)? {
        Table::Full(arguments) => arguments,
        Table::Empty([]) => LiveArguments::new(),
    })
}

pub(crate) fn json(arguments: &Arguments) -> LiveArguments {
    arguments.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
}

fn kind_of(name: &str) -> ExchangeKind {
    match name {
        "topic" => ExchangeKind::Topic,
        "fanout" => ExchangeKind::Fanout,
        "direct" => ExchangeKind::Direct,
        _ => ExchangeKind::Headers,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_management_api_says_is_read() {
        // As RabbitMQ 3.10.8 says it, of a quorum queue without statistics.
        let text = r#"{"arguments":{"warren-owner":"hub","x-max-length":10,"x-queue-type":"quorum"},"auto_delete":false,"durable":true,
            "exclusive":null,"leader":"n@h","messages":0,"messages_ready":1,"messages_unacknowledged":2,"name":"q1","policy":"p1",
            "state":"running","type":"quorum","vhost":"/"}"#;
        let queue: LiveQueue = serde_json::from_str(text).unwrap();
        assert_eq!((queue.owner(), queue.messages(), queue.policy.as_deref()), (Some("hub"), 3, Some("p1")));
        assert!(!queue.is_passing());
        let new: LiveQueue = serde_json::from_str(r#"{"name":"q2","durable":true,"arguments":[]}"#).unwrap();
        assert_eq!((new.arguments.len(), new.ready), (0, None), "an empty table is a list, and no figure is not none");
        assert!(serde_json::from_str::<LiveQueue>(r#"{"name":"q3","arguments":[1]}"#).is_err());
        let text = r#"{"source":"e","vhost":"/","destination":"q1","destination_type":"queue","routing_key":"k",
            "arguments":{"f":1.5,"n":5,"x-match":"all"},"properties_key":"k~XbPMPA"}"#;
        let binding: LiveBinding = serde_json::from_str(text).unwrap();
        assert_eq!((binding.key.as_str(), binding.properties_key.as_str()), ("k", "k~XbPMPA"));
    }

    #[test]
    fn routes_go_over_exchanges_and_alternates() {
        let text = r#"[{"name":"","type":"direct"},{"name":"e","type":"topic","arguments":{"alternate-exchange":"rest"}},
            {"name":"rest","type":"fanout"},{"name":"odd","type":"x-random"}]"#;
        let exchanges: Vec<LiveExchange> = serde_json::from_str(text).unwrap();
        let bind = |source: &str, queue: &str, key: &str| LiveBinding::of(&Binding::to_queue(source, queue, key));
        let live = Live {
            exchanges: exchanges.into_iter().map(|exchange| (exchange.name.clone(), exchange)).collect(),
            bindings: vec![bind("", "q", "q"), bind("e", "q", "order.*"), bind("rest", "lost", ""), bind("odd", "q", "k")],
            ..Live::default()
        };
        let routes = live.routes();
        assert!(routes.queues_for("e", "order.placed").contains("q") && routes.queues_for("e", "other").contains("lost"));
        assert!(routes.queues_for("odd", "k").is_empty());
    }
}
