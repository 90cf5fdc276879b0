//! Rules of where dead letters end: neither in a ring, nor before a queue that may be full.

use std::collections::BTreeSet;

use crate::argument::{
    AT_LEAST_ONCE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, MAX_LENGTH, MAX_LENGTH_BYTES, MESSAGE_TTL,
};
use crate::object::Object;
use crate::queue::Queue;
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found = Vec::new();
    for queue in &topology.queues {
        if comes_back(topology, queue, delays) {
            found.push(only_expires(queue));
        } else if comes_back(topology, queue, |queue| !delays(queue)) {
            found.push(at_once(queue));
        }
    }
    found.extend(limited_targets(topology));
    found
}

/// The queues that dead letters of `queue` may reach.
pub(super) fn targets<'a>(topology: &'a Topology, queue: &Queue) -> BTreeSet<&'a str> {
    let Some(exchange) = queue.text(DEAD_LETTER_EXCHANGE) else { return BTreeSet::new() };
    topology.reach(exchange, queue.text(DEAD_LETTER_KEY))
}

/// The queues that dead letters may reach which leave their queue only once the target has them.
pub(super) fn held_targets(topology: &Topology) -> BTreeSet<&str> {
    let at_least_once = |queue: &&Queue| queue.text(DEAD_LETTER_STRATEGY) == Some(AT_LEAST_ONCE);
    topology.queues.iter().filter(at_least_once).flat_map(|queue| targets(topology, queue)).collect()
}

/// Whether messages wait in it for their time.
fn delays(queue: &Queue) -> bool {
    queue.has(MESSAGE_TTL)
}

/// Whether dead letters of `queue` may come back to it through queues `of_sort` only.
fn comes_back(topology: &Topology, queue: &Queue, of_sort: impl Fn(&Queue) -> bool) -> bool {
    let leads_on = |queue: &&Queue| queue.has(DEAD_LETTER_EXCHANGE) && of_sort(queue);
    let mut seen = BTreeSet::new();
    let mut ahead = Vec::from_iter(Some(queue).filter(leads_on));
    while let Some(from) = ahead.pop() {
        for name in targets(topology, from) {
            if name == queue.name {
                return true;
            }
            if seen.insert(name) {
                ahead.extend(topology.find_queue(name).filter(leads_on));
            }
        }
    }
    false
}

/// A ring with a queue in it where messages do not expire is how retries work, and is fine.
fn only_expires(queue: &Queue) -> Violation {
    Violation::new(
        "dead-letter-cycle",
        queue.label(),
        "expires messages that may come back to it by expiring alone, which RabbitMQ drops as a cycle",
        format!("dead-letter to a queue without `{MESSAGE_TTL}`, where something takes them"),
    )
}

/// What is rejected there is back at once, as fast as the broker can.
fn at_once(queue: &Queue) -> Violation {
    Violation::new(
        "dead-letter-loop",
        queue.label(),
        "gets its own dead letters back, and no queue on the way makes them wait, so that one bad message keeps everybody busy",
        format!("dead-letter to a queue with `{MESSAGE_TTL}` that leads back, such as a rung, or to one that keeps them"),
    )
}

/// A full target makes the broker hold the dead letters of its source back, those for other targets too.
fn limited_targets(topology: &Topology) -> Vec<Violation> {
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
    held_targets(topology).into_iter().filter_map(limited).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, dead_lettering, terminal};
    use super::*;
    use crate::ExchangeKind::{self, Fanout, Topic};
    use crate::{Binding, Exchange, Names, core};

    fn exchange(name: &str, kind: ExchangeKind) -> Exchange {
        Exchange::new(name, kind, "hub", "x")
    }

    /// A dead-lettering queue that expires its messages to `exchange`.
    fn delay(name: &str, exchange: &str) -> Queue {
        let (_, queue) = dead_lettering();
        Queue { name: name.to_owned(), ..queue }.with("x-dead-letter-exchange", exchange).with("x-message-ttl", 1000)
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
    fn what_is_rejected_does_not_come_back_at_once() {
        let (_, queue) = dead_lettering();
        let ring = |names: &[&str], with_delay: bool| {
            let mut topology = Topology::default();
            for (n, name) in names.iter().enumerate() {
                let next = names[(n + 1) % names.len()];
                let queue = Queue { name: (*name).to_owned(), ..queue.clone() };
                let queue = queue.with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", next);
                topology = topology.queue(if with_delay && n == 0 { queue.with("x-message-ttl", 1000) } else { queue });
            }
            codes(&topology)
        };
        assert_eq!(ring(&["a"], false), ["dead-letter-loop"]);
        assert_eq!(ring(&["a", "b", "c"], false), ["dead-letter-loop"; 3]);
        assert_eq!(ring(&["a", "b", "c"], true), [""; 0]);
        // With the key it came with, it may come back through the topic it came from.
        let kept = queue.clone().with("x-dead-letter-exchange", "t");
        let topic = Topology::default().exchange(exchange("t", Topic)).binding(Binding::to_queue("t", "q", "#"));
        assert_eq!(codes(&topic.queue(kept)), ["dead-letter-loop"]);
    }

    #[test]
    fn a_queue_that_a_rung_leads_back_to_has_no_length_limit() {
        let names = Names::new("acme.");
        let bound = |queue: Queue| core(&names).queue(queue).binding(Binding::to_queue(names.return_exchange(), "q", "q"));
        assert_eq!(codes(&bound(terminal("q"))), [""; 0]);
        assert_eq!(codes(&bound(terminal("q").with("x-max-length", 1000))), ["dead-letter-target-limited"]);
        let classic = Queue::new("q", crate::QueueKind::Classic, "team", "x").with("x-max-length-bytes", 1000);
        assert_eq!(codes(&bound(classic)), ["dead-letter-target-limited"]);
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
