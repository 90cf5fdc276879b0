//! What a plan would lose: messages, work that points to a queue, and messages to come that would reach no queue.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Action, Plan, Target};
use crate::live::{Live, LiveBinding};
use crate::names::{Names, Rung};
use crate::topology::Topology;

/// What is known beyond the broker's own state.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Jobs that point to a kind's work queue, by kind; `None` when no hub could be asked.
    pub pending: Option<BTreeMap<String, Pending>>,
    /// Keys that were published lately; `None` when no hub could be asked.
    pub keys: Option<Vec<SeenKey>>,
    /// What the broker says of the queues that go, by name.
    pub looks: BTreeMap<String, Look>,
}

/// What is in a queue, each `None` when the broker did not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Messages that wait for a consumer.
    pub ready: Option<u64>,
    /// Messages that are not ready and go with the queue: delivered and not acked, or dead-lettered and not taken by their target.
    pub held: Option<u64>,
    /// Consumers.
    pub consumers: Option<u64>,
}

/// Jobs of a kind that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Jobs by state: `scheduled`, `accepted`, `queued`, `running`, `retrying`.
    pub states: BTreeMap<String, u64>,
    /// There are more: counting stops at some number.
    pub more: bool,
}

/// A routing key that somebody published with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenKey {
    /// The exchange.
    pub exchange: String,
    /// The key.
    pub key: String,
    /// How often in the last hour; at least.
    pub count: u64,
}

/// In which way something would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Messages in a queue that goes.
    Messages,
    /// Somebody consumes from it.
    InUse,
    /// Jobs point to it.
    Jobs,
    /// Messages in rungs may point to it.
    Rungs,
    /// Messages with a key that was seen would reach no queue.
    Unroutable,
    /// It could not be looked at, and there is something to lose.
    Unknown,
}

/// Something that would be lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// In which way.
    pub kind: LossKind,
    /// The object that goes: `queue jobs.orders.place`.
    pub object: String,
    /// What would be lost, and how that is avoided.
    pub message: String,
}

pub(super) fn losses(plan: &Plan, desired: &Topology, live: &Live, prefix: &str, facts: &Facts) -> Vec<Loss> {
    let names = Names::new(prefix);
    let home = names.return_exchange();
    let returning: BTreeSet<&str> =
        live.bindings.iter().filter(|binding| binding.source == home).map(|binding| binding.destination.as_str()).collect();
    let mut found = Vec::new();
    for name in plan.queues_to_go() {
        of_queue(name, returning.contains(name), live, &names, facts, &mut found);
    }
    unroutable(plan, desired, live, facts, &mut found);
    found
}

fn of_queue(name: &str, returns: bool, live: &Live, names: &Names, facts: &Facts, found: &mut Vec<Loss>) {
    let Some(queue) = live.queues.get(name) else { return };
    let mut say = |kind, message: String| found.push(Loss { kind, object: format!("queue {name}"), message });
    let look = facts.looks.get(name).copied().unwrap_or_default();
    // Whatever tells of more is believed.
    let ready = look.ready.max(queue.ready).unwrap_or(0);
    let held = look.held.max(queue.unacked).unwrap_or(0);
    if ready + held > 0 {
        say(
            LossKind::Messages,
            format!(
                "{ready} messages ready and {held} held (unacknowledged, or dead letters that their target has not taken) would go \
                 with it: let its consumers finish them, or move them"
            ),
        );
    } else if look.ready.is_none() || look.held.is_none() {
        say(LossKind::Unknown, "the broker does not tell what is in it: ask again in some seconds".to_owned());
    }
    if let Some(consumers @ 1..) = look.consumers {
        say(LossKind::InUse, format!("{consumers} consumers are at work on it: stop them first"));
    }
    match (names.kind_of_work_queue(name), &facts.pending) {
        (Some(kind), Some(pending)) => {
            let jobs = pending.get(kind.as_str()).filter(|jobs| !jobs.states.is_empty());
            if let Some(jobs) = jobs {
                say(
                    LossKind::Jobs,
                    format!("{jobs} of the kind {kind} point to it: let them end, cancel them, or keep the kind configured"),
                );
            }
        }
        (Some(kind), None) => say(
            LossKind::Unknown,
            format!(
                "no hub could be asked for jobs of the kind {kind} that wait in the store: run this where a hub is reachable"
            ),
        ),
        (None, None) if ready + held > 0 => {
            say(LossKind::Unknown, "no hub could be asked what points to it: run this where a hub is reachable".to_owned());
        }
        (None, _) if returns => {
            let waiting: u64 =
                Rung::ALL.iter().filter_map(|rung| live.queues.get(&names.retry(*rung))).map(|q| q.messages()).sum();
            if waiting > 0 {
                say(
                    LossKind::Rungs,
                    format!(
                        "{waiting} messages wait in rungs, and some may return to it: wait until the rungs are empty, 10 minutes at most"
                    ),
                );
            }
        }
        (None, _) => {}
    }
}

/// Keys that may reach a queue now, and none afterwards. What only the headers tell, and what an exchange of an unknown type does, counts
/// as reached on both sides.
fn unroutable(plan: &Plan, desired: &Topology, live: &Live, facts: &Facts, found: &mut Vec<Loss>) {
    let Some(keys) = facts.keys.as_deref().filter(|keys| !keys.is_empty()) else { return };
    let removed: Vec<&Target> = plan.steps.iter().filter(|step| step.action == Action::Remove).map(|step| &step.target).collect();
    if removed.is_empty() {
        return;
    }
    let objects: BTreeSet<(&str, &str)> = removed
        .iter()
        .filter_map(|target| match target {
            Target::Queue { name } => Some(("queue", name.as_str())),
            Target::Exchange { name } => Some(("exchange", name.as_str())),
            _ => None,
        })
        .collect();
    let gone = |name: &str, sort: &str| objects.contains(&(sort, name));
    let unbound: BTreeSet<String> = removed
        .iter()
        .filter_map(|target| if let Target::Binding(binding) = target { Some(super::key_of(binding)) } else { None })
        .collect();
    let stays = |binding: &LiveBinding| {
        !unbound.contains(&super::key_of(binding))
            && !gone(&binding.source, "exchange")
            && !gone(&binding.destination, &binding.destination_type)
    };
    let mut after = live.clone();
    after.bindings.retain(stays);
    after.queues.retain(|name, _| !gone(name, "queue"));
    after.exchanges.retain(|name, _| !gone(name, "exchange"));
    let (before, after) = (live.routes(), after.routes().and(desired.clone()));
    for SeenKey { exchange, key, count } in keys {
        let reaches = |routes: &Topology| !routes.reach(exchange, Some(key)).is_empty();
        if reaches(&before) && !reaches(&after) {
            found.push(Loss {
                kind: LossKind::Unroutable,
                object: format!("exchange {exchange}"),
                message: format!(
                    "key {key} seen {count} times in the last hour would reach no queue: stop who publishes it, or bind a queue"
                ),
            });
        }
    }
}

impl std::fmt::Display for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: u64 = self.states.values().sum();
        let states: Vec<String> = self.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        write!(f, "{}{all} jobs ({})", if self.more { "over " } else { "" }, states.join(", "))
    }
}
