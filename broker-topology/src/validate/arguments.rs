//! Rules of single values: arguments of queues and settings of policies, as RabbitMQ wants them.

use crate::argument::{Argument, DESCRIPTION, OWNER, QUEUE_TYPE};
use crate::known::{Known, NEVER, Sort, known_argument, nearest};
use crate::object::Object;
use crate::queue::{Queue, QueueKind};
use crate::topology::Topology;
use crate::violation::Violation;

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    topology
        .queues
        .iter()
        .flat_map(|queue| queue.arguments.iter().filter_map(|(name, value)| argument(queue, name, value)))
        .collect()
}

/// What is wrong with one argument of a queue.
fn argument(queue: &Queue, name: &str, value: &Argument) -> Option<Violation> {
    if [QUEUE_TYPE, OWNER, DESCRIPTION].contains(&name) {
        return Some(Violation::new(
            "argument-reserved",
            queue.label(),
            format!("states `{name}` among its arguments, and the field of the queue holds instead"),
            "set the field",
        ));
    }
    let known = known_argument(name);
    let never = name.strip_prefix("x-").is_some_and(|name| NEVER.contains(&name));
    if never || known.is_some_and(|known| !known.queues.contains(&queue.kind)) {
        return Some(Violation::new(
            "argument-unsupported",
            queue.label(),
            format!("has the argument `{name}`, which not every supported RabbitMQ takes for a {} queue", queue.kind),
            "remove it",
        ));
    }
    let Some(known) = known else { return name.strip_prefix("x-").map(|rest| unknown(queue, name, rest)) };
    self::value(&queue.label(), name, known, value).or_else(|| {
        // It is taken when the queue is declared, and then the queue drops from its head.
        let unheeded = queue.kind == QueueKind::Quorum && value.as_text() == Some("reject-publish-dlx");
        unheeded.then(|| {
            Violation::new(
                "argument-value",
                queue.label(),
                format!("has the value {value} for `{name}`, which a quorum queue does not heed"),
                "write `reject-publish` or `drop-head`",
            )
        })
    })
}

fn unknown(queue: &Queue, name: &str, rest: &str) -> Violation {
    let remedy = match nearest(rest) {
        Some(near) => format!("did you mean `x-{near}`?"),
        None => "remove it, or give it a name that does not begin with `x-` if it is your own mark".to_owned(),
    };
    let message = format!("has the argument `{name}`, which not every supported RabbitMQ knows, so that it may do nothing");
    Violation::new("argument-unknown", queue.label(), message, remedy).into_warning()
}

/// What is wrong with `value` of the argument or setting `name`, which is `known`.
pub(super) fn value(object: &str, name: &str, known: &Known, value: &Argument) -> Option<Violation> {
    let says = format!("has the value {value} for `{name}`");
    let sort = |wanted: &str| Some(Violation::new("argument-sort", object, &says, format!("write {wanted}")));
    let wrong = |wanted: String| Some(Violation::new("argument-value", object, &says, format!("write {wanted}")));
    match (known.sort, value) {
        (Sort::Text, Argument::Text(_)) | (Sort::Flag, Argument::Bool(_)) => None,
        (Sort::Word(words), Argument::Text(text)) => {
            let listed = || words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
            if words.contains(&text.as_str()) { None } else { wrong(listed()) }
        }
        (Sort::Age, Argument::Text(text)) => {
            if is_age(text) {
                None
            } else {
                wrong("a number and one of Y, M, D, h, m, s, as in `7D`".to_owned())
            }
        }
        (Sort::Count(least, most) | Sort::Millis(least, most) | Sort::Bytes(least, most), Argument::Integer(number)) => {
            let unit = match known.sort {
                Sort::Millis(..) => " of milliseconds",
                Sort::Bytes(..) => " of bytes",
                _ => "",
            };
            match (*number < least, *number > most) {
                (true, _) => wrong(format!("a number{unit} from {least}")),
                (_, true) => wrong(format!("a number{unit} up to {most}")),
                _ => None,
            }
        }
        (Sort::Text | Sort::Word(_) | Sort::Age, _) => sort("a string"),
        (Sort::Flag, _) => sort("true or false"),
        (Sort::Count(..) | Sort::Millis(..) | Sort::Bytes(..), _) => sort("a number"),
    }
}

