//! Which policies hold for our queues, and whether they override what correctness rests on.

use std::collections::BTreeMap;

use fancy_regex::Regex;
use serde::Serialize;
use serde_json::Value;

use crate::known::policy_holds;
use crate::live::{Live, LivePolicy, LiveQueue, json};
use crate::topology::Topology;

/// The policies that hold for one of our queues.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effective {
    /// The queue.
    pub queue: String,
    /// The policy that wins, if one matches.
    pub policy: Option<String>,
    /// The operator policy that wins, if one matches.
    pub operator_policy: Option<String>,
    /// What they set against what Warren needs; empty is harmless.
    pub overrides: Vec<Override>,
}

/// Something that correctness rests on, and that a policy sets otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Override {
    /// The policy that sets it.
    pub policy: String,
    /// Whether it is an operator policy.
    pub operator: bool,
    /// What it sets.
    pub property: String,
    /// To what.
    pub value: Value,
    /// The argument of the queue; absent when it has none.
    pub argument: Option<Value>,
}

/// Those of our queues that one of these policies holds for; and what could not be told.
pub(super) fn effective(
    desired: &Topology,
    live: &Live,
    all: &[LivePolicy],
    operators: &[LivePolicy],
) -> (Vec<Effective>, Vec<String>) {
    let (policies, mut unseen) = Matchers::new(all, "policy");
    let (operators, more) = Matchers::new(operators, "operator policy");
    unseen.extend(more);
    let own: BTreeMap<&str, BTreeMap<String, Value>> =
        desired.policies.iter().map(|policy| (policy.name.as_str(), json(&policy.definition))).collect();
    let queues = desired.queues.iter().filter_map(|queue| live.queues.get(&queue.name));
    let found = queues.filter_map(|queue| {
        // The broker says itself which one wins, and it is the one who knows.
        let said = queue.policy.as_ref().and_then(|name| all.iter().find(|policy| policy.name == *name));
        let policy = said.or_else(|| policies.winner(queue));
        let operator = operators.winner(queue);
        if policy.is_none() && operator.is_none() {
            return None;
        }
        let theirs = policy.filter(|policy| own.get(policy.name.as_str()) != Some(&policy.definition));
        let mut overrides: Vec<Override> = theirs.map(|policy| overrides(policy, false, queue)).unwrap_or_default();
        overrides.extend(operator.map(|policy| self::overrides(policy, true, queue)).unwrap_or_default());
        let name = |policy: Option<&LivePolicy>| policy.map(|policy| policy.name.clone());
        Some(Effective { queue: queue.name.clone(), policy: name(policy), operator_policy: name(operator), overrides })
    });
    (found.collect(), unseen)
}

fn overrides(policy: &LivePolicy, operator: bool, queue: &LiveQueue) -> Vec<Override> {
    let set = policy.definition.iter().filter_map(|(property, value)| {
        let argument = queue.arguments.get(&format!("x-{property}"));
        policy_holds(property, value, argument).then(|| Override {
            policy: policy.name.clone(),
            operator,
            property: property.clone(),
            value: value.clone(),
            argument: argument.cloned(),
        })
    });
    set.collect()
}

/// Policies with their patterns, the one that wins first.
pub(crate) struct Matchers<'a>(Vec<(Regex, &'a LivePolicy)>);

impl<'a> Matchers<'a> {
    pub(crate) fn new(policies: &'a [LivePolicy], sort: &str) -> (Self, Vec<String>) {
        let mut unseen = Vec::new();
        let mut matchers = Vec::new();
        for policy in policies {
            match Regex::new(&policy.pattern) {
                Ok(pattern) => matchers.push((pattern, policy)),
                Err(_) => unseen.push(format!(
                    "the pattern `{}` of the {sort} {} cannot be read here: see in the management UI which queues it matches",
                    policy.pattern, policy.name
                )),
            }
        }
        matchers.sort_by_key(|(_, policy)| std::cmp::Reverse(policy.priority));
        (Self(matchers), unseen)
    }

    pub(crate) fn winner(&self, queue: &LiveQueue) -> Option<&'a LivePolicy> {
        let kind = queue.kind.as_deref().unwrap_or("classic");
        let applies = |policy: &LivePolicy| match policy.apply_to.as_str() {
            "" | "all" | "queues" => true,
            "classic_queues" => kind == "classic",
            "quorum_queues" => kind == "quorum",
            "streams" => kind == "stream",
            _ => false,
        };
        self.0
            .iter()
            .find(|(pattern, policy)| applies(policy) && pattern.is_match(&queue.name).unwrap_or(false))
            .map(|(_, policy)| *policy)
    }
}
