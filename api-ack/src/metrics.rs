//! The metrics of the accept path, the relay, the sweeper and the keeper, with their names and help texts.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::store::{Job, Micros, Outlet, Waiting};

/// The metrics of this crate, but for those of HTTP.
#[derive(Debug)]
pub struct Metrics {
    published: IntCounterVec,
    /// `warren_outbox_rows`.
    pub outbox_rows: IntGauge,
    /// `warren_outbox_oldest_age_seconds`.
    pub outbox_age: IntGauge,
    /// `warren_dead_letters{queue}`.
    pub dead_letters: IntGaugeVec,
    /// `warren_queue_messages{queue}`.
    pub queue_messages: IntGaugeVec,
    /// `warren_sweeper_jobs_total{action}`.
    pub swept: IntCounterVec,
    /// `warren_reports_total{result}`.
    pub(crate) reports: IntCounterVec,
    /// `warren_progress_total{result}`.
    pub(crate) progress: IntCounterVec,
}

impl Metrics {
    /// Shows what waits to be published.
    pub(crate) fn waiting(&self, waiting: &[Waiting], now: Micros) {
        let rows: u64 = waiting.iter().map(|waiting| waiting.rows).sum();
        let oldest = waiting.iter().map(|waiting| waiting.oldest).min().unwrap_or(now);
        self.outbox_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.outbox_age.set(now.saturating_sub(oldest).max(0) / 1_000_000);
    }

    /// Registers the metrics.
    ///
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            published: IntCounterVec::new(
                Opts::new("warren_jobs_published_total", "confirmed publishes of jobs, by where to"),
                &["kind", "to"],
            )?,
            outbox_rows: IntGauge::new("warren_outbox_rows", "rows that are due and wait to be published")?,
            outbox_age: IntGauge::new(
                "warren_outbox_oldest_age_seconds",
                "how long the oldest row that is due waits to be published",
            )?,
            dead_letters: IntGaugeVec::new(Opts::new("warren_dead_letters", "open dead letters in the store"), &["queue"])?,
            queue_messages: IntGaugeVec::new(Opts::new("warren_queue_messages", "messages ready in a queue"), &["queue"])?,
            progress: IntCounterVec::new(
                Opts::new("warren_progress_total", "words of handlers about how far they are, by what became of them"),
                &["result"],
            )?,
            reports: IntCounterVec::new(
                Opts::new("warren_reports_total", "reports of starts and ends on warren.results, by what became of them"),
                &["result"],
            )?,
            swept: IntCounterVec::new(Opts::new("warren_sweeper_jobs_total", "jobs the sweeper acted on"), &["action"])?,
        };
        registry.register(Box::new(metrics.published.clone()))?;
        registry.register(Box::new(metrics.outbox_rows.clone()))?;
        registry.register(Box::new(metrics.outbox_age.clone()))?;
        registry.register(Box::new(metrics.dead_letters.clone()))?;
        registry.register(Box::new(metrics.queue_messages.clone()))?;
        registry.register(Box::new(metrics.swept.clone()))?;
        registry.register(Box::new(metrics.progress.clone()))?;
        registry.register(Box::new(metrics.reports.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn published(&self, job: &Job) {
        let to = match job.status.outlet {
            Some(Outlet::Rung(rung)) => rung.name(),
            Some(Outlet::Return) => "return",
            Some(Outlet::Dead) => "dead",
            Some(Outlet::Jobs) | None => "jobs",
        };
        self.published.with_label_values(&[job.kind.as_str(), to]).inc();
    }
}
