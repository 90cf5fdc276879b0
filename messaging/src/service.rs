//! A service: handlers for jobs and events beside one Postgres database, and everything that runs them.
//!
//! It starts links, publishers, ledgers, the outbox relay, the heartbeat and one consumer per queue, and on a drain ends them in
//! order: stop taking, finish within the grace period, give the rest back, empty hands, leave.
//!
//! It refuses to own: the service's tables and migrations, its configuration, and signals.

mod error;

use std::sync::Arc;
use std::time::Duration;

use broker_topology::{Kind, Names, Priority, Topology};
use prometheus::Registry;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::apply::{Mode, apply};
use crate::connection::{BrokerOptions, Link};
use crate::consumer::{ConsumerSpec, Running, Runtime, consume, rounds};
use crate::event_ledger::EventLedger;
use crate::handler::{AnyHandler, Decode, Handler, any};
use crate::inbox::{self, Inbox};
use crate::keys;
use crate::ledger::JobLedger;
use crate::metrics::Metrics;
use crate::outbox::{Outbox, Relay, RelayMetrics};
use crate::process::Process;
use crate::progress_report;
use crate::publisher::{Publisher, PublisherOptions};
use crate::retry::RetryPolicy;
use crate::schema::migrate;
use crate::service_ledger::{self, ServiceLedger};
use crate::trace::{self, TraceOptions, Tracer};

pub use error::ServiceError;

/// RabbitMQ takes a delivery back after this long, by default.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How often old inbox entries and starts are deleted.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// How long the drain waits, after the grace period, for what talks to a database or broker that is silent.
const LEAVE: Duration = Duration::from_secs(10);

/// How much of one queue is worked on at a time.
#[derive(Clone, Copy, Debug)]
pub struct WorkSpec {
    /// Deliveries taken without an ack. 64 by default.
    pub prefetch: u16,
    /// Handlers that run at one time. 16 by default.
    pub concurrency: usize,
    /// How long one attempt may take. 30 s by default.
    pub timeout: Duration,
    /// Jobs only: whether the kind has a second queue, `jobs.<kind>.high`, whose jobs go first. What the hub's `[[kind]]` says with
    /// `priority`. `false` by default.
    pub priority: bool,
}

impl Default for WorkSpec {
    fn default() -> Self {
        Self { prefetch: 64, concurrency: 16, timeout: Duration::from_secs(30), priority: false }
    }
}

/// A service that is being put together, and then [run](Service::run).
pub struct Service {
    name: String,
    broker: BrokerOptions,
    pool: PgPool,
    names: Names,
    manage: Option<Mode>,
    grace: Duration,
    keep: Duration,
    policy: RetryPolicy,
    registry: Registry,
    tracing: Option<TraceOptions>,
    outbox: Outbox,
    topology: Topology,
    work: Vec<Work>,
}

struct Work {
    spec: ConsumerSpec,
    handler: Arc<dyn AnyHandler>,
    events: bool,
}

impl Service {
    /// A service without handlers. `pool` needs a connection for each handler that runs, and five more.
    pub fn new(name: impl Into<String>, broker: BrokerOptions, pool: PgPool, names: Names) -> Self {
        Self {
            name: name.into(),
            broker,
            pool,
            names,
            manage: Some(Mode::Declare),
            grace: Duration::from_secs(20),
            keep: inbox::RETENTION,
            policy: RetryPolicy::default(),
            registry: Registry::new(),
            tracing: None,
            outbox: Outbox::default(),
            topology: Topology::default(),
            work: Vec::new(),
        }
    }

    /// How long handlers may go on after a drain began; 20 s unless told.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// What to do about the topology: declare what is missing (the default), the hub's too, only check that the queues of this service are
    /// there, or nothing.
    #[must_use]
    pub fn manage(mut self, manage: Option<Mode>) -> Self {
        self.manage = manage;
        self
    }

