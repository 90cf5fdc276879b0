//! What is ours on a broker that others use too.

use std::collections::{BTreeMap, BTreeSet};

use crate::live::{Live, LiveBinding};
use crate::names::Names;
use crate::topology::Topology;

/// The marks that count as ours, and where our names begin.
///
/// Another hub on the same virtual host has the same mark and another prefix: it is known by its exchange `<prefix>warren.jobs`, and
/// what begins with its prefix is not ours, even if ours is empty.
#[derive(Clone, Debug)]
pub struct Scope {
    prefix: String,
    owners: BTreeSet<String>,
}

impl Scope {
    /// Every owner that `desired` names.
    pub fn of(desired: &Topology, prefix: &str) -> Self {
        let exchanges = desired.exchanges.iter().map(|exchange| exchange.owner.clone());
        let owners = exchanges.chain(desired.queues.iter().map(|queue| queue.owner.clone())).collect();
        Self { prefix: prefix.to_owned(), owners }
    }

    /// And one more: one whose last object has left the configuration.
    #[must_use]
    pub fn and(mut self, owner: &str) -> Self {
        self.owners.insert(owner.to_owned());
        self
    }
}

/// Whose the two ends of a binding are.
pub(super) struct Ends<'a> {
    scope: &'a Scope,
    /// Prefixes of other hubs that begin with ours.
    others: Vec<&'a str>,
    /// Owners of exchanges and queues, of those that have one.
    exchanges: BTreeMap<&'a str, &'a str>,
    queues: BTreeMap<&'a str, &'a str>,
    /// Queues that go with a connection.
    passing: BTreeSet<&'a str>,
    /// Exchanges that lead to devices.
    doors_of_devices: [String; 3],
    /// What all devices share, while one of them is bound to something of it.
    lived_by: BTreeSet<String>,
    names: Names,
    wanted_exchanges: BTreeSet<&'a str>,
    wanted_queues: BTreeSet<&'a str>,
}

const LANDMARK: &str = "warren.jobs";

impl<'a> Ends<'a> {
    pub(super) fn new(desired: &'a Topology, live: &'a Live, scope: &'a Scope) -> Self {
        let marked = live.exchanges.values().filter(|exchange| exchange.owner().is_some());
        let names = Names::new(&scope.prefix);
        let doors = [names.devices(), names.groups(), names.broadcast()];
        let prefixes = marked.filter_map(|exchange| exchange.name.strip_suffix(LANDMARK));
        Self {
            scope,
            others: prefixes.filter(|other| other.len() > scope.prefix.len() && other.starts_with(&scope.prefix)).collect(),
            exchanges: live.exchanges.values().filter_map(|found| Some((found.name.as_str(), found.owner()?))).collect(),
            queues: live.queues.values().filter_map(|found| Some((found.name.as_str(), found.owner()?))).collect(),
            passing: live.queues.values().filter(|found| found.is_passing()).map(|found| found.name.as_str()).collect(),
            lived_by: lived_by(&doors, live, &names),
            doors_of_devices: doors,
            names,
            wanted_exchanges: desired.exchanges.iter().map(|found| found.name.as_str()).collect(),
            wanted_queues: desired.queues.iter().map(|found| found.name.as_str()).collect(),
        }
    }

    /// Whether an object that carries this mark is ours to remove. A queue of a device is not, whatever its mark: it comes and goes with its
    /// device, and its messages would go with it. Nor is what devices live by, while there are some.
    pub(super) fn mine(&self, name: &str, owner: Option<&str>) -> bool {
        self.names.device_of_queue(name).is_none()
            && !self.lived_by.contains(name)
            && owner.is_some_and(|owner| self.scope.owners.contains(owner))
            && name.starts_with(&self.scope.prefix)
            && !self.others.iter().any(|other| name.starts_with(other))
    }

    /// What a binding that is not wanted is to us: `None` is none of our business; true is ours; false concerns something of ours, and
    /// is somebody else's.
    pub(super) fn of_surplus(&self, binding: &LiveBinding) -> Option<bool> {
        let (source, end) = (binding.source.as_str(), binding.destination.as_str());
        let to_queue = binding.destination_type == "queue";
        // Every queue is bound to the default exchange, and cannot be unbound. Devices are bound to theirs when they come, also those whose
        // queue is made by a plugin.
        if source.is_empty()
            || to_queue && (self.passing.contains(end) || self.doors_of_devices.iter().any(|door| door == source))
        {
            return None;
        }
        let (owners, wanted) =
            if to_queue { (&self.queues, &self.wanted_queues) } else { (&self.exchanges, &self.wanted_exchanges) };
        let (from, to) = (self.exchanges.get(source).copied(), owners.get(end).copied());
        let mine_from = self.wanted_exchanges.contains(source) || self.mine(source, from);
        let mine_to = wanted.contains(end) || self.mine(end, to);
        if !wanted.contains(end) && mine_to {
            // It goes, and nothing may come to it while it does.
            return Some(true);
        }
        match (mine_from, mine_to) {
            (true, true) => Some(true),
            // Another owner's subscription is that owner's.
            (true, false) if to.is_none() => Some(false),
            (false, true) if from.is_none() => Some(false),
            _ => None,
        }
    }
}

/// A hub without the role forgets nothing that devices of another process need.
fn lived_by(doors: &[String; 3], live: &Live, names: &Names) -> BTreeSet<String> {
    let used = live.bindings.iter().any(|binding| doors.contains(&binding.source));
    let all = doors.iter().cloned().chain([names.devices_dead(), names.devices_dropped()]);
    if used { all.collect() } else { BTreeSet::new() }
}
