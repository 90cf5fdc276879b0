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

/// What may become of a call.
const RESULTS: [&str; 6] = ["delivered", "failed", "given_up", "disabled", "stopped", "moot"];

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
        // From 0: of a series that begins with its first call nobody sees that it grew.
        for result in RESULTS {
            metrics.calls.with_label_values(&[result]);
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_result_is_there_before_the_first_call() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let results = || {
            let families = registry.gather();
            let calls = families.iter().find(|family| family.name() == "warren_callbacks_total").unwrap();
            let label = |metric: &prometheus::proto::Metric| metric.get_label()[0].value().to_owned();
            calls.get_metric().iter().map(label).collect::<std::collections::BTreeSet<_>>()
        };
        let before = results();
        assert!(before.contains("given_up") && before.len() == RESULTS.len(), "{before:?}");
        // Whatever the code next door counts is one of them.
        let source = include_str!("call.rs");
        for counted in source.split("came(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            metrics.came(counted);
        }
        assert_eq!(results(), before);
    }
}
