//! What the broker is: version, plugins, feature flags, its nodes as a cluster.

use std::collections::BTreeSet;

use super::listed;
use crate::doctor::finding::Finding;
use crate::doctor::rules::{
    CLUSTER_EVEN, CLUSTER_SINGLE, DEPRECATED, ERLANG_OLD, FLAG_KHEPRI, FLAG_OFF, FLAG_QUORUM, PLUGIN_PROMETHEUS,
    VERSION_ADVISORIES, VERSION_ENDED, VERSION_OLD, VERSION_UNTESTED, VERSIONS_MIXED,
};
use crate::doctor::snapshot::Snapshot;

/// The series that the tests run on.
const TESTED: [(u32, u32); 3] = [(3, 10), (4, 0), (4, 3)];

/// The first series with all that Warren rests on.
const OLDEST: (u32, u32) = (3, 10);

/// The oldest series that may still get fixes for everybody.
const MAINTAINED: (u32, u32) = (4, 2);

/// The first release of a series that has the fixes of what was published of it; CVE-2026-57221 and CVE-2026-67419 among them.
const FIXED: [((u32, u32), u32); 2] = [((4, 2), 10), ((4, 3), 5)];

/// The oldest Erlang/OTP that still gets fixes.
const ERLANG: u32 = 27;

pub(in crate::doctor) fn version(seen: &Snapshot) -> Vec<Finding> {
    let Some(version) = version_of(seen) else { return Vec::new() };
    let Some((series, patch)) = parsed(version) else { return Vec::new() };
    let object = format!("broker at {}", seen.amqp.at);
    let is = format!("RabbitMQ {version}");
    let upgrade = "upgrade to the newest 4.x, one series after the other, with all feature flags enabled before each step";
    if series < OLDEST {
        return vec![VERSION_OLD.finds(object, is, upgrade)];
    }
    let mut found = Vec::new();
    if !TESTED.contains(&series) {
        let tested: Vec<String> = TESTED.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
        let remedy = format!("use one of {}, or run `make test` with WARREN_TEST_RABBITMQ_HOME on yours", tested.join(", "));
        found.push(VERSION_UNTESTED.finds(&object, &is, remedy));
    }
    if series < MAINTAINED {
        let remedy = format!("keep it within a trusted network, and {upgrade}");
        found.push(VERSION_ENDED.finds(
            object,
            format!("{is}: series {}.{} is no longer maintained", series.0, series.1),
            remedy,
        ));
    } else if let Some((_, first)) = FIXED.iter().find(|(of, first)| *of == series && patch < *first) {
        let remedy = format!("upgrade to {}.{}.{first} or later", series.0, series.1);
        found.push(VERSION_ADVISORIES.finds(object, is, remedy));
    }
    found
}

/// As the API has it, or as the broker greets.
fn version_of(seen: &Snapshot) -> Option<&str> {
    let overview = seen.management.overview.as_ref().ok().map(|overview| overview.rabbitmq_version.as_str());
    let greeting = seen.amqp.greeting.as_ref().ok().filter(|greeting| greeting.product == "RabbitMQ");
    overview.filter(|version| !version.is_empty()).or(greeting.map(|greeting| greeting.version.as_str()))
}

fn parsed(version: &str) -> Option<((u32, u32), u32)> {
    let mut numbers = version.split(['.', '-', '+', '~']).map_while(|number| number.parse().ok());
    Some(((numbers.next()?, numbers.next()?), numbers.next().unwrap_or(0)))
}

pub(in crate::doctor) fn erlang(seen: &Snapshot) -> Vec<Finding> {
    let overview = seen.management.overview.as_ref().ok().map(|overview| overview.erlang_version.as_str());
    let greeted = seen.amqp.greeting.as_ref().ok().and_then(|greeting| greeting.platform.strip_prefix("Erlang/OTP "));
    let Some(version) = overview.filter(|version| !version.is_empty()).or(greeted) else { return Vec::new() };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major < ERLANG => vec![ERLANG_OLD.finds(
            format!("broker at {}", seen.amqp.at),
            format!("Erlang/OTP {version}"),
            format!("upgrade Erlang to OTP {ERLANG} or the newest that this RabbitMQ runs on"),
        )],
        _ => Vec::new(),
    }
}

