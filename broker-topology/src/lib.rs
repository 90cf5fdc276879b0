#![doc = include_str!("../README.md")]

mod argument;
mod binding;
mod definitions;
mod diff;
mod exchange;
mod fragments;
mod names;
mod object;
mod policy;
mod priority;
mod queue;
mod routing;
mod topology;
mod validate;
mod violation;

pub use argument::{Argument, Arguments};
pub use binding::{Binding, Destination};
pub use definitions::definitions;
pub use diff::{Difference, PropertyChange, diff};
pub use exchange::{Exchange, ExchangeKind};
pub use fragments::{HUB, TERMINAL_DELIVERY_LIMIT, WORK_DELIVERY_LIMIT, core, dead_letters, high_queue, subscriber, work_queue};
pub use names::{Kind, KindError, MAX_NAME, Names, Rung};
pub use policy::{ApplyTo, Policy};
pub use priority::Priority;
pub use queue::{Queue, QueueKind};
pub use routing::topic_matches;
pub use topology::Topology;
pub use violation::Violation;
