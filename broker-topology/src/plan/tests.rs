//! What a plan sees, does, leaves alone and refuses.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::live::LiveExchange;
use crate::{ApplyTo, Argument, Binding, Exchange, ExchangeKind, Kind, Names, Policy, QueueKind, core, subscriber, work_queue};

fn desired(kinds: &[&str]) -> Topology {
    let names = Names::new("");
    let work = kinds.iter().map(|kind| work_queue(&names, &Kind::parse(kind).unwrap(), "hub"));
    Topology::merge(std::iter::once(core(&names)).chain(work)).unwrap()
}

fn plan(desired: &Topology, live: &Live, prune: bool) -> Plan {
    Plan::new(desired, live, &Scope::of(desired, ""), prune)
}

fn lines(plan: &Plan) -> Vec<String> {
    let action = |step: &Step| serde_json::to_value(step.action).unwrap().as_str().unwrap().to_owned();
    plan.steps.iter().map(|step| format!("{} {}", action(step), step.target)).collect()
}

fn weighed(desired: &Topology, live: &Live, facts: &Facts) -> Vec<(LossKind, String)> {
    let mut plan = plan(desired, live, true);
    plan.weigh(desired, live, "", facts);
    plan.losses.into_iter().map(|loss| (loss.kind, format!("{}: {}", loss.object, loss.message))).collect()
}

const EMPTY: Look = Look { ready: Some(0), held: Some(0), consumers: Some(0) };

/// Every queue of `topology`, seen empty.
fn empty(topology: &Topology) -> BTreeMap<String, Look> {
    topology.queues.iter().map(|queue| (queue.name.clone(), EMPTY)).collect()
}

/// What a hub says that knows of no jobs and no keys.
fn asked() -> Facts {
    Facts { pending: Some(BTreeMap::new()), keys: Some(Vec::new()), ..Facts::default() }
}

#[test]
fn a_broker_that_holds_it_needs_nothing() {
    let desired = desired(&["orders.place"]);
    let plan = plan(&desired, &Live::of(&desired), true);
    assert!(plan.is_empty() && plan.drift().is_none(), "{plan:?}");
}

#[test]
fn all_is_created_in_an_order_that_works() {
    let desired = desired(&["orders.place"]);
    let plan = plan(&desired, &Live::default(), true);
    let sorts: Vec<u8> = plan
        .steps
        .iter()
        .map(|step| match step.target {
            Target::Exchange { .. } => 0,
            Target::Queue { .. } => 1,
            Target::Binding(_) => 2,
            Target::Policy { .. } => 3,
        })
        .collect();
    assert!(sorts.is_sorted());
    assert_eq!(plan.drift().missing, desired.exchanges.len() + desired.queues.len() + desired.bindings.len());
}

#[test]
fn an_argument_that_differs_is_named_with_both_values_and_the_remedy() {
    let desired = desired(&["orders.place"]);
    let mut live = Live::of(&desired);
    let queue = live.queues.get_mut("jobs.orders.place").unwrap();
    queue.arguments.insert("x-delivery-limit".to_owned(), json!(5));
    queue.arguments.insert("x-odd".to_owned(), json!([1, {"a": null}]));
    queue.kind = Some("classic".to_owned());
    queue.arguments.insert("warren-description".to_owned(), json!("other words"));
    let plan = plan(&desired, &live, true);
    assert_eq!(lines(&plan), ["migrate queue jobs.orders.place"]);
    let said: Vec<String> = plan.steps[0].properties.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["x-delivery-limit from 5 to 100", "x-odd from [1,{\"a\":null}] to nothing", "x-queue-type from `classic` to `quorum`"]
    );
    assert!(plan.steps[0].remedy.as_ref().unwrap().contains("warren topology migrate jobs.orders.place"));
    assert_eq!(plan.drift().changed, 1);
}

#[test]
fn what_is_ours_and_not_wanted_goes_with_prune_alone_bindings_first() {
    let (before, after) = (desired(&["orders.place", "demo.echo"]), desired(&["orders.place"]));
    let live = Live::of(&before);
    let kept = plan(&after, &live, false);
    assert!(kept.is_empty() && kept.drift().extra > 2 && kept.extra.iter().all(|extra| extra.ours), "{kept:?}");
    let pruned = plan(&after, &live, true);
    let gone: Vec<&str> = pruned.queues_to_go().collect();
    assert_eq!(gone, ["jobs.demo.echo", "jobs.demo.echo.dead"]);
    let binding = |step: &Step| matches!(step.target, Target::Binding(_));
    assert!(pruned.steps.is_sorted_by_key(|step| !binding(step)) && binding(&pruned.steps[0]));
}

