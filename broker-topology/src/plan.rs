//! What would be done to a live broker so that it holds a topology, and what differs there besides.
//!
//! A plan is data: whoever made it shows it, refuses it, or carries it out in the order of its steps. What only the broker's operator may
//! decide is never a step: a queue that exists with other arguments, an object without our mark, a policy that somebody else set.

mod given;
mod policies;
mod remedy;
mod safety;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::argument::{DESCRIPTION, OWNER, QUEUE_TYPE};
use crate::live::{Live, LiveArguments, LiveBinding, LivePolicy, LiveQueue, Sight, json};
use crate::queue::Queue;
use crate::topology::Topology;

pub(crate) use policies::Matchers;
pub use policies::{Effective, Override};
pub use safety::{Facts, Look, Loss, LossKind, Pending, SeenKey};
pub use scope::Scope;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there with other properties, and RabbitMQ can change them: policies alone.
    Change,
    /// It is there with other properties, which RabbitMQ cannot change: it has to be made anew, by a command of its own.
    Migrate,
    /// It is there, ours, and wanted no more.
    Remove,
}

/// An object on the broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "sort", rename_all = "kebab-case")]
pub enum Target {
    /// An exchange.
    Exchange {
        /// Its name.
        name: String,
    },
    /// A queue.
    Queue {
        /// Its name.
        name: String,
    },
    /// A binding.
    Binding(LiveBinding),
    /// A policy.
    Policy {
        /// Its name.
        name: String,
    },
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// To what.
    #[serde(flatten)]
    pub target: Target,
    /// What differs, for a change and a migration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<PropertyChange>,
    /// What a person has to do, where Warren does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A property with two values; `None` is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PropertyChange {
    /// The argument, or `type`, `durable`, `pattern`, ...
    pub property: String,
    /// As it is.
    pub live: Option<Value>,
    /// As it should be.
    pub desired: Option<Value>,
}

/// Something on the broker that the topology does not know, and that stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extra {
    /// What it is.
    #[serde(flatten)]
    pub target: Target,
    /// Whether `--prune` would remove it: it carries our mark, or joins two objects that do.
    pub ours: bool,
}

/// What differs between a broker and a topology, and what would be done about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// In the order in which they can be done.
    pub steps: Vec<Step>,
    /// What stays although the topology does not know it.
    pub extra: Vec<Extra>,
    /// The policies that hold for our queues; `None` when not all policies could be seen.
    pub policies: Option<Vec<Effective>>,
    /// What the steps would lose.
    pub losses: Vec<Loss>,
    /// What could not be looked at, each a sentence.
    pub unseen: Vec<String>,
}

/// How many differences there are, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Not there.
    pub missing: usize,
    /// There with other properties.
    pub changed: usize,
    /// There, and not known.
    pub extra: usize,
    /// Policies that override what correctness rests on; `None` when not all policies could be seen.
    pub policy: Option<usize>,
}

impl Drift {
    /// Whether there is none, as far as it was seen.
    pub fn is_none(self) -> bool {
        self.by_kind().iter().all(|(_, count)| count.unwrap_or(0) == 0)
    }

