//! The topology that a configuration asks for: Warren's own, one part per kind, and what the team declares.

use std::collections::{BTreeMap, BTreeSet};

use broker_topology::{HUB, Names, Severity, Topology, Violation, core, dead_letters, high_queue, trespasses, work_queue};

use super::declared::Declared;
use super::{AmqpCompletion, Config, KindConfig};

impl Config {
    /// Everything that is declared on the broker.
    ///
    /// # Errors
    /// What forbids it, all together.
    pub fn topology(&self) -> Result<Topology, Vec<Violation>> {
        let whole = self.whole();
        let found = self.violations(&whole).into_iter().filter(|violation| violation.severity == Severity::Error);
        let errors: Vec<Violation> = found.collect();
        if errors.is_empty() { Ok(whole) } else { Err(errors) }
    }

    /// What is wrong with the topology, and what looks so, each with the key of what is at fault; the key is empty where that is
    /// nothing the team declares.
    pub(super) fn lint(&self) -> Vec<(String, Violation)> {
        // Of two with one name the second is too many.
        let keys: BTreeMap<String, String> = self
            .parts()
            .into_iter()
            .flat_map(|part| labels(&part.fragment).into_iter().map(move |label| (label, part.key.clone())))
            .collect();
        let violations = self.violations(&self.whole());
        violations.into_iter().map(|violation| (keys.get(&violation.object).cloned().unwrap_or_default(), violation)).collect()
    }

    fn violations(&self, whole: &Topology) -> Vec<Violation> {
        let own = self.parts().into_iter().fold(Topology::default(), |own, part| own.and(part.own));
        // A kind may publish by the name of a queue.
        let named: BTreeSet<String> = self
            .kinds
            .iter()
            .filter_map(|kind| kind.amqp.as_ref()?.queue.as_ref())
            .map(|queue| format!("queue {queue}"))
            .collect();
        let meant = |violation: &Violation| violation.code == "queue-unfed" && named.contains(&violation.object);
        let whole = whole.lint().into_iter().filter(|violation| !meant(violation));
        trespasses(&own, &self.names()).into_iter().chain(whole).collect()
    }

    /// All fragments, conflicts too.
    fn whole(&self) -> Topology {
        let names = self.names();
        let kinds = self.kinds.iter().map(|kind| of_kind(&names, kind));
        kinds.chain(self.parts().into_iter().map(|part| part.fragment)).fold(self.shared(&names), Topology::and)
    }

    /// What is Warren's own, whatever the kinds.
    fn shared(&self, names: &Names) -> Topology {
        let for_devices = || mobile_delivery::topology(names, &self.devices.queue_limits());
        match self.devices.enabled {
            true if self.broker.is_shard => for_devices(),
            true => core(names).and(for_devices()),
            false => core(names),
        }
    }

    /// What the team declares, one by one.
    fn parts(&self) -> Vec<Part> {
        let names = self.names();
        let mut all = parts(&self.exchanges, &names);
        all.extend(parts(&self.queues, &names));
        all.extend(parts(&self.bindings, &names));
        all.extend(parts(&self.policies, &names));
        all
    }

    fn names(&self) -> Names {
        Names::new(&self.broker.prefix)
    }
}

/// One thing that the team declares.
struct Part {
    /// Its key: `queue[3]`.
    key: String,
    /// As it was written.
    own: Topology,
    /// With what it needs around it.
    fragment: Topology,
}

fn parts<T: Declared>(list: &[T], names: &Names) -> Vec<Part> {
    let part = |(index, one): (usize, &T)| Part {
        key: format!("{}[{index}]", T::KEY),
        own: one.own(names),
        fragment: one.fragment(names),
    };
    list.iter().enumerate().map(part).collect()
}

/// How messages call what is in `part`.
fn labels(part: &Topology) -> Vec<String> {
    let exchanges = part.exchanges.iter().map(ToString::to_string);
    let queues = part.queues.iter().map(ToString::to_string);
    let bindings = part.bindings.iter().map(ToString::to_string);
    exchanges.chain(queues).chain(bindings).chain(part.policies.iter().map(ToString::to_string)).collect()
}

fn of_kind(names: &Names, kind: &KindConfig) -> Topology {
    let own = match kind.amqp.as_ref().map(|target| target.completion) {
        None => work_queue(names, &kind.name, HUB),
        Some(AmqpCompletion::Report) => dead_letters(names, &kind.name, HUB),
        // What is handed off is done, and cannot die of its work.
        Some(AmqpCompletion::Handoff) => Topology::default(),
    };
    if kind.priority.is_some() { own.and(high_queue(names, &kind.name, HUB)) } else { own }
}
