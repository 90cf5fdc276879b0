//! Changing what RabbitMQ cannot change: a queue with other arguments must be made anew, and its messages wait elsewhere meanwhile.
//!
//! No record is kept of how far that has come: the arguments of the queue and the presence of its holding queue tell it, so that any
//! machine can go on with what another one began.

use crate::argument::{
    Argument, Arguments, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, DELIVERY_LIMIT, DESCRIPTION, MAX_LENGTH,
    MAX_LENGTH_BYTES, MESSAGE_TTL, OVERFLOW, OWNER, QUEUE_TYPE, SINGLE_ACTIVE_CONSUMER,
};
use crate::binding::Binding;
use crate::fragments::TERMINAL_DELIVERY_LIMIT;
use crate::known::limiting;
use crate::live::LiveBinding;
use crate::plan::PropertyChange;
use crate::queue::{Queue, QueueKind};
use crate::topology::differing;

/// Names the queue that a holding queue holds the messages of.
const MOVING: &str = "warren-moving";

/// What a dead letter of the old queue would meet, and must meet in the holding queue too.
const DEAD_LETTERING: [&str; 4] = [DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_STRATEGY, OVERFLOW];

/// How far a migration has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// The queue is as it should be, and nothing is held.
    Done,
    /// Neither the queue nor its holding queue is there.
    Absent,
    /// The queue has other arguments: its messages are collected in the holding queue, then it is deleted.
    Collect(Vec<PropertyChange>),
    /// The queue is gone and its messages are held: it is made.
    Create,
    /// The queue is as it should be: what is held goes to it.
    GiveBack,
}

/// How far the migration of a queue has come that is to have the arguments `desired`, has `live` (`None`: it is not there), and whose
/// messages are `held` or not.
pub fn stage(desired: &Arguments, live: Option<&Arguments>, held: bool) -> Stage {
    match (live, held) {
        (None, false) => Stage::Absent,
        (None, true) => Stage::Create,
        (Some(live), held) => match changes(desired, live) {
            changes if !changes.is_empty() => Stage::Collect(changes),
            _ if held => Stage::GiveBack,
            _ => Stage::Done,
        },
    }
}

/// The arguments that differ, but for the marks `warren-owner` and `warren-description`, which RabbitMQ does not compare.
fn changes(desired: &Arguments, live: &Arguments) -> Vec<PropertyChange> {
    let compared = differing(desired, live).filter(|name| ![OWNER, DESCRIPTION].contains(name));
    let change = |name: &str| PropertyChange {
        property: name.to_owned(),
        live: live.get(name).map(|value| serde_json::json!(value)),
        desired: desired.get(name).map(|value| serde_json::json!(value)),
    };
    compared.map(change).collect()
}

/// The arguments of the queue that holds the messages of `queue`, which has the arguments `live` and under them what `policy` sets for it:
/// the policy may not be one for the holding queue.
///
/// Quorum, without a limit or a time to live. What expires in it by its own `expiration` becomes the same dead letter as in the queue
/// itself. It has no `warren-owner`, since it is no part of a topology that could be pruned, but `warren-moving`.
pub fn holding_arguments(queue: &str, live: &Arguments, policy: &Arguments) -> Arguments {
    let mut arguments = Queue::new("", QueueKind::Quorum, "", &format!("messages of {queue} while it is made anew"))
        .with(DELIVERY_LIMIT, TERMINAL_DELIVERY_LIMIT)
        .with(MOVING, queue)
        .arguments();
    arguments.remove(OWNER);
    let quorum = live.get(QUEUE_TYPE).and_then(Argument::as_text) == Some(QueueKind::Quorum.as_str());
    let set = |name: &str| live.get(name).or_else(|| policy.get(setting(name)));
    if set(DEAD_LETTER_EXCHANGE).is_none() {
        return arguments;
    }
    for name in DEAD_LETTERING {
        // A classic queue has no strategy, and how it overflows says nothing of one without a limit.
        let known = quorum || [DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY].contains(&name);
        if let Some(value) = set(name).filter(|_| known) {
            arguments.insert(name.to_owned(), value.clone());
        }
    }
    arguments
}

/// What an argument is called in a policy.
fn setting(argument: &str) -> &str {
    argument.strip_prefix("x-").unwrap_or(argument)
}

/// Settings of `policy` that take messages out of a queue, or keep some out.
pub fn limits(policy: &Arguments) -> Vec<&'static str> {
    limiting().filter(|name| policy.contains_key(*name)).collect()
}

