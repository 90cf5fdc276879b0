//! The rules of a topology. Each is a function from a topology to what breaks it; README.md lists them by code.
//!
//! They look at the topology alone. What an operator policy adds to a queue can only be seen on the broker.

mod names;
mod queues;
mod routes;

use crate::topology::Topology;
use crate::violation::Violation;

impl Topology {
    /// Everything that is wrong with a merged topology, in a stable order; empty when it may be declared.
    pub fn validate(&self) -> Vec<Violation> {
        let mut found = self.conflicts();
        found.extend(names::check(self));
        found.extend(queues::check(self));
        found.extend(routes::check(self));
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Binding, Exchange, ExchangeKind, Queue, QueueKind};

    /// The codes of what `topology` breaks. Every code must be in README.md.
    pub(super) fn codes(topology: &Topology) -> Vec<&'static str> {
        let violations = topology.validate();
        for violation in &violations {
            let listed = include_str!("../README.md").contains(&format!("| `{}` |", violation.code));
            assert!(listed, "README.md does not list {}", violation.code);
        }
        violations.into_iter().map(|violation| violation.code).collect()
    }

    /// A quorum queue that breaks no rule.
    pub(super) fn terminal(name: &str) -> Queue {
        Queue::new(name, QueueKind::Quorum, "hub", "x").with("x-delivery-limit", 1_000_000)
    }

    /// A queue `q` that breaks no rule and dead-letters to fanout exchange `dlx`, which leads to queue `end`.
    pub(super) fn dead_lettering() -> (Topology, Queue) {
        let around = Topology::default()
            .exchange(Exchange::new("dlx", ExchangeKind::Fanout, "hub", "x"))
            .queue(terminal("end"))
            .binding(Binding::to_queue("dlx", "end", ""));
        let queue = Queue::new("q", QueueKind::Quorum, "hub", "x")
            .with("x-delivery-limit", 5)
            .with("x-dead-letter-exchange", "dlx")
            .with("x-dead-letter-strategy", "at-least-once")
            .with("x-overflow", "reject-publish");
        (around, queue)
    }

    #[test]
    fn all_problems_are_reported_together() {
        let topology = Topology::default()
            .exchange(Exchange::new("amq.mine", ExchangeKind::Direct, "hub", "x"))
            .exchange(Exchange::new("e", ExchangeKind::Direct, "hub", "x"))
            .exchange(Exchange::new("e", ExchangeKind::Topic, "hub", "x"))
            .queue(Queue::new("q", QueueKind::Quorum, "hub", "x"))
            .binding(Binding::to_queue("e", "nowhere", "k"));
        let expected = ["declared-twice", "name-reserved", "delivery-limit-missing", "binding-destination-missing"];
        assert_eq!(codes(&topology), expected);
    }

    #[test]
    fn the_fixtures_break_nothing() {
        let (around, queue) = dead_lettering();
        assert_eq!(codes(&around.queue(queue)), [""; 0]);
    }
}