/// Whether RabbitMQ reads `text` as the age of a stream's messages; what it does not read ends in a crash of the declare.
fn is_age(text: &str) -> bool {
    let number = text.strip_suffix(['Y', 'M', 'D', 'h', 'm', 's']);
    number.is_some_and(|number| (1..=9).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, terminal, warnings};
    use super::*;

    fn of(kind: QueueKind) -> Queue {
        if kind == QueueKind::Quorum { terminal("q") } else { Queue::new("q", kind, "hub", "x") }
    }

    fn alone(queue: Queue) -> Vec<&'static str> {
        codes(&Topology::default().queue(queue))
    }

    use QueueKind::{Classic, Quorum, Stream};

    #[test]
    fn arguments_that_some_rabbitmq_refuses() {
        for name in ["x-queue-mode", "x-queue-version", "x-queue-master-locator", "x-max-priority", "x-max-age"] {
            assert_eq!(alone(of(Quorum).with(name, 2)), ["argument-unsupported"], "{name}");
        }
        for name in ["x-queue-mode", "x-queue-version", "x-dead-letter-strategy", "x-delivery-limit", "x-queue-leader-locator"] {
            assert_eq!(alone(of(Classic).with(name, 2)), ["argument-unsupported"], "{name}");
        }
        for name in ["x-message-ttl", "x-expires", "x-max-length", "x-overflow", "x-delivery-limit", "x-dead-letter-exchange"] {
            assert_eq!(alone(of(Stream).with(name, 2)), ["argument-unsupported"], "{name}");
        }
        assert_eq!(alone(of(Classic).with("x-max-priority", 5)), [""; 0]);
        assert_eq!(alone(of(Stream).with("x-max-age", "7D").with("x-max-length-bytes", 1 << 30)), [""; 0]);
    }

    #[test]
    fn arguments_are_of_their_sort() {
        assert_eq!(alone(of(Classic).with("x-message-ttl", "1000")), ["argument-sort"]);
        assert_eq!(alone(of(Classic).with("x-overflow", true)), ["argument-sort"]);
        assert_eq!(alone(of(Classic).with("x-single-active-consumer", "true")), ["argument-sort"]);
        assert_eq!(alone(of(Quorum).with("x-delivery-limit", "9")), ["argument-sort"]);
        assert_eq!(alone(of(Classic).with("x-queue-type", "quorum")), ["argument-reserved"]);
        assert_eq!(alone(of(Classic).with("x-my-own", "1000")), [""; 0]);
    }

    #[test]
    fn values_are_what_rabbitmq_takes() {
        for (name, bad, good) in [
            ("x-message-ttl", -1, 0),
            ("x-message-ttl", 315_360_000_001, 315_360_000_000),
            ("x-expires", 0, 1),
            ("x-max-length", -1, 0),
            ("x-max-length-bytes", -1, 0),
            ("x-max-priority", 256, 255),
        ] {
            assert_eq!(alone(of(Classic).with(name, bad)), ["argument-value"], "{name} {bad}");
            assert_eq!(alone(of(Classic).with(name, good)), [""; 0], "{name} {good}");
        }
        assert_eq!(alone(of(Classic).with("x-overflow", "drop")), ["argument-value"]);
        assert_eq!(alone(of(Classic).with("x-overflow", "reject-publish-dlx")), [""; 0]);
        assert_eq!(alone(of(Quorum).with("x-overflow", "reject-publish-dlx")), ["argument-value"]);
        assert_eq!(alone(of(Quorum).with("x-queue-leader-locator", "near")), ["argument-value"]);
        for age in ["", "7", "D", "7 D", "seven", "7d"] {
            assert_eq!(alone(of(Stream).with("x-max-age", age)), ["argument-value"], "{age}");
        }
    }

    #[test]
    fn a_misspelt_argument_is_warned_of_with_the_nearest() {
        let misspelt = Topology::default().queue(of(Classic).with("x-max-lenght", 5));
        assert_eq!((codes(&misspelt), warnings(&misspelt)), (vec![], vec!["argument-unknown"]));
        assert!(misspelt.lint()[0].to_string().contains("did you mean `x-max-length`?"));
        assert!(Topology::default().queue(of(Classic).with("team-mark", 5)).lint().is_empty());
    }
}
