//! Outcomes that services and workers report on `warren.results`, applied to their jobs in batches.
//!
//! A report that does not name the run the job is at is recorded as late and changes nothing. One that cannot be read becomes a
//! dead letter with a reason. Everything is acked after the commit. Reports of progress, which nobody waits for, are put down if they can be.

use std::sync::Arc;

use async_trait::async_trait;
use messaging::consumer::{Batch, BatchHandler, Delivered, Later};
use messaging::ledger::End;
use messaging::progress_report::{self, ProgressReport};
use messaging::results::JobResult;
use uuid::Uuid;

use crate::ledger::{Ended, StoreLedger};
use crate::letter::letter_of;
use crate::progress::{Hearing, Speaker};
use crate::rules::Report;
use crate::store::{StoreError, Stores};

/// Applies what is reported.
pub struct Results {
    stores: Stores,
    ledger: Arc<StoreLedger>,
    queue: String,
    hearing: Hearing,
}

impl Results {
    /// Over `ledger` and `hearing`; what cannot be read goes to `stores` as a dead letter of `queue`.
    pub fn new(stores: Stores, ledger: Arc<StoreLedger>, hearing: Hearing, queue: String) -> Self {
        Self { stores, ledger, queue, hearing }
    }

    /// Puts down how far jobs are. What cannot be is lost, as the next word says more.
    async fn hear(&self, batch: &Batch) {
        let mut words = Vec::new();
        for delivered in batch.iter().filter(|delivered| is_progress(delivered)) {
            match ProgressReport::decode(&delivered.message.body) {
                Ok(report) => words.push(report.into_word()),
                Err(why) => {
                    tracing::warn!(
                        source = delivered.message.source,
                        "a report of progress cannot be read and is left out: {why}"
                    );
                    self.hearing.count("invalid", 1);
                }
            }
        }
        if let Err(error) = self.hearing.hear(&words, Speaker::Elsewhere).await {
            tracing::warn!(error = %error, reports = words.len(), "cannot put down how far jobs are; the next reports will say more");
        }
    }

    async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut ends: Vec<(Uuid, JobResult, End)> = Vec::with_capacity(batch.len());
        let mut unreadable = Vec::new();
        for delivered in batch.iter().filter(|delivered| !is_progress(delivered)) {
            match read(delivered) {
                Ok((id, result)) => {
                    let end = End::Outcome(result.outcome());
                    ends.push((id, result, end));
                }
                Err(why) => unreadable.push(letter_of(delivered, &self.queue, "undecodable", &why)),
            }
        }
        if !unreadable.is_empty() {
            self.stores.dead.keep(&unreadable).await?;
        }
        let reports: Vec<(Uuid, Ended<'_>)> = ends
            .iter()
            .map(|(id, result, end)| {
                let (started_at, ended_at) = (result.started_at.as_microsecond(), result.ended_at.as_microsecond());
                let JobResult { worker, http_status, .. } = result;
                let (run, http_status) = (result.run(), *http_status);
                let report = Report { run, lease: None, end, started_at, ended_at, worker, http_status };
                (*id, Ended { report, payload: None })
            })
            .collect();
        if !reports.is_empty() {
            self.ledger.finish_reports(&reports, Default::default()).await?;
        }
        // After the ends: of a run that is over nothing more is said.
        self.hear(batch).await;
        Ok(())
    }
}

fn is_progress(delivered: &Delivered) -> bool {
    delivered.message.kind == progress_report::KIND
}

fn read(delivered: &Delivered) -> Result<(Uuid, JobResult), String> {
    let result = JobResult::decode(&delivered.message.body).map_err(|e| e.to_string())?;
    let id = Uuid::parse_str(&result.job).map_err(|_| format!("`{}` is not the id of a job", result.job))?;
    Ok((id, result))
}

#[async_trait]
impl BatchHandler for Results {
    async fn handle(&self, batch: &Batch) -> Result<Vec<Later>, String> {
        self.apply(batch).await.map(|()| Vec::new()).map_err(|e| e.to_string())
    }
}
