//! What services and workers report on `warren.results`: that a run has begun, how far it is, how it ended. Applied in batches.
//!
//! ```text
//! warren.started   --+
//! warren.result    --+--> readable? --> with the token of its run? --> is the job at that run? --> its row
//! warren.progress  --+    dead letter   record: forged                 record: late
//! ```
//!
//! A report that does not name the run the job is at changes nothing, and neither does one whose sender does not show that it was given
//! that run ([`run_token`](crate::run_token)); both are on record. Everything is acked after the commit. Reports of progress, which
//! nobody waits for, are put down if they can be. `docs/worker-contract.md` tells it to workers.

mod trust;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use messaging::consumer::{Batch, BatchHandler, Delivered, Later};
use messaging::ledger::{End, Recorded};
use messaging::message::Run;
use messaging::progress_report::{self, ProgressReport};
use messaging::results::JobResult;
use messaging::started_report::{self, StartedReport};
use uuid::Uuid;

pub use trust::Trust;

use crate::ledger::{Ended, Started, StoreLedger};
use crate::letter::letter_of;
use crate::metrics::Metrics;
use crate::progress::{Hearing, Speaker};
use crate::rules::{self, Report};
use crate::store::{Attempt, Job, NewDeadLetter, StoreError, Stores};
use database::clock;

/// Applies what is reported.
pub struct Results {
    /// Where jobs are recorded, and dead letters kept.
    pub stores: Stores,
    /// Starts and ends.
    pub ledger: Arc<StoreLedger>,
    /// How far jobs are.
    pub hearing: Hearing,
    /// Who may speak for a run.
    pub trust: Trust,
    /// The queue it reads; what cannot be read is a dead letter of it.
    pub queue: String,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// The reports of a batch, by what they are.
#[derive(Default)]
struct Reports {
    starts: Vec<(Uuid, StartedReport)>,
    ends: Vec<(Uuid, JobResult, End)>,
    unreadable: Vec<NewDeadLetter>,
}

impl Results {
    fn sort(&self, batch: &Batch) -> Reports {
        let mut reports = Reports::default();
        for delivered in batch.iter().filter(|delivered| !is_progress(delivered)) {
            let body = &delivered.message.body;
            let read = match delivered.message.kind.as_str() {
                started_report::KIND => read_start(body).map(|start| reports.starts.push(start)),
                _ => read_end(body).map(|end| reports.ends.push(end)),
            };
            if let Err(why) = read {
                reports.unreadable.push(letter_of(delivered, &self.queue, "undecodable", &why));
            }
        }
        reports
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
        if let Err(error) = self.hearing.hear(&words, Speaker::Elsewhere(&self.trust)).await {
            tracing::warn!(error = %error, reports = words.len(), "cannot put down how far jobs are; the next reports will say more");
        }
    }

    async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let Reports { mut starts, mut ends, unreadable } = self.sort(batch);
        if !unreadable.is_empty() {
            self.stores.dead.keep(&unreadable).await?;
        }
        if !(starts.is_empty() && ends.is_empty()) {
            let ids: Vec<Uuid> = starts.iter().map(|(id, _)| *id).chain(ends.iter().map(|(id, ..)| *id)).collect();
            let mut known = known(self.stores.jobs.load(&ids).await?);
            let mut forged = Forged::default();
            starts
                .retain(|(id, start)| forged.pass(&self.trust, &known, *id, start.run(), start.token.as_deref(), &start.worker));
            ends.retain(|(id, end, _)| forged.pass(&self.trust, &known, *id, end.run(), end.token.as_deref(), &end.worker));
            self.start(&starts, &mut known).await?;
            self.end(&ends, known).await?;
            self.note(forged).await?;
        }
        self.count("unreadable", unreadable.len());
        // After the ends: of a run that is over nothing more is said.
        self.hear(batch).await;
        Ok(())
    }

