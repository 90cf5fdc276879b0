//! Policies of the team's own.

use broker_topology::{ApplyTo, Argument, Arguments, Names, Policy, Topology, known_setting, prefixed};
use serde::Serialize;

use super::{Declared, arguments, key_at, on_broker};
use crate::config::section::Section;
use crate::config::value::words;

/// One `[[policy]]`. AMQP cannot set it: an import of definitions does, or who may use the management API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyConfig {
    /// Its name without `broker.prefix`; required.
    pub name: String,
    /// A regular expression on names, each branch beginning with `^`, where `broker.prefix` comes in; required.
    pub pattern: String,
    /// What it is for; default `queues`.
    pub apply_to: PolicyTarget,
    /// Of several that match only the one with the highest holds; default 0.
    pub priority: i32,
    /// What it sets, as RabbitMQ calls it, without `x-`; required.
    pub definition: Arguments,
}

words! {
    /// What a policy is for: what every supported RabbitMQ knows.
    PolicyTarget {
        /// Queues of all types.
        Queues = "queues",
        /// Exchanges.
        Exchanges = "exchanges",
        /// Both.
        All = "all",
    }
}

/// Settings whose value is the name of an exchange.
const EXCHANGES: [&str; 2] = ["alternate-exchange", "dead-letter-exchange"];

impl Declared for PolicyConfig {
    const KEY: &'static str = "policy";
    const MOST: usize = 100;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "give the policy its name");
        let pattern = section.required("pattern", "write what the names begin with, as in '^orders\\.'");
        let apply_to = section.get("apply_to", PolicyTarget::Queues);
        let priority = section.get("priority", 0_i32);
        let definition = arguments(section, "definition", known_setting);
        Some(Self { name: name?, pattern: pattern?, apply_to, priority, definition })
    }

    fn own(&self, names: &Names) -> Topology {
        let target = self.definition.get("dead-letter-exchange").and_then(Argument::as_text);
        let target = target.map(|exchange| on_broker(names, exchange));
        let named = |(setting, value): (&String, &Argument)| {
            let value = match (setting.as_str(), value.as_text(), &target) {
                (setting, Some(exchange), _) if EXCHANGES.contains(&setting) => on_broker(names, exchange).into(),
                ("dead-letter-routing-key", Some(key), Some(exchange)) => key_at(names, exchange, key).into(),
                _ => value.clone(),
            };
            (setting.clone(), value)
        };
        Topology::default().policy(Policy {
            name: on_broker(names, &self.name),
            pattern: prefixed(&self.pattern, names.prefix()),
            apply_to: match self.apply_to {
                PolicyTarget::Queues => ApplyTo::Queues,
                PolicyTarget::Exchanges => ApplyTo::Exchanges,
                PolicyTarget::All => ApplyTo::All,
            },
            priority: self.priority.into(),
            definition: self.definition.iter().map(named).collect(),
        })
    }
}
