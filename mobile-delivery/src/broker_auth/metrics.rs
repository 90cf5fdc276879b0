//! What is counted of what the broker asks. No device is ever a label.

use prometheus::{IntCounterVec, Opts, Registry};

use super::rules::Why;

pub(super) struct Metrics {
    /// `warren_broker_auth_total{ask,answer}`.
    answers: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "questions of the broker about devices that connect to it, by what was answered: `allow`, or why not";
        let answers = IntCounterVec::new(Opts::new("warren_broker_auth_total", help), &["ask", "answer"])?;
        registry.register(Box::new(answers.clone()))?;
        Ok(Self { answers })
    }

    pub(super) fn answered(&self, ask: &str, decided: Result<(), Why>) {
        let answer = decided.map_or_else(Why::name, |()| "allow");
        self.answers.with_label_values(&[ask, answer]).inc();
    }
}
