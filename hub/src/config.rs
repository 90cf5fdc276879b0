//! What a hub is told: `warren.toml`, the environment and flags, laid over the defaults.
//!
//! Later layers win: defaults, then the fallbacks `AMQP_URL`, `DATABASE_URL`,
//! `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_SERVICE_NAME`, then files in their order, then
//! `WARREN__BROKER__URL=...` (`..__FILE` reads a file), then flags. Tables are merged, arrays replaced.
//! One struct per concern; each says its units and defaults on its fields. `deploy/warren.toml` shows them all.
//!
//! It refuses: numbers without a unit where a duration or a size is meant, unknown keys ([`Sources::lenient`] turns those into
//! warnings), and settings that do not fit each other ([`Config::check`]). Every problem is reported, not only the first, and
//! names its key, where it was set (a file with its line, a variable, the command line), and the remedy. Nothing here reads the process environment: `main` hands it in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use api_ack::callbacks::{CallbackSettings, SigningSecret};
use broker_topology::Severity;
use serde::Serialize;

mod amqp;
mod auth;
mod broker;
mod callbacks;
mod check;
mod cors;
mod cron;
mod declared;
mod destination;
mod devices;
mod http;
mod kinds;
mod lines;
mod listen;
mod problem;
mod rate;
mod secret;
mod section;
mod settings;
mod shard;
mod sources;
mod topology;
mod tracing;
mod units;
mod value;

pub use amqp::{AmqpCompletion, AmqpFormat, AmqpTarget};
pub use auth::{Algorithm, Auth, AuthKey, KeyMaterial};
pub use broker::{Broker, BrokerUrl, Manage, ManagementUrl, Topology};
pub(crate) use broker::{percent_decoded, percent_encoded};
pub use callbacks::{CallbackSecret, Callbacks, Port};
pub use cors::Cors;
pub use cron::{CronConfig, Overlap};
pub use declared::{
    BindingConfig, DeadLetter, ExchangeConfig, ExchangeType, HeaderMatch, PolicyConfig, PolicyTarget, QueueConfig, QueueType,
};
pub use destination::{Breaker, DestinationConfig};
pub use devices::{Devices, QueueLimits};
pub use http::{Completion, HttpCall, Method};
pub use kinds::{Idempotency, KindConfig, Priority, Worker};
pub use listen::Listen;
pub use problem::{ConfigError, Fault, Origin, Problem};
pub use rate::Rate;
pub use secret::{Secret, without_password};
pub use settings::{Drain, Limits, Log, LogFormat, Retention, Role, Store};
pub(crate) use shard::MAIN;
pub use shard::ShardConfig;
pub use sources::Sources;
pub use tracing::Tracing;

use section::{Report, Section};
use settings::RoleList;

/// Everything a hub is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// What this process does: `roles = ["api", "worker", "keeper", "devices"]`, all of them by default.
    pub roles: Vec<Role>,
    /// RabbitMQ.
    pub broker: Broker,
    /// What may be declared there.
    pub topology: Topology,
    /// Where jobs and dead letters are kept.
    pub store: Store,
    /// The three listeners.
    pub listen: Listen,
    /// Which pages may call the public API from a browser.
    pub cors: Cors,
    /// Whose tokens are believed.
    pub auth: Auth,
    /// What is refused at the door.
    pub limits: Limits,
    /// How long what is done is kept.
    pub retention: Retention,
    /// What devices may cost.
    pub devices: Devices,
    /// How a process leaves.
    pub drain: Drain,
    /// What is logged.
    pub log: Log,
    /// Where spans go.
    pub tracing: Tracing,
    /// Where callbacks may go, and when they are tried again.
    pub callbacks: Callbacks,
    /// Weight of a tenant in the round robin over tenants; 1 for those not named.
    pub tenants: BTreeMap<String, NonZeroU32>,
    /// The kinds of jobs, one `[[kind]]` each.
    #[serde(rename = "kind")]
    pub kinds: Vec<KindConfig>,
    /// Jobs by the clock, one `[[cron]]` each.
    pub cron: Vec<CronConfig>,
    /// How careful Warren is with destinations of calls, one `[[destination]]` each; those not named here have the defaults.
    #[serde(rename = "destination")]
    pub destinations: Vec<DestinationConfig>,
    /// What callbacks are signed with, one `[[callback_secret]]` each; a tenant without one has no callbacks.
    #[serde(rename = "callback_secret")]
    pub callback_secrets: Vec<CallbackSecret>,
    /// Exchanges of the team's own, one `[[exchange]]` each.
    #[serde(rename = "exchange")]
    pub exchanges: Vec<ExchangeConfig>,
    /// Queues of the team's own, one `[[queue]]` each.
    #[serde(rename = "queue")]
    pub queues: Vec<QueueConfig>,
    /// Bindings of the team's own, one `[[binding]]` each.
    #[serde(rename = "binding")]
    pub bindings: Vec<BindingConfig>,
    /// Policies of the team's own, one `[[policy]]` each.
    #[serde(rename = "policy")]
    pub policies: Vec<PolicyConfig>,
}

/// How a process takes deliveries of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consuming {
    /// Attempts at one time.
    pub concurrency: u16,
    /// Deliveries held, running and waiting.
    pub prefetch: u16,
    /// How long an attempt may take, with its wait for a turn.
    pub attempt: Duration,
    /// Whether deliveries are acked once their start is durable: an attempt may take over a quarter of `broker.consumer_timeout`, and
    /// the work is done by the hub. Then none is held that does not run, and `prefetch` says nothing.
    pub early: bool,
}

