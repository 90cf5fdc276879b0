//! Where a message would go: RabbitMQ's routing, worked out on a topology instead of a broker.

use std::collections::BTreeSet;

use crate::binding::{Binding, Destination};
use crate::exchange::ExchangeKind;
use crate::topology::Topology;

impl Topology {
    /// The queues that a message reaches which is published to `exchange` with `key`, through bindings between
    /// exchanges and alternate exchanges too. Every lookup walks all bindings: remember the answer on a hot path.
    ///
    /// The empty name is the default exchange. Bindings of a headers exchange count as not matching, since only
    /// the message can tell.
    pub fn queues_for(&self, exchange: &str, key: &str) -> BTreeSet<&str> {
        self.walk(exchange, Some(key), false)
    }

    /// The queues that a message may reach: with `key`, or with any key when there is none, and with any headers.
    pub(crate) fn reach(&self, exchange: &str, key: Option<&str>) -> BTreeSet<&str> {
        self.walk(exchange, key, true)
    }

    /// `any_headers`: whether what only the headers tell counts as matching.
    fn walk(&self, exchange: &str, key: Option<&str>, any_headers: bool) -> BTreeSet<&str> {
        if exchange.is_empty() {
            let named = self.queues.iter().map(|queue| queue.name.as_str());
            return named.filter(|name| key.is_none_or(|key| key == *name)).collect();
        }
        let mut queues = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut ahead = Vec::from_iter(self.find_exchange(exchange));
        while let Some(exchange) = ahead.pop() {
            if !seen.insert(&exchange.name) {
                continue;
            }
            let mut unwanted = true;
            for binding in self.bindings_of(&exchange.name) {
                let by_headers = exchange.kind == ExchangeKind::Headers && any_headers;
                if by_headers || key.is_none_or(|key| matches(exchange.kind, &binding.key, key)) {
                    unwanted &= by_headers;
                    match &binding.destination {
                        Destination::Queue(queue) => _ = queues.insert(queue.as_str()),
                        Destination::Exchange(next) => ahead.extend(self.find_exchange(next)),
                    }
                }
            }
            // With any key, or any headers, there is one that no binding wants.
            if unwanted || key.is_none() {
                ahead.extend(exchange.alternate.as_deref().and_then(|name| self.find_exchange(name)));
            }
        }
        queues
    }

    /// Whether a message reaches a queue from `exchange` whatever its key.
    pub(crate) fn always_routes(&self, exchange: &str) -> bool {
        self.always_routes_beyond(exchange, &BTreeSet::new())
    }

    fn always_routes_beyond(&self, name: &str, path: &BTreeSet<&str>) -> bool {
        let Some(exchange) = self.find_exchange(name).filter(|_| !path.contains(name)) else { return false };
        let mut path = path.clone();
        path.insert(name);
        let leads = |binding: &Binding| match &binding.destination {
            Destination::Queue(queue) => self.find_queue(queue).is_some(),
            Destination::Exchange(next) => self.always_routes_beyond(next, &path),
        };
        let takes_all = |binding: &Binding| match exchange.kind {
            ExchangeKind::Fanout => true,
            ExchangeKind::Topic => binding.key == "#",
            ExchangeKind::Direct | ExchangeKind::Headers => false,
        };
        // Either one binding takes every key, or the alternate takes what the bindings leave and these lead somewhere.
        self.bindings_of(name).any(|binding| takes_all(binding) && leads(binding))
            || self.bindings_of(name).all(leads)
                && exchange.alternate.as_deref().is_some_and(|next| self.always_routes_beyond(next, &path))
    }
}

fn matches(kind: ExchangeKind, pattern: &str, key: &str) -> bool {
    match kind {
        ExchangeKind::Direct => pattern == key,
        ExchangeKind::Fanout => true,
        ExchangeKind::Topic => topic_matches(pattern, key),
        ExchangeKind::Headers => false,
    }
}

/// Whether a topic exchange takes `key` for `pattern`: words between dots, `*` is one word, `#` any number of them.
pub fn topic_matches(pattern: &str, key: &str) -> bool {
    let words: Vec<&str> = words(key).collect();
    // here[n]: the pattern so far matches the first n words.
    let mut here = vec![false; words.len() + 1];
    here[0] = true;
    for part in self::words(pattern) {
        let mut next = vec![false; words.len() + 1];
        for n in 0..=words.len() {
            next[n] = match part {
                "#" => here[n] || n > 0 && next[n - 1],
                "*" => n > 0 && here[n - 1],
                word => n > 0 && here[n - 1] && words[n - 1] == word,
            };
        }
        here = next;
    }
    here[words.len()]
}

