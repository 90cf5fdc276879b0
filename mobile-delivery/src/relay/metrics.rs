//! The metrics of the relay, with their names and help texts. No device is ever a label.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::store::Micros;

/// The metrics of a relay.
#[derive(Debug)]
pub struct Metrics {
    latency: Histogram,
    /// `warren_device_relayed_total{from}`.
    pub(super) relayed: IntCounterVec,
    /// `warren_device_slots`.
    pub(super) slots: IntGauge,
    /// `warren_device_marks_refused_total`.
    pub(super) refused: IntCounter,
    /// `warren_device_cold_returns_total{then}`.
    pub(super) cold: IntCounterVec,
    /// `warren_device_notices_total{result}`.
    pub(super) notices: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
        let latency = HistogramOpts::new(
            "warren_device_relay_seconds",
            "time from a message's acceptance until the queue of its device has it",
        );
        let metrics = Self {
            latency: Histogram::with_opts(latency.buckets(buckets))?,
            relayed: IntCounterVec::new(
                Opts::new("warren_device_relayed_total", "messages that went to queues of devices, by where they came from"),
                &["from"],
            )?,
            slots: IntGauge::new(
                "warren_device_slots",
                "of the 64 slots that devices fall into, those that this process relays",
            )?,
            refused: IntCounter::new(
                "warren_device_marks_refused_total",
                "devices whose messages were confirmed when they were relayed by another process, or cold, already",
            )?,
            cold: IntCounterVec::new(
                Opts::new("warren_device_cold_returns_total", "devices whose queue was not there, by what was done then"),
                &["then"],
            )?,
            notices: IntCounterVec::new(
                Opts::new("warren_device_notices_total", "notices to the relays of other processes, by what became of them"),
                &["result"],
            )?,
        };
        registry.register(Box::new(metrics.latency.clone()))?;
        registry.register(Box::new(metrics.relayed.clone()))?;
        registry.register(Box::new(metrics.slots.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.cold.clone()))?;
        registry.register(Box::new(metrics.notices.clone()))?;
        Ok(metrics)
    }

    pub(super) fn confirmed(&self, after: Micros) {
        let micros = u32::try_from(after.clamp(0, i64::from(u32::MAX))).unwrap_or(u32::MAX);
        self.latency.observe(f64::from(micros) / 1e6);
    }
}
