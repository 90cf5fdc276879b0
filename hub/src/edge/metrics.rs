//! The metrics of the listeners, with their names and help texts.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

#[derive(Debug)]
pub(crate) struct Metrics {
    open: IntGaugeVec,
    cut: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGaugeVec::new(Opts::new("warren_connections", "open connections of clients"), &["listener"])?;
        let cut = IntCounterVec::new(
            Opts::new("warren_connections_cut_total", "connections that were sent away or cut off"),
            &["listener", "reason"],
        )?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(cut.clone()))?;
        Ok(Self { open, cut })
    }

    pub(super) fn of(&self, listener: &'static str) -> Counts {
        Counts { listener, open: self.open.with_label_values(&[listener]), cut: self.cut.clone() }
    }
}

/// Those of one listener.
#[derive(Debug)]
pub(super) struct Counts {
    listener: &'static str,
    open: IntGauge,
    cut: IntCounterVec,
}

impl Counts {
    pub(super) fn cut(&self, reason: &str) {
        self.cut.with_label_values(&[self.listener, reason]).inc();
    }

    /// Counts a connection until what this gives is dropped.
    pub(super) fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }
}

pub(super) struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
