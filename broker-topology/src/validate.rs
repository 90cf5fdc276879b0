//! The rules of a topology. Each is a function from a topology to what breaks it; README.md lists them by code.
//!
//! They look at the topology alone. What an operator policy adds to a queue can only be seen on the broker.

mod arguments;
mod cycles;
mod idle;
mod names;
mod policies;
mod queues;
mod routes;

pub use policies::{prefixed, warrens_queues};

use crate::topology::Topology;
use crate::violation::{Severity, Violation};

impl Topology {
    /// Everything that is wrong with a merged topology, in a stable order; empty when it may be declared.
    pub fn validate(&self) -> Vec<Violation> {
        self.lint().into_iter().filter(|violation| violation.severity == Severity::Error).collect()
    }

    /// The same, with what may be declared and does most likely not do what was meant.
    pub fn lint(&self) -> Vec<Violation> {
        let rules = [names::check, arguments::check, queues::check, routes::check, cycles::check, policies::check, idle::check];
        self.conflicts().into_iter().chain(rules.into_iter().flat_map(|rule| rule(self))).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Binding, Exchange, ExchangeKind, Queue, QueueKind};

    /// The codes of what `topology` breaks. Every code must be in README.md.
    pub(super) fn codes(topology: &Topology) -> Vec<&'static str> {
        of(topology, Severity::Error)
    }

    /// The codes of what `topology` is warned of.
    pub(super) fn warnings(topology: &Topology) -> Vec<&'static str> {
        of(topology, Severity::Warning)
    }

    fn of(topology: &Topology, severity: Severity) -> Vec<&'static str> {
        let found = topology.lint().into_iter().filter(|violation| violation.severity == severity);
        found.map(|violation| listed(violation.code)).collect()
    }

    /// `code`, which README.md lists.
    pub(crate) fn listed(code: &'static str) -> &'static str {
        assert!(include_str!("../README.md").contains(&format!("| `{code}` |")), "README.md does not list {code}");
        code
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
