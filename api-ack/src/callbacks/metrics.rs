//! The metrics of callbacks.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// The metrics of callbacks.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: IntCounterVec,
    owed: IntGauge,
    duration: Histogram,
}

impl Metrics {
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
        let metrics = Self {
            calls: IntCounterVec::new(Opts::new("warren_callbacks_total", "callbacks by what became of a call"), &["result"])?,
            owed: IntGauge::new("warren_callbacks_owed", "callbacks of ended jobs that are neither delivered nor given up")?,
            duration: Histogram::with_opts(
                HistogramOpts::new("warren_callback_duration_seconds", "time a callback took, answer included").buckets(buckets),
            )?,
        };
        registry.register(Box::new(metrics.calls.clone()))?;
        registry.register(Box::new(metrics.owed.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        Ok(metrics)
    }

    pub(super) fn owed(&self, count: u64) {
        self.owed.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn came(&self, result: &str) {
        self.calls.with_label_values(&[result]).inc();
    }

    pub(super) fn took(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }
}