#[test]
fn what_others_own_stays() {
    let desired = desired(&["orders.place"]);
    let names = Names::new("");
    let other_hub = Names::new("acme.");
    let others = [
        // A service, another hub behind its prefix, and somebody without a mark.
        subscriber(&names, "billing.invoices", &["order.*"], "billing"),
        core(&other_hub),
        work_queue(&other_hub, &Kind::parse("demo.echo").unwrap(), "hub"),
    ];
    let mut live = Live::of(&others.into_iter().fold(desired.clone(), Topology::and));
    live.queues.insert("legacy".to_owned(), LiveQueue { name: "legacy".to_owned(), durable: true, ..LiveQueue::default() });
    live.bindings.push(LiveBinding::of(&Binding::to_queue("warren.events", "legacy", "#")));
    live.bindings.push(LiveBinding::of(&Binding::to_queue("", "legacy", "legacy")));
    let passing = LiveQueue { name: "amq.gen-1".to_owned(), exclusive: Some(true), durable: true, ..LiveQueue::default() };
    live.queues.insert(passing.name.clone(), passing);
    live.bindings.push(LiveBinding::of(&Binding::to_queue("warren.notices", "amq.gen-1", "")));
    let plan = plan(&desired, &live, true);
    assert_eq!(lines(&plan), [""; 0]);
    let extra: Vec<String> = plan.extra.iter().map(|extra| format!("{} {}", extra.ours, extra.target)).collect();
    assert_eq!(extra, ["false binding warren.events -> queue legacy (key `#`)"]);
    // And with the owner named, its objects go.
    let named = Plan::new(&desired, &live, &Scope::of(&desired, "").and("billing"), true);
    assert_eq!(named.queues_to_go().collect::<Vec<_>>(), ["billing.invoices", "billing.invoices.dead"]);
}

#[test]
fn an_owner_of_the_configuration_with_the_name_of_a_service_takes_nothing_of_it() {
    let names = Names::new("");
    let own = |desired: Topology| desired.exchange(Exchange::new("bills", ExchangeKind::Topic, "billing", "x"));
    let service = subscriber(&names, "billing.invoices", &["order.*"], &crate::service_owner("billing"));
    let (before, after) = (own(desired(&[])).and(service), own(desired(&[])));
    assert!(plan(&after, &Live::of(&before), true).is_empty());
}

#[test]
fn a_prefix_keeps_to_itself() {
    let names = Names::new("acme.");
    let desired = core(&names);
    let live = Live::of(&desired.clone().and(core(&Names::new(""))));
    assert!(Plan::new(&desired, &live, &Scope::of(&desired, "acme."), true).is_empty());
}

#[test]
fn policies_are_changed_and_those_of_others_are_told() {
    let policy = |ttl: i64| Policy {
        name: "tuned".to_owned(),
        pattern: "^warren\\.results$".to_owned(),
        apply_to: ApplyTo::Queues,
        priority: 1,
        definition: [("max-length".to_owned(), Argument::Integer(ttl))].into(),
    };
    let (wanted, other) = (desired(&[]).policy(policy(5)), desired(&[]).policy(policy(6)));
    let changed = plan(&wanted, &Live::of(&other), true);
    assert_eq!(lines(&changed), ["change policy tuned"]);
    assert_eq!(changed.steps[0].properties[0].to_string(), "definition.max-length from 6 to 5");
    let mut live = Live::of(&wanted);
    assert!(plan(&wanted, &live, true).drift().is_none(), "one that is wanted is no drift");
    let operator = |name: &str, pattern: &str, definition: serde_json::Value| LivePolicy {
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        apply_to: "queues".to_owned(),
        priority: 0,
        definition: serde_json::from_value(definition).unwrap(),
    };
    // A smaller TTL on a rung, a larger one elsewhere, and one that no regular expression here can read.
    let operators = live.operator_policies.as_mut().unwrap();
    operators.push(operator("short", "retry\\.10m$", json!({"message-ttl": 1000})));
    operators.push(operator("odd", "(", json!({})));
    let plan = plan(&wanted, &live, true);
    let found: Vec<&Effective> = plan.policies.iter().flatten().filter(|found| !found.overrides.is_empty()).collect();
    assert_eq!((found.len(), found[0].queue.as_str()), (1, "warren.retry.10m"));
    let over = &found[0].overrides[0];
    assert_eq!((over.property.as_str(), &over.value, over.argument.clone()), ("message-ttl", &json!(1000), Some(json!(600_000))));
    assert_eq!((plan.drift().policy, plan.unseen.len()), (Some(1), 1));
}

