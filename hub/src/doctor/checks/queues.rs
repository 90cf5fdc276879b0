//! Our queues: there, led, attended, and not piling up.

use std::collections::BTreeMap;

use broker_topology::{HUB, QueueKind};

use super::{listed, quoted};
use crate::doctor::finding::Finding;
use crate::doctor::rules::{
    LOST, QUEUE_LEADERLESS, QUEUE_MEMBERS, QUEUE_MINORITY, QUEUE_MISSING, QUEUE_TYPE, QUEUE_UNACKED, QUEUE_UNATTENDED,
};
use crate::doctor::snapshot::{Queue, Snapshot};

/// As many unacked deliveries without an ack are no longer a batch at work.
const PILE: u64 = 1000;

/// By name.
fn live(queues: &[Queue]) -> BTreeMap<&str, &Queue> {
    queues.iter().map(|queue| (queue.name.as_str(), queue)).collect()
}

/// Only that they are there and of the right type: what else differs is for a comparison of the whole topology.
pub(in crate::doctor) fn missing(seen: &Snapshot) -> Vec<Finding> {
    let Some(live) = seen.queues().map(live) else { return Vec::new() };
    let wanted = &seen.expected.topology.queues;
    let mut found = Vec::new();
    let missing: Vec<&str> = wanted.iter().map(|queue| queue.name.as_str()).filter(|name| !live.contains_key(name)).collect();
    if !missing.is_empty() {
        let object = format!("{} of {} queues", missing.len(), wanted.len());
        found.push(QUEUE_MISSING.finds(object, format!("not there: {}", listed(&missing)), "warren topology apply"));
    }
    for queue in wanted {
        let kind = live.get(queue.name.as_str()).and_then(|live| live.kind.as_deref());
        let expected = queue.kind.as_str();
        if let Some(kind) = kind.filter(|kind| *kind != expected) {
            let remedy = "delete it once it is empty, then: warren topology apply";
            found.push(QUEUE_TYPE.finds(format!("queue `{}`", queue.name), format!("is {kind}, not {expected}"), remedy));
        }
    }
    found
}

/// Of quorum queues, a team's own too. Not every broker tells who leads a stream.
pub(in crate::doctor) fn members(seen: &Snapshot) -> Vec<Finding> {
    let Ok(queues) = &seen.management.queues else { return Vec::new() };
    let live = live(queues);
    let nodes = seen.management.nodes.as_ref().map_or(0, Vec::len);
    let mut few = Vec::new();
    let mut found = Vec::new();
    let wanted = seen.expected.topology.queues.iter().filter(|queue| queue.kind == QueueKind::Quorum);
    for queue in wanted.filter_map(|queue| live.get(queue.name.as_str())) {
        let (Some(members), Some(online)) = (&queue.members, &queue.online) else { continue };
        let object = format!("queue `{}`", queue.name);
        let down: Vec<&str> = members.iter().filter(|member| !online.contains(member)).map(String::as_str).collect();
        if online.len() <= members.len() / 2 {
            let has = format!("{} of {} members are online; {} are not", online.len(), members.len(), listed(&down));
            found.push(QUEUE_MINORITY.finds(object, has, "start the nodes that are down"));
        } else if queue.leader.as_deref().is_none_or(str::is_empty) || queue.state.as_deref() == Some("down") {
            let has = format!("has no leader, with {} of {} members online", online.len(), members.len());
            let remedy = format!("rabbitmq-queues quorum_status -p {} {}", quoted(&seen.expected.vhost), quoted(&queue.name));
            found.push(QUEUE_LEADERLESS.finds(object, has, remedy));
        }
        if members.len() < nodes.min(3) {
            few.push(queue.name.as_str());
        }
    }
    if !few.is_empty() {
        let has = format!("fewer than {} members on a cluster of {nodes} nodes: {}", nodes.min(3), listed(&few));
        let remedy = format!("for each node: rabbitmq-queues grow <node> all --vhost-pattern {}", quoted(&seen.expected.vhost));
        found.push(QUEUE_MEMBERS.finds(format!("{} queues", few.len()), has, remedy));
    }
    found
}

/// Of queues that Warren's promises rest on. How a team uses its others is not for us to judge.
pub(in crate::doctor) fn work(seen: &Snapshot) -> Vec<Finding> {
    let Some(live) = seen.queues().map(live) else { return Vec::new() };
    let mut found = Vec::new();
    for wanted in seen.expected.topology.queues.iter().filter(|queue| seen.expected.warrens.contains(&queue.name)) {
        let Some(queue) = live.get(wanted.name.as_str()) else { continue };
        let rung = wanted.arguments.contains_key("x-message-ttl");
        let object = format!("queue `{}`", queue.name);
        let (messages, unacked) = (queue.messages.unwrap_or(0), queue.messages_unacknowledged.unwrap_or(0));
        let acks = queue.message_stats.pointer("/ack_details/rate").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        if unacked >= PILE && acks == 0.0 {
            let has = format!("{unacked} unacked with {} consumers, and no ack", queue.consumers.unwrap_or(0));
            found.push(QUEUE_UNACKED.finds(
                &object,
                has,
                "look at the consumers in `rabbitmqctl list_consumers`; restart the one that hangs",
            ));
        }
        // A dead letter stays in plain sight where nobody keeps it.
        let kept = queue.name.ends_with(".dead") || queue.name == seen.expected.lost;
        if messages > 0 && queue.consumers == Some(0) && !rung && (seen.expected.keeper || !kept) {
            let who = match () {
                () if queue.name == seen.expected.names.devices_dropped() => "start a process with the role devices".to_owned(),
                () if kept => "start a process with the role keeper".to_owned(),
                () if wanted.owner != HUB => format!("start the program of `{}` that consumes from it", wanted.owner),
                () if queue.name.contains("jobs.") => {
                    "start a worker of this kind: `warren serve --role worker`, or the program that works on it".to_owned()
                }
                () => "start `warren serve`".to_owned(),
            };
            found.push(QUEUE_UNATTENDED.finds(&object, format!("{messages} messages and no consumer"), who));
        }
        if queue.name == seen.expected.lost && messages > 0 {
            let remedy =
                "warren dead list --queue warren.lost, mend what is missing with warren topology apply, then warren dead redrive";
            found.push(LOST.finds(object, format!("{messages} messages"), remedy));
        }
    }
    found
}
