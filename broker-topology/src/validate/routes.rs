//! Rules of the ways between objects: whatever is named exists, and every dead letter arrives.

use std::collections::BTreeSet;

use crate::argument::{
    AT_LEAST_ONCE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, MAX_LENGTH, MAX_LENGTH_BYTES, MESSAGE_TTL,
};
use crate::binding::{Binding, Destination};
use crate::exchange::Exchange;
use crate::object::Object;
use crate::queue::Queue;
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found: Vec<Violation> = topology.bindings.iter().flat_map(|binding| ends(topology, binding)).collect();
    found.extend(topology.exchanges.iter().filter_map(|exchange| alternate(topology, exchange)));
    found.extend(topology.queues.iter().filter_map(|queue| dead_letters_arrive(topology, queue)));
    found.extend(topology.queues.iter().filter(|queue| comes_back(topology, queue)).map(cycle));
    found.extend(limited_targets(topology));
    found
}

fn ends(topology: &Topology, binding: &Binding) -> Vec<Violation> {
    let mut found = Vec::new();
    if topology.find_exchange(&binding.source).is_none() {
        found.push(Violation::new(
            "binding-source-missing",
            binding,
            "begins at an exchange that is not declared",
            format!("declare exchange `{}`, or remove the binding", binding.source),
        ));
    }
    let exists = match &binding.destination {
        Destination::Queue(name) => topology.find_queue(name).is_some(),
        Destination::Exchange(name) => topology.find_exchange(name).is_some(),
    };
    if !exists {
        let (sort, name) = (binding.destination.sort(), binding.destination.name());
        found.push(Violation::new(
            "binding-destination-missing",
            binding,
            format!("ends at {} {sort} that is not declared", if sort == "queue" { "a" } else { "an" }),
            format!("declare {sort} `{name}`, or remove the binding"),
        ));
    }
    found
}

fn alternate(topology: &Topology, exchange: &Exchange) -> Option<Violation> {
    let name = exchange.alternate.as_deref().filter(|name| topology.find_exchange(name).is_none())?;
    Some(Violation::new(
        "alternate-exchange-missing",
        exchange.label(),
        format!("has the alternate exchange `{name}`, which is not declared, so the broker drops what nobody wants"),
        "declare it",
    ))
}

/// An undeliverable dead letter blocks its queue, or is dropped.
fn dead_letters_arrive(topology: &Topology, queue: &Queue) -> Option<Violation> {
    let exchange = queue.text(DEAD_LETTER_EXCHANGE)?;
    if !exchange.is_empty() && topology.find_exchange(exchange).is_none() {
        return Some(Violation::new(
            "dead-letter-exchange-missing",
            queue.label(),
            format!("dead-letters to exchange `{exchange}`, which is not declared"),
            "declare it",
        ));
    }
    let (arrive, which) = match queue.text(DEAD_LETTER_KEY) {
        Some(key) => (!topology.queues_for(exchange, key).is_empty(), format!("with key `{key}`")),
        None => (topology.always_routes(exchange), "with the key they came with".to_owned()),
    };
    (!arrive).then(|| {
        Violation::new(
            "dead-letter-unroutable",
            queue.label(),
            format!("dead-letters to exchange `{exchange}` {which}, where they may reach no queue"),
            "bind a queue there, or give that exchange an alternate exchange that leads to one",
        )
    })
}

/// The queues that dead letters of `queue` may reach.
fn targets<'a>(topology: &'a Topology, queue: &Queue) -> BTreeSet<&'a str> {
    let Some(exchange) = queue.text(DEAD_LETTER_EXCHANGE) else { return BTreeSet::new() };
    topology.reach(exchange, queue.text(DEAD_LETTER_KEY))
}

/// Whether messages that expire in `queue` may come back to it by expiring only, which RabbitMQ takes for a cycle. A
/// ring with a queue in it where messages do not expire is how retries work, and is fine.
fn comes_back(topology: &Topology, queue: &Queue) -> bool {
    let expires = |queue: &&Queue| queue.has(MESSAGE_TTL) && queue.has(DEAD_LETTER_EXCHANGE);
    let mut seen = BTreeSet::new();
    let mut ahead = Vec::from_iter(Some(queue).filter(expires));
    while let Some(from) = ahead.pop() {
        for name in targets(topology, from) {
            if name == queue.name {
                return true;
            }
            if seen.insert(name) {
                ahead.extend(topology.find_queue(name).filter(expires));
            }
        }
    }
    false
}

fn cycle(queue: &Queue) -> Violation {
    Violation::new(
        "dead-letter-cycle",
        queue.label(),
        "expires messages that may come back to it by expiring alone, which RabbitMQ drops as a cycle",
        format!("dead-letter to a queue without `{MESSAGE_TTL}`, where something takes them"),
    )
}

