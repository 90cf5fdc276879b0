//! Rules of policies: what RabbitMQ takes, what must not be tuned, and which of two holds.

use std::collections::BTreeSet;

use fancy_regex::Regex;

use super::arguments;
use super::cycles::held_targets;
use crate::argument::{Argument, DEAD_LETTER_EXCHANGE};
use crate::binding::Destination;
use crate::fragments::HUB;
use crate::known::{NEVER, known_setting, nearest, rests_on};
use crate::object::Object;
use crate::policy::Policy;
use crate::topology::Topology;
use crate::violation::Violation;

/// A policy and what it matches of a topology.
struct Hits<'a> {
    policy: &'a Policy,
    queues: BTreeSet<&'a str>,
    exchanges: BTreeSet<&'a str>,
}

pub(super) fn check(topology: &Topology) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut all = Vec::new();
    let (warrens, held) = (warrens_queues(topology), held_targets(topology));
    for policy in &topology.policies {
        found.extend(settings(policy));
        match pattern(policy) {
            Ok(regex) => all.push(hits(topology, policy, &regex)),
            Err(violation) => found.push(violation),
        }
    }
    for hits in &all {
        found.extend(touches(topology, hits, &warrens));
        found.extend(limits(hits, &warrens, &held));
    }
    for (index, one) in all.iter().enumerate() {
        found.extend(all[..index].iter().filter_map(|other| tie(other, one)));
    }
    found
}

/// The pattern, which holds at the beginning of a name.
fn pattern(policy: &Policy) -> Result<Regex, Violation> {
    let refused = |code, message: String, remedy: &str| Err(Violation::new(code, policy.label(), message, remedy));
    let regex = match Regex::new(&policy.pattern) {
        Ok(regex) => regex,
        Err(error) => {
            let message = format!("has the pattern `{}`, which is no regular expression: {error}", policy.pattern);
            return refused("policy-pattern-invalid", message, "mend it");
        }
    };
    if is_anchored(&policy.pattern) {
        return Ok(regex);
    }
    let message = format!("has the pattern `{}`, which also matches inside the names of others", policy.pattern);
    refused("policy-pattern-open", message, "begin it with `^`, and put words to choose from in brackets: `^(a|b)`")
}

/// `pattern`, whose branches begin with `^`, for names that begin with `prefix`. Of any other, which [`Topology::lint`] refuses, there
/// is no such thing, and it is given back as it is.
pub fn prefixed(pattern: &str, prefix: &str) -> String {
    let escaped = fancy_regex::escape(prefix);
    let mut rest = pattern;
    let mut found = String::new();
    if prefix.is_empty() || !is_anchored(pattern) {
        return pattern.to_owned();
    }
    for at in branches(pattern) {
        let done = pattern.len() - rest.len();
        let (before, after) = rest.split_at(at + '^'.len_utf8() - done);
        found.extend([before, &escaped]);
        rest = after;
    }
    found + rest
}

/// Whether each of its branches begins with `^`.
fn is_anchored(pattern: &str) -> bool {
    branches(pattern).into_iter().all(|at| {
        let mut first = pattern[at..].chars();
        // `^*` need not match the beginning.
        first.next() == Some('^') && !matches!(first.next(), Some('*' | '?' | '{'))
    })
}

/// Where its branches begin: what stands between `|` outside of all brackets.
fn branches(pattern: &str) -> Vec<usize> {
    let (mut depth, mut class, mut escaped) = (0_u32, false, false);
    let mut found = vec![0];
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !class => class = true,
            ']' if class => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth = depth.saturating_sub(1),
            '|' if !class && depth == 0 => found.push(at + 1),
            _ => {}
        }
    }
    found
}

fn hits<'a>(topology: &'a Topology, policy: &'a Policy, regex: &Regex) -> Hits<'a> {
    // What is too hard to tell counts as matched.
    let matches = |name: &&str| regex.is_match(name).unwrap_or(true);
    let queues = topology.queues.iter().map(|queue| queue.name.as_str());
    let exchanges = topology.exchanges.iter().map(|exchange| exchange.name.as_str());
    Hits {
        policy,
        queues: queues.filter(|_| policy.apply_to.queues()).filter(matches).collect(),
        exchanges: exchanges.filter(|_| policy.apply_to.exchanges()).filter(matches).collect(),
    }
}