/// What a queue with the arguments `desired` under `policy` would not keep of `messages` that take `bytes` and are in one with the
/// arguments `live`: they are too many, or their time is shorter and no exchange takes what expires. `None`: it keeps all.
pub fn loss(desired: &Arguments, live: &Arguments, policy: &Arguments, messages: u64, bytes: u64) -> Option<String> {
    // Of an argument and a policy the lower holds.
    let least = |name: &str, arguments: &Arguments| {
        let argument = arguments.get(name).and_then(Argument::as_integer).map(|value| (value, format!("`{name}`")));
        let set = policy.get(setting(name)).and_then(Argument::as_integer);
        let set = set.map(|value| (value, format!("`{}` of its policy", setting(name))));
        argument.into_iter().chain(set).min()
    };
    for (name, there, what) in [(MAX_LENGTH, messages, "messages"), (MAX_LENGTH_BYTES, bytes, "bytes of messages")] {
        if let Some((most, called)) = least(name, desired).filter(|(most, _)| i128::from(there) > i128::from(*most)) {
            return Some(format!("{there} {what} are to be kept, and {called} lets it keep {most}"));
        }
    }
    let leads_on = desired.contains_key(DEAD_LETTER_EXCHANGE) || policy.contains_key(setting(DEAD_LETTER_EXCHANGE));
    let (time, called) = least(MESSAGE_TTL, desired).filter(|_| messages > 0 && !leads_on)?;
    let shorter = least(MESSAGE_TTL, live).is_none_or(|(before, _)| time < before);
    shorter.then(|| format!("{messages} messages are to be kept, and {called} drops each that waits longer than {time} ms"))
}

/// `binding` as it is made again for the queue `to`.
///
/// # Errors
/// With what it has and cannot be made again as it was: the management API tells neither the width of a fraction nor the sorts in a list.
pub fn rebound(binding: &LiveBinding, to: &str) -> Result<Binding, String> {
    let mut again = Binding::to_queue(&binding.source, to, &binding.key);
    for (name, value) in &binding.arguments {
        let Some(argument) = Argument::of_json(value) else {
            return Err(format!(
                "its binding to the exchange `{}` has the argument `{name}` with the value {value}, which cannot be made again as it \
                 is: remove that binding, and bind the queue again afterwards",
                binding.source
            ));
        };
        again.arguments.insert(name.clone(), argument);
    }
    Ok(again)
}

