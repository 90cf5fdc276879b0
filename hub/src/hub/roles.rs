//! The roles that consume: workers and the keeper.

use std::future::Future;
use std::sync::Arc;

use api_ack::accept::Acceptor;
use api_ack::feed::{Exchange, Feed};
use api_ack::keeper::{Keeper, redrive_others};
use api_ack::kinds::{KindSpec, Worker};
use api_ack::ledger::StoreLedger;
use api_ack::pauses::Pauses;
use api_ack::progress::Hearing;
use api_ack::results::{Results, Trust};
use api_ack::submissions::Submissions;
use async_trait::async_trait;
use broker_topology::Priority;
use messaging::consumer::{Batch, BatchHandler, ConsumerSpec, Later, Runtime, consume, consume_batches};
use messaging::handler::AnyHandler;
use messaging::publisher::{Publisher, PublisherOptions};
use messaging::submission::Submit;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shards::AtShard;
use super::{Stages, Wiring};

type Ready = watch::Receiver<bool>;

/// Consumers of rust kinds that have a handler here, of kinds that are called, and of what services report.
pub(super) fn worker(
    wiring: &Wiring,
    runtime: &Runtime,
    ledger: Arc<StoreLedger>,
    hearing: Hearing,
    ready: Ready,
    tasks: &TaskTracker,
) {
    for kind in wiring.kinds.iter().filter(|kind| kind.worker != Worker::Amqp) {
        let Some(handler) = wiring.handlers.get(kind.kind.as_str()) else {
            tracing::warn!(kind = %kind.kind, "no handler for this kind in this process");
            continue;
        };
        let spec = ConsumerSpec {
            queue: wiring.names.work_queue(&kind.kind),
            high: kind.priority.map(|_| wiring.names.queue_of(&kind.kind, Priority::High)),
            prefetch: kind.prefetch,
            concurrency: kind.concurrency,
            timeout: kind.attempt,
            early: kind.early,
        };
        let consuming = consume_unless_paused(kind.clone(), spec, runtime.clone(), handler.clone(), wiring.pauses.clone());
        tasks.spawn(once(ready.clone(), runtime.clone(), consuming));
    }
    let results = wiring.names.results();
    let handler = Results {
        stores: wiring.stores.clone(),
        ledger,
        hearing,
        trust: Trust::new(wiring.tokens.clone(), wiring.kinds.clone()),
        queue: results.clone(),
        metrics: wiring.metrics.jobs.clone(),
    };
    batches(results, REPORTS, handler, runtime, &ready, tasks);
}

/// A consumer of what is submitted by message.
pub(super) fn submissions(
    wiring: &Wiring,
    runtime: &Runtime,
    acceptor: Acceptor,
    others: Vec<Arc<dyn Submit>>,
    ready: Ready,
    tasks: &TaskTracker,
) {
    let queue = wiring.names.submit();
    let limit = usize::try_from(wiring.config.limits.body).unwrap_or(usize::MAX);
    let handler = Submissions::new(acceptor, wiring.stores.clone(), &wiring.names, limit).with(others);
    batches(queue, SUBMITTED, handler, runtime, &ready, tasks);
}

/// Consumes a kind while it is not paused. At a pause what runs goes on to its end, and only then may a resume begin.
async fn consume_unless_paused(
    kind: Arc<KindSpec>,
    spec: ConsumerSpec,
    runtime: Runtime,
    handler: Arc<dyn AnyHandler>,
    pauses: Pauses,
) {
    let name = kind.kind.as_str();
    loop {
        tokio::select! {
            biased;
            () = runtime.drain.cancelled() => return,
            () = pauses.until(name, false) => {}
        }
        let stop = runtime.drain.child_token();
        let consuming = consume(spec.clone(), Runtime { stop: stop.clone(), ..runtime.clone() }, handler.clone());
        tokio::pin!(consuming);
        tokio::select! {
            // It ends by itself only on the way down.
            () = &mut consuming => return,
            () = pauses.until(name, true) => {
                tracing::info!(kind = name, "paused: no more work of this kind is taken here");
                stop.cancel();
                consuming.await;
            }
        }
    }
}

