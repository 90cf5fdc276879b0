//! Devices: the limits of their queues, the queues themselves, and room for the devices that are connected.

use broker_topology::{LiveQueue, unfit_policies};
use serde_json::Value;

use super::listed;
use crate::doctor::finding::Finding;
use crate::doctor::rules::{DEVICE_POLICY_MISSING, DEVICE_POLICY_UNREAD, DEVICE_POLICY_WRONG, DEVICE_QUEUES, FILES_OWN};
use crate::doctor::snapshot::Snapshot;

/// As the hub judges them before it lets a device in.
pub(in crate::doctor) fn policies(seen: &Snapshot) -> Vec<Finding> {
    let (Ok(policies), Ok(operators)) = (&seen.management.policies, &seen.management.operator_policies) else {
        return Vec::new();
    };
    if !seen.expected.devices {
        return Vec::new();
    }
    let wrong = unfit_policies(&seen.expected.names, policies, operators).into_iter();
    let finding = |violation: broker_topology::Violation| {
        let rule = match violation.code {
            "device-policy-missing" => &DEVICE_POLICY_MISSING,
            "device-policy-unread" => &DEVICE_POLICY_UNREAD,
            _ => &DEVICE_POLICY_WRONG,
        };
        rule.finds(violation.object, violation.message, violation.remedy)
    };
    wrong.map(finding).collect()
}

/// Of some of them: a hub declares all alike, and what is there already with other arguments it refuses.
pub(in crate::doctor) fn queues(seen: &Snapshot) -> Vec<Finding> {
    let Ok(devices) = &seen.management.devices else { return Vec::new() };
    let wrong: Vec<(&LiveQueue, &str)> = devices.some.iter().filter_map(|queue| Some((queue, fault(queue)?))).collect();
    let Some((_, what)) = wrong.first() else { return Vec::new() };
    let names: Vec<&str> = wrong.iter().map(|(queue, _)| queue.name.as_str()).collect();
    let object = format!("{} of {} queues of devices", wrong.len(), devices.some.len());
    let has = format!("the first is {what}: {}", listed(&names));
    vec![DEVICE_QUEUES.finds(object, has, "delete them: what waits there is in the store, and the hub declares them anew")]
}

fn fault(queue: &LiveQueue) -> Option<&'static str> {
    let single = queue.arguments.get("x-single-active-consumer") == Some(&Value::Bool(true));
    match () {
        () if queue.kind.as_deref().is_some_and(|kind| kind != "classic") => Some("not classic"),
        () if !queue.durable => Some("gone with a restart of its node"),
        () if queue.auto_delete => Some("gone with its consumer"),
        () if queue.arguments.contains_key("x-expires") => Some("gone when nobody uses it"),
        () if !single => Some("without a single active consumer"),
        () => None,
    }
}

/// Each device that is connected is an open file of the hub.
pub(in crate::doctor) fn files(seen: &Snapshot) -> Vec<Finding> {
    // Said once, with the store.
    let expects = seen.expected.devices && seen.store.is_some();
    let Some(most) = seen.files.filter(|most| expects && *most < seen.expected.files) else { return Vec::new() };
    let has = format!(
        "a process may open {most} files here, and with listen.max_connections = {} needs {}",
        seen.expected.connections, seen.expected.files
    );
    let remedy =
        "raise the hard limit of the hub (LimitNOFILE, `ulimit -Hn`, nofile of its container), or lower listen.max_connections";
    vec![FILES_OWN.finds("this machine", has, remedy)]
}
