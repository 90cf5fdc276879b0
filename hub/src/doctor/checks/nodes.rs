//! How each node is, and how near its limits.

use super::{listed, size};
use crate::doctor::finding::Finding;
use crate::doctor::rules::{
    ALARM_DISK, ALARM_MEMORY, DISK_LIMIT, DISK_NEAR, FILES_FEW, FILES_NEAR, MEMORY_NEAR, MEMORY_SMALL, NODE_DOWN, PARTITION,
    PROCESSES_NEAR, SOCKETS_NEAR,
};
use crate::doctor::snapshot::{Node, Snapshot};

/// RabbitMQ's own default for `disk_free_limit`.
const DEFAULT_DISK_LIMIT: u64 = 50_000_000;

/// Less, and a watermark leaves nothing for messages.
const LEAST_MEMORY: u64 = 256_000_000;

/// What a node opens for itself, and for queues that are not those of devices.
const OWN_FILES: u64 = 2048;

fn object(node: &Node) -> String {
    format!("node `{}`", node.name)
}

fn nodes(seen: &Snapshot) -> impl Iterator<Item = &Node> {
    seen.management.nodes.iter().flatten()
}

/// Over `part` of 10.
fn near(used: Option<u64>, total: Option<u64>, part: u64) -> Option<(u64, u64)> {
    let (used, total) = (used?, total.filter(|total| *total > 0)?);
    (used.saturating_mul(10) > total.saturating_mul(part)).then_some((used, total))
}

pub(in crate::doctor) fn health(seen: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for node in nodes(seen) {
        if !node.running {
            let remedy = format!("start it, or for good: rabbitmqctl forget_cluster_node {}", node.name);
            found.push(NODE_DOWN.finds(object(node), "does not run", remedy));
        }
        if !node.partitions.is_empty() {
            let others: Vec<&str> = node.partitions.iter().map(String::as_str).collect();
            let has = format!("does not see {}", listed(&others));
            found.push(PARTITION.finds(
                object(node),
                has,
                "restart the nodes of the smaller side; cluster_partition_handling = pause_minority",
            ));
        }
    }
    found
}

pub(in crate::doctor) fn memory(seen: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for node in nodes(seen).filter(|node| node.running) {
        let values = || {
            let (used, limit) = (node.mem_used.unwrap_or_default(), node.mem_limit.unwrap_or_default());
            format!("{} in use, the watermark is {}", size(used), size(limit))
        };
        let room = "drain the longest queues, give the node more memory, or raise vm_memory_high_watermark in rabbitmq.conf (0.6 of the machine at most)";
        if node.mem_alarm {
            found.push(ALARM_MEMORY.finds(object(node), format!("memory alarm: {}", values()), room));
        } else if near(node.mem_used, node.mem_limit, 8).is_some() {
            found.push(MEMORY_NEAR.finds(object(node), values(), room));
        }
        if let Some(limit) = node.mem_limit.filter(|limit| *limit < LEAST_MEMORY) {
            let has = format!("the memory watermark is {}", size(limit));
            // A node in a container may take the memory of the whole machine for its own.
            let remedy = "vm_memory_high_watermark.relative = 0.6 in rabbitmq.conf; in a container .absolute, 0.6 of its limit";
            found.push(MEMORY_SMALL.finds(object(node), has, remedy));
        }
    }
    found
}

pub(in crate::doctor) fn disk(seen: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for node in nodes(seen).filter(|node| node.running) {
        let (free, limit) = (node.disk_free, node.disk_free_limit);
        let values = || format!("{} free, the limit is {}", size(free.unwrap_or_default()), size(limit.unwrap_or_default()));
        let room = "make room on the disk that holds the node's data, or give it a larger one";
        if node.disk_free_alarm {
            found.push(ALARM_DISK.finds(object(node), format!("disk alarm: {}", values()), room));
        } else if let (Some(free), Some(limit)) = (free, limit)
            && free < limit.saturating_mul(2).max(1_000_000_000)
        {
            found.push(DISK_NEAR.finds(object(node), values(), room));
        }
        if limit.is_some_and(|limit| limit <= DEFAULT_DISK_LIMIT) {
            let has = format!("disk_free_limit is {}", size(limit.unwrap_or_default()));
            let remedy = "disk_free_limit.absolute = 2GB in rabbitmq.conf; until then: rabbitmqctl set_disk_free_limit 2GB";
            found.push(DISK_LIMIT.finds(object(node), has, remedy));
        }
    }
    found
}

pub(in crate::doctor) fn limits(seen: &Snapshot) -> Vec<Finding> {
    let connections = seen.management.overview.as_ref().ok().and_then(|all| all.object_totals.connections).unwrap_or(0);
    let classic = seen.management.queues.iter().flatten().filter(|queue| queue.kind.as_deref() == Some("classic")).count();
    let devices = seen.management.devices.as_ref().map_or(0, |devices| devices.count);
    let classic = u64::try_from(classic).unwrap_or(u64::MAX / 4) + devices;
    let needed = OWN_FILES + 2 * classic + connections;
    let more = "LimitNOFILE=65536 in the unit of rabbitmq-server (or ulimit -n), then restart the node";
    let mut found = Vec::new();
    for node in nodes(seen).filter(|node| node.running) {
        if let Some(total) = node.fd_total.filter(|total| *total > 0 && *total < needed) {
            let has = format!(
                "{total} open files at most; {classic} classic queues, {devices} of devices, and {connections} connections may need {needed}"
            );
            found.push(FILES_FEW.finds(object(node), has, more));
        }
        let mut used = |rule: &crate::doctor::finding::Rule, what: &str, used, total, remedy: &str| {
            if let Some((used, total)) = near(used, total, 8) {
                found.push(rule.finds(object(node), format!("{used} of {total} {what} in use"), remedy));
            }
        };
        used(&FILES_NEAR, "open files", node.fd_used, node.fd_total, more);
        used(&SOCKETS_NEAR, "sockets", node.sockets_used, node.sockets_total, more);
        used(
            &PROCESSES_NEAR,
            "Erlang processes",
            node.proc_used,
            node.proc_total,
            "RABBITMQ_MAX_NUMBER_OF_PROCESSES=2000000 in rabbitmq-env.conf",
        );
    }
    found
}
