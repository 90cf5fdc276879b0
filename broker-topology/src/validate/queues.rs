//! Rules of one queue: arguments that are refused, that lose messages, or that do nothing without another.

use crate::argument::{
    AT_LEAST_ONCE, Argument, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, DELIVERY_LIMIT, DESCRIPTION, EXPIRES,
    MAX_LENGTH, MAX_LENGTH_BYTES, MAX_PRIORITY, MESSAGE_TTL, OVERFLOW, OWNER, QUEUE_MODE, QUEUE_TYPE, QUEUE_VERSION,
    REJECT_PUBLISH, SINGLE_ACTIVE_CONSUMER,
};
use crate::fragments::TERMINAL_DELIVERY_LIMIT;
use crate::object::Object;
use crate::queue::{Queue, QueueKind};
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found = Vec::new();
    for queue in &topology.queues {
        found.extend(argument_sorts(queue));
        found.extend(unsupported(queue));
        found.extend(delivery_limit(queue));
        found.extend(strategy(queue));
        found.extend(key_alone(queue));
        found.extend(rung_expires(queue));
    }
    found
}

/// Arguments of the wrong sort, and those that have a field of their own.
fn argument_sorts(queue: &Queue) -> Vec<Violation> {
    let wrong = |(name, value): (&String, &Argument)| {
        let expected = match name.as_str() {
            QUEUE_TYPE | OWNER | DESCRIPTION => {
                return Some(Violation::new(
                    "argument-reserved",
                    queue.label(),
                    format!("states `{name}` among its arguments, and the field of the queue holds instead"),
                    "set the field",
                ));
            }
            DEAD_LETTER_EXCHANGE | DEAD_LETTER_KEY | DEAD_LETTER_STRATEGY | OVERFLOW => "a string",
            MESSAGE_TTL | EXPIRES | MAX_LENGTH | MAX_LENGTH_BYTES | DELIVERY_LIMIT => "a number",
            SINGLE_ACTIVE_CONSUMER => "true or false",
            _ => return None,
        };
        let actual = match value {
            Argument::Text(_) => "a string",
            Argument::Integer(_) => "a number",
            Argument::Bool(_) => "true or false",
        };
        (actual != expected).then(|| {
            Violation::new(
                "argument-sort",
                queue.label(),
                format!("has the value {value} for `{name}`"),
                format!("write {expected}"),
            )
        })
    };
    queue.arguments.iter().filter_map(wrong).collect()
}

/// Arguments that not every supported RabbitMQ takes.
fn unsupported(queue: &Queue) -> Vec<Violation> {
    let never = [QUEUE_MODE, QUEUE_VERSION];
    let of_other_kinds: &[&str] = match queue.kind {
        QueueKind::Quorum => &[MAX_PRIORITY],
        QueueKind::Classic => &[DELIVERY_LIMIT, DEAD_LETTER_STRATEGY],
    };
    let violation = |name: &str| {
        Violation::new(
            "argument-unsupported",
            queue.label(),
            format!("has the argument `{name}`, which not every supported RabbitMQ takes for a {} queue", queue.kind),
            "remove it",
        )
    };
    never.iter().chain(of_other_kinds).filter(|name| queue.has(name)).map(|name| violation(name)).collect()
}

fn delivery_limit(queue: &Queue) -> Option<Violation> {
    if queue.kind != QueueKind::Quorum {
        return None;
    }
    let violation = |code, message: String, remedy: &str| Some(Violation::new(code, queue.label(), message, remedy));
    match queue.arguments.get(DELIVERY_LIMIT) {
        None => violation(
            "delivery-limit-missing",
            format!("states no `{DELIVERY_LIMIT}`: RabbitMQ 3 has none then, RabbitMQ 4 gives up after 20 deliveries"),
            "state one",
        ),
        Some(Argument::Integer(limit)) if *limit < 1 => violation(
            "delivery-limit-invalid",
            format!("has the `{DELIVERY_LIMIT}` {limit}, with which some brokers lose messages"),
            "state a positive one",
        ),
        Some(Argument::Integer(limit)) if *limit < TERMINAL_DELIVERY_LIMIT && !queue.has(DEAD_LETTER_EXCHANGE) => violation(
            "delivery-limit-drops",
            format!("has no dead-letter exchange, so the broker drops a message after {limit} deliveries"),
            &format!("state `{DEAD_LETTER_EXCHANGE}`, or a `{DELIVERY_LIMIT}` of {TERMINAL_DELIVERY_LIMIT}"),
        ),
        Some(_) => None,
    }
}

/// A dead letter must not leave its queue before its target has it.
fn strategy(queue: &Queue) -> Option<Violation> {
    if queue.kind != QueueKind::Quorum {
        return None;
    }
    let at_least_once = queue.text(DEAD_LETTER_STRATEGY) == Some(AT_LEAST_ONCE);
    let leads_on = queue.has(DEAD_LETTER_EXCHANGE);
    if leads_on && !at_least_once {
        return Some(Violation::new(
            "dead-letter-at-most-once",
            queue.label(),
            "drops a dead letter before its target has confirmed it",
            format!("state `{DEAD_LETTER_STRATEGY}` = `{AT_LEAST_ONCE}`"),
        ));
    }
    let incomplete = at_least_once && (!leads_on || queue.text(OVERFLOW) != Some(REJECT_PUBLISH));
    incomplete.then(|| {
        Violation::new(
            "at-least-once-incomplete",
            queue.label(),
            "asks for at-least-once dead-lettering without what it needs, so it is at-most-once",
            format!("state `{OVERFLOW}` = `{REJECT_PUBLISH}` and `{DEAD_LETTER_EXCHANGE}`"),
        )
    })
}

