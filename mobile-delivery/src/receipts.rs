//! Receipts: what outsiders hear on `warren.events`, as CloudEvents with the kind for a key.
//!
//! | kind | says | how surely |
//! |---|---|---|
//! | `delivery.delivered` `.read` `.expired` `.dropped` | what a message became for a device, if its sender asked | at least once: rows of an outbox, written by the commit that ended the delivery |
//! | `devices.online` `.offline` | who is connected | as far as there is room: told from memory, and counted when not |
//!
//! There is no event for `queued` or `sent`: the first is what the 202 says, and both would cost a publish for each message and device; who
//! wants to know asks `GET /v1/messages/{id}`.
//!
//! Who leads publishes receipts; two that do so for a moment tell one twice, under one id. Order is that of the rows, but for
//! events that failed once. An event that nobody subscribes to is done when the broker has returned it, unless the topology names a subscriber: then it
//! stays until it gets there, and holds back no other: what is new is told at once, and what failed comes again by turns (`turns.rs`).

mod event;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_topology::{Names, Topology};
use messaging::message::{Message, Route};
use messaging::publisher::{PublishError, Publisher};
use messaging::wire::Outbound;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::event::{DELIVERY, OFFLINE, ONLINE, Presence, of_presence, of_receipt};

use self::turns::Turns;
use crate::processes::Processes;
use crate::store::{Receipt, StoreError, Stores};

/// Events published together.
const TOGETHER: usize = 512;

/// Presences that wait to be told, at most.
const PRESENCES: usize = 8192;

/// From word of a receipt to the look for it: what comes in that time is found with it.
const GATHER: Duration = Duration::from_millis(50);

/// Between two looks for receipts, and after the store could not answer.
const LOOK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(2);

/// The metrics of receipts.
#[derive(Debug)]
pub struct Metrics {
    events: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts =
            Opts::new("warren_device_events_total", "receipts of messages and presences of devices, by what became of them");
        let metrics = Self { events: IntCounterVec::new(opts, &["kind", "result"])? };
        registry.register(Box::new(metrics.events.clone()))?;
        Ok(metrics)
    }

    fn count(&self, kind: &str, result: &str) {
        self.events.with_label_values(&[kind, result]).inc();
    }
}

/// Where sessions hand in who is connected, and that something was acked. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Outlet {
    presences: mpsc::Sender<Presence>,
    written: Arc<Notify>,
    metrics: Arc<Metrics>,
}

impl Outlet {
    /// Tells of a session. Without room it is left out, and counted.
    pub fn tell(&self, presence: Presence) {
        if let Err(left_out) = self.presences.try_send(presence) {
            let online = left_out.into_inner().online;
            self.metrics.count(if online { ONLINE } else { OFFLINE }, "left-out");
        }
    }

    /// Says that receipts may have been written, so that they need not wait for the next look.
    pub fn written(&self) {
        self.written.notify_one();
    }
}

/// Publishes receipts and presences.
pub struct Receipts {
    stores: Stores,
    processes: Arc<Processes>,
    publisher: Publisher,
    exchange: String,
    /// Kinds that the topology names a subscriber of.
    wanted: BTreeSet<&'static str>,
    presences: mpsc::Receiver<Presence>,
    written: Arc<Notify>,
    metrics: Arc<Metrics>,
}

impl Receipts {
    /// With the topology that is declared, and a publisher of its own; and where sessions hand in.
    pub fn new(
        stores: Stores,
        processes: Arc<Processes>,
        publisher: Publisher,
        names: &Names,
        topology: &Topology,
        metrics: Arc<Metrics>,
    ) -> (Self, Outlet) {
        let (sender, presences) = mpsc::channel(PRESENCES);
        let (exchange, written) = (names.events(), Arc::new(Notify::new()));
        let has_subscriber = |kind: &&str| !topology.queues_for(&exchange, kind).is_empty();
        let wanted = DELIVERY.into_iter().chain([ONLINE, OFFLINE]).filter(has_subscriber).collect();
        let outlet = Outlet { presences: sender, written: written.clone(), metrics: metrics.clone() };
        (Self { stores, processes, publisher, exchange, wanted, presences, written, metrics }, outlet)
    }