/// Why a queue with the arguments `live` cannot be emptied by a consumer beside `consumers` others; `None`: it can.
pub fn unfit(live: &Arguments, consumers: u32) -> Option<&'static str> {
    if live.get(QUEUE_TYPE).and_then(Argument::as_text) == Some("stream") {
        return Some("it is a stream, whose messages stay when they are read: copy what you need of it");
    }
    if live.get(SINGLE_ACTIVE_CONSUMER) == Some(&Argument::Bool(true)) && consumers > 0 {
        return Some("it gives its messages to one consumer at a time, and has one: stop its consumers until this is done");
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Kind, Names, work_queue};

    fn work() -> Arguments {
        let kind = Kind::parse("orders.place").unwrap();
        work_queue(&Names::default(), &kind, "hub").find_queue("jobs.orders.place").unwrap().arguments()
    }

    fn limited(limit: i64) -> Arguments {
        let mut arguments = work();
        arguments.insert(DELIVERY_LIMIT.to_owned(), limit.into());
        arguments
    }

    #[test]
    fn the_broker_alone_tells_how_far_it_has_come() {
        let desired = limited(50);
        assert_eq!(stage(&desired, None, false), Stage::Absent);
        assert_eq!(stage(&desired, None, true), Stage::Create);
        assert_eq!(stage(&desired, Some(&limited(50)), true), Stage::GiveBack);
        assert_eq!(stage(&desired, Some(&limited(50)), false), Stage::Done);
        for held in [false, true] {
            let Stage::Collect(changes) = stage(&desired, Some(&work()), held) else { panic!("it differs") };
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            assert_eq!(changes, ["x-delivery-limit from 100 to 50"]);
        }
    }

    #[test]
    fn marks_need_no_migration() {
        let mut other = work();
        other.insert(OWNER.to_owned(), "somebody".into());
        other.remove(DESCRIPTION);
        assert_eq!(stage(&work(), Some(&other), false), Stage::Done);
    }

    #[test]
    fn what_is_held_has_no_limit_and_dies_as_it_would_have() {
        let none = Arguments::new();
        let held = holding_arguments("jobs.orders.place", &work(), &none);
        for name in DEAD_LETTERING {
            assert_eq!(held.get(name), work().get(name), "{name}");
        }
        assert_eq!(held[QUEUE_TYPE], "quorum".into());
        assert_eq!(held[DELIVERY_LIMIT], TERMINAL_DELIVERY_LIMIT.into());
        assert_eq!(held[MOVING], "jobs.orders.place".into());
        assert!(!held.contains_key(OWNER), "it is not to be pruned");
        let rung = Arguments::from([("x-message-ttl".to_owned(), 1000.into()), (QUEUE_TYPE.to_owned(), "quorum".into())]);
        assert!(
            !holding_arguments("warren.retry.1s", &rung, &none).contains_key("x-message-ttl"),
            "nothing expires while it is held"
        );
        let classic =
            Arguments::from([(OVERFLOW.to_owned(), "reject-publish".into()), (QUEUE_TYPE.to_owned(), "classic".into())]);
        assert!(!holding_arguments("q", &classic, &none).contains_key(OVERFLOW));
    }

    #[test]
    fn what_a_policy_sets_dies_as_it_would_have_too() {
        let set = |settings: &[(&str, &str)]| -> Arguments {
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
        };
        let policy = set(&[
            ("dead-letter-exchange", "by-policy"),
            ("dead-letter-routing-key", "k"),
            ("dead-letter-strategy", "at-least-once"),
            ("overflow", "reject-publish"),
            ("queue-leader-locator", "balanced"),
        ]);
        let quorum = set(&[(QUEUE_TYPE, "quorum")]);
        let held = holding_arguments("q", &quorum, &policy);
        for name in DEAD_LETTERING {
            assert_eq!(held.get(name), policy.get(setting(name)), "{name}");
        }
        assert!(!held.contains_key("x-queue-leader-locator"));
        let own = set(&[(QUEUE_TYPE, "quorum"), (DEAD_LETTER_EXCHANGE, "its-own")]);
        assert_eq!(
            holding_arguments("q", &own, &policy)[DEAD_LETTER_EXCHANGE],
            "its-own".into(),
            "an argument holds before a policy"
        );
        let held = holding_arguments("q", &set(&[(QUEUE_TYPE, "classic")]), &policy);
        assert_eq!(held.get(DEAD_LETTER_EXCHANGE), Some(&"by-policy".into()));
        assert!(!held.contains_key(DEAD_LETTER_STRATEGY) && !held.contains_key(OVERFLOW), "a classic queue has neither");
        let no_target = set(&[("overflow", "reject-publish")]);
        assert!(!holding_arguments("q", &quorum, &no_target).contains_key(OVERFLOW));
    }

    #[test]
    fn what_would_be_dropped_is_told() {
        let set = |settings: &[(&str, i64)]| -> Arguments {
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
        };
        let none = Arguments::new();
        let length = set(&[(MAX_LENGTH, 5)]);
        assert_eq!(loss(&length, &none, &none, 5, 9000), None);
        let told = "6 messages are to be kept, and `x-max-length` lets it keep 5";
        assert_eq!(loss(&length, &none, &none, 6, 0).as_deref(), Some(told));
        let told = loss(&length, &none, &set(&[("max-length", 3)]), 6, 0).unwrap();
        assert!(told.ends_with("and `max-length` of its policy lets it keep 3"), "the lower holds: {told}");
        let told = loss(&set(&[(MAX_LENGTH_BYTES, 10)]), &none, &none, 1, 11).unwrap();
        assert!(told.starts_with("11 bytes of messages are to be kept, and `x-max-length-bytes`"), "{told}");

        let second = set(&[(MESSAGE_TTL, 1000)]);
        let told = loss(&second, &none, &none, 1, 0).unwrap();
        assert!(told.ends_with("and `x-message-ttl` drops each that waits longer than 1000 ms"), "{told}");
        assert_eq!(loss(&second, &none, &none, 0, 0), None, "nothing is there");
        assert_eq!(loss(&second, &second, &none, 1, 0), None, "it was no longer before");
        assert!(loss(&second, &set(&[(MESSAGE_TTL, 2000)]), &none, 1, 0).is_some());
        assert_eq!(loss(&none, &none, &set(&[("message-ttl", 1000)]), 1, 0), None, "a policy that holds already");
        let mut rung = second.clone();
        rung.insert(DEAD_LETTER_EXCHANGE.to_owned(), "warren.return".into());
        assert_eq!(loss(&rung, &none, &none, 1, 0), None, "what expires goes on");
    }

    #[test]
    fn a_binding_is_made_again_or_told() {
        let bound = |value: serde_json::Value| LiveBinding {
            source: "match".to_owned(),
            key: "k".to_owned(),
            arguments: [("size".to_owned(), value)].into(),
            ..LiveBinding::default()
        };
        let again = rebound(&bound(7.into()), "q").unwrap();
        assert_eq!((again.key.as_str(), &again.arguments["size"]), ("k", &7.into()));
        for value in [serde_json::json!(1.5), serde_json::json!([1]), serde_json::json!(null), u64::MAX.into()] {
            let told = rebound(&bound(value.clone()), "q").unwrap_err();
            assert!(told.contains(&format!("exchange `match` has the argument `size` with the value {value}")), "{told}");
        }
    }

    #[test]
    fn what_no_second_consumer_can_empty_is_told() {
        let with = |name: &str, value: Argument| Arguments::from([(name.to_owned(), value)]);
        assert!(unfit(&with(QUEUE_TYPE, "stream".into()), 0).unwrap().contains("stream"));
        assert!(unfit(&with(SINGLE_ACTIVE_CONSUMER, true.into()), 1).unwrap().contains("stop its consumers"));
        assert_eq!(unfit(&with(SINGLE_ACTIVE_CONSUMER, true.into()), 0), None);
        assert_eq!(unfit(&work(), 9), None);
    }
}
