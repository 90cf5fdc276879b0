//! A hub: the roles of one process, wired from its configuration, started in order and drained in order.
//!
//! ```text
//! api     public listener -> acceptor -> writer -> store
//! worker  consumers of rust and http kinds, reports on warren.results, callbacks
//! keeper  dead letters into the store
//! devices those who own devices and send to them, connections of devices, their relay and upkeep
//! all     relay, sweeper, heartbeat, admin and internal listeners
//! ```
//!
//! It starts with the broker away: the store is needed, the broker is waited for.
//! On drain: no new requests and deliveries, running work ends or is given back, the relay marks what is confirmed, links close.

pub(crate) mod broker;
mod broker_closing;
mod broker_fitness;
mod device_policies;
mod device_submissions;
pub(crate) mod devices;
mod reload;
mod roles;
mod shards;
mod specs;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_ack::accept::{Acceptor, Backlog, BacklogLimits, Writer, WriterOptions};
use api_ack::callbacks::{self, CallbackOptions, CallbackRules};
use api_ack::changing::Changing;
use api_ack::completions::Completions;
use api_ack::cron::{self, CronSpec};
use api_ack::dead::DeadLetters;
use api_ack::destinations::Destinations;
use api_ack::estimates::Estimates;
use api_ack::feed::{Exchange, Feed, FeedOptions};
use api_ack::kinds::Kinds;
use api_ack::ledger::StoreLedger;
use api_ack::pauses::Pauses;
use api_ack::processes::Processes;
use api_ack::progress::Hearing;
use api_ack::relay::{self, HandOver, Reach, Relay, RelayOptions, RelayParts, Windows};
use api_ack::run_token::RunTokens;
use api_ack::selections::Selections;
use api_ack::store::{self, Stores};
use api_ack::sweeper::{Sweeper, SweeperOptions};
use api_ack::watch::{Watch, WatchOptions};
use broker_topology::{Names, Topology};
use database::{Database, Steps};
use messaging::connection::{BrokerOptions, Link};
use messaging::consumer::Running as Runs;
use messaging::handler::{self, AnyHandler, Decode, Handler};
use messaging::publisher::{Publisher, PublisherOptions};
use messaging::trace::{self, Exporter, TraceError, Tracer};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callbacks::HttpCourier;
use crate::config::{self, Config, Manage, Role};
use crate::health::Health;
use crate::http_worker;
use crate::listeners::{self, Bound};
use crate::topology::watch as drift;

use device_submissions::{Elsewhere, Telling};
use devices::Devices;

pub use reload::NeedsRestart;
use specs::{cron_spec, kind_spec, process_name, retention, trace_options};

