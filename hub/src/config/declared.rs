//! What a team declares on the broker beside Warren: exchanges, queues, bindings and policies of its own.
//!
//! Names get `broker.prefix` as Warren's own do, so that one file serves several hubs on one broker; what begins with `amq.` is
//! RabbitMQ's and stays as it is. What is wrong with the whole is told by [`super::Config::lint`].

use std::collections::BTreeMap;

use broker_topology::{Argument, Arguments, Known, Names, Rung, Sort, Topology};
use toml::Value;

use super::section::Section;
use super::units;
use super::value::FromValue;

mod binding;
mod exchange;
mod policy;
mod queue;

pub use binding::{BindingConfig, HeaderMatch};
pub use exchange::{ExchangeConfig, ExchangeType};
pub use policy::{PolicyConfig, PolicyTarget};
pub use queue::{DeadLetter, QueueConfig, QueueType};

/// Something that is declared, alone or with what it needs around it.
pub(super) trait Declared: Sized {
    /// The key of its table.
    const KEY: &'static str;
    /// How many of them there may be.
    const MOST: usize;

    fn read(section: &mut Section<'_>) -> Option<Self>;

    /// What it is as it was written, for the rules of what a team may declare.
    fn own(&self, names: &Names) -> Topology;

    /// What is declared.
    fn fragment(&self, names: &Names) -> Topology {
        self.own(names)
    }
}

/// All of one sort.
pub(super) fn read<T: Declared>(root: &mut Section<'_>) -> Vec<T> {
    let mut sections = root.sections(T::KEY);
    if sections.len() > T::MOST {
        root.problem(T::KEY, format!("is there {} times, and {} is the most: declare them elsewhere", sections.len(), T::MOST));
    }
    sections.iter_mut().filter_map(T::read).collect()
}

/// A name as it is called on this broker.
fn on_broker(names: &Names, name: &str) -> String {
    // The empty one is the default exchange.
    if name.is_empty() || name.starts_with("amq.") { name.to_owned() } else { names.on_broker(name) }
}

/// A key for `exchange`, which is called as on this broker, as it is used there: the default exchange takes the full name of a queue, and
/// so does what waits, comes back or died.
fn key_at(names: &Names, exchange: &str, key: &str) -> String {
    let rung = || Rung::ALL.into_iter().any(|rung| names.retry(rung) == exchange);
    let by_name = exchange.is_empty() || exchange == names.return_exchange() || exchange == names.dead() || rung();
    if by_name { on_broker(names, key) } else { key.to_owned() }
}

/// Who something belongs to; required.
fn owner(section: &mut Section<'_>) -> Option<String> {
    let owner: String = section.required("owner", "name the team or the service it belongs to")?;
    if (1..=100).contains(&owner.len()) && !owner.contains(char::is_control) {
        return Some(owner);
    }
    section.problem("owner", "must have 1 to 100 bytes, and none of them a control character");
    None
}

/// What something is for; empty by default.
fn description(section: &mut Section<'_>) -> String {
    let text = section.get("description", String::new());
    if text.len() > 500 || text.contains(char::is_control) {
        section.problem("description", "must be one line of 500 bytes at most");
    }
    text
}

/// The table under `key`: arguments of a queue or settings of a policy. Where `known` says that a value is a time or a size, it may be
/// written with its unit.
fn arguments(section: &mut Section<'_>, key: &'static str, known: fn(&str) -> Option<&'static Known>) -> Arguments {
    let values: BTreeMap<String, Value> = section.map(key);
    let mut found = Arguments::new();
    for (name, value) in values {
        match argument(&value, known(&name).map(|known| known.sort)) {
            Ok(value) => _ = found.insert(name, value),
            Err(wanted) => section.problem(&format!("{key}.{name}"), wanted),
        }
    }
    found
}

fn argument(value: &Value, sort: Option<Sort>) -> Result<Argument, String> {
    let number = |number: Option<i64>, wanted: &str| number.map(Argument::from).ok_or_else(|| wanted.to_owned());
    Ok(match (value, sort) {
        (Value::String(text), Some(Sort::Millis(..))) => {
            let time = units::duration(text).and_then(|time| i64::try_from(time.as_millis()).ok());
            return number(time, "is not a duration: write milliseconds, or a unit with them, as in \"30s\" or \"7d\"");
        }
        (Value::String(text), Some(Sort::Bytes(..))) => {
            let size = units::size(text).and_then(|size| i64::try_from(size).ok());
            return number(size, "is not a size: write bytes, or a unit with them, as in \"512KiB\" or \"1GiB\"");
        }
        (Value::String(text), _) => text.as_str().into(),
        (Value::Integer(number), _) => (*number).into(),
        (Value::Boolean(truth), _) => (*truth).into(),
        _ => return Err("must be a text, a whole number, or true or false".to_owned()),
    })
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Result<Self, String> {
        Ok(value.clone())
    }
}
