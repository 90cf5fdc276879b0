//! Whether the policies that hold for the queues of devices bound them as they must be bounded.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{DROP_HEAD, Device, Tier};
use crate::live::{LiveArguments, LivePolicy, LiveQueue};
use crate::names::Names;
use crate::plan::Matchers;
use crate::violation::Violation;

/// Of these the smaller of two policies holds; how small may be tuned, that there is one may not.
const LIMITS: [&str; 3] = ["message-ttl", "max-length", "max-length-bytes"];

/// What is wrong with the policies that a virtual host has, as far as they hold for queues of devices; empty while devices may be served.
///
/// Values of limits are the operator's to tune: any positive one will do. That there is each of them, that the oldest message goes, where
/// it goes, and that no queue expires, is not.
pub fn unfit_policies(names: &Names, policies: &[LivePolicy], operators: &[LivePolicy]) -> Vec<Violation> {
    let (policies, unseen) = Matchers::new(policies, "policy");
    let (operators, more) = Matchers::new(operators, "operator policy");
    let unread = unseen.into_iter().chain(more).map(|sentence| {
        let remedy = "make sure that it matches no queue of a device, or write it so that it can be read";
        Violation::new("device-policy-unread", "policies", format!("cannot all be told: {sentence}"), remedy).into_warning()
    });
    let judged = Tier::ALL.into_iter().flat_map(|tier| {
        let name = names.device_queue(Device { number: 1, tier });
        let queue = LiveQueue { name, kind: Some("classic".to_owned()), ..LiveQueue::default() };
        judge(names, tier, policies.winner(&queue), operators.winner(&queue))
    });
    judged.chain(unread).collect()
}

fn judge(names: &Names, tier: Tier, policy: Option<&LivePolicy>, operator: Option<&LivePolicy>) -> Vec<Violation> {
    let queues = format!("queues {}", names.on_broker(&format!("device.{}.*", tier.name())));
    let Some(policy) = policy else {
        let remedy = format!(
            "set it with `warren topology apply`, by a user with the tag `policymaker`; `rabbitmqctl list_policies` shows what there \
             is, and `warren topology export` the policy `{}`",
            names.on_broker(&format!("warren.devices.{}", tier.name()))
        );
        return vec![Violation::new("device-policy-missing", queues, "have no policy, so that nothing bounds them", remedy)];
    };
    let set = effective(policy, operator);
    let dead = names.devices_dead();
    let mut wrong: Vec<String> = Vec::new();
    for limit in LIMITS {
        match set.get(limit) {
            None => wrong.push(format!("no `{limit}`")),
            Some((value, _)) if value.as_i64().is_some_and(|value| value > 0) => {}
            Some((value, by)) => wrong.push(format!("`{limit}` {value} by `{by}`, where a positive number must be")),
        }
    }
    for (setting, wanted) in [("overflow", DROP_HEAD), ("dead-letter-exchange", dead.as_str())] {
        match set.get(setting) {
            None => wrong.push(format!("no `{setting}`")),
            Some((value, _)) if value.as_str() == Some(wanted) => {}
            Some((value, by)) => wrong.push(format!("`{setting}` {value} by `{by}`, where `{wanted}` must be")),
        }
    }
    for setting in ["expires", "dead-letter-routing-key"] {
        if let Some((value, by)) = set.get(setting) {
            wrong.push(format!("`{setting}` {value} by `{by}`, which must not be set"));
        }
    }
    if wrong.is_empty() {
        return Vec::new();
    }
    let message = format!("get from policy `{}` {}", policy.name, wrong.join("; "));
    let remedy = "mend it, or give it a pattern that leaves these queues out; `warren topology apply` sets Warren's own";
    vec![Violation::new("device-policy-wrong", queues, message, remedy)]
}