    /// Publishes until `stop`. Receipts that are left stay in the store for whoever leads next.
    pub async fn run(mut self, stop: CancellationToken) {
        let (closed, none) = mpsc::channel(1);
        drop(closed);
        let mut presences = std::mem::replace(&mut self.presences, none);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = async { tokio::join!(self.receipts(), self.presences(&mut presences)) } => {}
        }
    }

    async fn receipts(&self) {
        let mut turns = Turns::default();
        loop {
            let rest = match self.pass(&mut turns).await {
                Ok(true) => continue,
                Ok(false) => LOOK,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot read or forget receipts of messages; they are tried again");
                    AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = async {
                    self.written.notified().await;
                    tokio::time::sleep(GATHER).await;
                }, if rest == LOOK => {}
            }
        }
    }

    /// Whether there is more at once.
    async fn pass(&self, turns: &mut Turns) -> Result<bool, StoreError> {
        if !self.processes.leads() {
            *turns = Turns::default();
            return Ok(false);
        }
        let Some(turn) = turns.next(Instant::now()) else { return Ok(false) };
        let limit = u32::try_from(TOGETHER).unwrap_or(u32::MAX);
        let receipts = self.stores.messages.receipts(turn.after(), limit).await?;
        let done = self.publish(receipts.iter().map(event::of_receipt)).await;
        let told: Vec<i64> =
            receipts.iter().zip(&done).filter(|(_, done)| **done).map(|(Receipt { number, .. }, _)| *number).collect();
        if !told.is_empty() {
            self.stores.messages.forget_receipts(&told).await?;
        }
        let failed = receipts.len() - told.len();
        if failed > 0 {
            tracing::warn!(receipts = failed, "receipts of messages could not be told; they are tried again");
        }
        let last = receipts.last().map(|receipt| receipt.number);
        Ok(turns.took(turn, last, receipts.len() == TOGETHER, failed > 0, Instant::now()))
    }

    async fn presences(&self, presences: &mut mpsc::Receiver<Presence>) {
        let mut taken = Vec::new();
        while presences.recv_many(&mut taken, TOGETHER).await > 0 {
            self.publish(taken.drain(..).map(|presence| event::of_presence(&presence))).await;
        }
    }

    /// Publishes events; answers in order which are done: told, wanted by nobody, or impossible to tell.
    async fn publish(&self, events: impl Iterator<Item = Message>) -> Vec<bool> {
        let outbound = |event: Message| (Outbound::new(Route::new(&self.exchange, &event.kind), &event), event.kind);
        let (made, kinds): (Vec<Result<Outbound, _>>, Vec<String>) = events.map(outbound).unzip();
        let sendable: Vec<Outbound> = made.iter().filter_map(|made| made.as_ref().ok().cloned()).collect();
        let mut answers = self.publisher.publish_all(sendable).await.into_iter();
        let verdict = |(made, kind): (Result<Outbound, _>, String)| {
            let answer = match made {
                Ok(_) => answers.next().unwrap_or_else(|| Err(PublishError::Closed("no answer".into()))),
                Err(unsendable) => Err(PublishError::Unsendable(unsendable)),
            };
            let (result, done) = match answer {
                Ok(()) => ("told", true),
                Err(PublishError::Returned { .. }) if !self.wanted.contains(kind.as_str()) => ("unrouted", true),
                Err(PublishError::Unsendable(why)) => {
                    tracing::error!(kind, error = %why, "an event of a device can never be told and is left out");
                    ("left-out", true)
                }
                Err(error) => {
                    tracing::debug!(kind, error = %error, "an event of a device was not told");
                    ("failed", false)
                }
            };
            self.metrics.count(&kind, result);
            done
        };
        made.into_iter().zip(kinds).map(verdict).collect()
    }
}