/// A full target makes the broker hold the dead letters of its source back, those for other targets too.
fn limited_targets(topology: &Topology) -> Vec<Violation> {
    let at_least_once = |queue: &&Queue| queue.text(DEAD_LETTER_STRATEGY) == Some(AT_LEAST_ONCE);
    let names: BTreeSet<&str> = topology.queues.iter().filter(at_least_once).flat_map(|queue| targets(topology, queue)).collect();
    let limited = |name: &str| {
        let queue = topology.find_queue(name)?;
        let limit = [MAX_LENGTH, MAX_LENGTH_BYTES].into_iter().find(|limit| queue.has(limit))?;
        Some(Violation::new(
            "dead-letter-target-limited",
            queue.label(),
            format!("has `{limit}` and takes dead letters at-least-once: once full, it stops every queue they come from"),
            format!("remove `{limit}`, and limit what is published instead"),
        ))
    };
    names.into_iter().filter_map(limited).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, dead_lettering, terminal};
    use super::*;
    use crate::ExchangeKind::{self, Direct, Fanout, Topic};

    fn exchange(name: &str, kind: ExchangeKind) -> Exchange {
        Exchange::new(name, kind, "hub", "x")
    }

    /// A dead-lettering queue that expires its messages to `exchange`.
    fn delay(name: &str, exchange: &str) -> Queue {
        let (_, queue) = dead_lettering();
        Queue { name: name.to_owned(), ..queue }.with("x-dead-letter-exchange", exchange).with("x-message-ttl", 1000)
    }

    #[test]
    fn bindings_have_both_ends() {
        let bound = |binding| codes(&Topology::default().exchange(exchange("e", Topic)).queue(terminal("q")).binding(binding));
        assert_eq!(bound(Binding::to_queue("e", "q", "k")), [""; 0]);
        assert_eq!(bound(Binding::to_queue("x", "q", "k")), ["binding-source-missing"]);
        assert_eq!(bound(Binding::to_queue("e", "e", "k")), ["binding-destination-missing"]);
        assert_eq!(bound(Binding::to_exchange("e", "q", "k")), ["binding-destination-missing"]);
        assert_eq!(bound(Binding::to_queue("x", "y", "k")), ["binding-source-missing", "binding-destination-missing"]);
    }

    #[test]
    fn alternates_exist() {
        let with = |name: &str| Topology::default().exchange(exchange("e", Fanout).with_alternate(name));
        assert_eq!(codes(&with("x")), ["alternate-exchange-missing"]);
        assert_eq!(codes(&with("x").exchange(exchange("x", Fanout))), [""; 0]);
    }

    #[test]
    fn dead_letters_have_a_way() {
        let (around, queue) = dead_lettering();
        let to = |name: &str, key: Option<&str>, dlx: Topology| {
            let mut queue = queue.clone().with("x-dead-letter-exchange", name);
            if let Some(key) = key {
                queue = queue.with("x-dead-letter-routing-key", key);
            }
            codes(&around.clone().and(dlx).queue(queue))
        };
        let direct = Topology::default().exchange(exchange("d", Direct));
        let bound = direct.clone().binding(Binding::to_queue("d", "end", "k"));
        let caught = Topology::default().exchange(exchange("d", Direct).with_alternate("dlx"));

        assert_eq!(to("gone", Some("k"), Topology::default()), ["dead-letter-exchange-missing"]);
        assert_eq!(to("d", Some("k"), direct), ["dead-letter-unroutable"]);
        assert_eq!(to("d", Some("k"), bound.clone()), [""; 0]);
        assert_eq!(to("d", Some("other"), bound.clone()), ["dead-letter-unroutable"]);
        assert_eq!(to("d", None, bound), ["dead-letter-unroutable"]);
        assert_eq!(to("d", Some("k"), caught.clone()), [""; 0]);
        assert_eq!(to("d", None, caught), [""; 0]);
        assert_eq!(to("", Some("end"), Topology::default()), [""; 0]);
        assert_eq!(to("", Some("nowhere"), Topology::default()), ["dead-letter-unroutable"]);
    }

    #[test]
    fn messages_that_only_expire_do_not_go_round() {
        let ring = |names: &[&str]| {
            names.iter().enumerate().fold(Topology::default(), |topology, (n, name)| {
                topology
                    .exchange(exchange(name, Fanout))
                    .queue(delay(name, names[(n + 1) % names.len()]))
                    .binding(Binding::to_queue(*name, *name, ""))
            })
        };
        assert_eq!(codes(&ring(&["a"])), ["dead-letter-cycle"]);
        assert_eq!(codes(&ring(&["a", "b", "c"])), ["dead-letter-cycle"; 3]);
    }

    #[test]
    fn a_retry_loop_through_a_worked_queue_is_fine() {
        let (_, queue) = dead_lettering();
        let worked = Queue { name: "work".to_owned(), ..queue }.with("x-dead-letter-exchange", "delay");
        let topology = Topology::default()
            .exchange(exchange("delay", Fanout))
            .exchange(exchange("work", Fanout))
            .queue(worked)
            .queue(delay("delay", "work"))
            .binding(Binding::to_queue("delay", "delay", ""))
            .binding(Binding::to_queue("work", "work", ""));
        assert_eq!(codes(&topology), [""; 0]);
    }

    #[test]
    fn targets_of_dead_letters_have_no_length_limit() {
        for limit in ["x-max-length", "x-max-length-bytes"] {
            let limited = |bind: bool| {
                let (around, queue) = dead_lettering();
                let topology = around.queue(queue).queue(terminal("full").with(limit, 10));
                if bind { topology.binding(Binding::to_queue("dlx", "full", "")) } else { topology }
            };
            assert_eq!(codes(&limited(true)), ["dead-letter-target-limited"]);
            assert_eq!(codes(&limited(false)), [""; 0]);
        }
    }
}
