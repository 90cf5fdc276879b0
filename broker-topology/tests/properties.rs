//! Properties of names, merging and rendering.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use broker_topology::{
    Binding, Exchange, ExchangeKind, Kind, Live, Names, Plan, Queue, QueueKind, Scope, Topology, core, definitions, high_queue,
    subscriber, work_queue,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn kinds() -> impl Strategy<Value = Kind> {
    let texts = "[a-z][a-z0-9]{0,8}([._-][a-z0-9]{1,8}){0,10}";
    texts.prop_filter_map("too long or reserved", |text| Kind::parse(&text).ok())
}

/// Small fragments out of few names, so that many of them meet and some conflict.
fn fragments() -> impl Strategy<Value = Topology> {
    let names = || select(&["a", "b", "c", "d", "e", "f"][..]);
    // One value in ten stands out, so that both outcomes of a merge are common.
    let odd = || prop::bool::weighted(0.1);
    let exchanges = vec((names(), odd()), 0..4);
    let queues = vec((names(), odd()), 0..4);
    let bindings = vec((names(), names(), odd()), 0..4);
    (exchanges, queues, bindings).prop_map(|(exchanges, queues, bindings)| {
        let mut topology = Topology::default();
        for (name, odd) in exchanges {
            let kind = if odd { ExchangeKind::Direct } else { ExchangeKind::Topic };
            topology = topology.exchange(Exchange::new(name, kind, "hub", "x"));
        }
        for (name, odd) in queues {
            let owner = if odd { "orders" } else { "hub" };
            topology = topology.queue(Queue::new(name, QueueKind::Classic, owner, "x"));
        }
        for (source, queue, odd) in bindings {
            topology = topology.binding(Binding::to_queue(source, queue, if odd { "#" } else { "k" }));
        }
        topology
    })
}

fn bytes(topology: &Topology) -> String {
    serde_json::to_string_pretty(&definitions(topology, "/")).unwrap()
}

proptest! {
    #[test]
    fn a_kind_survives_text_and_json(kind in kinds()) {
        prop_assert_eq!(&Kind::parse(kind.as_str()).unwrap(), &kind);
        let json = serde_json::to_string(&kind).unwrap();
        prop_assert_eq!(serde_json::from_str::<Kind>(&json).unwrap(), kind);
    }

    #[test]
    fn what_parses_is_in_the_grammar(text in "[a-zA-Z0-9._ -]{0,12}") {
        if Kind::parse(&text).is_ok() {
            prop_assert!(text.starts_with(|c: char| c.is_ascii_lowercase()));
            prop_assert!(!text.ends_with(['.', '_', '-']));
            prop_assert!(!["..", "--", "__", ".-", "-.", "._", "_.", "-_", "_-"].iter().any(|two| text.contains(two)));
            prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)));
        }
    }

    #[test]
    fn merging_knows_no_order(parts in vec(fragments(), 0..5), seed in any::<prop::sample::Index>()) {
        let merged = Topology::merge(parts.clone());
        let mut turned = parts.clone();
        if !turned.is_empty() {
            let by = seed.index(turned.len());
            turned.rotate_left(by);
        }
        prop_assert_eq!(&Topology::merge(turned.clone()), &merged);
        turned.reverse();
        prop_assert_eq!(&Topology::merge(turned), &merged);
    }

    #[test]
    fn merging_again_changes_nothing(parts in vec(fragments(), 0..5)) {
        if let Ok(merged) = Topology::merge(parts.clone()) {
            prop_assert_eq!(&Topology::merge([merged.clone(), merged.clone()]).unwrap(), &merged);
            let more = parts.into_iter().chain([merged.clone()]);
            prop_assert_eq!(Topology::merge(more).unwrap(), merged);
        }
    }

    #[test]
    fn a_merge_holds_every_fragment(parts in vec(fragments(), 0..5)) {
        if let Ok(merged) = Topology::merge(parts.clone()) {
            for part in &parts {
                let plan = Plan::new(part, &Live::of(&merged), &Scope::of(&Topology::default(), ""), false);
                prop_assert_eq!(plan.steps, []);
            }
        }
    }

    #[test]
    fn definitions_are_the_same_bytes_in_any_order(parts in Just(whole()).prop_shuffle()) {
        let merged = Topology::merge(parts).unwrap();
        prop_assert_eq!(bytes(&merged), bytes(&Topology::merge(whole()).unwrap()));
    }

    #[test]
    fn every_kind_and_prefix_validates(kind in kinds(), prefix in "([a-z]{1,20}[.-])?", patterns in vec("[a-z]{1,8}\\.(\\*|#|[a-z]{1,8})", 0..4)) {
        let names = Names::new(&prefix);
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let parts = [
            core(&names),
            work_queue(&names, &kind, "orders"),
            high_queue(&names, &kind, "orders"),
            subscriber(&names, "billing.invoices", &patterns, "billing"),
        ];
        prop_assert_eq!(Topology::merge(parts).unwrap().validate(), []);
    }
}

fn whole() -> Vec<Topology> {
    let names = Names::default();
    let mut parts = vec![core(&names), subscriber(&names, "billing.invoices", &["order.*"], "billing")];
    for kind in ["orders.place", "orders.cancel", "demo.echo", "demo.flaky"] {
        parts.push(work_queue(&names, &Kind::parse(kind).unwrap(), "orders"));
        parts.push(high_queue(&names, &Kind::parse(kind).unwrap(), "orders"));
    }
    parts
}