/// What two policies come to, and which sets it.
fn effective<'a>(policy: &'a LivePolicy, operator: Option<&'a LivePolicy>) -> BTreeMap<&'a str, (&'a Value, &'a str)> {
    let of = |found: &'a LivePolicy| table(&found.definition).map(move |(name, value)| (name, (value, found.name.as_str())));
    let mut set: BTreeMap<&str, (&Value, &str)> = of(policy).collect();
    for (name, found) in operator.into_iter().flat_map(of) {
        let smaller = match set.get(name) {
            Some((value, _)) => found.0.as_f64() < value.as_f64() || found.0.as_f64().is_none(),
            None => true,
        };
        if smaller {
            set.insert(name, found);
        }
    }
    set
}

fn table(arguments: &LiveArguments) -> impl Iterator<Item = (&str, &Value)> {
    arguments.iter().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::{TierLimits, devices};
    use super::*;
    use crate::validate::tests::listed;

    fn own(names: &Names) -> Vec<LivePolicy> {
        devices(names, &TierLimits::default()).policies.iter().map(LivePolicy::of).collect()
    }

    fn policy(name: &str, pattern: &str, priority: i64, definition: Value) -> LivePolicy {
        let definition = serde_json::from_value(definition).unwrap();
        LivePolicy { name: name.to_owned(), pattern: pattern.to_owned(), apply_to: "all".to_owned(), priority, definition }
    }

    fn codes(policies: &[LivePolicy], operators: &[LivePolicy]) -> Vec<&'static str> {
        let found = unfit_policies(&Names::new("acme."), policies, operators);
        found.into_iter().map(|violation| listed(violation.code)).collect()
    }

    #[test]
    fn warrens_own_will_do_and_so_do_tuned_ones() {
        let mut policies = own(&Names::new("acme."));
        assert_eq!(codes(&policies, &[]), [""; 0]);
        policies[0].definition.insert("max-length".to_owned(), json!(7));
        policies.push(policy("all", "^", 0, json!({"expires": 5})));
        assert_eq!(codes(&policies, &[]), [""; 0]);
        assert_eq!(codes(&policies, &[policy("cap", "^", 0, json!({"max-length": 50}))]), [""; 0]);
    }

    #[test]
    fn none_or_that_of_another_prefix_is_none() {
        assert_eq!(codes(&[], &[]), ["device-policy-missing"; 2]);
        assert_eq!(codes(&own(&Names::default()), &[]), ["device-policy-missing"; 2]);
        let said = unfit_policies(&Names::new("acme."), &[], &[])[0].to_string();
        assert!(said.contains("queues acme.device.standard.* have no policy"), "{said}");
    }

    #[test]
    fn what_goes_before_and_loses_messages_is_named_with_its_policy() {
        let names = Names::new("acme.");
        let with = |definition: Value| [own(&names), vec![policy("loud", r"^acme\.device", 99, definition)]].concat();
        let whole = json!({"message-ttl": 5, "max-length": 5, "max-length-bytes": 5, "overflow": "drop-head",
            "dead-letter-exchange": "acme.warren.devices.dead"});
        assert_eq!(codes(&with(whole.clone()), &[]), [""; 0]);
        let wrong = [
            ("expires", json!(5)),
            ("overflow", json!("reject-publish")),
            ("dead-letter-exchange", json!("")),
            ("dead-letter-routing-key", json!("k")),
            ("max-length", json!(0)),
            ("message-ttl", Value::Null),
        ];
        for (setting, value) in wrong {
            let mut definition = whole.clone();
            definition[setting] = value;
            assert_eq!(codes(&with(definition.clone()), &[]), ["device-policy-wrong"; 2], "{definition}");
            let said = unfit_policies(&names, &with(definition), &[])[0].to_string();
            assert!(said.contains("`loud`") && said.contains(setting), "{said}");
        }
        let expiring = policy("cap", "^", 0, json!({"expires": 5}));
        assert_eq!(codes(&own(&names), &[expiring]), ["device-policy-wrong"; 2]);
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_told_of() {
        let policies = [own(&Names::new("acme.")), vec![policy("odd", "^(", 99, json!({"expires": 5}))]].concat();
        assert_eq!(codes(&policies, &[]), ["device-policy-unread"]);
    }
}
