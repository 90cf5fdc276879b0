//! Every metric of lanes, with its name and its help text. No device is ever a label.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

pub(super) struct Metrics {
    /// `warren_device_declares_total{result}`.
    pub(super) declares: IntCounterVec,
    /// `warren_device_publishes_total{result}`.
    pub(super) publishes: IntCounterVec,
    /// `warren_device_attaches_total{result}`.
    pub(super) attaches: IntCounterVec,
    /// `warren_devices_attached`.
    pub(super) attached: IntGauge,
    /// `warren_device_retires_total{result}`.
    pub(super) retires: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let by_result = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["result"]);
        let metrics = Self {
            declares: by_result(
                "warren_device_declares_total",
                "queues of devices declared with their bindings, by what became of it",
            )?,
            publishes: by_result("warren_device_publishes_total", "messages for one device each, by what became of them")?,
            attaches: by_result(
                "warren_device_attaches_total",
                "sessions attached to the queue of their device, by what became of it",
            )?,
            attached: IntGauge::new("warren_devices_attached", "sessions that consume from the queue of their device")?,
            retires: by_result("warren_device_retires_total", "queues of devices taken away, by what became of it")?,
        };
        for counter in [&metrics.declares, &metrics.publishes, &metrics.attaches, &metrics.retires] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(metrics.attached.clone()))?;
        Ok(metrics)
    }
}
