//! Deliveries to handlers to outcomes to acks, and the drain.
//!
//! ```text
//! broker -> receive -> start (ledger.begin, in batches) -> run (one task each) -> finish (ledger.finish, in batches) -> ack
//! ```
//!
//! Guarantees: an ack goes out only after the ledger has made the end durable. A failure is never requeued; only work that the
//! drain cut short is given back. A delivery of a run that is going on in this process is attached to it. A run that was started
//! and never ended runs alone, so that a message that kills processes takes no neighbours with it.
//!
//! A consumer may have a second queue whose deliveries go first. Both share the slots; of five starts one is a normal one's while
//! normal ones wait in the process, and its prefetch sees to it that they do.
//!
//! A consumer of long work acks early ([`ConsumerSpec::early`]): it takes a delivery only for a slot that is free, and acks it once the
//! start is durable.
//!
//! Limits: nothing here extends the broker's consumer timeout; the caller keeps [`rounds`]` x timeout` well under it, or acks early.

mod batches;
mod fetch;
mod finish;
mod intake;
mod receive;
mod registry;
mod running;
mod start;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use broker_topology::Names;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Link;
use crate::handler::AnyHandler;
use crate::ledger::JobLedger;
use crate::metrics::Metrics;
use crate::publisher::Publisher;
use crate::trace::Tracer;
use intake::Intake;

pub use batches::{Batch, BatchHandler, Delivered, Later, consume_batches};
pub use running::{Running, Word};
pub use turns::{ONE_IN, rounds};

/// The most deliveries that are begun or finished together.
pub const BATCH: usize = 512;

/// What to consume, and how much at a time.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    /// The queue.
    pub queue: String,
    /// Another queue with the same work, whose deliveries go first.
    pub high: Option<String>,
    /// Deliveries the broker hands out without an ack, 1 to 65535. A few times `concurrency` keeps batches full. Two queues share
    /// it, but each has at least `concurrency` of its own: together they may hold so many more.
    pub prefetch: u16,
    /// Handlers that run at one time, over both queues.
    pub concurrency: usize,
    /// How long one attempt may take; then it is dropped and counts as failed.
    pub timeout: Duration,
    /// Whether a delivery is acked once its start is durable and not at its end: for work that takes longer than the broker waits for
    /// an ack. Needs a ledger that has it done again when this process dies. `prefetch` says nothing then: no delivery is taken
    /// that has no slot to run in.
    pub early: bool,
}

/// What a consumer works with.
#[derive(Clone)]
pub struct Runtime {
    /// The connection to consume on.
    pub link: Link,
    /// For what is given back or refused.
    pub publisher: Publisher,
    /// Names on this broker.
    pub names: Names,
    /// Lets a message run with no other beside it, whatever its queue: one per process, shared by all its consumers.
    pub solitude: Arc<tokio::sync::RwLock<()>>,
    /// Lets one piece of long work that was started twice without an end run at a time: one per process likewise. It cannot have the
    /// process to itself, since that would stop everything else for as long as it takes.
    pub suspects: Arc<tokio::sync::Mutex<()>>,
    /// Where starts and ends go.
    pub ledger: Arc<dyn JobLedger>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Tells of what is done with each delivery.
    pub tracer: Tracer,
    /// What runs: one per process, shared by all its consumers.
    pub running: Running,
    /// Cancelled to stop taking deliveries, and nothing else: what runs goes on to its end, what was not started is given back. A
    /// child of `drain`, or `drain` itself.
    pub stop: CancellationToken,
    /// Cancelled when the process drains.
    pub drain: CancellationToken,
    /// How long running handlers may go on after `drain`.
    pub grace: Duration,
}

/// Consumes until stopped or drained: every delivery is then settled, or given back to the broker.
pub async fn consume(spec: ConsumerSpec, runtime: Runtime, handler: Arc<dyn AnyHandler>) {
    let (normal, high) = match &spec.high {
        Some(_) => turns::shares(spec.prefetch, spec.concurrency),
        None => (spec.prefetch, 0),
    };
    let depth = |prefetch: u16| usize::from(prefetch).max(1);
    let (arrivals, arriving) = mpsc::channel(depth(normal));
    let (urgent, urgently) = mpsc::channel(depth(high));
    let (endings, ending) = mpsc::channel(depth(normal) + depth(high));
    let registry = Arc::new(registry::Registry::default());
    let cut = CancellationToken::new();
    let work = start::Start {
        queue: spec.queue.as_str().into(),
        timeout: spec.timeout,
        early: spec.early,
        permits: Arc::new(Semaphore::new(spec.concurrency.max(1))),
        runtime: runtime.clone(),
        handler,
        registry: registry.clone(),
        running: TaskTracker::new(),
        cut: cut.clone(),
        endings,
    };
    let running = work.running.clone();
    let finish = finish::Finish {
        ledger: runtime.ledger.clone(),
        registry: registry.clone(),
        metrics: runtime.metrics.clone(),
        cut: cut.clone(),
    };
    let drained = async {
        runtime.drain.cancelled().await;
        let _ = tokio::time::timeout(runtime.grace, running.wait()).await;
        // What still runs is interrupted and keeps its attempt.
        cut.cancel();
        std::future::pending::<()>().await;
    };
    let deadline = async {
        cut.cancelled().await;
        tokio::time::sleep(finish::PATIENCE).await;
    };
    let pipeline = async {
        // The channel stays open until the last ack is out, so receiving ends after finishing.
        let finished = CancellationToken::new();
        let finishing = async {
            finish.run(ending).await;
            finished.cancel();
        };
        if spec.early {
            let mut fetch = fetch::Fetch::new(&spec, &runtime, &registry);
            tokio::join!(work.run_fetched(&mut fetch), finishing);
            return;
        }
        let from =
            |queue: &str, prefetch, arrivals| receive::receive(queue.into(), prefetch, &runtime, &registry, arrivals, &finished);
        let first = async {
            // Without a second queue its end of the intake is closed at once.
            if let Some(queue) = &spec.high {
                from(queue, high, urgent).await;
            } else {
                drop(urgent);
            }
        };
        let intake = Intake::new(urgently, arriving);
        tokio::join!(from(&spec.queue, normal, arrivals), first, work.run(intake), finishing);
    };
    tokio::select! {
        () = pipeline => {}
        () = drained => {}
        () = deadline => tracing::warn!(queue = spec.queue, "ends could not be recorded in time; the broker delivers these messages again"),
    }
}
