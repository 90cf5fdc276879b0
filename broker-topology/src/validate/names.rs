//! Rules of names and keys: what AMQP can carry and what RabbitMQ lets others declare.

use crate::names::MAX_NAME;
use crate::object::Object;
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found = Vec::new();
    for exchange in &topology.exchanges {
        found.extend(name(exchange));
        found.extend(reserved(exchange));
    }
    for queue in &topology.queues {
        found.extend(name(queue));
        found.extend(reserved(queue));
    }
    found.extend(topology.policies.iter().filter_map(name));
    for binding in &topology.bindings {
        found.extend(carried("key", &binding.key, &binding.to_string()));
    }
    found
}

fn name(object: &impl Object) -> Option<Violation> {
    if object.name().is_empty() {
        return Some(Violation::new("name-empty", object.label(), "has no name", "give it one"));
    }
    carried("name", object.name(), &object.label())
}

/// Whether AMQP carries `text`, which is the name or the key of `object`, and people can read it.
fn carried(what: &str, text: &str, object: &str) -> Option<Violation> {
    if text.len() > MAX_NAME {
        return Some(Violation::new(
            "name-too-long",
            object,
            format!("has a {what} of {} bytes, and AMQP carries {MAX_NAME}", text.len()),
            "shorten it, or `broker.prefix`",
        ));
    }
    text.chars()
        .any(char::is_control)
        .then(|| Violation::new("name-unprintable", object, format!("has a control character in its {what}"), "remove it"))
}

fn reserved(object: &impl Object) -> Option<Violation> {
    object.name().starts_with("amq.").then(|| {
        Violation::new(
            "name-reserved",
            object.label(),
            "begins with `amq.`, which RabbitMQ keeps to itself",
            "choose another name",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, terminal};
    use super::*;
    use crate::{ApplyTo, Arguments, Binding, Exchange, ExchangeKind, Policy};

    fn exchange(name: &str) -> Topology {
        Topology::default().exchange(Exchange::new(name, ExchangeKind::Topic, "hub", "x"))
    }

    fn policy(name: &str, pattern: &str) -> Topology {
        Topology::default().policy(Policy {
            name: name.to_owned(),
            pattern: pattern.to_owned(),
            apply_to: ApplyTo::Queues,
            priority: 0,
            definition: Arguments::from([("max-length".to_owned(), 5.into())]),
        })
    }

    #[test]
    fn bytes_are_counted_not_characters() {
        assert_eq!(codes(&exchange(&"ä".repeat(127))), [""; 0]);
        assert_eq!(codes(&exchange(&"ä".repeat(128))), ["name-too-long"]);
        assert_eq!(codes(&Topology::default().queue(terminal(&"a".repeat(256)))), ["name-too-long"]);
    }

    #[test]
    fn empty_unprintable_and_reserved_names() {
        assert_eq!(codes(&exchange("")), ["name-empty"]);
        assert_eq!(codes(&exchange("a\0b")), ["name-unprintable"]);
        assert_eq!(codes(&Topology::default().queue(terminal("a\nb"))), ["name-unprintable"]);
        assert_eq!(codes(&exchange("amq.direct")), ["name-reserved"]);
        assert_eq!(codes(&Topology::default().queue(terminal("amq.gen"))), ["name-reserved"]);
        assert!(!exchange("a\0b").validate()[0].to_string().contains('\0'));
    }

    #[test]
    fn keys_are_carried_like_names() {
        let bound = |key: String| exchange("e").queue(terminal("q")).binding(Binding::to_queue("e", "q", key));
        assert_eq!(codes(&bound("k".repeat(255))), [""; 0]);
        assert_eq!(codes(&bound("k".repeat(256))), ["name-too-long"]);
        assert_eq!(codes(&bound("a\tb".to_owned())), ["name-unprintable"]);
    }

    #[test]
    fn policies_have_names() {
        assert_eq!(codes(&policy("devices", "^device\\.")), [""; 0]);
        assert_eq!(codes(&policy("", "^device\\.")), ["name-empty"]);
    }
}