fn key_alone(queue: &Queue) -> Option<Violation> {
    (queue.has(DEAD_LETTER_KEY) && !queue.has(DEAD_LETTER_EXCHANGE)).then(|| {
        Violation::new(
            "dead-letter-key-alone",
            queue.label(),
            format!("has a `{DEAD_LETTER_KEY}` and no `{DEAD_LETTER_EXCHANGE}`, which RabbitMQ refuses"),
            "state both or neither",
        )
    })
}

/// A queue that expires takes its waiting messages with it, and does not dead-letter them.
fn rung_expires(queue: &Queue) -> Option<Violation> {
    (queue.has(MESSAGE_TTL) && queue.has(DEAD_LETTER_EXCHANGE) && queue.has(EXPIRES)).then(|| {
        Violation::new(
            "rung-expires",
            queue.label(),
            format!("delays messages and has `{EXPIRES}`, so it would vanish with those that wait"),
            format!("remove `{EXPIRES}`"),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, dead_lettering, terminal};
    use super::*;

    fn classic() -> Queue {
        Queue::new("c", QueueKind::Classic, "hub", "x")
    }

    /// The codes of a dead-lettering queue after `change`.
    fn changed(change: impl FnOnce(&mut Queue)) -> Vec<&'static str> {
        let (around, mut queue) = dead_lettering();
        change(&mut queue);
        codes(&around.queue(queue))
    }

    fn alone(queue: Queue) -> Vec<&'static str> {
        codes(&Topology::default().queue(queue))
    }

    #[test]
    fn a_quorum_queue_states_its_delivery_limit() {
        assert_eq!(changed(|q| _ = q.arguments.remove("x-delivery-limit")), ["delivery-limit-missing"]);
        assert_eq!(changed(|q| *q = q.clone().with("x-delivery-limit", -1)), ["delivery-limit-invalid"]);
        assert_eq!(changed(|q| *q = q.clone().with("x-delivery-limit", 0)), ["delivery-limit-invalid"]);
        assert_eq!(changed(|q| *q = q.clone().with("x-delivery-limit", 1)), [""; 0]);
        assert_eq!(alone(classic()), [""; 0]);
    }

    #[test]
    fn a_terminal_queue_does_not_drop() {
        assert_eq!(alone(terminal("q").with("x-delivery-limit", 20)), ["delivery-limit-drops"]);
        assert_eq!(alone(terminal("q")), [""; 0]);
    }

    #[test]
    fn arguments_rabbitmq_refuses() {
        for name in ["x-queue-mode", "x-queue-version", "x-max-priority"] {
            assert_eq!(alone(terminal("q").with(name, 2)), ["argument-unsupported"], "{name}");
        }
        for name in ["x-queue-mode", "x-queue-version", "x-dead-letter-strategy", "x-delivery-limit"] {
            let codes = alone(classic().with(name, 2));
            assert!(codes.contains(&"argument-unsupported"), "{name}: {codes:?}");
        }
        assert_eq!(alone(classic().with("x-max-priority", 5)), [""; 0]);
    }

    #[test]
    fn at_least_once_needs_the_rest() {
        assert_eq!(changed(|q| _ = q.arguments.remove("x-overflow")), ["at-least-once-incomplete"]);
        assert_eq!(changed(|q| *q = q.clone().with("x-overflow", "drop-head")), ["at-least-once-incomplete"]);
        let without_target = changed(|q| {
            q.arguments.remove("x-dead-letter-exchange");
            *q = q.clone().with("x-delivery-limit", TERMINAL_DELIVERY_LIMIT);
        });
        assert_eq!(without_target, ["at-least-once-incomplete"]);
        assert_eq!(changed(|q| _ = q.arguments.remove("x-dead-letter-strategy")), ["dead-letter-at-most-once"]);
    }

    #[test]
    fn a_delay_queue_does_not_expire() {
        let with = |ttl: bool| {
            changed(move |q| {
                if ttl {
                    *q = q.clone().with("x-message-ttl", 1000);
                }
                *q = q.clone().with("x-expires", 60_000);
            })
        };
        assert_eq!(with(true), ["rung-expires"]);
        assert_eq!(with(false), [""; 0]);
    }

    #[test]
    fn arguments_are_of_their_sort() {
        assert_eq!(alone(classic().with("x-message-ttl", "1000")), ["argument-sort"]);
        assert_eq!(alone(classic().with("x-overflow", true)), ["argument-sort"]);
        assert_eq!(alone(classic().with("x-single-active-consumer", "true")), ["argument-sort"]);
        assert_eq!(alone(terminal("q").with("x-delivery-limit", "9")), ["argument-sort"]);
        assert_eq!(alone(classic().with("x-queue-type", "quorum")), ["argument-reserved"]);
        assert_eq!(alone(classic().with("x-my-own", "1000")), [""; 0]);
    }

    #[test]
    fn a_dead_letter_key_needs_an_exchange() {
        assert_eq!(alone(classic().with("x-dead-letter-routing-key", "k")), ["dead-letter-key-alone"]);
    }
}