    /// Each kind with its count, which is `None` when it could not be seen.
    pub fn by_kind(self) -> [(&'static str, Option<usize>); 4] {
        [("missing", Some(self.missing)), ("changed", Some(self.changed)), ("extra", Some(self.extra)), ("policy", self.policy)]
    }
}

impl Plan {
    /// Compares. With `prune` what is ours and wanted no more is a step, otherwise an extra. Losses are told by
    /// [`Plan::weigh`], once it is known what the steps concern.
    ///
    /// A difference in the marks `warren-owner` and `warren-description` is none, since RabbitMQ ignores it too.
    pub fn new(desired: &Topology, live: &Live, scope: &Scope, prune: bool) -> Self {
        let mut plan = Self::default();
        plan.exchanges(desired, live);
        plan.queues(desired, live);
        if live.sight == Sight::Existence {
            return plan;
        }
        let wanted: Vec<LiveBinding> = desired.bindings.iter().map(LiveBinding::of).collect();
        let there: BTreeSet<String> = live.bindings.iter().map(key_of).collect();
        for binding in wanted.iter().filter(|binding| !there.contains(&key_of(binding))) {
            plan.steps.push(Step::new(Action::Create, Target::Binding(binding.clone())));
        }
        plan.own_policies(desired, live);
        plan.surplus(desired, live, scope, prune, &wanted);
        if let (Some(policies), Some(operators)) = (&live.policies, &live.operator_policies) {
            let (policies, unseen) = policies::effective(desired, live, policies, operators);
            (plan.policies, plan.unseen) = (Some(policies), unseen);
        }
        plan
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The differences by kind.
    pub fn drift(&self) -> Drift {
        let count = |wanted: &[Action]| self.steps.iter().filter(|step| wanted.contains(&step.action)).count();
        Drift {
            missing: count(&[Action::Create]),
            changed: count(&[Action::Change, Action::Migrate]),
            extra: self.extra.len() + count(&[Action::Remove]),
            policy: self.policies.as_ref().map(|all| all.iter().filter(|policy| !policy.overrides.is_empty()).count()),
        }
    }

    /// The names of the queues that would be removed.
    pub fn queues_to_go(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.action == Action::Remove).filter_map(|step| match &step.target {
            Target::Queue { name } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Says what the steps would lose.
    pub fn weigh(&mut self, desired: &Topology, live: &Live, prefix: &str, facts: &Facts) {
        self.losses = safety::losses(self, desired, live, prefix, facts);
    }

    fn exchanges(&mut self, desired: &Topology, live: &Live) {
        for exchange in &desired.exchanges {
            let target = Target::Exchange { name: exchange.name.clone() };
            let Some(found) = live.exchanges.get(&exchange.name) else {
                self.steps.push(Step::new(Action::Create, target));
                continue;
            };
            if live.sight == Sight::Existence {
                continue;
            }
            let is = given::properties_of_exchange(found);
            let mut should = json(&exchange.arguments());
            should.insert("type".to_owned(), exchange.kind.as_str().into());
            flags(&mut should, true, false);
            should.insert("internal".to_owned(), exchange.internal.into());
            let remedy = remedy::exchange(&exchange.name, desired, live);
            self.compare(Action::Migrate, target, &is, &should, Some(remedy));
        }
    }

    fn queues(&mut self, desired: &Topology, live: &Live) {
        for queue in &desired.queues {
            let target = Target::Queue { name: queue.name.clone() };
            let Some(found) = live.queues.get(&queue.name) else {
                self.steps.push(Step::new(Action::Create, target));
                continue;
            };
            if live.sight == Sight::Existence {
                continue;
            }
            let remedy = format!("RabbitMQ cannot change a queue: `warren topology migrate {}` makes it anew", queue.name);
            self.compare(Action::Migrate, target, &properties_of(found), &properties_wanted(queue), Some(remedy));
        }
    }

    /// None of them while they cannot be seen: what is there as it should be would count as missing.
    fn own_policies(&mut self, desired: &Topology, live: &Live) {
        let Some(there) = &live.policies else { return };
        for policy in &desired.policies {
            let target = Target::Policy { name: policy.name.clone() };
            match there.iter().find(|found| found.name == policy.name) {
                None => self.steps.push(Step::new(Action::Create, target)),
                Some(found) => self.compare(Action::Change, target, &flat(found), &flat(&LivePolicy::of(policy)), None),
            }
        }
    }

    fn compare(&mut self, action: Action, target: Target, is: &LiveArguments, should: &LiveArguments, remedy: Option<String>) {
        let names: BTreeSet<&String> = is.keys().chain(should.keys()).collect();
        let differ = names.into_iter().filter(|name| ![OWNER, DESCRIPTION].contains(&name.as_str()));
        let differ = differ.filter(|name| is.get(*name) != should.get(*name)).map(|name| PropertyChange {
            property: name.clone(),
            live: is.get(name).cloned(),
            desired: should.get(name).cloned(),
        });
        let properties: Vec<PropertyChange> = differ.collect();
        if !properties.is_empty() {
            self.steps.push(Step { action, target, properties, remedy });
        }
    }

    /// What is there and not wanted: first bindings, then queues, then exchanges, as they can be removed.
    fn surplus(&mut self, desired: &Topology, live: &Live, scope: &Scope, prune: bool, wanted: &[LiveBinding]) {
        let wanted: BTreeSet<String> = wanted.iter().map(key_of).collect();
        let ends = scope::Ends::new(desired, live, scope);
        let mut found = Vec::new();
        for binding in live.bindings.iter().filter(|binding| !wanted.contains(&key_of(binding))) {
            if let Some(ours) = ends.of_surplus(binding) {
                found.push(Extra { target: Target::Binding(binding.clone()), ours });
            }
        }
        let names: BTreeSet<&str> = desired.queues.iter().map(|queue| queue.name.as_str()).collect();
        let queues = live.queues.values().filter(|queue| !names.contains(queue.name.as_str()) && !queue.is_passing());
        for queue in queues.filter(|queue| ends.mine(&queue.name, queue.owner())) {
            found.push(Extra { target: Target::Queue { name: queue.name.clone() }, ours: true });
        }
        let names: BTreeSet<&str> = desired.exchanges.iter().map(|exchange| exchange.name.as_str()).collect();
        let exchanges = live.exchanges.values().filter(|exchange| !names.contains(exchange.name.as_str()));
        for exchange in exchanges.filter(|exchange| ends.mine(&exchange.name, exchange.owner())) {
            found.push(Extra { target: Target::Exchange { name: exchange.name.clone() }, ours: true });
        }
        for extra in found {
            match prune && extra.ours {
                true => self.steps.push(Step::new(Action::Remove, extra.target)),
                false => self.extra.push(extra),
            }
        }
    }
}

impl Step {
    fn new(action: Action, target: Target) -> Self {
        Self { action, target, properties: Vec::new(), remedy: None }
    }
}

fn flags(properties: &mut LiveArguments, durable: bool, auto_delete: bool) {
    properties.insert("durable".to_owned(), durable.into());
    properties.insert("auto-delete".to_owned(), auto_delete.into());
}

/// All that a declare of a queue that exists compares.
fn properties_of(queue: &LiveQueue) -> LiveArguments {
    let mut properties = queue.arguments.clone();
    if let Some(kind) = &queue.kind {
        properties.insert(QUEUE_TYPE.to_owned(), kind.as_str().into());
    }
    flags(&mut properties, queue.durable, queue.auto_delete);
    properties.insert("exclusive".to_owned(), (queue.exclusive == Some(true)).into());
    properties
}

fn properties_wanted(queue: &Queue) -> LiveArguments {
    let mut properties = json(&queue.arguments());
    flags(&mut properties, true, false);
    properties.insert("exclusive".to_owned(), false.into());
    properties
}

fn flat(policy: &LivePolicy) -> LiveArguments {
    let mut all: BTreeMap<String, Value> =
        policy.definition.iter().map(|(name, value)| (format!("definition.{name}"), value.clone())).collect();
    all.insert("pattern".to_owned(), policy.pattern.as_str().into());
    all.insert("apply-to".to_owned(), policy.apply_to.as_str().into());
    all.insert("priority".to_owned(), policy.priority.into());
    all
}

/// A text that two bindings share only if they are the same one.
fn key_of(binding: &LiveBinding) -> String {
    serde_json::to_string(&binding.identity()).unwrap_or_default()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange { name } => write!(f, "exchange {name}"),
            Self::Queue { name } => write!(f, "queue {name}"),
            Self::Policy { name } => write!(f, "policy {name}"),
            Self::Binding(LiveBinding { source, destination, destination_type, key, arguments, .. }) => {
                write!(f, "binding {source} -> {destination_type} {destination} (key `{key}`")?;
                if !arguments.is_empty() {
                    write!(f, ", arguments {}", serde_json::to_string(arguments).unwrap_or_default())?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for PropertyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => other.to_string(),
        };
        write!(f, "{} from {} to {}", self.property, shown(&self.live), shown(&self.desired))
    }
}
