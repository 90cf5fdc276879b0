//! The metrics of calls.

use api_ack::destinations::Destinations;
use database::clock;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metrics of calls, by destination.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    state: IntGaugeVec,
    pub(super) calls: IntCounterVec,
    pub(super) duration: HistogramVec,
}

impl Metrics {
    /// # Errors
    /// When `registry` has one of the names already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let metrics = Self {
            state: IntGaugeVec::new(
                Opts::new("warren_destination_state", "0 called freely, 1 held back, 2 about to be tried"),
                &["destination"],
            )?,
            calls: IntCounterVec::new(
                Opts::new("warren_destination_calls_total", "calls of destinations by what came back"),
                &["destination", "result"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new("warren_destination_call_duration_seconds", "time a call took, answer included")
                    .buckets(buckets),
                &["destination"],
            )?,
        };
        registry.register(Box::new(metrics.state.clone()))?;
        registry.register(Box::new(metrics.calls.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        Ok(metrics)
    }

    /// Shows how the destinations stand.
    pub(super) fn show(&self, destinations: &Destinations) {
        let now = clock::now();
        for standing in destinations.standing() {
            let held = standing.row.filter(|row| row.held);
            let state = held.map_or(0, |row| if now < row.probe_at { 1 } else { 2 });
            self.state.with_label_values(&[standing.name.as_str()]).set(state);
        }
    }
}