#[test]
fn policies_that_cannot_be_seen_are_neither_missing_nor_none() {
    let tuned = Policy {
        name: "tuned".to_owned(),
        pattern: "^theirs".to_owned(),
        apply_to: ApplyTo::Queues,
        priority: 0,
        definition: [("max-length".to_owned(), Argument::Integer(5))].into(),
    };
    let wanted = desired(&[]).policy(tuned);
    for live in [Live { policies: None, ..Live::of(&wanted) }, Live { operator_policies: None, ..Live::of(&wanted) }] {
        let found = plan(&wanted, &live, true);
        assert!(found.is_empty() && found.drift().is_none(), "{found:?}");
        assert_eq!((found.drift().policy, found.policies), (None, None));
    }
}

#[test]
fn larger_values_and_stated_targets_override_nothing() {
    let desired = desired(&["orders.place"]);
    let mut live = Live::of(&desired);
    live.policies.as_mut().unwrap().push(LivePolicy {
        name: "p".to_owned(),
        pattern: "^jobs\\.orders\\.place$".to_owned(),
        apply_to: "quorum_queues".to_owned(),
        definition: serde_json::from_value(json!({"delivery-limit": 1000, "dead-letter-exchange": "x", "ha-mode": "all"}))
            .unwrap(),
        ..LivePolicy::default()
    });
    let found = plan(&desired, &live, false);
    assert_eq!((found.policies.as_ref().unwrap().len(), found.drift().is_none()), (1, true), "{found:?}");
    live.policies.as_mut().unwrap()[0].definition = serde_json::from_value(json!({"message-ttl": 1})).unwrap();
    assert_eq!(plan(&desired, &live, false).drift().policy, Some(1));
}

#[test]
fn what_would_be_lost_is_told() {
    let (before, after) = (desired(&["orders.place", "demo.echo"]), desired(&["orders.place"]));
    let mut live = Live::of(&before);
    let queue = live.queues.get_mut("jobs.demo.echo").unwrap();
    (queue.ready, queue.unacked) = (Some(1), Some(0));
    let pending = Pending { states: [("retrying".to_owned(), 3), ("scheduled".to_owned(), 4)].into(), more: false };
    let facts = Facts {
        pending: Some([("demo.echo".to_owned(), pending)].into()),
        keys: Some(vec![
            SeenKey { exchange: "warren.jobs".to_owned(), key: "demo.echo".to_owned(), count: 41 },
            SeenKey { exchange: "warren.jobs".to_owned(), key: "orders.place".to_owned(), count: 1 },
            SeenKey { exchange: "warren.jobs".to_owned(), key: "nobody".to_owned(), count: 1 },
        ]),
        looks: [
            ("jobs.demo.echo".to_owned(), Look { ready: Some(12), held: Some(2), consumers: Some(1) }),
            ("jobs.demo.echo.dead".to_owned(), EMPTY),
        ]
        .into(),
    };
    let found = weighed(&after, &live, &facts);
    let kinds: Vec<LossKind> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [LossKind::Messages, LossKind::InUse, LossKind::Jobs, LossKind::Unroutable], "{found:?}");
    assert!(found[0].1.contains("12 messages ready and 2 held (unacknowledged, or dead letters"), "{found:?}");
    assert!(found[2].1.contains("7 jobs (3 retrying, 4 scheduled) of the kind demo.echo point to it"), "{found:?}");
    assert!(found[3].1.contains("key demo.echo seen 41 times in the last hour would reach no queue"), "{found:?}");
}

#[test]
fn keys_of_exchanges_that_go_by_headers_count_as_long_as_they_may_reach_a_queue() {
    let exchange = |kind: &str| LiveExchange {
        name: "e".to_owned(),
        kind: kind.to_owned(),
        durable: true,
        arguments: [("warren-owner".to_owned(), json!("hub"))].into(),
        ..LiveExchange::default()
    };
    let (desired, names) = (desired(&[]), Names::new(""));
    for kind in ["headers", "x-consistent-hash"] {
        let mut live = Live::of(&desired);
        live.exchanges.insert("e".to_owned(), exchange(kind));
        live.bindings.push(LiveBinding::of(&Binding::to_queue("e", names.lost(), "1").with("colour", "red")));
        let seen = SeenKey { exchange: "e".to_owned(), key: "k".to_owned(), count: 1 };
        let facts = Facts { keys: Some(vec![seen]), ..asked() };
        let found = weighed(&desired, &live, &facts);
        assert!(found.len() == 1 && found[0].0 == LossKind::Unroutable, "{kind}: {found:?}");
        // One that nobody takes anything from loses nothing.
        live.bindings.pop();
        assert_eq!(weighed(&desired, &live, &facts), [], "{kind}");
    }
}