/// A configuration, and what was let pass on the way to it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Unknown keys that `lenient` let pass; worth a line each in the log.
    pub warnings: Vec<Problem>,
    /// What of the topology may be declared and does most likely not do what was meant; for `warren config check` and
    /// `warren topology lint` to tell.
    pub hints: Vec<Problem>,
}

impl Config {
    /// Reads all layers and checks the result.
    ///
    /// # Errors
    /// With every problem found, in the order of the keys.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
        let report = Report::new(sources.lenient);
        let table = sources.merge(&report);
        let config = Self::read(Section::root(table, &report), sources);
        let fit = if report.is_clean() { config.check() } else { Vec::new() };
        // What is wrong elsewhere need not hide what is wrong with the topology.
        let lint =
            if report.spares(&["broker", "kind", "exchange", "queue", "binding", "policy"]) { config.lint() } else { Vec::new() };
        let topology = lint.into_iter().map(|(key, violation)| Problem::of_topology(key, violation));
        let placed = |problem: Problem| Problem { origin: report.origin(&problem.key), ..problem };
        let found: Vec<Problem> = fit.into_iter().chain(topology).map(placed).collect();
        let (hints, wrong): (Vec<_>, Vec<_>) = found.into_iter().partition(|problem| problem.severity == Severity::Warning);
        let (mut problems, warnings) = report.into_parts();
        problems.extend(wrong);
        if problems.is_empty() { Ok(Loaded { config, warnings, hints }) } else { Err(ConfigError { problems, hints }) }
    }

    fn read(mut root: Section<'_>, sources: &Sources<'_>) -> Self {
        let auth = Auth::read(&mut root.section("auth"));
        Self {
            roles: root.get("roles", RoleList(Role::ALL.to_vec())).0,
            broker: Broker::read(&mut root.section("broker")),
            topology: Topology::read(&mut root.section("topology")),
            store: Store::read(&mut root.section("store"), sources.data_dir),
            listen: Listen::read(&mut root.section("listen"), !auth.keys.is_empty()),
            cors: Cors::read(&mut root.section("cors")),
            limits: Limits::read(&mut root.section("limits")),
            retention: Retention::read(&mut root.section("retention")),
            devices: Devices::read(&mut root.section("devices")),
            drain: Drain::read(&mut root.section("drain")),
            log: Log::read(&mut root.section("log")),
            tracing: Tracing::read(&mut root.section("tracing")),
            callbacks: Callbacks::read(&mut root.section("callbacks")),
            tenants: root.map("tenants"),
            kinds: root.sections("kind").iter_mut().filter_map(KindConfig::read).collect(),
            cron: root.sections("cron").iter_mut().filter_map(CronConfig::read).collect(),
            destinations: root.sections("destination").iter_mut().filter_map(DestinationConfig::read).collect(),
            callback_secrets: root.sections("callback_secret").iter_mut().filter_map(CallbackSecret::read).collect(),
            exchanges: declared::read(&mut root),
            queues: declared::read(&mut root),
            bindings: declared::read(&mut root),
            policies: declared::read(&mut root),
            auth,
        }
    }

    /// What does not fit together, though each key is fine by itself.
    pub fn check(&self) -> Vec<Problem> {
        check::check(self)
    }

    /// How careful Warren is with the destination of `call`.
    pub fn destination(&self, call: &HttpCall) -> DestinationConfig {
        let named = self.destinations.iter().find(|destination| destination.name == call.destination);
        named.cloned().unwrap_or_else(|| DestinationConfig::new(&call.destination))
    }

    /// How a process takes deliveries of `kind`: as the kind says, or for calls as its destination takes them.
    pub fn consuming(&self, kind: &KindConfig) -> Consuming {
        let early = |attempt| kind.worker != Worker::Amqp && attempt > self.broker.consumer_timeout / 4;
        let Some(call) = &kind.http else {
            let attempt = kind.timeout;
            return Consuming { concurrency: kind.concurrency, prefetch: kind.prefetch, attempt, early: early(attempt) };
        };
        let destination = self.destination(call);
        let paced = destination.rate.map_or(u128::MAX, |rate| kind.timeout.as_nanos() / rate.interval().as_nanos().max(1));
        let paced = u16::try_from(paced).unwrap_or(u16::MAX).max(1);
        let concurrency = kind.concurrency.min(destination.concurrency).min(paced);
        // It may wait for its turn as long as the call may take, and the store is told what the call said.
        let attempt = kind.timeout.saturating_mul(2) + Duration::from_secs(15);
        Consuming {
            concurrency,
            // What waits behind a slow call is better off where another process can take it.
            prefetch: kind.prefetch.min(concurrency.saturating_mul(2)),
            attempt,
            early: early(attempt),
        }
    }

    /// The rules of callbacks, of a hub that listens at `own`.
    pub fn callback_settings(&self, own: &[SocketAddr]) -> CallbackSettings {
        let Callbacks { allow_http, ports, allow_networks, delays, .. } = &self.callbacks;
        let mut secrets: BTreeMap<String, Vec<SigningSecret>> = BTreeMap::new();
        for secret in &self.callback_secrets {
            secrets.entry(secret.tenant.clone()).or_default().extend(secret.signing());
        }
        CallbackSettings {
            allow_http: *allow_http,
            ports: ports.iter().map(|port| port.0).collect(),
            allow_networks: allow_networks.clone(),
            own: own.to_vec(),
            secrets,
            delays: delays.clone(),
        }
    }

    /// All of it as TOML, secrets and passwords as `***`.
    pub fn dump(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

#[cfg(test)]
mod tests;
