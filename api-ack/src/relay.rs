//! What waits to be published goes to the broker: first attempts, next attempts, redrives and dead letters alike.
//!
//! ```text
//! commit --hand-over--> Lanes (memory, bounded) --next_batch()--> publish --confirm--> mark (batched)
//!                         ^  refill: what did not fit, what falls due, what lapsed processes left
//!                         store
//! ```
//!
//! The row is the truth; memory is only a short cut. What gets no [`Ticket`] is stored without an owner and claimed by whichever
//! process has room. A crash anywhere loses nothing: unmarked rows are published again, under the same id, and the copy is stale
//! or attached. Limits: a kind has at most its window published and not ended, shared out over the live processes; counts are
//! refreshed when the room is used up, so the window may be overshot by one count per process. High jobs go first, and have memory
//! and a window of their own beyond those of the normal ones, a quarter as large. Work of a paused kind is neither
//! held in memory nor claimed nor published; its dead letters are.

mod free;
mod lanes;
mod outgoing;
mod room;
mod strays;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker_topology::Names;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use messaging::connection::Link;
use messaging::publisher::{PublishError, Publisher};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use lanes::Lanes;
pub use room::{RoomLimits, Ticket};
pub use window::Windows;

use crate::clock;
use crate::destinations::{Destinations, Flow};
use crate::feed::Feed;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::pauses::Pauses;
use crate::processes::Processes;
use crate::rules;
use crate::store::{Change, Job, JobStore, Lane, Outlet, Payload, Priority, ProcessId, Waiting};

/// Rows handed to the publisher together.
const TOGETHER: usize = 128;

/// A row on its way out. The ticket goes when it is marked.
#[derive(Debug)]
pub struct Item {
    /// The row.
    pub job: Job,
    /// What was accepted.
    pub payload: Payload,
    /// Its place in memory.
    pub ticket: Ticket,
}

/// How the relay works.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Publishes without a confirm at one time, 1024 by default.
    pub in_flight: usize,
    /// What is held in memory.
    pub room: RoomLimits,
    /// How often the store is asked for what is due, 500 ms by default.
    pub poll: Duration,
    /// Shares of tenants, 1 unless named here.
    pub weights: BTreeMap<String, u32>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { in_flight: 1024, room: RoomLimits::default(), poll: Duration::from_millis(500), weights: BTreeMap::new() }
    }
}

/// The way into the relay's memory. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct HandOver {
    me: ProcessId,
    rooms: room::Rooms,
    destinations: Arc<Destinations>,
    queue: mpsc::UnboundedSender<Item>,
    wake: Arc<Notify>,
    doubt: Arc<Notify>,
    pauses: Option<Pauses>,
    feed: Option<Feed>,
}

impl HandOver {
    /// Notes changes for `feed`.
    #[must_use]
    pub fn feeding(self, feed: Feed) -> Self {
        Self { feed: Some(feed), ..self }
    }

    /// Says that a job of `kind` has changed, for those who follow the kind.
    pub fn note(&self, kind: &str, id: Uuid) {
        if let Some(feed) = &self.feed {
            feed.note(kind, id);
        }
    }

    /// Takes no work of kinds that are paused.
    #[must_use]
    pub fn heeding(self, pauses: Pauses) -> Self {
        Self { pauses: Some(pauses), ..self }
    }

    /// A place in memory for a row that is about to be stored, if there is one: with a ticket it is stored as this process's
    /// own and then given; without one it is stored without an owner.
    pub fn reserve(&self, job: &Job, payload: &Payload) -> Option<Ticket> {
        // What is held back takes no place from what is not: it waits in the store.
        let held = is_work(job.status.outlet) && is_held(&job.kind, self.pauses.as_ref(), &self.destinations);
        if held { None } else { self.rooms.reserve(job.priority, job, payload) }
    }

    /// The process that publishes what is given here.
    pub fn me(&self) -> ProcessId {
        self.me
    }

    /// Gives a row that is stored as this process's own.
    pub fn give(&self, job: Job, payload: Payload, ticket: Ticket) {
        // The relay is gone only on the way down; the row is freed when this process leaves or lapses.
        let _ = self.queue.send(Item { job, payload, ticket });
    }