/// What RabbitMQ takes as the definition of a policy.
fn settings(policy: &Policy) -> Vec<Violation> {
    let refused = |code, message: String, remedy: String| Some(Violation::new(code, policy.label(), message, remedy));
    if policy.definition.is_empty() {
        let message = "sets nothing, which RabbitMQ refuses".to_owned();
        return refused("policy-empty", message, "give it a setting in `definition`, or remove it".to_owned())
            .into_iter()
            .collect();
    }
    let wrong = |(name, value): (&String, &Argument)| {
        let unknown = |remedy: String| {
            let message = format!("sets `{name}`, which not every supported RabbitMQ takes in a policy");
            refused("policy-setting-unsupported", message, remedy)
        };
        let bare = name.strip_prefix("x-").unwrap_or(name);
        match known_setting(name).filter(|known| known.policy) {
            None if NEVER.contains(&bare) => unknown("remove it".to_owned()),
            None => match known_setting(bare) {
                Some(known) if known.policy => unknown(format!("write `{bare}`: policies spell it without `x-`")),
                Some(_) => unknown("make it an argument of the queue".to_owned()),
                None => unknown(nearest(bare).map_or("remove it".to_owned(), |near| format!("did you mean `{near}`?"))),
            },
            Some(_) if name == "delivery-limit" && value.as_integer().is_some_and(|limit| limit < 1) => refused(
                "delivery-limit-invalid",
                format!("sets `delivery-limit` to {value}, with which some brokers lose messages"),
                "state a positive one".to_owned(),
            ),
            Some(known) => arguments::value(&policy.label(), name, known, value),
        }
    };
    policy.definition.iter().filter_map(wrong).collect()
}

/// The names of the queues that Warren's promises rest on: the hub's own, and those that its rungs and its dead letters lead to. What
/// else is in `topology` is a team's, to do with as it likes.
pub fn warrens_queues(topology: &Topology) -> BTreeSet<&str> {
    let hubs = || topology.queues.iter().filter(|queue| queue.owner == HUB);
    let leading: BTreeSet<&str> = hubs().filter_map(|queue| queue.text(DEAD_LETTER_EXCHANGE)).collect();
    let own = leading.into_iter().filter(|name| topology.find_exchange(name).is_some_and(|exchange| exchange.owner == HUB));
    let bound = own.flat_map(|name| topology.bindings_of(name)).filter_map(|binding| match &binding.destination {
        Destination::Queue(name) => Some(name.as_str()),
        Destination::Exchange(_) => None,
    });
    hubs().map(|queue| queue.name.as_str()).chain(bound).collect()
}

/// A policy that changes what Warren states as arguments, or adds to it.
fn touches(topology: &Topology, hits: &Hits<'_>, warrens: &BTreeSet<&str>) -> Option<Violation> {
    let policy = hits.policy;
    let queues: Vec<&str> = hits.queues.intersection(warrens).copied().collect();
    let set = policy.definition.keys().map(String::as_str);
    let touched: Vec<&str> = if queues.is_empty() { Vec::new() } else { set.filter(|name| rests_on(name)).collect() };
    if !touched.is_empty() {
        return Some(taken(policy, &touched.join("`, `"), "queue", &queues));
    }
    let own = |name: &&str| topology.find_exchange(name).is_some_and(|exchange| exchange.owner == HUB);
    let exchanges: Vec<&str> = hits.exchanges.iter().copied().filter(own).collect();
    // What is unroutable there is told to the publisher, and must not vanish elsewhere.
    let reroutes = !exchanges.is_empty() && policy.definition.contains_key("alternate-exchange");
    reroutes.then(|| taken(policy, "alternate-exchange", "exchange", &exchanges))
}

