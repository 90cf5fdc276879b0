//! Every metric of this crate, with its name and its help text.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::keys::Keys;

/// The metrics of this crate. Labels come from closed sets; no id is ever a label.
#[derive(Debug)]
pub struct Metrics {
    /// Which routing keys were published; told to whoever plans a change of the topology, and never a label.
    pub keys: Keys,
    connected: IntGaugeVec,
    /// `warren_publish_confirms_total{result}`.
    pub(crate) confirms: IntCounterVec,
    /// `warren_attempts_total{kind,outcome}`.
    pub(crate) attempts: IntCounterVec,
    /// `warren_attempt_duration_seconds{kind}`.
    pub(crate) duration: HistogramVec,
    /// `warren_deliveries_total{queue,verdict}`.
    pub(crate) deliveries: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let metrics = Self {
            keys: Keys::default(),
            connected: IntGaugeVec::new(
                Opts::new("warren_broker_connected", "connections for this purpose that are up"),
                &["purpose"],
            )?,
            confirms: IntCounterVec::new(
                Opts::new("warren_publish_confirms_total", "publishes by what the broker said"),
                &["result"],
            )?,
            attempts: IntCounterVec::new(
                Opts::new("warren_attempts_total", "attempts that ended, by how"),
                &["kind", "outcome"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new("warren_attempt_duration_seconds", "time a handler took").buckets(buckets),
                &["kind"],
            )?,
            deliveries: IntCounterVec::new(
                Opts::new("warren_deliveries_total", "deliveries by what was done with them"),
                &["queue", "verdict"],
            )?,
        };
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.confirms.clone()))?;
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.deliveries.clone()))?;
        Ok(metrics)
    }

    /// A connection came up (1), or went (-1); 0 makes the purpose known.
    pub(crate) fn connected(&self, purpose: &str, change: i64) {
        self.connected.with_label_values(&[purpose]).add(change);
    }
}