    /// What this process holds, lane by lane, each with the oldest of all.
    pub fn held(&self) -> Vec<Waiting> {
        self.rooms.held()
    }

    /// Says that a write had no answer: the store may hold rows as this process's own that were never given.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Says that something is due in the store that nobody holds.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The relay's end of a [`HandOver`].
pub struct HandedOver {
    queue: mpsc::UnboundedReceiver<Item>,
    rooms: room::Rooms,
    wake: Arc<Notify>,
    doubt: Arc<Notify>,
}

/// The way rows are handed over, made before the relay so that the writer can be.
pub fn hand_over(me: ProcessId, limits: RoomLimits, destinations: Arc<Destinations>) -> (HandOver, HandedOver) {
    let (sender, queue) = mpsc::unbounded_channel();
    let rooms = room::Rooms::new(limits);
    let (wake, doubt) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hand_over = HandOver {
        me,
        rooms: rooms.clone(),
        destinations,
        queue: sender,
        wake: wake.clone(),
        doubt: doubt.clone(),
        pauses: None,
        feed: None,
    };
    (hand_over, HandedOver { queue, rooms, wake, doubt })
}

/// The relay, before it runs.
pub struct Relay {
    parts: RelayParts,
    handed: HandedOver,
}

/// Everything a relay works with.
pub struct RelayParts {
    /// The jobs.
    pub store: Arc<dyn JobStore>,
    /// To publish with.
    pub publisher: Publisher,
    /// The connection under `publisher`, to know when it is of no use.
    pub link: Link,
    /// Names on this broker.
    pub names: Names,
    /// The kinds.
    pub kinds: Kinds,
    /// Who lives.
    pub processes: Arc<Processes>,
    /// Who follows kinds.
    pub feed: Feed,
    /// Which kinds are paused.
    pub pauses: Pauses,
    /// True once the topology is on the broker: nothing is published before, since nothing would take it.
    pub declared: watch::Receiver<bool>,
    /// Which kinds are held back.
    pub destinations: Arc<Destinations>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Options.
    pub options: RelayOptions,
}

impl Relay {
    /// A relay over `parts` that takes what `handed` brings.
    pub fn new(parts: RelayParts, handed: HandedOver) -> Self {
        Self { parts, handed }
    }

    /// Publishes until `stop`, then waits for what is in flight and marks it.
    pub async fn run(mut self, stop: CancellationToken) {
        let (confirmed, marking) = mpsc::channel::<Item>(self.parts.options.in_flight * 4);
        let marker = mark(self.parts.store.clone(), self.parts.feed.clone(), marking);
        let publishing = async {
            self.publish_all(stop, confirmed).await;
        };
        tokio::join!(publishing, marker);
    }

