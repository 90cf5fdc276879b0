//! What policies and operator policies make of our queues. The broker tells what they come to; each rule that correctness rests on is
//! compared with the argument of the queue.

use std::collections::BTreeMap;

use broker_topology::{Argument, LivePolicy, Queue as Declared, policy_holds};
use serde_json::Value;

use super::{listed, quoted};
use crate::doctor::finding::{Finding, Rule};
use crate::doctor::rules::{
    CONSUMER_TIMEOUT_UNSEEN, POLICY_CONSUMER_TIMEOUT, POLICY_DEAD_LETTER, POLICY_DELIVERY_LIMIT, POLICY_EXPIRES, POLICY_LENGTH,
    POLICY_TTL,
};
use crate::doctor::snapshot::{Queue, Seen, Snapshot};

/// Which rule a key of a policy breaks on a queue, if it does.
fn broken(key: &str, value: &Value, queue: &Declared, seen: &Snapshot) -> Option<&'static Rule> {
    let own = queue.arguments.get(&format!("x-{key}")).map(Argument::to_json);
    match key {
        "consumer-timeout" => {
            let wanted = i64::try_from(seen.expected.consumer_timeout.as_millis()).unwrap_or(i64::MAX);
            value.as_i64().is_some_and(|value| value < wanted).then_some(&POLICY_CONSUMER_TIMEOUT)
        }
        "max-in-memory-length" => Some(&POLICY_LENGTH),
        _ if !policy_holds(key, value, own.as_ref()) => None,
        "max-length" | "max-length-bytes" => Some(&POLICY_LENGTH),
        "expires" => Some(&POLICY_EXPIRES),
        "message-ttl" => Some(&POLICY_TTL),
        "delivery-limit" => Some(&POLICY_DELIVERY_LIMIT),
        "dead-letter-exchange" | "dead-letter-routing-key" | "dead-letter-strategy" => Some(&POLICY_DEAD_LETTER),
        _ => None,
    }
}

/// A rule that a policy breaks with one of its keys, and where.
struct Hit<'a> {
    rule: &'static Rule,
    source: Source,
    key: &'a str,
    value: &'a Value,
    queues: Vec<&'a str>,
}

/// One finding per policy and key, whatever number of queues it hits. A team's own queues are its own to tune.
pub(in crate::doctor) fn effective(seen: &Snapshot) -> Vec<Finding> {
    let Ok(queues) = &seen.management.queues else { return Vec::new() };
    let live: BTreeMap<&str, &Queue> = queues.iter().map(|queue| (queue.name.as_str(), queue)).collect();
    let mut hits: Vec<Hit<'_>> = Vec::new();
    for queue in seen.expected.topology.queues.iter().filter(|queue| seen.expected.warrens.contains(&queue.name)) {
        let Some(found) = live.get(queue.name.as_str()) else { continue };
        for (key, value) in found.effective_policy_definition.as_object().into_iter().flatten() {
            let Some(rule) = broken(key, value, queue, seen) else { continue };
            let source = Source::of(key, found, seen);
            match hits.iter_mut().find(|hit| hit.key == key && hit.source == source && hit.value == value) {
                Some(hit) => hit.queues.push(&queue.name),
                None => hits.push(Hit { rule, source, key, value, queues: vec![&queue.name] }),
            }
        }
    }
    let finding = |hit: Hit<'_>| {
        let found = format!("sets {} to {} on {}", hit.key, hit.value, listed(&hit.queues));
        hit.rule.finds(hit.source.to_string(), found, hit.source.remedy(&seen.expected.vhost))
    };
    hits.into_iter().map(finding).collect()
}

/// Where a key comes from.
#[derive(PartialEq)]
enum Source {
    Policy(String),
    Operator(String),
    /// The broker does not tell which.
    Some,
}

impl Source {
    fn of(key: &str, queue: &Queue, seen: &Snapshot) -> Self {
        let sets = |policies: &Seen<Vec<LivePolicy>>, name: &str| {
            policies.iter().flatten().any(|policy| policy.name == name && policy.definition.contains_key(key))
        };
        // Where both set it, an operator policy can only make it stricter: it is the one that has to go first.
        match (&queue.operator_policy, &queue.policy) {
            (Some(name), None) => Self::Operator(name.clone()),
            (None, Some(name)) => Self::Policy(name.clone()),
            (Some(operator), _) if sets(&seen.management.operator_policies, operator) => Self::Operator(operator.clone()),
            (_, Some(policy)) if sets(&seen.management.policies, policy) => Self::Policy(policy.clone()),
            _ => Self::Some,
        }
    }

    fn remedy(&self, vhost: &str) -> String {
        let vhost = quoted(vhost);
        match self {
            Self::Policy(name) => {
                format!("rabbitmqctl clear_policy -p {vhost} {}, or a pattern that leaves these queues out", quoted(name))
            }
            Self::Operator(name) => {
                format!(
                    "rabbitmqctl clear_operator_policy -p {vhost} {}, or a pattern that leaves these queues out",
                    quoted(name)
                )
            }
            Self::Some => format!("rabbitmqctl list_policies -p {vhost}; rabbitmqctl list_operator_policies -p {vhost}"),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(name) => write!(f, "policy `{name}`"),
            Self::Operator(name) => write!(f, "operator policy `{name}`"),
            Self::Some => f.write_str("a policy"),
        }
    }
}

/// The node's own consumer timeout is in no API of any version.
pub(in crate::doctor) fn consumer_timeout(seen: &Snapshot) -> Vec<Finding> {
    let minutes = seen.expected.consumer_timeout.as_secs() / 60;
    vec![CONSUMER_TIMEOUT_UNSEEN.finds(
        "broker.consumer_timeout",
        format!("{minutes} min in warren.toml; what the nodes have is not told"),
        "compare it, in ms: rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'",
    )]
}