/// What processes tell each other, until `stop`.
pub(super) fn notices(exchange: Exchange, runtime: &Runtime, ready: Ready, stop: CancellationToken, tasks: &TaskTracker) {
    tasks.spawn(once(ready, runtime.clone(), exchange.run(stop)));
}

/// Keepers of every dead letter queue and of what no queue wanted.
pub(super) fn keeper(wiring: &Wiring, runtime: &Runtime, feed: Feed, ready: Ready, tasks: &TaskTracker) {
    // Both classes of a kind share one.
    let die = wiring.kinds.iter().filter(|kind| !kind.hands_off());
    let dead = die.map(|kind| wiring.names.dead_queue(&wiring.names.work_queue(&kind.kind)));
    let subscribers = wiring.config.queues.iter().filter_map(|queue| queue.letters(&wiring.names));
    for queue in dead.chain(subscribers).chain([wiring.names.lost()]) {
        let keeper = Keeper::new(wiring.stores.clone(), queue.clone(), wiring.names.clone()).feeding(feed.clone());
        batches(queue, LETTERS, keeper, runtime, &ready, tasks);
    }
    let (stores, names, metrics) = (wiring.stores.clone(), wiring.names.clone(), wiring.metrics.jobs.clone());
    tasks.spawn(redrive_others(stores, runtime.publisher.clone(), names, metrics, runtime.drain.clone()));
}

/// A consumer of what went over the limits of devices' queues at a broker, which has no limit itself. Nothing is lost with it: rows are the truth, and the
/// session that misses one reads it.
pub(super) fn dropped(wiring: &Wiring, runtime: &Runtime, ready: &Ready, tasks: &TaskTracker) {
    batches(wiring.names.devices_dropped(), LETTERS, Dropped, runtime, ready, tasks);
}

/// The same at each shard.
pub(super) fn dropped_at_shards(
    wiring: &Wiring,
    runtime: &Runtime,
    ways: &[AtShard],
    stages: &Stages,
    links: &TaskTracker,
    tasks: &TaskTracker,
) {
    for AtShard { link, declared } in ways {
        let (options, wire) = (PublisherOptions::default(), wiring.metrics.messaging.clone());
        let publisher = Publisher::start(link.clone(), options, links, stages.links.clone(), wire);
        let runtime = Runtime { link: link.clone(), publisher, ..runtime.clone() };
        dropped(wiring, &runtime, declared, tasks);
    }
}

struct Dropped;

#[async_trait]
impl BatchHandler for Dropped {
    async fn handle(&self, batch: &Batch) -> Result<Vec<Later>, String> {
        tracing::debug!(messages = batch.len(), "went over the limits of devices' queues, and wait in the store");
        Ok(Vec::new())
    }
}

/// Reports in memory: they are small and many.
const REPORTS: u16 = 1024;

/// Submissions in memory, each as large as a body may be.
const SUBMITTED: u16 = 128;

/// Dead letters in memory, per queue: each may be as large as a job.
const LETTERS: u16 = 64;

fn batches(queue: String, prefetch: u16, handler: impl BatchHandler, runtime: &Runtime, ready: &Ready, tasks: &TaskTracker) {
    let shared = runtime.clone();
    let consuming = async move { consume_batches(&queue, prefetch, &shared, &handler).await };
    tasks.spawn(once(ready.clone(), runtime.clone(), consuming));
}

/// Runs `work` once the topology is there.
async fn once(mut ready: Ready, runtime: Runtime, work: impl Future<Output = ()>) {
    let declared = tokio::select! {
        () = runtime.drain.cancelled() => false,
        declared = ready.wait_for(|declared| *declared) => declared.is_ok(),
    };
    if declared {
        work.await;
    }
}
