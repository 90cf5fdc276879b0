//! What may be declared and does most likely not do what was meant: queues that nothing comes to, exchanges that lead nowhere.
//!
//! Warnings, since others may publish by a queue's name, or bind a queue of theirs. What is the hub's own is left out: services and
//! devices bind their queues when they come.

use std::collections::BTreeSet;

use crate::argument::{DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY};
use crate::binding::Destination;
use crate::fragments::HUB;
use crate::object::Object;
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let bound = topology.bindings.iter().filter_map(|binding| match &binding.destination {
        Destination::Queue(name) => Some(name.as_str()),
        Destination::Exchange(_) => None,
    });
    // By the default exchange it is the key that names the queue.
    let by_name = topology.queues.iter().filter(|queue| queue.text(DEAD_LETTER_EXCHANGE) == Some(""));
    let fed: BTreeSet<&str> = bound.chain(by_name.filter_map(|queue| queue.text(DEAD_LETTER_KEY))).collect();
    let unfed = topology.queues.iter().filter(|queue| queue.owner != HUB && !fed.contains(queue.name.as_str()));
    let mut found: Vec<Violation> = unfed
        .map(|queue| {
            Violation::new(
                "queue-unfed",
                queue.label(),
                "has no binding, so that only what is published by its name comes to it",
                "bind it to an exchange, or leave it so if its publishers name it",
            )
            .into_warning()
        })
        .collect();
    let own = topology.exchanges.iter().filter(|exchange| exchange.owner != HUB);
    found.extend(own.filter(|exchange| !leads(topology, &exchange.name, &mut BTreeSet::new())).map(|exchange| {
        Violation::new(
            "exchange-leads-nowhere",
            exchange.label(),
            "leads to no queue, so that what is published there is dropped, or goes back to a publisher that asks for it",
            "bind a queue to it, or leave it so if others do",
        )
        .into_warning()
    }));
    found
}

/// Whether something published to the exchange `name` may come to a queue, or to an exchange that others bind to.
fn leads<'a>(topology: &'a Topology, name: &'a str, seen: &mut BTreeSet<&'a str>) -> bool {
    if !seen.insert(name) {
        return false;
    }
    let Some(exchange) = topology.find_exchange(name) else { return false };
    exchange.owner == HUB
        || name.starts_with("amq.")
        || topology.bindings_of(name).any(|binding| match &binding.destination {
            Destination::Queue(_) => true,
            Destination::Exchange(next) => leads(topology, next, seen),
        })
        || exchange.alternate.as_deref().is_some_and(|next| leads(topology, next, seen))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{terminal, warnings};
    use super::*;
    use crate::{Binding, Exchange, ExchangeKind, Names, Queue, core};

    fn own(name: &str) -> Exchange {
        Exchange::new(name, ExchangeKind::Topic, "team", "x")
    }

    #[test]
    fn a_queue_is_fed() {
        let queue = || Queue { owner: "team".to_owned(), ..terminal("q") };
        let alone = Topology::default().queue(queue());
        assert_eq!(warnings(&alone), ["queue-unfed"]);
        assert_eq!(warnings(&alone.clone().binding(Binding::to_queue("amq.topic", "q", "k"))), [""; 0]);
        let letters = terminal("other").with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", "q");
        assert_eq!(warnings(&alone.queue(letters)), [""; 0]);
        assert_eq!(warnings(&Topology::default().queue(terminal("q"))), [""; 0], "the hub reads it itself");
    }

    #[test]
    fn an_exchange_leads_somewhere() {
        let names = Names::default();
        let around = || core(&names).queue(terminal("q"));
        assert_eq!(warnings(&core(&names)), [""; 0]);
        assert_eq!(warnings(&around().exchange(own("a"))), ["exchange-leads-nowhere"]);
        let ring =
            around().exchange(own("a")).exchange(own("b").with_alternate("a")).binding(Binding::to_exchange("a", "b", "#"));
        assert_eq!(warnings(&ring), ["exchange-leads-nowhere"; 2]);
        assert_eq!(warnings(&ring.clone().binding(Binding::to_queue("b", "q", "#"))), [""; 0]);
        assert_eq!(warnings(&ring.binding(Binding::to_exchange("b", names.events(), "#"))), [""; 0], "services bind to it");
        assert_eq!(warnings(&around().exchange(own("a").with_alternate("amq.fanout"))), [""; 0]);
    }
}