pub(in crate::doctor) fn plugins(seen: &Snapshot) -> Vec<Finding> {
    let Ok(nodes) = &seen.management.nodes else { return Vec::new() };
    let lacking = |plugin: &str| -> Vec<&str> {
        let running = nodes.iter().filter(|node| node.running);
        let lacks = running.filter(|node| node.enabled_plugins.as_ref().is_some_and(|on| !on.iter().any(|one| one == plugin)));
        lacks.map(|node| node.name.as_str()).collect()
    };
    let without = lacking("rabbitmq_prometheus");
    if without.is_empty() {
        return Vec::new();
    }
    let found = format!("not enabled on {}", listed(&without));
    vec![PLUGIN_PROMETHEUS.finds("plugin `rabbitmq_prometheus`", found, "rabbitmq-plugins enable rabbitmq_prometheus")]
}

pub(in crate::doctor) fn flags(seen: &Snapshot) -> Vec<Finding> {
    let Ok(flags) = &seen.management.flags else { return Vec::new() };
    let off: Vec<_> = flags.iter().filter(|flag| flag.state == "disabled").collect();
    let mut found = Vec::new();
    if off.iter().any(|flag| flag.name == "quorum_queue") {
        found.push(FLAG_QUORUM.finds("feature flag `quorum_queue`", "disabled", "rabbitmqctl enable_feature_flag quorum_queue"));
    }
    if off.iter().any(|flag| flag.name == "khepri_db") {
        let remedy = "from 4.2 on: rabbitmqctl enable_feature_flag khepri_db";
        found.push(FLAG_KHEPRI.finds("feature flag `khepri_db`", "disabled", remedy));
    }
    let others = off.iter().filter(|flag| flag.stability != "experimental");
    let others: Vec<&str> =
        others.map(|flag| flag.name.as_str()).filter(|name| !["quorum_queue", "khepri_db"].contains(name)).collect();
    if !others.is_empty() {
        let remedy = "once all nodes run the same version: rabbitmqctl enable_feature_flag all";
        found.push(FLAG_OFF.finds("feature flags", format!("disabled: {}", listed(&others)), remedy));
    }
    found
}

pub(in crate::doctor) fn deprecated(seen: &Snapshot) -> Vec<Finding> {
    let Ok(used) = &seen.management.deprecated else { return Vec::new() };
    let one = |feature: &crate::doctor::snapshot::Deprecated| {
        let found = format!("in use, {}", feature.deprecation_phase.replace('_', " "));
        let remedy = format!(
            "`rabbitmqctl list_deprecated_features` tells more; then deprecated_features.permit.{} = false",
            feature.name
        );
        DEPRECATED.finds(format!("deprecated feature `{}`", feature.name), found, remedy)
    };
    used.iter().map(one).collect()
}

pub(in crate::doctor) fn cluster(seen: &Snapshot) -> Vec<Finding> {
    let Ok(nodes) = &seen.management.nodes else { return Vec::new() };
    let mut found = Vec::new();
    let versions: BTreeSet<&str> = nodes
        .iter()
        .flat_map(|node| &node.applications)
        .filter(|one| one.name == "rabbit")
        .map(|one| one.version.as_str())
        .collect();
    if versions.len() > 1 {
        let has = format!("nodes run {}", listed(&Vec::from_iter(versions)));
        found.push(VERSIONS_MIXED.finds("cluster", has, "finish the upgrade, then: rabbitmqctl enable_feature_flag all"));
    }
    match nodes.len() {
        0 => {}
        1 => {
            let remedy = "three nodes: rabbitmqctl join_cluster, then rabbitmq-queues grow <node> all";
            found.push(CLUSTER_SINGLE.finds("cluster", "one node", remedy));
        }
        even if even % 2 == 0 => {
            found.push(CLUSTER_EVEN.finds("cluster", format!("{even} nodes"), "add or take away one: 3 or 5"));
        }
        _ => {}
    }
    found
}
