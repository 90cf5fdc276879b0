use proptest::prelude::*;

use super::*;
use crate::lane::broker_name;

fn known(via: Via) -> Known {
    let queue = match via {
        Via::Hub => None,
        Via::Amqp => Some("device.standard.7".to_owned()),
        Via::Mqtt => Some(mqtt_queue("acme", "phone-1")),
    };
    Known { number: Number(7), via, queue, key: "device.7".to_owned() }
}

const MQTT_QUEUE: &str = "mqtt-subscription-acme/phone-1qos1";

/// All that anybody may.
const ALLOWED: [(Via, &str, &str, &str); 6] = [
    (Via::Amqp, "queue", "device.standard.7", "read"),
    (Via::Mqtt, "queue", MQTT_QUEUE, "configure"),
    (Via::Mqtt, "queue", MQTT_QUEUE, "write"),
    (Via::Mqtt, "queue", MQTT_QUEUE, "read"),
    (Via::Mqtt, "exchange", "amq.topic", "read"),
    (Via::Mqtt, "topic", "device.7", "read"),
];

fn may(via: Via, kind: &str, name: &str, permission: &str) -> bool {
    let ask = match kind {
        "topic" => Ask::Topic { vhost: "/", exchange: "amq.topic", permission, key: name },
        _ => Ask::Resource { vhost: "/", kind, name, permission },
    };
    asked("/", &known(via), ask).is_ok()
}

fn part(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(of).prop_map(str::to_owned), 1 => ".{0,20}"]
}

proptest! {
    #[test]
    fn nothing_is_allowed_but_what_is_listed(
        via in prop::sample::select(Via::ALL.to_vec()),
        kind in part(&["queue", "exchange", "topic"]),
        name in part(&[
            "device.standard.7", "device.standard.70", "device.lite.7", "device.7", "device.*", "device.#", "#", "", "amq.default", "amq.topic",
            "warren.devices", MQTT_QUEUE, "mqtt-subscription-acme/phone-1qos0", "mqtt-subscription-acme/phone-10qos1", "jobs.demo.echo",
        ]),
        permission in part(&["configure", "write", "read"]),
    ) {
        let listed = ALLOWED.contains(&(via, kind.as_str(), name.as_str(), permission.as_str()));
        prop_assert_eq!(may(via, &kind, &name, &permission), listed);
    }

    #[test]
    fn a_name_is_taken_apart_in_one_way(tenant in "[^\\p{Cc}]{1,20}", id in "[a-z0-9][a-z0-9_-]{0,20}") {
        let name = broker_name(&tenant, &id);
        prop_assert_eq!(named(&name), Ok((tenant.as_str(), id.as_str())));
    }
}

#[test]
fn all_that_is_listed_is_allowed_in_the_virtual_host_of_the_hub_alone() {
    for (via, kind, name, permission) in ALLOWED {
        assert!(may(via, kind, name, permission), "{via:?} {kind} {name} {permission}");
    }
    for via in [Via::Amqp, Via::Mqtt] {
        assert_eq!(asked("/", &known(via), Ask::Vhost { vhost: "/" }), Ok(Wants::Else));
        assert_eq!(asked("/", &known(via), Ask::Vhost { vhost: "" }), Err(Why::Vhost));
        let own = Ask::Resource { vhost: "other", kind: "queue", name: "device.standard.7", permission: "read" };
        assert_eq!(asked("/", &known(via), own), Err(Why::Vhost));
    }
    assert_eq!(asked("/", &known(Via::Hub), Ask::Vhost { vhost: "/" }), Err(Why::Via));
    let subscribes = Ask::Topic { vhost: "/", exchange: "amq.topic", permission: "read", key: "device.7" };
    assert_eq!(asked("/", &known(Via::Mqtt), subscribes), Ok(Wants::Subscription));
}

#[test]
fn names_with_wildcards_dots_upper_case_or_no_tenant_are_nobodys() {
    for bad in [
        "",
        "/",
        "phone",
        "/phone",
        "acme/",
        "acme/*",
        "acme/#",
        "acme/a.b",
        "acme/Phone",
        "acme/phone\n",
        "ac\u{0}me/phone",
        "acme/phone/",
    ] {
        assert_eq!(named(bad), Err(Why::Name), "{bad:?}");
    }
    assert_eq!(named("a/b:c/phone"), Ok(("a/b:c", "phone")));
}
