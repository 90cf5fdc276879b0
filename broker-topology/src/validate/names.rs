//! Rules of names and keys: what AMQP can carry and what RabbitMQ lets others declare.

use std::fmt;

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
    for policy in &topology.policies {
        found.extend(name(policy));
        if !policy.pattern.starts_with('^') {
            found.push(Violation::new(
                "policy-pattern-open",
                policy.label(),
                format!("has the pattern `{}`, which also matches inside the names of others", policy.pattern),
                "begin it with `^`",
            ));
        }
    }
    for binding in &topology.bindings {
        found.extend(carried("the key of ", &binding.key, binding));
    }
    found
}

fn name(object: &impl Object) -> Option<Violation> {
    if object.name().is_empty() {
        return Some(Violation::new("name-empty", object.label(), "has no name", "give it one"));
    }
    carried("the name of ", object.name(), object.label())
}

/// Whether AMQP carries `text` and people can read it.
fn carried(what: &str, text: &str, object: impl fmt::Display) -> Option<Violation> {
    if text.len() > MAX_NAME {
        return Some(Violation::new(
            "name-too-long",
            format!("{what}{object}"),
            format!("has {} bytes, and AMQP carries {MAX_NAME}", text.len()),
            "shorten it, or `broker.prefix`",
        ));
    }
    text.chars().any(char::is_control).then(|| {
        Violation::new(
            "name-unprintable",
            format!("{what}{}", object.to_string().escape_debug()),
            "has a control character",
            "remove it",
        )
    })
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
            definition: Arguments::new(),
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
    fn policies_are_anchored() {
        assert_eq!(codes(&policy("devices", "^device\\.")), [""; 0]);
        assert_eq!(codes(&policy("devices", "device\\.")), ["policy-pattern-open"]);
        assert_eq!(codes(&policy("", "^device\\.")), ["name-empty"]);
    }
}
