//! Ends become durable in batches; then, and only then, the acks go out.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::BATCH;
use super::registry::Registry;
use crate::ledger::{End, Ending, JobLedger, Recorded};
use crate::metrics::Metrics;

/// How long ends are offered to the ledger after the grace period is over.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Finish {
    pub(super) ledger: Arc<dyn JobLedger>,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cut: CancellationToken,
}

impl Finish {
    pub(super) async fn run(self, mut ending: mpsc::Receiver<Ending>) {
        let mut batch = Vec::with_capacity(BATCH);
        while ending.recv_many(&mut batch, BATCH).await > 0 {
            let Some(recorded) = self.record(&batch).await else { return };
            crate::crash_point!("K9");
            let settled = batch.iter().zip(recorded).map(|(ending, recorded)| self.settle(ending, recorded));
            join_all(settled).await;
            crate::crash_point!("K10");
            batch.clear();
        }
    }

    /// Offers a batch until the ledger has it; `None` when time ran out on the way down.
    async fn record(&self, batch: &[Ending]) -> Option<Vec<Recorded>> {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.ledger.finish(batch).await {
                Ok(recorded) => return Some(recorded),
                Err(error) => tracing::warn!(error = %error, jobs = batch.len(), "cannot record ends, trying again"),
            }
            tokio::time::sleep(wait).await;
            // Nobody waits longer than the drain allows: `consume` drops this stage then.
            wait = if self.cut.is_cancelled() { Duration::from_millis(200) } else { (wait * 2).min(Duration::from_secs(5)) };
        }
    }

    async fn settle(&self, ending: &Ending, recorded: Recorded) {
        if recorded == Recorded::Late {
            self.metrics.deliveries.with_label_values(&[&*ending.queue, "late"]).inc();
        }
        match ending.end {
            End::Interrupted => self.registry.give_back(&ending.message.id, ending.run).await,
            End::Outcome(_) | End::Parked => self.registry.ack(&ending.message.id, ending.run).await,
        }
    }
}