/// The tables of everything that a hub keeps.
pub(crate) const TABLES: [Steps; 2] = [store::STEPS, mobile_delivery::store::TABLES];

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The store cannot be opened.
    #[error("store {url}: {source}")]
    Store {
        /// Without its password.
        url: String,
        /// Why.
        source: store::StoreError,
    },
    /// A listener cannot be bound.
    #[error("cannot listen on {address} ({what}): {source}; free the port, or set listen.{what}")]
    Listen {
        /// Which listener.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The broker options cannot work.
    #[error("{0}")]
    Broker(String),
    /// The topology of the configured kinds is no good.
    #[error("topology: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Topology(Vec<broker_topology::Violation>),
    /// A key in the configuration cannot verify anything.
    #[error("auth: {0}")]
    Auth(String),
    /// The callbacks cannot be made.
    #[error("{0}")]
    Callbacks(String),
    /// A handler for a kind that is not configured, or two for one.
    #[error("{0}")]
    Handler(String),
    /// Spans cannot be exported like this.
    #[error("tracing: {0}")]
    Tracing(#[from] TraceError),
    /// Metrics of this process are registered already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A hub, before it runs.
pub struct Hub {
    config: Config,
    handlers: BTreeMap<String, Arc<dyn AnyHandler>>,
    problems: Vec<String>,
}

/// What the hub declares: for itself, for the kinds of `config`, and what the team declares there.
///
/// # Errors
/// All violations together.
pub fn topology(config: &Config) -> Result<Topology, Vec<broker_topology::Violation>> {
    config.topology()
}

/// The kinds of `config`, as the crates know them.
pub(crate) fn kinds(config: &Config) -> Kinds {
    Kinds::new(config.kinds.iter().map(|kind| kind_spec(kind, config.consuming(kind))))
}

impl Hub {
    /// A hub that does what `config` says, with the handlers it is given.
    pub fn new(config: Config) -> Self {
        Self { config, handlers: BTreeMap::new(), problems: Vec::new() }
    }

    /// Adds the handler of a kind whose worker is `rust`.
    pub fn handler<M: Decode, H: Handler<M>>(mut self, kind: &str, handler: H) -> Self {
        if self.handlers.insert(kind.to_owned(), Arc::new(handler::any(handler))).is_some() {
            self.problems.push(format!("two handlers for the kind `{kind}`"));
        }
        if !self.config.kinds.iter().any(|k| k.name.as_str() == kind) {
            self.problems
                .push(format!("a handler for the kind `{kind}`, which is not configured: add a [[kind]] with this name"));
        }
        if self.config.kinds.iter().any(|k| k.name.as_str() == kind && k.worker == config::Worker::Http) {
            self.problems.push(format!("a handler for the kind `{kind}`, whose worker is `http`: remove one of the two"));
        }
        self
    }

    /// Starts every role. Returns once the listeners are bound and the store is open; the broker may still be away.
    ///
    /// # Errors
    /// As [`HubError`]; then nothing runs.
    pub async fn start(self) -> Result<Running, HubError> {
        if let Some(problem) = self.problems.into_iter().next() {
            return Err(HubError::Handler(problem));
        }
        let config = self.config;
        let broker = broker::options(&config.broker).map_err(HubError::Broker)?;
        let names = Names::new(&config.broker.prefix);
        let topology = topology(&config).map_err(HubError::Topology)?;
        let verifier = crate::auth::verifier(&config.auth).map_err(HubError::Auth)?;
        let bound = listeners::bind(&config.listen).await?;
        let opened = Database::open(config.store.url.expose(), &TABLES, true).await;
        let database = opened.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let opened = Stores::on(&database).await;
        let stores = opened.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let joined = Processes::join(stores.jobs.clone()).await;
        let processes = joined.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let (mut devices, mut elsewhere) = (None, None);
        let opened = match (config.devices.enabled, config.serves_devices()) {
            (true, true) => Devices::open(&database, &config.broker).await.map(|opened| devices = Some(opened)),
            (true, false) => Elsewhere::open(&database).await.map(|opened| elsewhere = Some(opened)),
            (false, _) => Ok(()),
        };
        opened.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let read = Pauses::load(stores.pauses.clone()).await;
        let pauses = read.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let secret = RunTokens::open(&*stores.secrets).await;
        let tokens = secret.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let called = config.kinds.iter().filter_map(|kind| {
            let call = kind.http.as_ref()?;
            Some((kind.name.as_str().to_owned(), call.destination.clone()))
        });
        let known = Destinations::open(stores.destinations.clone(), called).await;
        let destinations = known.map_err(|source| HubError::Store { url: config.store.shown(), source })?;
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let metrics = Metrics {
            messaging: Arc::new(messaging::metrics::Metrics::new(&registry)?),
            jobs: Arc::new(api_ack::metrics::Metrics::new(&registry)?),
            calls: http_worker::Metrics::new(&registry)?,
            callbacks: callbacks::Metrics::new(&registry)?,
            drift: drift::Metrics::new(&registry)?,
        };
        let traced = trace_options(&config.tracing).map(|options| trace::start(&options, &registry)).transpose()?;
        let (tracer, exporter) = traced.unzip();
        let tracer = tracer.unwrap_or_default();
        let mut handlers = self.handlers;
        let calls = http_worker::handlers(&config, &destinations, &tokens, &metrics.calls, &tracer);
        handlers.extend(calls.map_err(HubError::Handler)?);
        let listens = bound.addresses();
        let own = crate::callbacks::own([listens.public, listens.admin, listens.internal]);
        let rules = CallbackRules::new(config.callback_settings(&own));
        let courier = HttpCourier::new(rules.clone(), config.callbacks.ca_file.as_deref()).map_err(HubError::Callbacks)?;
        let courier = courier.with_tracer(tracer.clone());
        let wiring = Wiring {
            callbacks: rules,
            courier: Arc::new(courier),
            kinds: kinds(&config),
            names,
            topology,
            stores,
            processes,
            devices,
            elsewhere,
            tokens,
            pauses,
            destinations,
            registry,
            metrics,
            tracer,
            handlers,
            config,
        };
        wiring.start(broker, verifier, bound, exporter)
    }
}

pub(crate) struct Metrics {
    pub(crate) messaging: Arc<messaging::metrics::Metrics>,
    pub(crate) jobs: Arc<api_ack::metrics::Metrics>,
    pub(crate) calls: http_worker::Metrics,
    pub(crate) callbacks: callbacks::Metrics,
    pub(crate) drift: drift::Metrics,
}

/// Everything the roles are made from.
pub(crate) struct Wiring {
    pub(crate) config: Config,
    pub(crate) kinds: Kinds,
    pub(crate) names: Names,
    pub(crate) topology: Topology,
    pub(crate) stores: Stores,
    pub(crate) processes: Arc<Processes>,
    /// Of a process that serves devices.
    pub(crate) devices: Option<Devices>,
    /// Of one that does not, where others do.
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) tokens: RunTokens,
    pub(crate) pauses: Pauses,
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: Tracer,
    pub(crate) handlers: BTreeMap<String, Arc<dyn AnyHandler>>,
    pub(crate) callbacks: CallbackRules,
    pub(crate) courier: Arc<HttpCourier>,
}

/// Stages of the way down, each cancelled when the one before is through.
#[derive(Clone, Default)]
struct Stages {
    /// Stop taking requests and deliveries.
    drain: CancellationToken,
    /// Stop publishing what waits.
    relay: CancellationToken,
    /// Stop publishing anything, close links.
    links: CancellationToken,
}

impl Wiring {
    fn start(
        self,
        broker: BrokerOptions,
        verifier: crate::auth::Verifier,
        bound: Bound,
        exporter: Option<Exporter>,
    ) -> Result<Running, HubError> {
        let (stages, intake, outlet, links) = (Stages::default(), TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
        let broker = Arc::new(broker);
        let link = |purpose| Link::start(broker.clone(), purpose, &links, stages.links.clone(), self.metrics.messaging.clone());
        let (publishing, consuming, looking) = (link("publish"), link("consume"), link("topology"));
        if let Some(exporter) = exporter {
            links.spawn(exporter.run(stages.links.clone()));
        }
        let publisher = |window| {
            let options = PublisherOptions { window, tracer: self.tracer.clone(), ..PublisherOptions::default() };
            Publisher::start(publishing.clone(), options, &links, stages.links.clone(), self.metrics.messaging.clone())
        };
        let options = RelayOptions {
            weights: self.config.tenants.iter().map(|(tenant, weight)| (tenant.clone(), weight.get())).collect(),
            ..RelayOptions::default()
        };
        let relay_window = PublisherOptions::default().window;
        let windows = Windows::new(self.kinds.clone(), self.destinations.clone(), self.pauses.clone());
        let (hand_over, handed) = relay::hand_over(self.processes.me(), options.room, windows);
        let feed = Feed::start(self.stores.jobs.clone(), FeedOptions::default(), &intake, stages.drain.clone());
        let hand_over = hand_over.feeding(feed.clone());
        let (declared, topology_ready) = tokio::sync::watch::channel(false);
        let limits = &self.config.limits;
        let backlog = Arc::new(Backlog::new(BacklogLimits {
            total: limits.backlog_total.into(),
            per_tenant: limits.backlog_per_tenant.into(),
        }));
        let elsewhere = self.kinds.iter().filter(|kind| kind.existing.is_some());
        let existing: BTreeMap<String, Publisher> =
            elsewhere.map(|kind| (kind.kind.as_str().to_owned(), publisher(relay_window))).collect();
        let reach = Reach::default();
        if !existing.is_empty() {
            outlet.spawn(reach.clone().run(self.kinds.clone(), looking.clone(), stages.relay.clone()));
        }
        let relay = RelayParts {
            store: self.stores.jobs.clone(),
            publisher: publisher(relay_window),
            existing,
            reach,
            link: publishing.clone(),
            names: self.names.clone(),
            kinds: self.kinds.clone(),
            processes: self.processes.clone(),
            tokens: self.tokens.clone(),
            feed: feed.clone(),
            declared: topology_ready.clone(),
            metrics: self.metrics.jobs.clone(),
            options,
        };
        outlet.spawn(Relay::new(relay, handed).run(stages.relay.clone()));
        outlet.spawn(self.processes.clone().run(stages.relay.clone()));
        outlet.spawn(self.pauses.clone().run(stages.relay.clone()));
        outlet.spawn(self.destinations.clone().run(stages.relay.clone()));
        let estimates = Estimates::new(
            self.stores.jobs.clone(),
            self.processes.me(),
            self.kinds.clone(),
            self.pauses.clone(),
            self.destinations.clone(),
        );
        let sweeper = Sweeper {
            stores: self.stores.clone(),
            processes: self.processes.clone(),
            kinds: self.kinds.clone(),
            pauses: self.pauses.clone(),
            names: self.names.clone(),
            link: looking.clone(),
            backlog: backlog.clone(),
            estimates: estimates.clone(),
            hand_over: hand_over.clone(),
            metrics: self.metrics.jobs.clone(),
            options: SweeperOptions { retention: retention(&self.config.retention), ..SweeperOptions::default() },
        };
        intake.spawn(sweeper.run(stages.drain.clone()));
        intake.spawn(broker::declare(
            self.topology.clone(),
            self.config.topology.manage,
            looking,
            declared,
            stages.drain.clone(),
        ));
        if self.config.topology.manage != Manage::Off && !self.config.topology.check_every.is_zero() {
            intake.spawn(drift::run(
                self.config.broker.clone(),
                self.topology.clone(),
                self.config.topology.check_every,
                self.processes.clone(),
                self.metrics.drift.clone(),
                topology_ready.clone(),
                stages.drain.clone(),
            ));
        }
        let bad_tokens = self.config.limits.bad_tokens_per_client;
        let verifier = Arc::new(verifier.limited(listeners::rate(bad_tokens, None)));
        let served = self.devices.as_ref().map(|devices| {
            let ground = devices::Ground {
                broker: &broker,
                verifier: verifier.clone(),
                rates: listeners::rates(&self.config.limits),
                publisher: &|| publisher(256),
                listening: consuming.clone(),
                declared: topology_ready.clone(),
                stages: &stages,
                intake: &intake,
                outlet: &outlet,
                links: &links,
            };
            devices.start(&self, &ground)
        });
        let served = served.transpose()?;
        let health = Health::new(
            self.config.roles.clone(),
            self.stores.clone(),
            vec![("publish", publishing.clone()), ("consume", consuming.clone())],
            topology_ready.clone(),
        );
        let health = health.with_devices(served.as_ref().map(|served| served.unfit.clone()));
        let health = Arc::new(health.with_shards(served.as_ref().map(|served| served.shards.clone())));
        let running = Runs::default();
        let watch = Watch::start(self.stores.jobs.clone(), WatchOptions::default(), &intake, stages.drain.clone());
        let watch = watch.feeding(feed.clone());
        let hearing = Hearing::new(self.stores.jobs.clone(), watch.clone(), self.metrics.jobs.clone());
        let changing = Changing::new(self.stores.jobs.clone(), running.clone(), watch.clone(), hand_over.clone());
        // Until the last handler is through: the drain lets them end.
        outlet.spawn(changing.clone().follow(stages.relay.clone()));
        let ledger = StoreLedger::new(self.stores.jobs.clone(), self.processes.clone(), self.kinds.clone(), hand_over.clone());
        let ledger = ledger.heeding(self.destinations.clone()).watched_by(watch.clone());
        let ledger = ledger.counted_by(estimates.clone()).named(process_name());
        let ledger = Arc::new(ledger);
        // Its task ends by itself with the last request.
        let completions = Completions::start(
            self.stores.jobs.clone(),
            ledger.clone(),
            hearing.clone(),
            self.metrics.jobs.clone(),
            &TaskTracker::new(),
        );
        // Passing deliveries on must not wait behind the relay's window.
        let runtime = messaging::consumer::Runtime {
            link: consuming,
            publisher: publisher(256),
            names: self.names.clone(),
            solitude: Arc::default(),
            suspects: Arc::default(),
            ledger: ledger.clone(),
            metrics: self.metrics.messaging.clone(),
            tracer: self.tracer.clone(),
            running,
            stop: stages.drain.clone(),
            drain: stages.drain.clone(),
            grace: self.config.drain.grace,
        };
        let exchange = Exchange {
            feed: feed.clone(),
            publisher: publisher(16),
            link: runtime.link.clone(),
            names: self.names.clone(),
            me: self.processes.me(),
            keys: self.metrics.messaging.keys.clone(),
            telling: publisher(1),
        };
        roles::notices(exchange, &runtime, topology_ready.clone(), stages.relay.clone(), &outlet);
        if self.config.roles.contains(&Role::Worker) {
            let (shared, metrics) = (self.destinations.clone(), self.metrics.calls.clone());
            intake.spawn(http_worker::show(shared, metrics, stages.drain.clone()));
            outlet.spawn(hearing.clone().listen(runtime.running.clone(), stages.relay.clone()));
            intake.spawn(self.calling_back().run(intake.clone(), stages.drain.clone()));
            roles::worker(&self, &runtime, ledger, hearing, topology_ready.clone(), &intake);
        }
        if let Some(served) = &served {
            roles::dropped(&self, &runtime, &topology_ready, &intake);
            roles::dropped_at_shards(&self, &runtime, &served.ways, &stages, &links, &intake);
        }
        if self.config.roles.contains(&Role::Keeper) {
            roles::keeper(&self, &runtime, feed.clone(), topology_ready.clone(), &intake);
        }
        let dead = DeadLetters::new(
            self.stores.clone(),
            self.kinds.clone(),
            // Inboxes of services forget on their own: nobody remembers for longer than they do.
            self.config.retention.keys.min(messaging::inbox::RETENTION),
            Some(Arc::new(hand_over.clone())),
        );
        let selections = Arc::new(Selections::new(self.stores.clone(), dead, self.processes.clone()));
        intake.spawn(selections.clone().run(stages.drain.clone()));
        let addresses = bound.addresses();
        let acceptor = self.config.roles.contains(&Role::Api).then(|| self.acceptor(backlog, estimates, hand_over));
        if let Some(acceptor) = &acceptor {
            let for_devices = match (&served, &self.elsewhere) {
                (Some(served), _) => served.submissions.clone(),
                (None, Some(elsewhere)) => {
                    let (publisher, link, declared) = (publisher(256), runtime.link.clone(), topology_ready.clone());
                    elsewhere.start(&self, Telling { publisher, link, declared, stop: stages.relay.clone(), outlet: &outlet })?
                }
                (None, None) => device_submissions::not_served(),
            };
            roles::submissions(&self, &runtime, acceptor.clone(), vec![for_devices], topology_ready, &intake);
            let entries: Vec<CronSpec> = self.config.cron.iter().map(cron_spec).collect();
            if !entries.is_empty() {
                intake.spawn(cron::run(entries, acceptor.clone(), self.stores.jobs.clone(), stages.drain.clone()));
            }
        }
        listeners::serve(
            bound,
            &self,
            acceptor,
            verifier,
            selections,
            changing,
            watch,
            feed,
            completions,
            served,
            health,
            &intake,
            &stages.drain,
        )?;
        for tracker in [&intake, &outlet, &links] {
            tracker.close();
        }
        let (kinds, callbacks, config) = (self.kinds, self.callbacks, self.config);
        let (processes, devices) = (self.processes, self.devices);
        Ok(Running { addresses, stages, intake, outlet, links, processes, devices, kinds, callbacks, config })
    }

    fn calling_back(&self) -> callbacks::Callbacks {
        let settings = &self.config.callbacks;
        let options = CallbackOptions {
            concurrency: usize::try_from(settings.concurrency).unwrap_or(usize::MAX),
            per_host: settings.per_host,
            timeout: settings.timeout,
        };
        let metrics = self.metrics.callbacks.clone();
        callbacks::Callbacks::new(self.stores.clone(), self.callbacks.clone(), self.courier.clone(), options, metrics)
    }

    fn acceptor(&self, backlog: Arc<Backlog>, estimates: Arc<Estimates>, hand_over: HandOver) -> Acceptor {
        // The writer ends by itself when the last request is gone; nothing waits for it but requests.
        let writers = TaskTracker::new();
        let writer = Writer::start(self.stores.jobs.clone(), WriterOptions::default(), hand_over, &writers);
        let acceptor = Acceptor::new(self.kinds.clone(), backlog, writer).with_callbacks(self.callbacks.clone());
        let acceptor = acceptor.with_destinations(self.destinations.clone()).with_estimates(estimates);
        acceptor.with_tracer(self.tracer.clone())
    }
}

/// Where a hub listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Jobs.
    pub public: SocketAddr,
    /// Admin API.
    pub admin: SocketAddr,
    /// Metrics.
    pub internal: SocketAddr,
}

/// A hub that runs.
pub struct Running {
    /// Where it listens.
    pub addresses: Addresses,
    stages: Stages,
    intake: TaskTracker,
    outlet: TaskTracker,
    links: TaskTracker,
    processes: Arc<Processes>,
    devices: Option<Devices>,
    kinds: Kinds,
    callbacks: CallbackRules,
    config: Config,
}

impl Running {
    /// Takes a new configuration while the hub runs: whole, or not at all.
    ///
    /// # Errors
    /// [`NeedsRestart`] with the keys that cannot change; then nothing has.
    pub fn reload(&mut self, config: Config) -> Result<(), NeedsRestart> {
        reload::reload(&self.kinds, &self.config, &config)?;
        let Addresses { public, admin, internal } = self.addresses;
        self.callbacks.replace(config.callback_settings(&crate::callbacks::own([public, admin, internal])));
        self.config = config;
        Ok(())
    }

    /// Stops taking work, lets what runs end within the grace period, gives the rest back, and leaves.
    pub async fn drain(self) {
        let slack = Duration::from_secs(8);
        self.stages.drain.cancel();
        if tokio::time::timeout(self.config.drain.grace + slack, self.intake.wait()).await.is_err() {
            tracing::warn!("some work did not end in time; the broker delivers it again");
        }
        self.stages.relay.cancel();
        if tokio::time::timeout(slack, self.outlet.wait()).await.is_err() {
            tracing::warn!("some publishes were not confirmed in time; another process publishes them again");
        }
        self.processes.leave().await;
        if let Some(devices) = &self.devices {
            devices.leave().await;
        }
        self.stages.links.cancel();
        let _ = tokio::time::timeout(slack, self.links.wait()).await;
    }
}
