//! The checks, by what they look at. Each is a function of the [`Snapshot`](super::snapshot::Snapshot) alone.

mod access;
mod broker;
mod devices;
mod nodes;
mod policies;
mod queues;
mod sight;
mod store;
mod way;

use super::finding::Finding;
use super::snapshot::Snapshot;

/// All of them.
pub(super) const ALL: &[fn(&Snapshot) -> Vec<Finding>] = &[
    sight::broker,
    sight::management,
    broker::version,
    broker::erlang,
    broker::plugins,
    broker::flags,
    broker::deprecated,
    broker::cluster,
    nodes::health,
    nodes::memory,
    nodes::disk,
    nodes::limits,
    access::guest,
    access::limits,
    access::queue_type,
    policies::effective,
    policies::consumer_timeout,
    queues::missing,
    queues::members,
    queues::work,
    devices::policies,
    devices::queues,
    devices::files,
    way::clock,
    way::connection,
    way::certificates,
    store::store,
];

/// `1.2 GB` for people.
fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000_u64), ("MB", 1_000_000), ("kB", 1000)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// The first names of a list, and how many more there are.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
