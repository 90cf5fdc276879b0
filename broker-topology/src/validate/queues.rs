//! Rules of one queue: what loses messages, and what does nothing without another argument.

use crate::argument::{
    AT_LEAST_ONCE, Argument, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, DELIVERY_LIMIT, EXPIRES, MESSAGE_TTL,
    OVERFLOW, REJECT_PUBLISH,
};
use crate::fragments::TERMINAL_DELIVERY_LIMIT;
use crate::object::Object;
use crate::queue::{Queue, QueueKind};
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found = Vec::new();
    for queue in &topology.queues {
        found.extend(delivery_limit(queue));
        found.extend(strategy(queue));
        found.extend(key_alone(queue));
        found.extend(rung_expires(queue));
    }
    found
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
    fn a_dead_letter_key_needs_an_exchange() {
        assert_eq!(alone(classic().with("x-dead-letter-routing-key", "k")), ["dead-letter-key-alone"]);
    }
}
