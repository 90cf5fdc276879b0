//! The metrics of sessions, with their names and help texts. Handles are looked up once.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::protocol::Close;
use crate::store::{Ack, Acked, Outcome, Transport};

pub(super) struct Metrics {
    sessions: Vec<IntGauge>,
    ends: Vec<IntCounter>,
    lost: IntCounter,
    claims: IntCounterVec,
    pub(super) given: IntCounter,
    pub(super) rows_read: IntCounter,
    delivered: IntCounter,
    rejected: IntCounter,
    fenced: IntCounter,
    batch: Histogram,
    pub(super) lane_missed: IntCounter,
    pub(super) lane_strays: IntCounter,
    published: IntCounterVec,
    pub(super) signals: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let sessions =
            IntGaugeVec::new(Opts::new("warren_device_sessions", "sessions of devices in this process"), &["transport"])?;
        registry.register(Box::new(sessions.clone()))?;
        let ends = counters(
            "warren_device_session_ends_total",
            "sessions that ended, by close code's word; `lost`: the connection broke",
            "close",
        )?;
        let settled = counters("warren_device_settled_total", "messages that ended by what their device said", "outcome")?;
        let batch = Histogram::with_opts(
            HistogramOpts::new("warren_device_settle_batch", "acks stored in one statement")
                .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]),
        )?;
        registry.register(Box::new(batch.clone()))?;
        Ok(Self {
            sessions: Transport::ALL.iter().map(|transport| sessions.with_label_values(&[transport.name()])).collect(),
            lost: ends.with_label_values(&["lost"]),
            ends: Close::ALL.iter().map(|close| ends.with_label_values(&[close.as_str()])).collect(),
            claims: counters("warren_device_claims_total", "devices that came, by what became of it", "result")?,
            given: counter("warren_device_given_total", "messages given to devices over sockets and streams, copies too")?,
            rows_read: counter(
                "warren_device_rows_read_total",
                "messages that sessions read from the store; the others came by lanes",
            )?,
            delivered: settled.with_label_values(&["delivered"]),
            rejected: settled.with_label_values(&["rejected"]),
            fenced: counter("warren_device_settles_fenced_total", "acks that came too late: another session had the device")?,
            batch,
            lane_missed: counter(
                "warren_device_lane_missed_total",
                "idle sessions that the slow round found something for in the store",
            )?,
            lane_strays: counter(
                "warren_device_lane_strays_total",
                "messages in queues of devices that no relay put there; they are acked and forgotten",
            )?,
            published: counters(
                "warren_device_published_total",
                "messages that devices have published to rooms over sockets, by what became of it",
                "outcome",
            )?,
            signals: counter("warren_device_signals_total", "signals of devices that were handed on")?,
        })
    }

    pub(super) fn sessions(&self, transport: Transport) -> &IntGauge {
        &self.sessions[transport as usize]
    }

    /// A session of a connection is over.
    pub(super) fn ended(&self, close: Option<Close>) {
        let at = close.and_then(|close| Close::ALL.iter().position(|one| *one == close));
        at.and_then(|at| self.ends.get(at)).unwrap_or(&self.lost).inc();
    }

    /// One was published: `stored`, `replayed` or `refused`.
    pub(super) fn published(&self, outcome: &str) {
        self.published.with_label_values(&[outcome]).inc();
    }

    pub(super) fn claims(&self, result: &str, count: usize) {
        self.claims.with_label_values(&[result]).inc_by(count as u64);
    }

    pub(super) fn settled(&self, acks: &[Ack], acked: &[Acked]) {
        self.batch.observe(acks.len() as f64);
        for (ack, acked) in acks.iter().zip(acked) {
            match (acked, &ack.outcome) {
                (Acked::Ended { count, .. }, Outcome::Delivered) => self.delivered.inc_by((*count).into()),
                (Acked::Ended { count, .. }, Outcome::Rejected { .. }) => self.rejected.inc_by((*count).into()),
                (Acked::Fenced { .. }, _) => self.fenced.inc(),
                (Acked::Unknown, _) => {}
            }
        }
    }
}
