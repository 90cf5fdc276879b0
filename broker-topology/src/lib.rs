#![doc = include_str!("../README.md")]

mod argument;
mod binding;
mod definitions;
mod devices;
mod exchange;
mod fragments;
mod graph;
mod known;
mod live;
mod migration;
mod names;
mod object;
mod own;
mod plan;
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
pub use devices::{
    DEVICES, Device, Limits, MAX_GROUP, MQTT_EXCHANGE, Tier, TierLimits, device_bindings, device_queue, devices, unfit_policies,
};
pub use exchange::{Exchange, ExchangeKind};
pub use fragments::{
    HUB, TERMINAL_DELIVERY_LIMIT, WORK_DELIVERY_LIMIT, core, dead_letters, high_queue, service_owner, subscriber, work_queue,
};
pub use graph::Graph;
pub use known::{Known, Sort, known_argument, known_setting, policy_holds};
pub use live::{Live, LiveArguments, LiveBinding, LiveExchange, LivePolicy, LiveQueue, Sight};
pub use migration::{Stage, holding_arguments, limits, loss, rebound, stage, unfit};
pub use names::{Kind, KindError, MAX_NAME, Names, Rung};
pub use own::trespasses;
pub use plan::{
    Action, Drift, Effective, Extra, Facts, Look, Loss, LossKind, Override, Pending, Plan, PropertyChange, Scope, SeenKey, Step,
    Target,
};
pub use policy::{ApplyTo, Policy};
pub use priority::Priority;
pub use queue::{Queue, QueueKind};
pub use routing::topic_matches;
pub use topology::Topology;
pub use validate::{prefixed, warrens_queues};
pub use violation::{Severity, Violation};