    /// How long inbox entries are kept; 7 days unless told. Not less than dead letters are redriven.
    #[must_use]
    pub fn keep_inbox(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// When failed events are tried again. For jobs the hub says.
    #[must_use]
    pub fn retry_events(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Where the metrics are registered.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Exports spans of what it publishes and of each attempt; none unless told.
    #[must_use]
    pub fn tracing(mut self, options: Option<TraceOptions>) -> Self {
        self.tracing = options;
        self
    }

    /// The outbox that is relayed while the service runs.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Handles jobs of `kind`.
    #[must_use]
    pub fn job<M: Decode>(mut self, kind: &Kind, handler: impl Handler<M>, spec: WorkSpec) -> Self {
        let (queue, owner) = (self.names.work_queue(kind), broker_topology::service_owner(&self.name));
        self.topology = self.topology.and(broker_topology::work_queue(&self.names, kind, &owner));
        let high = spec.priority.then(|| self.names.queue_of(kind, Priority::High));
        if high.is_some() {
            self.topology = self.topology.and(broker_topology::high_queue(&self.names, kind, &owner));
        }
        self.add(queue, high, handler, spec, false)
    }

    /// Handles events whose names match one of `patterns`, from a queue of its own called `<service>.<purpose>`.
    #[must_use]
    pub fn subscribe<M: Decode>(mut self, queue: &str, patterns: &[&str], handler: impl Handler<M>, spec: WorkSpec) -> Self {
        let owner = broker_topology::service_owner(&self.name);
        self.topology = self.topology.and(broker_topology::subscriber(&self.names, queue, patterns, &owner));
        let queue = self.names.on_broker(queue);
        self.add(queue, None, handler, spec, true)
    }

    fn add<M: Decode>(
        mut self,
        queue: String,
        high: Option<String>,
        handler: impl Handler<M>,
        spec: WorkSpec,
        events: bool,
    ) -> Self {
        let WorkSpec { prefetch, concurrency, timeout, .. } = spec;
        let spec = ConsumerSpec { queue, high, prefetch, concurrency, timeout, early: false };
        self.work.push(Work { spec, handler: Arc::new(any(handler)), events });
        self
    }

    /// The queues of this service with their bindings.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// # Errors
    /// What in the settings could not work, before anything is started.
    pub fn check(&self) -> Result<(), ServiceError> {
        self.broker.check()?;
        for Work { spec, .. } in &self.work {
            let longest = spec.timeout.saturating_mul(rounds(spec.prefetch, spec.concurrency, spec.high.is_some()));
            if spec.concurrency == 0 || spec.prefetch == 0 || longest > CONSUMER_TIMEOUT / 2 {
                return Err(ServiceError::Spec { queue: spec.queue.clone(), longest });
            }
        }
        match self.declared().validate().into_iter().next() {
            Some(violation) => Err(ServiceError::Topology(violation)),
            None => Ok(()),
        }
    }

    /// With the core, so that a service may be started before the hub ever was.
    fn declared(&self) -> Topology {
        broker_topology::core(&self.names).and(self.topology.clone())
    }

    /// Runs until `drain`, and gives back when everything is settled or given back.
    ///
    /// # Errors
    /// When it could not start. Later faults are logged and outlived.
    pub async fn run(self, drain: CancellationToken) -> Result<(), ServiceError> {
        self.check()?;
        migrate(&self.pool).await?;
        let metrics = Arc::new(Metrics::new(&self.registry)?);
        let relay_metrics = RelayMetrics::new(&self.registry)?;
        let process = Process::enter(self.pool.clone(), &self.name).await?;

        // Links and publishers end last, the relay and the heartbeat before them, the consumers first.
        let (wires, wires_stop) = (TaskTracker::new(), CancellationToken::new());
        let (aides, aides_stop) = (TaskTracker::new(), CancellationToken::new());
        let consumers = TaskTracker::new();

        let tracer = match &self.tracing {
            None => Tracer::default(),
            Some(options) => {
                let (tracer, exporter) = trace::start(options, &self.registry)?;
                wires.spawn(exporter.run(wires_stop.clone()));
                tracer
            }
        };
        let broker = Arc::new(self.broker.clone());
        let link = |purpose| Link::start(broker.clone(), purpose, &wires, wires_stop.clone(), metrics.clone());
        let (publishing, consuming) = (link("publish"), link("consume"));
        let options = || PublisherOptions { tracer: tracer.clone(), ..PublisherOptions::default() };
        let publisher = || Publisher::start(publishing.clone(), options(), &wires, wires_stop.clone(), metrics.clone());
        let results = publisher();

        aides.spawn(process.clone().run(aides_stop.clone()));
        aides.spawn(tidy(self.pool.clone(), self.keep, aides_stop.clone()));
        if self.declare(&publishing, &drain).await {
            // A publisher of its own: a message that closes its channel does not disturb the results.
            let relay = Relay {
                pool: self.pool.clone(),
                outbox: self.outbox.clone(),
                link: publishing.clone(),
                publisher: publisher(),
                metrics: relay_metrics,
            };
            aides.spawn(relay.run(aides_stop.clone()));
            let (keys, names, teller) = (metrics.keys.clone(), self.names.clone(), format!("{}/{}", self.name, Uuid::now_v7()));
            aides.spawn(keys::share(keys, teller, publisher(), names, keys::MINUTE, aides_stop.clone()));
            let jobs: Arc<dyn JobLedger> =
                Arc::new(ServiceLedger::new(self.pool.clone(), results.clone(), self.names.clone(), process, &self.name));
            let events: Arc<dyn JobLedger> =
                Arc::new(EventLedger::new(self.pool.clone(), results.clone(), self.names.clone(), self.policy));
            let (solitude, suspects) = (Arc::default(), Arc::default());
            let running = Running::default();
            let (names, name) = (self.names.clone(), self.name.clone());
            aides.spawn(progress_report::pass_on(running.clone(), results.clone(), names, name, aides_stop.clone()));
            for Work { spec, handler, events: of_events } in self.work {
                let runtime = Runtime {
                    link: consuming.clone(),
                    publisher: results.clone(),
                    names: self.names.clone(),
                    solitude: Arc::clone(&solitude),
                    suspects: Arc::clone(&suspects),
                    ledger: if of_events { events.clone() } else { jobs.clone() },
                    metrics: metrics.clone(),
                    tracer: tracer.clone(),
                    // Nobody is told how far an event is.
                    running: if of_events { Running::default() } else { running.clone() },
                    stop: drain.clone(),
                    drain: drain.clone(),
                    grace: self.grace,
                };
                consumers.spawn(consume(spec, runtime, handler));
            }
            tracing::info!(service = self.name, queues = consumers.len(), "running");
            drain.cancelled().await;
            tracing::info!(service = self.name, "draining");
        }
        for (tasks, stop) in [(&consumers, &drain), (&aides, &aides_stop), (&wires, &wires_stop)] {
            stop.cancel();
            tasks.close();
            // The consumers keep to their grace period. What else hangs waits for a database that is silent: it finds its rows again.
            let leave = self.grace + LEAVE;
            if tokio::time::timeout(leave, tasks.wait()).await.is_err() {
                tracing::warn!(service = self.name, "leaving although the database or the broker does not answer");
            }
        }
        tracing::info!(service = self.name, "drained");
        Ok(())
    }

    /// Puts the topology on the broker, trying for as long as it takes; `false` when the drain came first.
    async fn declare(&self, link: &Link, drain: &CancellationToken) -> bool {
        let Some(mode) = self.manage else { return true };
        // The core is the hub's: who may not declare it need not be let see all of it either.
        let topology = if mode == Mode::Check { self.topology.clone() } else { self.declared() };
        let mut wait = Duration::from_millis(200);
        loop {
            let applied = tokio::select! {
                biased;
                () = drain.cancelled() => return false,
                applied = apply(link, &topology, mode) => applied,
            };
            match applied {
                Ok(_) => return true,
                Err(error) => tracing::warn!(error = %error, "the topology is not on the broker, trying again"),
            }
            tokio::select! {
                () = drain.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    }
}

/// Deletes what is older than `keep`, now and then.
async fn tidy(pool: PgPool, keep: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PURGE_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let purged = async {
            let entries = Inbox::purge(&pool, keep).await.map_err(|e| e.to_string())?;
            let starts = service_ledger::purge(&pool, keep).await.map_err(|e| e.to_string())?;
            Ok::<_, String>((entries, starts))
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            purged = purged => match purged {
                Ok((entries, starts)) => tracing::debug!(entries, starts, "old inbox entries and starts are deleted"),
                Err(error) => tracing::warn!(error, "cannot delete old inbox entries, trying again in an hour"),
            }
        }
    }
}