fn taken(policy: &Policy, settings: &str, sort: &str, names: &[&str]) -> Violation {
    let more = match names.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    let first = names.first().copied().unwrap_or_default();
    Violation::new(
        "policy-touches-warren",
        policy.label(),
        format!("sets `{settings}` on {sort} {first}{more}, where Warren's promises rest on what it states itself"),
        "narrow its pattern to your own names",
    )
}

/// A limit on a queue of the team's that takes dead letters which are held until it has them.
fn limits(hits: &Hits<'_>, warrens: &BTreeSet<&str>, held: &BTreeSet<&str>) -> Option<Violation> {
    let limit = ["max-length", "max-length-bytes"].into_iter().find(|limit| hits.policy.definition.contains_key(*limit))?;
    let name = hits.queues.iter().find(|name| held.contains(*name) && !warrens.contains(*name))?;
    Some(Violation::new(
        "dead-letter-target-limited",
        hits.policy.label(),
        format!(
            "sets `{limit}` on queue {name}, which takes dead letters at-least-once: once full, it stops every queue they come from"
        ),
        "narrow its pattern, and limit what is published instead",
    ))
}

/// Two policies for one object, neither of which goes before the other.
fn tie(one: &Hits<'_>, other: &Hits<'_>) -> Option<Violation> {
    if one.policy.priority != other.policy.priority || one.policy.name == other.policy.name {
        return None;
    }
    let queue = one.queues.intersection(&other.queues).next().map(|name| format!("queue {name}"));
    let exchange = || one.exchanges.intersection(&other.exchanges).next().map(|name| format!("exchange {name}"));
    let both = queue.or_else(exchange)?;
    Some(Violation::new(
        "policy-tie",
        other.policy.label(),
        format!(
            "and {} are both for {both} with priority {}, and RabbitMQ picks one of them",
            one.policy.label(),
            one.policy.priority
        ),
        "give one of them a higher priority: of several only one holds, with all it must set",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::tests::{codes, dead_lettering, terminal};
    use super::*;
    use crate::{ApplyTo, Arguments, Kind, Names, core, subscriber, work_queue};

    fn policy(name: &str, pattern: &str, setting: &str, value: impl Into<Argument>) -> Policy {
        Policy {
            name: name.to_owned(),
            pattern: pattern.to_owned(),
            apply_to: ApplyTo::Queues,
            priority: 0,
            definition: Arguments::from([(setting.to_owned(), value.into())]),
        }
    }

    fn alone(policy: Policy) -> Vec<&'static str> {
        codes(&Topology::default().policy(policy))
    }

    #[test]
    fn patterns_are_anchored_in_every_branch() {
        let with = |pattern: &str| alone(policy("p", pattern, "max-length", 5));
        for good in ["^a", "^(a|b)", "^a|^b", r"^a\|b", "^[|]", "^(?!warren)", "^"] {
            assert_eq!(with(good), [""; 0], "{good}");
        }
        for open in ["", "a", "a|^b", "^a|b", "(^a)", "^a|", "^*a", "^a|^?b"] {
            assert_eq!(with(open), ["policy-pattern-open"], "{open}");
        }
        for invalid in ["^a(", "^a)", "^[a"] {
            assert_eq!(with(invalid), ["policy-pattern-invalid"], "{invalid}");
        }
    }

    #[test]
    fn a_prefix_goes_into_every_branch() {
        for (pattern, expected) in [
            (r"^a\.", r"^acme\.a\."),
            ("^a|^(b|c)", r"^acme\.a|^acme\.(b|c)"),
            ("^", r"^acme\."),
            ("^ä|^[|]", r"^acme\.ä|^acme\.[|]"),
            ("a", "a"),
        ] {
            assert_eq!(prefixed(pattern, "acme."), expected);
            assert_eq!(prefixed(pattern, ""), pattern);
        }
    }

    #[test]
    fn settings_are_what_rabbitmq_takes() {
        let with = |name: &str, value: Argument| alone(policy("p", "^a", name, value));
        assert_eq!(with("message-ttl", 5.into()), [""; 0]);
        assert_eq!(with("message-ttl", (-1).into()), ["argument-value"]);
        assert_eq!(with("message-ttl", "5".into()), ["argument-sort"]);
        assert_eq!(with("overflow", "bad".into()), ["argument-value"]);
        assert_eq!(with("delivery-limit", (-1).into()), ["delivery-limit-invalid"]);
        for name in ["x-message-ttl", "max-lenght", "ha-mode", "queue-mode", "single-active-consumer", "consumer-timeout"] {
            assert_eq!(with(name, 5.into()), ["policy-setting-unsupported"], "{name}");
        }
        assert_eq!(alone(Policy { definition: Arguments::new(), ..policy("p", "^a", "x", 1) }), ["policy-empty"]);
        let told = Topology::default().policy(policy("p", "^a", "x-message-ttl", 5)).validate();
        assert!(told[0].remedy.contains("write `message-ttl`"), "{}", told[0]);
    }

    #[test]
    fn what_correctness_rests_on_is_not_tuned() {
        let names = Names::new("acme.");
        let kind = Kind::parse("orders.place").unwrap();
        let whole = core(&names)
            .and(work_queue(&names, &kind, HUB))
            .and(subscriber(&names, "billing.invoices", &["order.*"], "billing"))
            .queue(crate::Queue { owner: "team".to_owned(), ..terminal("acme.theirs") });
        let with = |pattern: &str, name: &str| codes(&whole.clone().policy(policy("p", pattern, name, 5)));
        for setting in ["max-length", "max-length-bytes", "message-ttl", "expires", "delivery-limit"] {
            let hit = [
                "",
                "(?!amq)",
                r"acme\.jobs\.",
                r"acme\.warren\.retry",
                r"acme\.warren\.lost",
                r"acme\.warren\.submit",
                r"acme\.jobs\.orders\.place\.dead$",
                r"acme\.billing",
                r".*\.dead$",
            ];
            for pattern in hit {
                assert_eq!(with(&format!("^{pattern}"), setting), ["policy-touches-warren"], "{pattern} {setting}");
            }
            assert_eq!(with(r"^acme\.theirs", setting), [""; 0]);
        }
        let text = |name: &str, value: &str| codes(&whole.clone().policy(policy("p", "^acme", name, value)));
        assert_eq!(text("dead-letter-exchange", "x"), ["policy-touches-warren"]);
        assert_eq!(text("overflow", "drop-head"), ["policy-touches-warren"]);
        assert_eq!(text("queue-leader-locator", "balanced"), [""; 0]);
        let exchanges = Policy { apply_to: ApplyTo::All, ..policy("p", "^acme", "alternate-exchange", "x") };
        assert_eq!(codes(&whole.clone().policy(exchanges.clone())), ["policy-touches-warren"]);
        assert_eq!(codes(&whole.clone().policy(Policy { apply_to: ApplyTo::Queues, ..exchanges })), [""; 0]);
    }

    #[test]
    fn a_policy_puts_no_limit_on_what_takes_dead_letters() {
        let (around, queue) = dead_lettering();
        let own = |queue: &crate::Queue| crate::Queue { owner: "team".to_owned(), ..queue.clone() };
        let own = Topology { queues: around.queue(queue).queues.iter().map(own).collect(), ..dead_lettering().0 };
        assert_eq!(codes(&own.clone().policy(policy("p", "^q", "max-length", 5))), [""; 0]);
        assert_eq!(codes(&own.policy(policy("p", "^end", "max-length", 5))), ["dead-letter-target-limited"]);
    }

    #[test]
    fn of_two_policies_for_one_queue_one_goes_first() {
        let around = Topology::default().queue(crate::Queue { owner: "team".to_owned(), ..terminal("a.b") });
        let two = |priority, pattern: &str| {
            let other = Policy { priority, ..policy("two", pattern, "expires", 5) };
            codes(&around.clone().policy(policy("one", r"^a\.", "max-length", 5)).policy(other))
        };
        assert_eq!(two(0, "^a"), ["policy-tie"]);
        assert_eq!(two(1, "^a"), [""; 0]);
        assert_eq!(two(0, "^c"), [""; 0]);
    }
}
