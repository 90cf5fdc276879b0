//! The metrics of the HTTP side, with their names and help texts. Handles are looked up once, not per request.

use door::problem::Code;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use crate::store::{Audience, Target};

/// Upper bounds in seconds, from half a millisecond to what a client no longer waits for.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 2.0, 10.0];

/// What sort of target a message has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    Device,
    User,
    Group,
    Broadcast,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Device, Self::User, Self::Group, Self::Broadcast];

    fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::User => "user",
            Self::Group => "group",
            Self::Broadcast => "broadcast",
        }
    }

    pub(super) fn of(target: &Target) -> Self {
        match target {
            Target::Devices(_) => Self::Device,
            Target::User { .. } => Self::User,
            Target::Log(Audience::Group(_)) => Self::Group,
            Target::Log(_) => Self::Broadcast,
        }
    }
}

#[derive(Debug)]
pub(super) struct Metrics {
    accepted: [IntCounter; 4],
    pub(super) replayed: IntCounter,
    pub(super) duration: Histogram,
    pub(super) cancelled: IntCounter,
    pub(super) made: IntCounter,
    pub(super) changed: IntCounter,
    pub(super) removed: IntCounter,
    pub(super) revoked: IntCounter,
    pub(super) refreshed: IntCounter,
    pub(super) reused: IntCounter,
    refused: Vec<IntCounter>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let accepted = IntCounterVec::new(
            Opts::new("warren_device_messages_accepted_total", "messages for devices, stored and answered with 202"),
            &["to"],
        )?;
        let replayed = IntCounter::new(
            "warren_device_messages_replayed_total",
            "sends answered with an earlier message by their Idempotency-Key",
        )?;
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "warren_device_send_duration_seconds",
                "from the request's head to its answer, for sends of one message that were taken",
            )
            .buckets(BUCKETS.to_vec()),
        )?;
        let cancelled =
            IntCounter::new("warren_device_messages_cancelled_total", "deliveries that were withdrawn by their senders")?;
        let changes = IntCounterVec::new(
            Opts::new("warren_device_registry_changes_total", "what was done to registrations of devices over HTTP"),
            &["change"],
        )?;
        let refused = IntCounterVec::new(
            Opts::new(
                "warren_device_requests_refused_total",
                "requests about devices and their messages refused, by problem code",
            ),
            &["code"],
        )?;
        for vec in [&accepted, &changes, &refused] {
            registry.register(Box::new(vec.clone()))?;
        }
        registry.register(Box::new(replayed.clone()))?;
        registry.register(Box::new(cancelled.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self {
            accepted: Sort::ALL.map(|sort| accepted.with_label_values(&[sort.name()])),
            replayed,
            duration,
            cancelled,
            made: changes.with_label_values(&["made"]),
            changed: changes.with_label_values(&["put"]),
            removed: changes.with_label_values(&["removed"]),
            revoked: changes.with_label_values(&["revoked"]),
            refreshed: changes.with_label_values(&["refreshed"]),
            reused: changes.with_label_values(&["reused"]),
            refused: Code::ALL.iter().map(|code| refused.with_label_values(&[code.as_str()])).collect(),
        })
    }

    pub(super) fn taken(&self, sort: Sort) {
        self.accepted[sort as usize].inc();
    }

    pub(super) fn refused(&self, code: Code) {
        if let Some(counter) = self.refused.get(code as usize) {
            counter.inc();
        }
    }
}
