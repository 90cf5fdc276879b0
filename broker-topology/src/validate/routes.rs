//! Rules of the ways between objects: whatever is named exists, and every dead letter arrives.

use crate::argument::{DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY};
use crate::binding::{Binding, Destination};
use crate::exchange::{Exchange, ExchangeKind};
use crate::object::Object;
use crate::queue::Queue;
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found: Vec<Violation> = topology.bindings.iter().flat_map(|binding| ends(topology, binding)).collect();
    found.extend(topology.exchanges.iter().filter_map(|exchange| alternate(topology, exchange)));
    found.extend(topology.queues.iter().filter_map(|queue| dead_letters_arrive(topology, queue)));
    found
}

fn ends(topology: &Topology, binding: &Binding) -> Vec<Violation> {
    let mut found = Vec::new();
    let source = topology.find_exchange(&binding.source);
    if source.is_none() {
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
    found.extend(source.and_then(|source| unheeded(source.kind, binding)));
    found
}

/// What a binding says, and its exchange does not look at.
fn unheeded(kind: ExchangeKind, binding: &Binding) -> Option<Violation> {
    let by_headers = kind == ExchangeKind::Headers;
    if !by_headers && !binding.arguments.is_empty() {
        return Some(Violation::new(
            "binding-headers-unheeded",
            binding,
            format!("names headers, and a {kind} exchange routes by the key alone, so that more arrives than was meant"),
            "bind to a headers exchange, or remove the headers",
        ));
    }
    let unheeded = (by_headers || kind == ExchangeKind::Fanout) && !binding.key.is_empty();
    unheeded.then(|| {
        let message = format!("has a key, and a {kind} exchange does not look at it");
        Violation::new("binding-key-unheeded", binding, message, "leave the key out").into_warning()
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, dead_lettering, terminal, warnings};
    use super::*;
    use crate::ExchangeKind::{Direct, Fanout, Headers, Topic};

    fn exchange(name: &str, kind: ExchangeKind) -> Exchange {
        Exchange::new(name, kind, "hub", "x")
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
    fn exchanges_that_every_broker_has_need_no_declaration() {
        let topology = Topology::default().queue(terminal("q")).exchange(exchange("e", Topic).with_alternate("amq.fanout"));
        let topology =
            topology.binding(Binding::to_queue("amq.topic", "q", "k")).binding(Binding::to_exchange("e", "amq.direct", "k"));
        assert_eq!(codes(&topology), [""; 0]);
    }

    #[test]
    fn a_binding_says_what_its_exchange_looks_at() {
        let bound = |kind, key: &str, header: bool| {
            let binding = Binding::to_queue("e", "q", key);
            let binding = if header { binding.with("x-match", "all").with("region", "eu") } else { binding };
            Topology::default().exchange(exchange("e", kind)).queue(terminal("q")).binding(binding)
        };
        assert_eq!(codes(&bound(Headers, "", true)), [""; 0]);
        for kind in [Topic, Direct, Fanout] {
            assert_eq!(codes(&bound(kind, "", true)), ["binding-headers-unheeded"]);
        }
        for (kind, expected) in [(Headers, &["binding-key-unheeded"][..]), (Fanout, &["binding-key-unheeded"]), (Topic, &[])] {
            assert_eq!(warnings(&bound(kind, "k", false)), expected);
        }
    }
}
