//! What RabbitMQ knows of the arguments of queues and the settings of policies.
//!
//! Measured on 3.10.8, 4.0.5 and 4.3.6: an argument is listed for the kinds of queue where all three take it, and a range is what all
//! three take.

use serde_json::Value;

use crate::queue::QueueKind::{self, Classic, Quorum, Stream};

/// What the value of an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Count(i64, i64),
    /// A time in milliseconds, within these bounds.
    Millis(i64, i64),
    /// A number of bytes, within these bounds.
    Bytes(i64, i64),
    /// An age as streams spell it: `7D`, `12h`, `90s`.
    Age,
    /// True or false.
    Flag,
}

/// An argument, its sort, and where it may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// As policies spell it: `message-ttl` is the argument `x-message-ttl`.
    pub name: &'static str,
    /// What its value is.
    pub sort: Sort,
    /// The kinds of queue that take it as an argument.
    pub(crate) queues: &'static [QueueKind],
    /// Whether a policy may set it.
    pub(crate) policy: bool,
}

const MOST: i64 = i64::MAX;
/// The longest time RabbitMQ takes, ten years.
const TEN_YEARS: i64 = 315_360_000_000;
/// The largest segment of a stream, in bytes.
const SEGMENT: i64 = 3_000_000_000;

const fn known(name: &'static str, sort: Sort, queues: &'static [QueueKind], policy: bool) -> Known {
    Known { name, sort, queues, policy }
}

/// All of them, by name.
pub(crate) const KNOWN: &[Known] = &[
    known("alternate-exchange", Sort::Text, &[], true),
    known("consumer-timeout", Sort::Millis(0, TEN_YEARS), &[Quorum], false),
    known("dead-letter-exchange", Sort::Text, &[Quorum, Classic], true),
    known("dead-letter-routing-key", Sort::Text, &[Quorum, Classic], true),
    known("dead-letter-strategy", Sort::Word(&["at-least-once", "at-most-once"]), &[Quorum], true),
    // What is under 1 has a rule of its own.
    known("delivery-limit", Sort::Count(i64::MIN, MOST), &[Quorum], true),
    known("expires", Sort::Millis(1, TEN_YEARS), &[Quorum, Classic], true),
    known("initial-cluster-size", Sort::Count(1, MOST), &[Stream], true),
    known("max-age", Sort::Age, &[Stream], true),
    known("max-length", Sort::Count(0, MOST), &[Quorum, Classic], true),
    known("max-length-bytes", Sort::Bytes(0, MOST), &[Quorum, Classic, Stream], true),
    known("max-priority", Sort::Count(0, 255), &[Classic], false),
    known("message-ttl", Sort::Millis(0, TEN_YEARS), &[Quorum, Classic], true),
    known("overflow", Sort::Word(&["drop-head", "reject-publish", "reject-publish-dlx"]), &[Quorum, Classic], true),
    known("queue-leader-locator", Sort::Word(&["client-local", "balanced"]), &[Quorum, Stream], true),
    known("quorum-initial-group-size", Sort::Count(1, MOST), &[Quorum], false),
    known("single-active-consumer", Sort::Flag, &[Quorum, Classic], false),
    known("stream-filter-size-bytes", Sort::Count(16, 255), &[Stream], false),
    known("stream-max-segment-size-bytes", Sort::Bytes(0, SEGMENT), &[Stream], true),
];

/// What some brokers take, and others refuse or leave without effect.
pub(crate) const NEVER: [&str; 3] = ["queue-mode", "queue-version", "queue-master-locator"];

/// Of a policy's setting and a queue's argument of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wins {
    /// The smaller one holds.
    Smaller,
    /// The argument holds.
    Argument,
}

/// What correctness rests on, so that Warren states it as arguments.
const RESTS_ON: [(&str, Wins); 9] = [
    ("dead-letter-exchange", Wins::Argument),
    ("dead-letter-routing-key", Wins::Argument),
    ("dead-letter-strategy", Wins::Argument),
    ("delivery-limit", Wins::Smaller),
    ("expires", Wins::Smaller),
    ("max-length", Wins::Smaller),
    ("max-length-bytes", Wins::Smaller),
    ("message-ttl", Wins::Smaller),
    ("overflow", Wins::Argument),
];

/// The policy settings that take messages out of a queue, or keep some out: of each the smaller holds.
pub(crate) fn limiting() -> impl Iterator<Item = &'static str> {
    RESTS_ON.into_iter().filter(|(_, wins)| *wins == Wins::Smaller).map(|(name, _)| name)
}

/// Whether correctness rests on the policy setting `name`.
pub(crate) fn rests_on(name: &str) -> bool {
    RESTS_ON.iter().any(|(known, _)| *known == name)
}

/// Whether correctness rests on the policy setting `name`, and a policy that sets it to `value` changes what holds for a queue with this
/// argument of the same name, or with none.
pub fn policy_holds(name: &str, value: &Value, argument: Option<&Value>) -> bool {
    let wins = RESTS_ON.iter().find(|(known, _)| *known == name).map(|(_, wins)| *wins);
    match (wins, argument) {
        (None, _) | (Some(Wins::Argument), Some(_)) => false,
        (Some(_), None) => true,
        (Some(Wins::Smaller), Some(argument)) => value.as_f64() < argument.as_f64(),
    }
}

/// What RabbitMQ knows of the queue argument `name`, such as `x-message-ttl`; `None` of others.
pub fn known_argument(name: &str) -> Option<&'static Known> {
    known_setting(name.strip_prefix("x-")?)
}

/// What RabbitMQ knows of the policy setting `name`, such as `message-ttl`; `None` of others.
pub fn known_setting(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The known name that is most like `name`, which is spelt as in a policy.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let likeness = |known: &Known| strsim::jaro_winkler(name, known.name);
    let best = KNOWN.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.85).then_some(best.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_says_everything_once() {
        assert!(KNOWN.windows(2).all(|two| two[0].name < two[1].name));
        assert!(KNOWN.iter().all(|known| known.policy || !known.queues.is_empty()));
        assert!(NEVER.iter().all(|name| known_setting(name).is_none()));
    }

    #[test]
    fn what_correctness_rests_on_is_known_and_won_by_the_smaller_or_the_argument() {
        assert!(RESTS_ON.iter().all(|(name, _)| known_setting(name).is_some_and(|known| known.policy)));
        let holds =
            |name: &str, value: i64, argument: Option<i64>| policy_holds(name, &value.into(), argument.map(Value::from).as_ref());
        assert!(holds("message-ttl", 5, None) && holds("message-ttl", 5, Some(6)));
        assert!(!holds("message-ttl", 6, Some(6)) && !holds("message-ttl", 7, Some(6)));
        assert!(holds("overflow", 1, None) && !holds("overflow", 1, Some(2)));
        assert!(!holds("queue-leader-locator", 1, None) && !rests_on("queue-leader-locator"));
    }

    #[test]
    fn arguments_and_settings_are_spelt_in_their_own_ways() {
        assert_eq!(known_argument("x-message-ttl"), known_setting("message-ttl"));
        assert_eq!((known_argument("message-ttl"), known_setting("x-message-ttl")), (None, None));
        assert_eq!((nearest("max-lenght"), nearest("colour")), (Some("max-length"), None));
    }
}
