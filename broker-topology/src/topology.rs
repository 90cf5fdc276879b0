//! The whole of what is declared, and how fragments become one.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::argument::Arguments;
use crate::binding::{Binding, Destination};
use crate::exchange::{Exchange, ExchangeKind};
use crate::object::Object;
use crate::policy::Policy;
use crate::queue::{Queue, QueueKind};
use crate::violation::Violation;

/// Exchanges, queues, bindings and policies of one vhost: a crate's fragment, or the merge of all.
///
/// The parts are sets, so neither order nor repetition means anything. Two different declarations of one name can be
/// held, but not merged or validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// All exchanges, by name.
    pub exchanges: BTreeSet<Exchange>,
    /// All queues, by name.
    pub queues: BTreeSet<Queue>,
    /// All bindings, by source.
    pub bindings: BTreeSet<Binding>,
    /// All policies, by name.
    pub policies: BTreeSet<Policy>,
}

impl Topology {
    /// Adds an exchange.
    #[must_use]
    pub fn exchange(mut self, exchange: Exchange) -> Self {
        self.exchanges.insert(exchange);
        self
    }

    /// Adds a queue.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queues.insert(queue);
        self
    }

    /// Adds a binding.
    #[must_use]
    pub fn binding(mut self, binding: Binding) -> Self {
        self.bindings.insert(binding);
        self
    }

    /// Adds a policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policies.insert(policy);
        self
    }

    /// Adds all of `other`, conflicting declarations too: for building one fragment out of parts.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.exchanges.extend(other.exchanges);
        self.queues.extend(other.queues);
        self.bindings.extend(other.bindings);
        self.policies.extend(other.policies);
        self
    }

    /// Makes one topology of many fragments. The order of fragments does not matter.
    ///
    /// # Errors
    /// One violation per name that is declared in more than one way, all together. The result is not validated
    /// further: see [`Topology::validate`].
    pub fn merge(fragments: impl IntoIterator<Item = Self>) -> Result<Self, Vec<Violation>> {
        let merged = fragments.into_iter().fold(Self::default(), Self::and);
        let conflicts = merged.conflicts();
        if conflicts.is_empty() { Ok(merged) } else { Err(conflicts) }
    }

    /// Names that are declared in more than one way.
    pub(crate) fn conflicts(&self) -> Vec<Violation> {
        let mut found = conflicts(&self.exchanges);
        found.extend(conflicts(&self.queues));
        found.extend(conflicts(&self.policies));
        found
    }

    /// The exchange of that name: a declared one, or one that every virtual host has.
    pub(crate) fn find_exchange(&self, name: &str) -> Option<&Exchange> {
        // Whatever else it has, it sorts behind the least exchange of its name.
        let least = Exchange::new(name, ExchangeKind::Topic, "", "");
        let declared = self.exchanges.range(least..).next().filter(|exchange| exchange.name == name);
        declared.or_else(|| GIVEN.iter().find(|exchange| exchange.name == name))
    }

    pub(crate) fn find_queue(&self, name: &str) -> Option<&Queue> {
        self.queues.range(Queue::new(name, QueueKind::Quorum, "", "")..).next().filter(|queue| queue.name == name)
    }

    /// The bindings that begin at the exchange `source`.
    pub(crate) fn bindings_of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Binding> {
        let least = Binding {
            source: source.to_owned(),
            destination: Destination::Queue(String::new()),
            key: String::new(),
            arguments: Arguments::new(),
        };
        self.bindings.range(least..).take_while(move |binding| binding.source == source)
    }
}

/// The exchanges that every virtual host has, beside the default exchange.
static GIVEN: LazyLock<Vec<Exchange>> = LazyLock::new(|| {
    let given = [
        ("amq.direct", ExchangeKind::Direct),
        ("amq.fanout", ExchangeKind::Fanout),
        ("amq.headers", ExchangeKind::Headers),
        ("amq.match", ExchangeKind::Headers),
        ("amq.topic", ExchangeKind::Topic),
    ];
    given.map(|(name, kind)| Exchange::new(name, kind, "rabbitmq", "every virtual host has it")).into()
});

fn conflicts<T: Object>(objects: &BTreeSet<T>) -> Vec<Violation> {
    // The name is the first field of every object, so namesakes are neighbours.
    let sorted: Vec<&T> = objects.iter().collect();
    sorted.chunk_by(|a, b| a.name() == b.name()).filter(|same| same.len() > 1).map(conflict).collect()
}

fn conflict<T: Object>(namesakes: &[&T]) -> Violation {
    let all: Vec<Arguments> = namesakes.iter().map(|object| object.properties()).collect();
    let fields: BTreeSet<&str> = all.windows(2).flat_map(|pair| differing(&pair[0], &pair[1])).collect();
    let owners: BTreeSet<&str> = namesakes.iter().filter_map(|object| object.owner()).collect();
    let by = match owners.len() {
        0 => String::new(),
        _ => format!(" by {}", owners.into_iter().collect::<Vec<_>>().join(" and ")),
    };
    let fields = fields.into_iter().collect::<Vec<_>>().join(", ");
    Violation::new(
        "declared-twice",
        namesakes[0].label(),
        format!("is declared in {} ways{by}, which differ in {fields}", namesakes.len()),
        "keep one of the declarations, or make them equal",
    )
}

/// The names of properties that are not the same on both sides.
pub(crate) fn differing<'a>(one: &'a Arguments, other: &'a Arguments) -> impl Iterator<Item = &'a str> {
    let names: BTreeSet<&str> = one.keys().chain(other.keys()).map(String::as_str).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::exchange::ExchangeKind::{Direct, Topic};
    use crate::policy::ApplyTo;
    use crate::queue::QueueKind::Classic;

    fn exchange(kind: crate::ExchangeKind, owner: &str) -> Topology {
        Topology::default().exchange(Exchange::new("e", kind, owner, "x"))
    }

    #[test]
    fn equal_declarations_merge() {
        let merged = Topology::merge([exchange(Topic, "hub"), exchange(Topic, "hub")]).unwrap();
        assert_eq!(merged, exchange(Topic, "hub"));
    }

    #[test]
    fn a_conflict_names_both_owners_and_what_differs() {
        let violations = Topology::merge([exchange(Topic, "orders"), exchange(Direct, "hub")]).unwrap_err();
        assert_eq!(
            violations[0].to_string(),
            "exchange e is declared in 2 ways by hub and orders, which differ in type, warren-owner: \
             keep one of the declarations, or make them equal (declared-twice)"
        );
    }

    #[test]
    fn all_conflicts_are_reported_together() {
        let policy = |priority| Policy {
            name: "p".to_owned(),
            pattern: "^q".to_owned(),
            apply_to: ApplyTo::Queues,
            priority,
            definition: Arguments::new(),
        };
        let fragment = |kind, ttl: i64, priority| {
            exchange(kind, "hub").queue(Queue::new("q", Classic, "hub", "x").with("x-message-ttl", ttl)).policy(policy(priority))
        };
        let violations = Topology::merge([fragment(Topic, 1, 1), fragment(Direct, 2, 2)]).unwrap_err();
        let objects: Vec<&str> = violations.iter().map(|violation| violation.object.as_str()).collect();
        assert_eq!(objects, ["exchange e", "queue q", "policy p"]);
        assert!(violations[2].message.contains("2 ways, which differ in priority"), "{}", violations[2]);
    }

    #[test]
    fn a_queue_and_an_exchange_may_share_a_name() {
        let queue = Topology::default().queue(Queue::new("e", Classic, "orders", "x"));
        assert!(Topology::merge([exchange(Topic, "hub"), queue]).is_ok());
    }
}
