//! What a broker lacks of the topology it should have.

use std::collections::BTreeSet;
use std::fmt;

use crate::argument::{Argument, DESCRIPTION, OWNER};
use crate::binding::Binding;
use crate::object::Object;
use crate::topology::{Topology, differing};

/// One thing that is not on the broker as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not there.
    Create {
        /// The object with its sort: `queue jobs.orders.place`.
        object: String,
    },
    /// It is there with other properties. RabbitMQ changes those of a policy only: exchanges and queues must be made anew.
    Change {
        /// The object with its sort.
        object: String,
        /// What differs, by name of the property.
        properties: Vec<PropertyChange>,
    },
    /// Both ends may be there, the binding is not.
    MissingBinding(Binding),
}

/// A property with two values; `None` is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyChange {
    /// The argument, or `type`, `pattern`, `apply-to`, `priority`.
    pub property: String,
    /// As it should be.
    pub desired: Option<Argument>,
    /// As it is.
    pub live: Option<Argument>,
}

/// What must be done to `live` so that it holds all of `desired`, in the order in which it can be done.
///
/// What `live` has beyond is not reported, since others may have made it. A difference in the marks `warren-owner` and
/// `warren-description` is none, since RabbitMQ ignores it too.
pub fn diff(desired: &Topology, live: &Topology) -> Vec<Difference> {
    let mut found = objects(&desired.exchanges, &live.exchanges);
    found.extend(objects(&desired.queues, &live.queues));
    found.extend(desired.bindings.difference(&live.bindings).cloned().map(Difference::MissingBinding));
    found.extend(objects(&desired.policies, &live.policies));
    found
}

fn objects<T: Object>(desired: &BTreeSet<T>, live: &BTreeSet<T>) -> Vec<Difference> {
    let compare = |object: &T| {
        let Some(found) = live.iter().find(|other| other.name() == object.name()) else {
            return Some(Difference::Create { object: object.label() });
        };
        let (desired, live) = (object.properties(), found.properties());
        let properties: Vec<PropertyChange> = differing(&desired, &live)
            .filter(|name| ![OWNER, DESCRIPTION].contains(name))
            .map(|name| PropertyChange {
                property: name.to_owned(),
                desired: desired.get(name).cloned(),
                live: live.get(name).cloned(),
            })
            .collect();
        (!properties.is_empty()).then(|| Difference::Change { object: object.label(), properties })
    };
    desired.iter().filter_map(compare).collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { object } => write!(f, "create {object}"),
            Self::Change { object, properties } => {
                let changes: Vec<String> = properties.iter().map(PropertyChange::to_string).collect();
                write!(f, "change {object}: {}", changes.join(", "))
            }
            Self::MissingBinding(binding) => write!(f, "create {binding}"),
        }
    }
}

impl fmt::Display for PropertyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Argument>| value.as_ref().map_or("nothing".to_owned(), Argument::to_string);
        write!(f, "{} from {} to {}", self.property, shown(&self.live), shown(&self.desired))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Exchange, ExchangeKind, Names, Queue, QueueKind, core};

    fn lines(desired: &Topology, live: &Topology) -> Vec<String> {
        diff(desired, live).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn an_equal_or_richer_broker_needs_nothing() {
        let desired = core(&Names::default());
        let richer = desired.clone().queue(Queue::new("theirs", QueueKind::Classic, "others", "x"));
        assert_eq!(lines(&desired, &desired), [""; 0]);
        assert_eq!(lines(&desired, &richer), [""; 0]);
    }

    #[test]
    fn an_empty_broker_needs_everything() {
        let desired = core(&Names::default());
        let all = desired.exchanges.len() + desired.queues.len() + desired.bindings.len() + desired.policies.len();
        assert_eq!(diff(&desired, &Topology::default()).len(), all);
    }

    #[test]
    fn changes_are_named() {
        let topology = |kind, ttl: i64| {
            Topology::default()
                .exchange(Exchange::new("e", kind, "hub", "x"))
                .queue(Queue::new("q", QueueKind::Classic, "hub", "x").with("x-message-ttl", ttl))
        };
        let desired = topology(ExchangeKind::Topic, 1).binding(Binding::to_queue("e", "q", "k"));
        assert_eq!(
            lines(&desired, &topology(ExchangeKind::Fanout, 2)),
            [
                "change exchange e: type from `fanout` to `topic`",
                "change queue q: x-message-ttl from 2 to 1",
                "create binding e -> queue q (key `k`)",
            ]
        );
    }

    #[test]
    fn marks_are_not_compared() {
        let queue = |owner, description| Topology::default().queue(Queue::new("q", QueueKind::Classic, owner, description));
        assert_eq!(lines(&queue("hub", "new words"), &queue("orders", "old words")), [""; 0]);
    }
}
