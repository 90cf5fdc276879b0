//! The metrics of the upkeep, with their names and help texts.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metrics of the upkeep.
#[derive(Debug)]
pub struct Metrics {
    rows: IntCounterVec,
    /// `warren_device_cooled_total{result}`.
    pub(super) cooled: IntCounterVec,
    /// `warren_shard_left{shard}`.
    pub(super) left: IntGaugeVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rows =
            Opts::new("warren_device_upkeep_rows_total", "rows of devices' messages that time has done something to, by what");
        let cooled = Opts::new("warren_device_cooled_total", "queues of idle devices that were to go, by what became of them");
        let left = Opts::new(
            "warren_shard_left",
            "queues of devices that are still at a shard with drain = true, or at one that no process has, counted up to 10,000",
        );
        let metrics = Self {
            rows: IntCounterVec::new(rows, &["action"])?,
            cooled: IntCounterVec::new(cooled, &["result"])?,
            left: IntGaugeVec::new(left, &["shard"])?,
        };
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.cooled.clone()))?;
        registry.register(Box::new(metrics.left.clone()))?;
        Ok(metrics)
    }

    pub(super) fn done(&self, action: &str, rows: usize) {
        self.rows.with_label_values(&[action]).inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }
}
