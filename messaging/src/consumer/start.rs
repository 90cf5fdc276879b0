//! From arrival to a running handler: begin in batches, run one task each, alone where a run was started before.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use broker_topology::Rung;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fetch::{self, Fetch};
use super::intake::Intake;
use super::receive::Arrived;
use super::registry::Registry;
use super::{BATCH, Runtime};
use crate::dead_letter;
use crate::handler::{AnyHandler, Context, Failure, Outcome};
use crate::ledger::{Arrival, End, Ending, Verdict};
use crate::message::{Route, header};
use crate::trace::Span;
use crate::wire::Outbound;

/// Room to run in, beside others.
struct Slot {
    _permit: OwnedSemaphorePermit,
    /// Nothing that must be alone waits for long work to end.
    _company: Option<OwnedRwLockReadGuard<()>>,
}

pub(super) struct Start {
    /// Whose work it is, for the ledger: the queue, or the first of two, so that a message is one message by whichever it comes.
    pub(super) queue: Arc<str>,
    pub(super) timeout: Duration,
    /// Acks go out once a start is durable.
    pub(super) early: bool,
    pub(super) permits: Arc<Semaphore>,
    pub(super) runtime: Runtime,
    pub(super) handler: Arc<dyn AnyHandler>,
    pub(super) registry: Arc<Registry>,
    pub(super) running: TaskTracker,
    /// Cancelled when what still runs is to be cut short.
    pub(super) cut: CancellationToken,
    pub(super) endings: mpsc::Sender<Ending>,
}

impl Start {
    pub(super) async fn run(self, mut intake: Intake) {
        let this = Arc::new(self);
        let (alone, mut waiting_alone) = mpsc::unbounded_channel::<Arrived>();
        let solitary = {
            let this = this.clone();
            async move {
                while let Some(arrived) = waiting_alone.recv().await {
                    this.clone().run_alone(arrived).await;
                }
            }
        };
        let together = async {
            // Owned here, so that it closes with this stage and ends the solitary one.
            let alone = alone;
            while intake.wait().await {
                // Who goes first is asked once there is a slot: meanwhile somebody may have come who goes before.
                let slot = this.slot().await;
                let Some(first) = intake.next() else { continue };
                let Some(slot) = slot else {
                    this.registry.give_back(&first.hold, first.run).await;
                    continue;
                };
                let mut batch = vec![(first, slot)];
                while batch.len() < BATCH
                    && let Some(slot) = this.free_slot()
                    && let Some(next) = intake.next()
                {
                    batch.push((next, slot));
                }
                this.clone().begin(batch, &alone).await;
            }
        };
        tokio::join!(together, solitary);
        this.running.close();
        this.running.wait().await;
    }

    /// As [`Start::run`], of work that is acked early: the slot comes first, and then a delivery for it.
    pub(super) async fn run_fetched(self, fetch: &mut Fetch<'_>) {
        let this = Arc::new(self);
        while let Some(slot) = this.slot().await {
            let (mut batch, mut free) = (Vec::new(), Some(slot));
            while let Some(slot) = free
                && let Some(arrived) = fetch.next().await
            {
                batch.push((arrived, slot));
                free = if batch.len() < BATCH { this.free_slot() } else { None };
            }
            if batch.is_empty() {
                tokio::select! {
                    () = this.runtime.stop.cancelled() => break,
                    () = tokio::time::sleep(fetch::PACE) => continue,
                }
            }
            this.clone().begin_fetched(batch).await;
        }
        // What runs may take long, and needs no delivery.
        fetch.close().await;
        this.running.close();
        this.running.wait().await;
    }

    /// A slot to run in, or `None` once nothing more is to be started.
    async fn slot(&self) -> Option<Slot> {
        let slot = async {
            let permit = self.permits.clone().acquire_owned().await.ok()?;
            let company = if self.early { None } else { Some(self.runtime.solitude.clone().read_owned().await) };
            Some(Slot { _permit: permit, _company: company })
        };
        tokio::select! {
            biased;
            () = self.runtime.stop.cancelled() => None,
            slot = slot => slot,
        }
    }

