//! The roles that consume: workers and the keeper.

use std::future::Future;
use std::sync::Arc;

use api_ack::keeper::{Keeper, redrive_others};
use api_ack::kinds::Worker;
use api_ack::ledger::StoreLedger;
use api_ack::results::Results;
use messaging::consumer::{BatchHandler, ConsumerSpec, Runtime, consume, consume_batches};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::Wiring;

type Ready = watch::Receiver<bool>;

/// Consumers of rust kinds that have a handler here, of kinds that are called, and of what services report.
pub(super) fn worker(wiring: &Wiring, runtime: &Runtime, ledger: Arc<StoreLedger>, ready: Ready, tasks: &TaskTracker) {
    for kind in wiring.kinds.iter().filter(|kind| kind.worker != Worker::Amqp) {
        let Some(handler) = wiring.handlers.get(kind.kind.as_str()) else {
            tracing::warn!(kind = %kind.kind, "no handler for this kind in this process");
            continue;
        };
        let spec = ConsumerSpec {
            queue: wiring.names.work_queue(&kind.kind),
            prefetch: kind.prefetch,
            concurrency: kind.concurrency,
            timeout: kind.attempt,
        };
        tasks.spawn(once(ready.clone(), runtime.clone(), consume(spec, runtime.clone(), handler.clone())));
    }
    let results = wiring.names.results();
    let handler = Results::new(wiring.stores.clone(), ledger, results.clone());
    batches(results, REPORTS, handler, runtime, &ready, tasks);
}

/// Keepers of every dead letter queue and of what no queue wanted.
pub(super) fn keeper(wiring: &Wiring, runtime: &Runtime, ready: Ready, tasks: &TaskTracker) {
    let dead = wiring.kinds.iter().map(|kind| wiring.names.dead_queue(&wiring.names.work_queue(&kind.kind)));
    for queue in dead.chain([wiring.names.lost()]) {
        let keeper = Keeper::new(wiring.stores.clone(), queue.clone(), wiring.names.clone());
        batches(queue, LETTERS, keeper, runtime, &ready, tasks);
    }
    let (stores, names, metrics) = (wiring.stores.clone(), wiring.names.clone(), wiring.metrics.jobs.clone());
    tasks.spawn(redrive_others(stores, runtime.publisher.clone(), names, metrics, runtime.drain.clone()));
}

/// Reports in memory: they are small and many.
const REPORTS: u16 = 1024;

/// Dead letters in memory, per queue: each may be as large as a job.
const LETTERS: u16 = 64;

fn batches(queue: String, prefetch: u16, handler: impl BatchHandler, runtime: &Runtime, ready: &Ready, tasks: &TaskTracker) {
    let (link, drain) = (runtime.link.clone(), runtime.drain.clone());
    let consuming = async move { consume_batches(&queue, prefetch, &link, &handler, &drain).await };
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