#[test]
fn an_exchange_that_is_made_anew_takes_the_bindings_of_others_with_it() {
    let desired = desired(&["orders.place"]);
    let mut live = Live { vhost: "it's/1".to_owned(), ..Live::of(&desired) };
    live.exchanges.get_mut("warren.events").unwrap().kind = "direct".to_owned();
    let remedy = |live: &Live| plan(&desired, live, false).steps[0].remedy.clone().unwrap();
    assert!(!remedy(&live).contains("others"), "{}", remedy(&live));
    for queue in ["a", "b", "c", "d"] {
        live.bindings.push(LiveBinding::of(&Binding::to_queue("warren.events", queue, "order.*")));
    }
    live.bindings.push(LiveBinding::of(&Binding::to_exchange("amq.topic", "warren.events", "#")));
    for part in [
        "with it go 5 bindings that others made: binding warren.events -> queue a (key `order.*`), ",
        ", 2 more. ",
        r"`rabbitmqadmin --vhost='it'\''s/1' delete exchange name='warren.events'`",
        "`rabbitmqctl export_definitions before.json`",
        "`rabbitmqctl import_definitions before.json`",
    ] {
        assert!(remedy(&live).contains(part), "{part}: {}", remedy(&live));
    }
}

#[test]
fn nothing_waits_and_nothing_is_lost() {
    let (before, after) = (desired(&["orders.place", "demo.echo"]), desired(&["orders.place"]));
    let mut facts = Facts { looks: empty(&before), ..asked() };
    assert_eq!(weighed(&after, &Live::of(&before), &facts), []);
    // A figure that is missing is not none, whichever it is.
    for unknown in [Look { held: None, ..EMPTY }, Look { ready: None, ..EMPTY }] {
        facts.looks.insert("jobs.demo.echo".to_owned(), unknown);
        let found = weighed(&after, &Live::of(&before), &facts);
        assert!(found.len() == 1 && found[0].0 == LossKind::Unknown, "{found:?}");
        assert!(found[0].1.contains("queue jobs.demo.echo: the broker does not tell what is in it"), "{found:?}");
    }
    // Dead letters that wait for their target are in no other figure.
    facts.looks.insert("jobs.demo.echo".to_owned(), Look { held: Some(3), ..EMPTY });
    assert!(weighed(&after, &Live::of(&before), &facts)[0].1.contains("0 messages ready and 3 held"));
}

#[test]
fn what_could_not_be_looked_at_counts_for_work_queues_and_for_queues_with_messages() {
    let names = Names::new("");
    let plain = Topology::default().queue(crate::Queue::new("plain", QueueKind::Classic, "hub", "x"));
    let work = work_queue(&names, &Kind::parse("demo.echo").unwrap(), "hub");
    let mut live = Live::of(&desired(&[]).and(plain).and(work));
    let facts = Facts {
        looks: ["plain", "jobs.demo.echo", "jobs.demo.echo.dead"].map(|name| (name.to_owned(), EMPTY)).into(),
        ..Facts::default()
    };
    let unknown: Vec<(LossKind, String)> = weighed(&desired(&[]), &live, &facts);
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(unknown[0].0 == LossKind::Unknown && unknown[0].1.contains("queue jobs.demo.echo"), "{unknown:?}");
    live.queues.get_mut("plain").unwrap().ready = Some(1);
    assert_eq!(weighed(&desired(&[]), &live, &facts).len(), 3);
}

#[test]
fn messages_in_rungs_may_belong_to_a_subscriber() {
    let names = Names::new("");
    let both = desired(&[]).and(subscriber(&names, "billing.invoices", &["order.*"], "hub"));
    let mut live = Live::of(&both);
    live.queues.get_mut("warren.retry.2m").unwrap().ready = Some(6);
    let facts = Facts { looks: empty(&both), ..asked() };
    let found = weighed(&desired(&[]), &live, &facts);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == LossKind::Rungs && found[0].1.contains("6 messages wait in rungs"), "{found:?}");
}

#[test]
fn by_existence_alone_only_what_is_missing_is_seen() {
    let desired = desired(&["orders.place"]).exchange(Exchange::new("more", ExchangeKind::Topic, "hub", "x"));
    let mut live = Live { sight: Sight::Existence, ..Live::of(&desired) };
    live.exchanges.remove("more");
    live.bindings.clear();
    for queue in live.queues.values_mut() {
        queue.arguments.clear();
    }
    assert_eq!(lines(&plan(&desired, &live, true)), ["create exchange more"]);
}