    /// A slot, if there is one at once.
    fn free_slot(&self) -> Option<Slot> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let company = if self.early { None } else { Some(self.runtime.solitude.clone().try_read_owned().ok()?) };
        Some(Slot { _permit: permit, _company: company })
    }

    async fn begin(self: Arc<Self>, batch: Vec<(Arrived, Slot)>, alone: &mpsc::UnboundedSender<Arrived>) {
        let arrivals: Vec<Arrival> = batch.iter().map(|(arrived, _)| self.arrival(arrived, false)).collect();
        let verdicts = self.ask(&arrivals).await;
        for ((arrived, slot), verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Some(Verdict::Alone) => {
                    self.count(&arrived.queue, "alone");
                    drop(slot);
                    let _ = alone.send(arrived);
                }
                verdict => self.clone().follow(arrived, verdict, slot).await,
            }
        }
    }

    /// As [`Start::begin`], of work that is acked early. What was started twice without an end has no such work beside it of which that
    /// is true too; if there is some it waits in the first rung, as nothing waits here.
    async fn begin_fetched(self: Arc<Self>, batch: Vec<(Arrived, Slot)>) {
        let arrivals: Vec<Arrival> = batch.iter().map(|(arrived, _)| self.arrival(arrived, false)).collect();
        let verdicts = self.ask(&arrivals).await;
        for ((arrived, slot), verdict) in batch.into_iter().zip(verdicts) {
            let this = self.clone();
            if verdict != Some(Verdict::Alone) {
                this.follow(arrived, verdict, slot).await;
                continue;
            }
            self.count(&arrived.queue, "alone");
            match self.runtime.suspects.clone().try_lock_owned() {
                Ok(alone) => {
                    let arrival = self.arrival(&arrived, true);
                    let verdict = self.ask(std::slice::from_ref(&arrival)).await.pop().flatten();
                    this.follow(arrived, verdict, (slot, alone)).await;
                }
                Err(_) => {
                    self.count(&arrived.queue, "busy");
                    drop(self.running.spawn(async move { this.elsewhere(arrived).await }));
                }
            }
        }
    }

    /// Runs one delivery with no other beside it in this process.
    async fn run_alone(self: Arc<Self>, arrived: Arrived) {
        let all = tokio::select! {
            biased;
            () = self.runtime.stop.cancelled() => None,
            alone = self.runtime.solitude.clone().write_owned() => Some(alone),
        };
        let Some(all) = all else {
            self.registry.give_back(&arrived.hold, arrived.run).await;
            return;
        };
        let arrival = self.arrival(&arrived, true);
        let verdict = self.ask(std::slice::from_ref(&arrival)).await.pop().flatten();
        self.follow(arrived, verdict, all).await;
    }

    fn arrival(&self, arrived: &Arrived, alone: bool) -> Arrival {
        Arrival { message: arrived.message.clone(), run: arrived.run, queue: self.queue.clone(), alone, early: self.early }
    }

    /// Asks the ledger until it answers; `None` for each once nothing more is to be started.
    async fn ask(&self, arrivals: &[Arrival]) -> Vec<Option<Verdict>> {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.runtime.ledger.begin(arrivals).await {
                Ok(verdicts) => return verdicts.into_iter().map(Some).collect(),
                Err(error) => tracing::warn!(queue = &*self.queue, error = %error, "cannot begin, trying again"),
            }
            tokio::select! {
                () = self.runtime.stop.cancelled() => return vec![None; arrivals.len()],
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    async fn follow(self: Arc<Self>, arrived: Arrived, verdict: Option<Verdict>, slot: impl Send + 'static) {
        let (hold, run) = (arrived.hold.clone(), arrived.run);
        match verdict {
            Some(Verdict::Run { lease, deadline }) => {
                self.count(&arrived.queue, "run");
                if self.early {
                    crate::crash_point!("K13");
                    self.registry.ack_early(&hold, run).await;
                }
                let this = self.clone();
                self.running.spawn(async move {
                    this.run_one(arrived, lease, deadline).await;
                    drop(slot);
                });
            }
            Some(Verdict::Stale) => {
                self.count(&arrived.queue, "stale");
                self.registry.ack(&hold, run).await;
            }
            Some(Verdict::PutOff) => {
                self.count(&arrived.queue, "put-off");
                self.registry.ack(&hold, run).await;
            }
            Some(Verdict::Poisoned) => {
                self.count(&arrived.queue, "poisoned");
                self.registry.ack(&hold, run).await;
            }
            Some(Verdict::Busy) => {
                self.count(&arrived.queue, "busy");
                let this = self.clone();
                self.running.spawn(async move { this.elsewhere(arrived).await });
            }
            Some(Verdict::Refused(failure)) => {
                self.count(&arrived.queue, "refused");
                let this = self.clone();
                self.running.spawn(async move { this.refuse(arrived, failure).await });
            }
            // `Alone` to one that is alone would be a fault of the ledger: the broker delivers it again.
            Some(Verdict::Alone) | None => self.registry.give_back(&hold, run).await,
        }
    }

    /// The handler, its time limit, its panics, and the drain.
    async fn run_one(&self, arrived: Arrived, lease: i64, deadline: Option<Timestamp>) {
        let Arrived { message, run, queue: arrived_queue, .. } = arrived;
        let place = self.runtime.running.enter(&message.id, run, message.token(), lease);
        let mut span = self.runtime.tracer.process(&arrived_queue, &message);
        let cx = Context {
            id: message.id.clone(),
            kind: message.kind.clone(),
            queue: self.queue.to_string(),
            attempt: run.attempt,
            epoch: run.epoch,
            tenant: message.tenant.clone(),
            deadline,
            traceparent: span.as_ref().map(Span::traceparent).or_else(|| message.traceparent.clone()),
            interrupted: self.runtime.drain.clone(),
            cancelled: place.cancelled.clone(),
            said: place.said.clone(),
        };
        let started_at = Timestamp::now();
        let clock = std::time::Instant::now();
        let handled = AssertUnwindSafe(self.handler.handle_any(&cx, Message::clone(&message))).catch_unwind();
        let end = tokio::select! {
            biased;
            handled = tokio::time::timeout(self.timeout, handled) => match handled {
                Ok(Ok(end)) => end,
                Ok(Err(panic)) => Outcome::Retry(Failure::new("panic", panic_text(&*panic))).into(),
                Err(_) => Outcome::Retry(Failure::new("timeout", format!("no outcome within {:?}", self.timeout))).into(),
            },
            () = self.cut.cancelled() => End::Interrupted,
        };
        let http_status = place.said.http_status();
        drop(place);
        let name = match &end {
            End::Outcome(outcome) => outcome.name(),
            End::Interrupted => "interrupted",
            End::Parked => "parked",
        };
        self.runtime.metrics.attempts.with_label_values(&[message.kind.as_str(), name]).inc();
        self.runtime.metrics.duration.with_label_values(&[message.kind.as_str()]).observe(clock.elapsed().as_secs_f64());
        if let Some(span) = &mut span {
            span.ended(&end);
        }
        drop(span);
        self.registry.end(&message.id, run);
        let (queue, ended_at) = (self.queue.clone(), Timestamp::now());
        let ending = Ending { message, run, queue, lease, end, started_at, ended_at, http_status };
        // Closed only when the consumer was abandoned; the broker delivers again.
        let _ = self.endings.send(ending).await;
    }

    /// Another live process runs it: a copy waits in the first rung, this one is acked.
    async fn elsewhere(&self, arrived: Arrived) {
        let route = Route::waiting(&self.runtime.names, Rung::S1, &*arrived.queue);
        let copy = Outbound::copy(route, arrived.message.id.clone(), &arrived.properties, arrived.message.body.clone(), &[]);
        self.send_and_ack(arrived, copy).await;
    }

    async fn refuse(&self, arrived: Arrived, failure: Failure) {
        let id = dead_letter::id_of(&arrived.message);
        let more = [
            (header::QUEUE, &*arrived.queue),
            (header::REASON, failure.code.as_str()),
            (header::ERROR, failure.message.as_str()),
        ];
        let route = Route::new(self.runtime.names.dead(), arrived.queue.to_string());
        let copy = Outbound::copy(route, id, &arrived.properties, arrived.message.body.clone(), &more);
        self.send_and_ack(arrived, copy.without_token()).await;
    }

    /// Publish, wait for the confirm, then ack; what could not be published is given back.
    async fn send_and_ack(&self, arrived: Arrived, copy: Outbound) {
        match self.runtime.publisher.publish(copy).await {
            Ok(()) => {
                crate::crash_point!("K12");
                self.registry.ack(&arrived.hold, arrived.run).await;
            }
            Err(error) => {
                tracing::warn!(queue = &*arrived.queue, error = %error, "cannot pass a delivery on, giving it back");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.registry.give_back(&arrived.hold, arrived.run).await;
            }
        }
    }

    fn count(&self, queue: &str, verdict: &str) {
        self.runtime.metrics.deliveries.with_label_values(&[queue, verdict]).inc();
    }
}

use crate::message::Message;

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", text.unwrap_or_else(|| "without a text".to_owned()))
}
