//! The metrics of the HTTP side, with their names and help texts. Handles are looked up once, not per request.

use std::collections::HashMap;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use crate::kinds::Kinds;
use door::problem::Code;

/// Upper bounds in seconds, from half a millisecond to what a client no longer waits for.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 2.0, 10.0];

#[derive(Debug)]
pub(super) struct Metrics {
    accepted: HashMap<String, IntCounter>,
    pub(super) replayed: IntCounter,
    pub(super) duration: Histogram,
    refused: Vec<IntCounter>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry, kinds: &Kinds) -> Result<Self, prometheus::Error> {
        let accepted =
            IntCounterVec::new(Opts::new("warren_jobs_accepted_total", "jobs stored and answered with 202"), &["kind"])?;
        let replayed =
            IntCounter::new("warren_accept_replayed_total", "submissions answered with an earlier job by their Idempotency-Key")?;
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "warren_accept_duration_seconds",
                "from the request's head to its answer, for submissions that were taken",
            )
            .buckets(BUCKETS.to_vec()),
        )?;
        let refused =
            IntCounterVec::new(Opts::new("warren_accept_refused_total", "submissions refused, by problem code"), &["code"])?;
        registry.register(Box::new(accepted.clone()))?;
        registry.register(Box::new(replayed.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self {
            accepted: kinds
                .iter()
                .map(|k| (k.kind.as_str().to_owned(), accepted.with_label_values(&[k.kind.as_str()])))
                .collect(),
            replayed,
            duration,
            refused: Code::ALL.iter().map(|code| refused.with_label_values(&[code.as_str()])).collect(),
        })
    }

    pub(super) fn accepted(&self, kind: &str) {
        if let Some(counter) = self.accepted.get(kind) {
            counter.inc();
        }
    }

    pub(super) fn refused(&self, code: Code) {
        if let Some(counter) = self.refused.get(code as usize) {
            counter.inc();
        }
    }
}