/// The words of a key; RabbitMQ sees none in the empty key.
fn words(key: &str) -> impl Iterator<Item = &str> {
    key.split('.').filter(move |_| !key.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Exchange, Queue, QueueKind};

    fn topology(exchanges: &[(&str, ExchangeKind, Option<&str>)], bindings: &[Binding]) -> Topology {
        let mut topology = Topology::default();
        for (name, kind, alternate) in exchanges {
            let mut exchange = Exchange::new(*name, *kind, "hub", "x");
            exchange.alternate = alternate.map(str::to_owned);
            topology = topology.exchange(exchange);
        }
        for binding in bindings {
            if let Destination::Queue(name) = &binding.destination {
                topology = topology.queue(Queue::new(name, QueueKind::Classic, "hub", "x"));
            }
            topology = topology.binding(binding.clone());
        }
        topology
    }

    #[test]
    fn topic_patterns() {
        let table = [
            ("order.placed", "order.placed", true),
            ("order.*", "order.placed", true),
            ("order.*", "order", false),
            ("order.*", "order.placed.twice", false),
            ("order.#", "order", true),
            ("order.#", "order.placed.twice", true),
            ("#.placed", "placed", true),
            ("#.a.#.b.#", "x.a.y.z.b", true),
            ("#.a.#.b.#", "x.b.a", false),
            ("*", "", false),
            ("#", "", true),
            ("", "", true),
            ("", "a", false),
            ("a.*.b", "a..b", true),
        ];
        for (pattern, key, expected) in table {
            assert_eq!(topic_matches(pattern, key), expected, "{pattern} on {key}");
        }
    }

    #[test]
    fn a_key_nobody_wants_goes_to_the_alternate_only_then() {
        let topology = topology(
            &[("direct", ExchangeKind::Direct, Some("rest")), ("rest", ExchangeKind::Fanout, None)],
            &[Binding::to_queue("direct", "a", "a"), Binding::to_queue("rest", "lost", "")],
        );
        assert_eq!(topology.queues_for("direct", "a"), BTreeSet::from(["a"]));
        assert_eq!(topology.queues_for("direct", "b"), BTreeSet::from(["lost"]));
        assert_eq!(topology.reach("direct", None), BTreeSet::from(["a", "lost"]));
        assert!(topology.always_routes("direct"));
        assert_eq!(topology.queues_for("nowhere", "a"), BTreeSet::new());
    }

    #[test]
    fn exchanges_bound_in_a_ring_end() {
        let topology = topology(
            &[("a", ExchangeKind::Fanout, None), ("b", ExchangeKind::Fanout, Some("a"))],
            &[Binding::to_exchange("a", "b", ""), Binding::to_exchange("b", "a", "")],
        );
        assert_eq!(topology.queues_for("a", "x"), BTreeSet::new());
        assert!(!topology.always_routes("a"));
    }

    #[test]
    fn always_means_every_key() {
        let all = topology(&[("t", ExchangeKind::Topic, None)], &[Binding::to_queue("t", "q", "#")]);
        let some = topology(&[("t", ExchangeKind::Topic, None)], &[Binding::to_queue("t", "q", "order.#")]);
        assert!(all.always_routes("t") && !some.always_routes("t"));
        // The alternate is not asked for a key that a binding takes to an exchange which drops it.
        let hole = topology(
            &[
                ("d", ExchangeKind::Direct, Some("rest")),
                ("rest", ExchangeKind::Fanout, None),
                ("hole", ExchangeKind::Fanout, None),
            ],
            &[Binding::to_exchange("d", "hole", "k"), Binding::to_queue("rest", "lost", "")],
        );
        assert!(!hole.always_routes("d"));
        assert_eq!(hole.queues_for("d", "k"), BTreeSet::new());
    }

    #[test]
    fn what_only_headers_tell_may_be_reached_and_is_not_counted_on() {
        let topology = topology(
            &[("h", ExchangeKind::Headers, Some("rest")), ("rest", ExchangeKind::Fanout, None)],
            &[Binding::to_queue("h", "a", "").with("x", "1"), Binding::to_queue("rest", "lost", "")],
        );
        assert_eq!(topology.queues_for("h", "k"), BTreeSet::from(["lost"]));
        assert_eq!(topology.reach("h", Some("k")), BTreeSet::from(["a", "lost"]));
        assert!(topology.always_routes("h"));
    }

    #[test]
    fn the_exchanges_that_every_broker_has_route_as_well() {
        let topology = topology(&[], &[Binding::to_queue("amq.topic", "q", "a.*")]);
        assert_eq!(topology.queues_for("amq.topic", "a.b"), BTreeSet::from(["q"]));
        assert_eq!(topology.queues_for("amq.topic", "b"), BTreeSet::new());
    }

    #[test]
    fn the_default_exchange_knows_queues_by_name() {
        let topology = topology(&[("f", ExchangeKind::Fanout, None)], &[Binding::to_queue("f", "q", "")]);
        assert_eq!(topology.queues_for("", "q"), BTreeSet::from(["q"]));
        assert_eq!(topology.queues_for("", "other"), BTreeSet::new());
    }
}
