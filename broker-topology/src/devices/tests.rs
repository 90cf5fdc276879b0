#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use super::*;
use crate::{Graph, Live, Plan, Scope, core, definitions};

fn whole(names: &Names) -> Topology {
    Topology::merge([core(names), devices(names, &TierLimits::default())]).unwrap()
}

fn standard(number: u64) -> Device {
    Device { number, tier: Tier::Standard }
}

#[test]
fn the_fragment_is_valid_alone_and_beside_the_core() {
    for names in [Names::default(), Names::new("acme.")] {
        assert_eq!(devices(&names, &TierLimits::default()).lint(), []);
        assert_eq!(whole(&names).lint(), []);
    }
}

#[test]
fn what_a_device_does_not_get_is_told() {
    let names = Names::new("acme.");
    let topology = whole(&names);
    assert_eq!(topology.queues_for(&names.devices(), "device.1"), BTreeSet::new(), "it comes back: the device is cold");
    assert_eq!(topology.queues_for(&names.devices_dead(), "device.1"), BTreeSet::from(["acme.warren.devices.dropped"]));
    let policy = topology.policies.iter().find(|policy| policy.name == "acme.warren.devices.lite").unwrap();
    assert_eq!(policy.pattern, r"^acme\.device\.lite\.[0-9]+$");
    assert_eq!(policy.definition["dead-letter-exchange"].as_text(), Some("acme.warren.devices.dead"));
    assert_eq!(policy.definition["message-ttl"].as_integer(), Some(3 * 86_400_000));
    assert!(!policy.definition.contains_key("expires"));
}

#[test]
fn a_name_leads_back_to_its_device_and_to_no_other() {
    let names = Names::new("acme.");
    for tier in Tier::ALL {
        for number in [1, 42, u64::MAX] {
            let device = Device { number, tier };
            let queue = names.device_queue(device);
            assert_eq!(names.device_of_queue(&queue), Some(device));
            assert_eq!(Names::device_of_key(&Names::device_key(number)), Some(number));
            assert!(names.device_queue(device).len() <= crate::MAX_NAME);
        }
    }
    let strange = ["device.lite.1", "acme.device.lite.01", "acme.device.lite.+1", "acme.device.lite.0", "acme.device.gold.1"];
    for queue in strange.into_iter().chain(["acme.device.lite.1.dead", "acme.device.lite.", "acme.jobs.device"]) {
        assert_eq!(names.device_of_queue(queue), None, "{queue}");
    }
}

#[test]
fn users_and_groups_of_two_tenants_never_share_a_key() {
    assert_ne!(Names::user_key("a", "b"), Names::user_key("ab", ""));
    assert_ne!(Names::group_key("a", "news"), Names::group_key("b", "news"));
    let long = "ü".repeat(100);
    assert!(Names::user_key(&long, &long).len() <= 255);
    assert_eq!(Names::group_key(&long, &"x".repeat(MAX_GROUP)).unwrap().len(), 6 + 32 + 1 + MAX_GROUP);
    for bad in ["", ".", "a..b", "A", "a.*", "#", "a b", &"x".repeat(MAX_GROUP + 1)] {
        assert_eq!(Names::group_key("a", bad), None, "{bad}");
    }
    assert!(crate::topic_matches("group.*.news.#", &Names::group_key("a", "news.de.berlin").unwrap()));
}

#[test]
fn a_queue_has_no_argument_that_a_broker_refuses_or_that_takes_it_away() {
    let names = Names::default();
    let queue = device_queue(&names, standard(7));
    assert_eq!(
        Vec::from_iter(queue.arguments().into_keys()),
        ["warren-description", "warren-owner", "x-queue-type", "x-single-active-consumer"]
    );
    let own = Topology::default().queue(queue);
    let bound = device_bindings(&names, standard(7), ["user.x.y"], true).into_iter().fold(own, Topology::binding);
    let topology = whole(&names).and(bound);
    assert_eq!(topology.validate(), []);
    for (exchange, key) in [(names.devices(), "device.7"), (names.groups(), "user.x.y"), (names.broadcast(), "")] {
        assert_eq!(topology.queues_for(&exchange, key), BTreeSet::from(["device.standard.7"]));
    }
}

/// A broker where devices have queues, one of them the plugin's for MQTT.
fn inhabited(names: &Names) -> Live {
    let mut all = whole(names);
    for tier in Tier::ALL {
        let device = Device { number: 7, tier };
        all = all.queue(device_queue(names, device));
        all = device_bindings(names, device, ["user.x.y"], true).into_iter().fold(all, Topology::binding);
    }
    let mqtt = "mqtt-subscription-phoneqos1";
    let mut live = Live::of(&all.binding(Binding::to_queue(names.devices(), mqtt, "device.9")));
    live.queues.insert(mqtt.to_owned(), crate::LiveQueue { name: mqtt.to_owned(), ..Default::default() });
    live
}

#[test]
fn no_plan_takes_a_device_for_a_stranger_or_for_garbage() {
    for names in [Names::default(), Names::new("acme.")] {
        let (desired, mut live) = (whole(&names), inhabited(&names));
        let planned = |live: &Live, prune| Plan::new(&desired, live, &Scope::of(&desired, names.prefix()).and(DEVICES), prune);
        let plan = planned(&live, true);
        assert!(plan.is_empty() && plan.drift().is_none(), "{plan:?}");
        // An earlier Warren, or somebody who likes order, gave it the mark of the hub.
        for queue in live.queues.values_mut() {
            queue.arguments.insert("warren-owner".to_owned(), HUB.into());
        }
        let plan = planned(&live, true);
        assert!(plan.is_empty() && plan.drift().is_none(), "{plan:?}");
    }
}

#[test]
fn the_exchanges_stay_while_devices_are_bound_to_them() {
    let names = Names::default();
    let (desired, live) = (core(&names), inhabited(&names));
    let gone = |live: &Live| Plan::new(&desired, live, &Scope::of(&desired, ""), true).steps;
    assert_eq!(gone(&live), []);
    assert_eq!(gone(&Live::of(&whole(&names))).len(), 4 + 1 + 1, "exchanges, queue and binding");
}

#[test]
fn it_is_exported_and_drawn() {
    let names = Names::new("acme.");
    let exported = definitions(&devices(&names, &TierLimits::default()), "/");
    assert_eq!(exported["policies"].as_array().unwrap().len(), 2);
    let topology = whole(&names);
    let drawn = Graph::of(&topology, &names).svg();
    for name in [names.devices(), names.groups(), names.broadcast(), names.devices_dropped()] {
        assert!(drawn.contains(&name), "{name}");
    }
}
