//! Every metric of lanes, with its name and its help text. No device is ever a label; a shard is, of which there are few.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Those of one broker.
#[derive(Clone)]
pub(super) struct Metrics {
    all: All,
    shard: String,
}

/// Those of all brokers together.
#[derive(Clone)]
struct All {
    /// `warren_device_declares_total{shard,result}`.
    declares: IntCounterVec,
    /// `warren_device_publishes_total{shard,result}`.
    publishes: IntCounterVec,
    /// `warren_device_attaches_total{shard,result}`.
    attaches: IntCounterVec,
    /// `warren_devices_attached{shard}`.
    attached: IntGaugeVec,
    /// `warren_device_retires_total{shard,result}`.
    retires: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry, shard: &str) -> Result<Self, prometheus::Error> {
        let by_result = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["shard", "result"]);
        let attached = Opts::new("warren_devices_attached", "sessions that consume from the queue of their device");
        let all = All {
            declares: by_result(
                "warren_device_declares_total",
                "queues of devices declared with their bindings, by what became of it",
            )?,
            publishes: by_result("warren_device_publishes_total", "messages for one device each, by what became of them")?,
            attaches: by_result(
                "warren_device_attaches_total",
                "sessions attached to the queue of their device, by what became of it",
            )?,
            attached: IntGaugeVec::new(attached, &["shard"])?,
            retires: by_result("warren_device_retires_total", "queues of devices taken away, by what became of it")?,
        };
        for counter in [&all.declares, &all.publishes, &all.attaches, &all.retires] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(all.attached.clone()))?;
        Ok(Self { all, shard: shard.to_owned() }.known())
    }

    /// The same of another broker.
    pub(super) fn of(&self, shard: &str) -> Self {
        Self { all: self.all.clone(), shard: shard.to_owned() }.known()
    }

    /// Shown from the first, as 0.
    fn known(self) -> Self {
        self.attached().set(0);
        self
    }

    fn result(&self, counters: &IntCounterVec, result: &str) -> IntCounter {
        counters.with_label_values(&[self.shard.as_str(), result])
    }

    pub(super) fn declares(&self, result: &str) -> IntCounter {
        self.result(&self.all.declares, result)
    }

    pub(super) fn publishes(&self, result: &str) -> IntCounter {
        self.result(&self.all.publishes, result)
    }

    pub(super) fn attaches(&self, result: &str) -> IntCounter {
        self.result(&self.all.attaches, result)
    }

    pub(super) fn attached(&self) -> IntGauge {
        self.all.attached.with_label_values(&[self.shard.as_str()])
    }

    pub(super) fn retires(&self, result: &str) -> IntCounter {
        self.result(&self.all.retires, result)
    }
}