    async fn start(&self, starts: &[(Uuid, StartedReport)], known: &mut HashMap<Uuid, Job>) -> Result<(), StoreError> {
        if starts.is_empty() {
            return Ok(());
        }
        let told: Vec<(Uuid, Started<'_>)> = starts
            .iter()
            .map(|(id, start)| (*id, Started { run: start.run(), at: micros(start.started_at), worker: &start.worker }))
            .collect();
        let changed = self.ledger.start_reports(&told, known.clone()).await?;
        let news = changed.iter().flatten().count();
        self.count("applied", news);
        self.count("late", starts.len() - news);
        known.extend(changed.into_iter().flatten().map(|job| (job.id, job)));
        Ok(())
    }

    async fn end(&self, ends: &[(Uuid, JobResult, End)], known: HashMap<Uuid, Job>) -> Result<(), StoreError> {
        if ends.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let reports: Vec<(Uuid, Ended<'_>)> = ends
            .iter()
            .map(|(id, result, end)| {
                let JobResult { worker, http_status, .. } = result;
                let (started_at, ended_at) = (micros(result.started_at), micros(result.ended_at).unwrap_or(now));
                let report =
                    Report { run: result.run(), lease: None, end, started_at, ended_at, worker, http_status: *http_status };
                (*id, Ended { report, payload: None })
            })
            .collect();
        let recorded = self.ledger.finish_reports(&reports, known).await?;
        let applied = recorded.iter().filter(|recorded| **recorded == Recorded::Applied).count();
        self.count("applied", applied);
        self.count("late", ends.len() - applied);
        Ok(())
    }

    async fn note(&self, forged: Forged) -> Result<(), StoreError> {
        if forged.counts.is_empty() {
            return Ok(());
        }
        let records: Vec<(Uuid, Attempt)> = forged.records.into_iter().collect();
        if !records.is_empty() {
            self.stores.jobs.record(&records).await?;
        }
        for (reason, count) in forged.counts {
            tracing::warn!(
                reason,
                reports = count,
                "reports of runs that their senders do not show to have been given are ignored"
            );
            self.count(reason, count);
        }
        Ok(())
    }

    fn count(&self, result: &str, reports: usize) {
        if reports > 0 {
            self.metrics.reports.with_label_values(&[result]).inc_by(reports as u64);
        }
    }
}

/// Reports whose senders do not show the right to speak: one record for each job, and how many there were.
#[derive(Default)]
struct Forged {
    records: HashMap<Uuid, Attempt>,
    counts: HashMap<&'static str, usize>,
}

impl Forged {
    /// Whether a report may be applied. One of a job that is not there passes: it changes nothing.
    fn pass(&mut self, trust: &Trust, known: &HashMap<Uuid, Job>, id: Uuid, run: Run, token: Option<&str>, worker: &str) -> bool {
        let Some(job) = known.get(&id) else { return true };
        let Err(reason) = trust.check(id, &job.kind, run, token) else { return true };
        *self.counts.entry(reason).or_default() += 1;
        self.records.entry(id).or_insert_with(|| rules::forged(&job.status, run, reason, worker, clock::now()));
        false
    }
}

fn is_progress(delivered: &Delivered) -> bool {
    delivered.message.kind == progress_report::KIND
}

fn known(jobs: Vec<Job>) -> HashMap<Uuid, Job> {
    jobs.into_iter().map(|job| (job.id, job)).collect()
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_microsecond)
}

fn read_start(body: &[u8]) -> Result<(Uuid, StartedReport), String> {
    let start = StartedReport::decode(body).map_err(|e| e.to_string())?;
    Ok((id_of(&start.job)?, start))
}

fn read_end(body: &[u8]) -> Result<(Uuid, JobResult, End), String> {
    let result = JobResult::decode(body).map_err(|e| e.to_string())?;
    let end = End::Outcome(result.outcome());
    Ok((id_of(&result.job)?, result, end))
}

fn id_of(job: &str) -> Result<Uuid, String> {
    Uuid::parse_str(job).map_err(|_| format!("`{job}` is not the id of a job"))
}

#[async_trait]
impl BatchHandler for Results {
    async fn handle(&self, batch: &Batch) -> Result<Vec<Later>, String> {
        self.apply(batch).await.map(|()| Vec::new()).map_err(|e| e.to_string())
    }
}