    async fn publish_all(&mut self, stop: CancellationToken, confirmed: mpsc::Sender<Item>) {
        let in_flight = self.parts.options.in_flight;
        let mut lanes = Lanes::new(self.parts.options.weights.clone());
        let mut windows = Windows::new(self.parts.kinds.clone(), Some(self.parts.destinations.clone()));
        let mut strays = strays::Strays::new(self.handed.doubt.clone());
        let mut flight = FuturesUnordered::new();
        let mut publishing = 0;
        let mut refill_at = Instant::now();
        let mut pause_until = Instant::now();
        loop {
            while let Ok(item) = self.handed.queue.try_recv() {
                lanes.push(item);
            }
            if self.parts.processes.lapsed() {
                // Others may have taken these rows; what nobody took is freed and claimed again.
                lanes.clear();
                self.handed.doubt.notify_one();
            } else if !stop.is_cancelled()
                && strays.look(&*self.parts.store, &self.handed.rooms, self.parts.processes.me()).await > 0
            {
                refill_at = Instant::now();
            }
            if self.parts.pauses.any() {
                let held = lanes.take_work(|kind| self.parts.pauses.holds(kind));
                self.let_go(&held.iter().map(|item| &item.job).collect::<Vec<_>>()).await;
            }
            let idle = stop.is_cancelled()
                || self.parts.processes.lapsed()
                || !self.parts.link.is_usable()
                || !*self.parts.declared.borrow()
                || Instant::now() < pause_until;
            let room = in_flight.saturating_sub(publishing);
            if !idle && room > 0 {
                windows.refresh(&lanes, &*self.parts.store, &self.parts.processes).await;
                let batch = lanes.next_batch(room.min(TOGETHER), &mut windows);
                if !batch.is_empty() {
                    publishing += batch.len();
                    flight.push(self.publish(batch));
                    continue;
                }
            }
            if stop.is_cancelled() && flight.is_empty() {
                return;
            }
            if !idle && Instant::now() >= refill_at {
                // A full read means that more waits: come back when some of it is gone, not at the next poll.
                let more = self.refill(&mut lanes).await;
                refill_at = Instant::now() + if more { Duration::from_millis(10) } else { self.parts.options.poll };
                continue;
            }
            tokio::select! {
                Some(batch) = flight.next(), if !flight.is_empty() => {
                    let batch: Vec<(Item, Result<(), PublishError>)> = batch;
                    publishing -= batch.len();
                    for (item, result) in batch {
                        if let Err(pause) = self.settle(&mut lanes, item, result, &confirmed).await {
                            pause_until = Instant::now() + pause;
                        }
                    }
                }
                Some(item) = self.handed.queue.recv() => lanes.push(item),
                () = self.handed.wake.notified() => refill_at = Instant::now(),
                () = tokio::time::sleep_until(next_look(refill_at, idle)) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    /// Claims what waits in the store without an owner; `true` if there is more than there was room for.
    async fn refill(&self, lanes: &mut Lanes) -> bool {
        let RelayParts { store, kinds, processes, pauses, destinations, .. } = &self.parts;
        let now = clock::now();
        let mut waiting: Vec<Lane> = match store.lanes(now).await {
            // A kind that was taken out of the configuration waits until it is back, a paused one until it is resumed, and one
            // that is held back until it is not.
            Ok(waiting) => {
                let goes = |lane: &Lane| kinds.get(&lane.kind).is_some() && !is_held(&lane.kind, Some(pauses), destinations);
                waiting.into_iter().filter(goes).collect()
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot read what waits to be published");
                return false;
            }
        };
        // High ones first: the normal lanes hold the same rows, further back.
        waiting.sort_by_key(|lane| std::cmp::Reverse(lane.priority));
        let high = waiting.partition_point(|lane| lane.priority == Priority::High);
        let mut more = false;
        for lane in &waiting {
            let sharers = if lane.priority == Priority::High { high } else { waiting.len() - high };
            let Some(portion) = self.handed.rooms.share(lane, sharers) else {
                more = true;
                continue;
            };
            match store.claim(processes.me(), lane, now, portion).await {
                Ok(rows) => {
                    more |= !rows.is_empty();
                    for (job, payload) in rows {
                        match self.handed.rooms.reserve(lane.priority, &job, &payload) {
                            Some(ticket) => lanes.push(Item { job, payload, ticket }),
                            // What came through the door meanwhile took the place.
                            None => self.let_go(&[&job]).await,
                        }
                    }
                }
                Err(error) => {
                    self.handed.doubt.notify_one();
                    tracing::warn!(error = %error, kind = lane.kind, "cannot claim what waits to be published");
                }
            }
        }
        more
    }

    /// Gives rows up: there is no room for them, or their kind was paused and others need the memory.
    async fn let_go(&self, jobs: &[&Job]) {
        if let Err(error) = free::free(&*self.parts.store, jobs).await {
            // They are ours until somebody looks for strays.
            self.handed.doubt.notify_one();
            tracing::warn!(error = %error, rows = jobs.len(), "cannot give claimed rows up");
        }
    }

    fn publish(&self, items: Vec<Item>) -> impl Future<Output = Vec<(Item, Result<(), PublishError>)>> + use<> {
        let publisher = self.parts.publisher.clone();
        let names = self.parts.names.clone();
        let kinds = self.parts.kinds.clone();
        async move {
            let mut outbounds = Vec::with_capacity(items.len());
            let mut unsendable = Vec::new();
            let mut sent = Vec::with_capacity(items.len());
            for item in items {
                messaging::crash_point!("K4");
                let job = &item.job;
                let classes = job.priority == Priority::High && kinds.get(&job.kind).is_some_and(|spec| spec.priority.is_some());
                match outgoing::outgoing(&item, &names, classes) {
                    Ok(outbound) => {
                        outbounds.push(outbound);
                        sent.push(item);
                    }
                    Err(error) => unsendable.push((item, Err(error.into()))),
                }
            }
            let results = publisher.publish_all(outbounds).await;
            sent.into_iter().zip(results).chain(unsendable).collect()
        }
    }

    /// Follows up one publish; `Err` asks for a pause of all publishing.
    async fn settle(
        &self,
        lanes: &mut Lanes,
        item: Item,
        result: Result<(), PublishError>,
        confirmed: &mpsc::Sender<Item>,
    ) -> Result<(), Duration> {
        let job = &item.job;
        match result {
            Ok(()) => {
                messaging::crash_point!("K6");
                self.parts.metrics.published(job);
                let _ = confirmed.send(item).await;
                Ok(())
            }
            Err(error @ (PublishError::Returned { .. } | PublishError::Nacked)) => {
                // Only this lane suffers: its queue is missing or full.
                tracing::warn!(kind = job.kind, job = %job.id, error = %error, "cannot publish, trying this kind again later");
                lanes.put_back(item, Some(Duration::from_secs(1)));
                Ok(())
            }
            Err(PublishError::Unsendable(why)) => {
                tracing::error!(kind = job.kind, job = %job.id, error = %why, "a job cannot be put on the wire and is given up");
                let now = clock::now();
                let run = job.status.run();
                let to = rules::buried(&job.status, run, "unsendable", &why.to_string(), now)
                    .unwrap_or_else(|| rules::published(&job.status, now));
                let change = Change { id: job.id, from: job.version, to, history: None, result: None };
                match self.parts.store.apply(&[change]).await {
                    Ok(_) => self.parts.feed.note(&job.kind, job.id),
                    Err(_) => lanes.put_back(item, Some(Duration::from_secs(5))),
                }
                Ok(())
            }
            Err(error @ (PublishError::Closed(_) | PublishError::TimedOut(_))) => {
                tracing::debug!(job = %job.id, error = %error, "publishing again under the same id");
                lanes.put_back(item, None);
                Err(Duration::from_millis(200))
            }
        }
    }
}

fn next_look(refill_at: Instant, idle: bool) -> Instant {
    if idle { Instant::now() + Duration::from_millis(100) } else { refill_at }
}

/// Marks confirmed rows in batches, trying until the store has them; only then are their places in memory given up.
async fn mark(store: Arc<dyn JobStore>, feed: Feed, mut confirmed: mpsc::Receiver<Item>) {
    let mut batch = Vec::with_capacity(512);
    while confirmed.recv_many(&mut batch, 512).await > 0 {
        // Nobody waits for a mark, so it waits for company: fewer, larger writes.
        let gathering = tokio::time::sleep(Duration::from_millis(10));
        tokio::pin!(gathering);
        while batch.len() < 512 {
            let room = 512 - batch.len();
            tokio::select! {
                more = confirmed.recv_many(&mut batch, room) => if more == 0 { break },
                () = &mut gathering => break,
            }
        }
        let rows: Vec<_> = batch.iter().map(|item| (item.job.id, item.job.version)).collect();
        let mut wait = Duration::from_millis(100);
        while let Err(error) = store.mark_published(&rows, clock::now()).await {
            tracing::warn!(error = %error, rows = rows.len(), "cannot mark what the broker confirmed, trying again");
            // On the way down with the store away: the rows are published again by whoever takes over, as copies.
            if confirmed.is_closed() && wait > Duration::from_secs(2) {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
        for Item { job, .. } in &batch {
            feed.note(&job.kind, job.id);
        }
        batch.clear();
    }
}

/// The outlets whose messages become work, and so count into a window.
fn is_work(outlet: Option<Outlet>) -> bool {
    outlet.is_some_and(|outlet| outlet != Outlet::Dead)
}

/// Whether work of a kind waits in the store, for a resume or for its destination.
fn is_held(kind: &str, pauses: Option<&Pauses>, destinations: &Destinations) -> bool {
    pauses.is_some_and(|pauses| pauses.holds(kind)) || destinations.flow(kind) == Flow::Held
}
