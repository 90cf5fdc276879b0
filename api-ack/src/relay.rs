//! What waits to be published goes to the broker: first attempts, next attempts, redrives and dead letters alike.
//!
//! ```text
//! commit --hand-over--> Windows, Rooms --> Lanes (memory) --next_batch()--> publish --confirm--> mark (batched)
//!                         ^  refill: what did not come in, what falls due, what lapsed processes left
//!                         store
//! ```
//!
//! The row is the truth; memory is only a short cut. What gets no [`Ticket`] is stored without an owner and claimed by whichever
//! process has room. A crash anywhere loses nothing: unmarked rows are published again, under the same id, and the copy is stale
//! or attached. Limits: a kind has at most its window published and not ended, shared out over the live processes; what each has
//! in memory is known to itself alone, so the window may be overshot by one count per process. High jobs go first, and have memory
//! and a window of their own beyond those of the normal ones, a quarter as large.
//!
//! Memory is for what can go out: the leave to be published is given with the ticket. Work of a kind that is paused, whose window
//! is full or whose destination is held waits in the store, and what is in memory when a kind loses its leave is given back. Dead
//! letters need no leave.

mod free;
mod hand_over;
mod lanes;
mod memory;
mod outgoing;
mod reach;
mod refill;
mod room;
mod strays;
mod turns;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker_topology::Names;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use messaging::connection::Link;
use messaging::publisher::{PublishError, Publisher};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use hand_over::{HandOver, HandedOver, hand_over};
pub use lanes::Lanes;
pub use outgoing::SOURCE;
pub use reach::Reach;
pub use room::{RoomLimits, Ticket};
pub use window::Windows;

use memory::is_work;
use reach::{NOT_FOUND, TurnedAway};
use turns::Turns;

use crate::feed::Feed;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::processes::Processes;
use crate::rules;
use crate::run_token::RunTokens;
use crate::store::{Change, Job, JobStore, Micros, Outlet, Payload, Priority, Status, StoreError};
use database::clock;

/// Rows handed to the publisher together.
const TOGETHER: usize = 128;

/// The least time between two reads of what waits in the store.
const SOON: Duration = Duration::from_millis(10);

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
    /// A channel of its own for each kind whose exchange is somebody else's.
    pub existing: BTreeMap<String, Publisher>,
    /// Which of those exchanges are there.
    pub reach: Reach,
    /// The connection under `publisher`, to know when it is of no use.
    pub link: Link,
    /// Names on this broker.
    pub names: Names,
    /// The kinds.
    pub kinds: Kinds,
    /// Who lives.
    pub processes: Arc<Processes>,
    /// What shows a worker's right to speak of a run.
    pub tokens: RunTokens,
    /// Who follows kinds.
    pub feed: Feed,
    /// True once the topology is on the broker: nothing is published before, since nothing would take it.
    pub declared: watch::Receiver<bool>,
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
        let (kinds, existing) = (self.parts.kinds.clone(), self.parts.existing.clone());
        // Most kinds are none of those, and are not looked up for each of their jobs.
        let hands_off =
            move |job: &Job| existing.contains_key(&job.kind) && kinds.get(&job.kind).is_some_and(|spec| spec.hands_off());
        let marker = mark(self.parts.store.clone(), hands_off, self.parts.feed.clone(), marking);
        let publishing = async {
            self.publish_all(stop, confirmed).await;
        };
        tokio::join!(publishing, marker);
    }

    async fn publish_all(&mut self, stop: CancellationToken, confirmed: mpsc::Sender<Item>) {
        let in_flight = self.parts.options.in_flight;
        let mut lanes = Lanes::new(self.parts.options.weights.clone());
        let mut turns = Turns::new(self.parts.options.weights.clone());
        let memory = self.handed.memory.clone();
        let mut strays = strays::Strays::new(self.handed.doubt.clone());
        let mut flight = FuturesUnordered::new();
        let mut publishing = 0;
        let mut refilled = Instant::now();
        let mut refill_at = refilled;
        let mut pause_until = Instant::now();
        loop {
            while let Ok(item) = self.handed.queue.try_recv() {
                lanes.push(item);
            }
            if self.parts.processes.lapsed() {
                // Others may have taken these rows; what nobody took is freed and claimed again.
                lanes.clear();
                self.handed.doubt.notify_one();
            } else if !stop.is_cancelled() && strays.look(&*self.parts.store, &memory.rooms, self.parts.processes.me()).await > 0
            {
                refill_at = Instant::now();
            }
            let closed = memory.windows.closed();
            if !closed.is_empty() {
                let held = lanes.take_work(|kind| closed.contains(kind));
                self.let_go(&held.iter().map(|item| &item.job).collect::<Vec<_>>()).await;
            }
            let idle = stop.is_cancelled()
                || self.parts.processes.lapsed()
                || !self.parts.link.is_usable()
                || !*self.parts.declared.borrow()
                || Instant::now() < pause_until;
            if !idle && self.handed.count(&*self.parts.store, self.parts.processes.count()).await {
                refill_at = Instant::now();
            }
            let room = in_flight.saturating_sub(publishing);
            if !idle && room > 0 {
                let batch = lanes.next_batch(room.min(TOGETHER));
                if !batch.is_empty() {
                    publishing += batch.len();
                    for part in self.by_channel(batch) {
                        flight.push(self.publish(part));
                    }
                    continue;
                }
            }
            if stop.is_cancelled() && flight.is_empty() {
                return;
            }
            if !idle && Instant::now() >= refill_at {
                // More waits that may go out: come back when some of what is here is gone, not at the next poll.
                let more = self.refill(&mut lanes, &mut turns).await;
                refilled = Instant::now();
                refill_at = refilled + if more { SOON } else { self.parts.options.poll };
                continue;
            }
            tokio::select! {
                Some(batch) = flight.next(), if !flight.is_empty() => {
                    let batch: Vec<(Item, Result<(), PublishError>)> = batch;
                    publishing -= batch.len();
                    let mut refused: Vec<(Item, Option<Arc<TurnedAway>>)> = Vec::new();
                    for (item, result) in batch {
                        match self.settle(&mut lanes, item, result, &confirmed).await {
                            Settled::Done => {}
                            Settled::Again => refill_at = Instant::now(),
                            Settled::Refused(items, why) => refused.extend(items.into_iter().map(|item| (item, why.clone()))),
                            Settled::Pause(pause) => pause_until = Instant::now() + pause,
                        }
                    }
                    self.put_down(&refused.iter().map(|(item, why)| (&item.job, why.as_deref())).collect::<Vec<_>>()).await;
                }
                Some(item) = self.handed.queue.recv() => lanes.push(item),
                () = self.handed.wake.notified() => refill_at = refill_at.min(refilled + SOON),
                () = memory.windows.wanted() => {}
                () = tokio::time::sleep_until(next_look(refill_at, memory.windows.next_count(), idle)) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    /// A batch, by the channels it goes out on. Warren's own exchanges are there, and share one; an exchange that is somebody else's
    /// may be gone, which closes the channel for all that is on it.
    fn by_channel(&self, batch: Vec<Item>) -> Vec<Vec<Item>> {
        if self.parts.existing.is_empty() {
            return vec![batch];
        }
        let mut parts: BTreeMap<Option<String>, Vec<Item>> = BTreeMap::new();
        for item in batch {
            let kind = self.elsewhere(&item).then(|| item.job.kind.clone());
            parts.entry(kind).or_default().push(item);
        }
        parts.into_values().collect()
    }

    /// Whether it goes to an exchange that is somebody else's.
    fn elsewhere(&self, item: &Item) -> bool {
        is_work(item.job.status.outlet) && self.parts.existing.contains_key(&item.job.kind)
    }

    /// Publishes rows that share a channel.
    fn publish(&self, items: Vec<Item>) -> impl Future<Output = Vec<(Item, Result<(), PublishError>)>> + use<> {
        let elsewhere = items.first().filter(|item| self.elsewhere(item)).map(|item| item.job.kind.as_str());
        let publisher = elsewhere.and_then(|kind| self.parts.existing.get(kind)).unwrap_or(&self.parts.publisher).clone();
        let missing = elsewhere.and_then(|kind| self.parts.reach.missing(kind));
        let elsewhere = elsewhere.is_some();
        let names = self.parts.names.clone();
        let (kinds, tokens) = (self.parts.kinds.clone(), self.parts.tokens.clone());
        async move {
            if let Some(text) = missing {
                let refused = || Err(PublishError::Returned { code: NOT_FOUND, text: text.clone() });
                return items.into_iter().map(|item| (item, refused())).collect();
            }
            let mut outbounds = Vec::with_capacity(items.len());
            let mut unsendable = Vec::new();
            let mut sent = Vec::with_capacity(items.len());
            for item in items {
                messaging::crash_point!("K4");
                let job = &item.job;
                // Asked for only where it decides something.
                let spec = (job.priority == Priority::High || elsewhere).then(|| kinds.get(&job.kind)).flatten();
                match outgoing::outgoing(&item, &names, &tokens, spec.as_deref()) {
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

    /// Follows up one publish.
    async fn settle(
        &self,
        lanes: &mut Lanes,
        item: Item,
        result: Result<(), PublishError>,
        confirmed: &mpsc::Sender<Item>,
    ) -> Settled {
        let job = &item.job;
        match result {
            Ok(()) => {
                messaging::crash_point!("K6");
                self.parts.metrics.published(job);
                let again = lanes.taken(&item);
                let _ = confirmed.send(item).await;
                if again { Settled::Again } else { Settled::Done }
            }
            Err(error @ (PublishError::Returned { .. } | PublishError::Nacked)) => {
                // Only this lane suffers: its queue is missing or full.
                tracing::warn!(kind = job.kind, job = %job.id, error = %error, "cannot publish, trying this kind again later");
                let why = self.elsewhere(&item).then(|| TurnedAway::of(&error));
                Settled::Refused(lanes.refuse(item), why)
            }
            // The connection is up: it is this exchange.
            Err(error @ (PublishError::Closed(_) | PublishError::TimedOut(_)))
                if self.elsewhere(&item) && self.parts.link.is_usable() =>
            {
                tracing::warn!(kind = job.kind, job = %job.id, error = %error, "cannot publish, trying this kind again later");
                self.parts.reach.doubt();
                Settled::Refused(lanes.refuse(item), Some(TurnedAway::of(&error)))
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
                    // It is found again among the strays.
                    Err(_) => self.handed.doubt.notify_one(),
                }
                Settled::Done
            }
            Err(error @ (PublishError::Closed(_) | PublishError::TimedOut(_))) => {
                tracing::debug!(job = %job.id, error = %error, "publishing again under the same id");
                lanes.put_back(item);
                Settled::Pause(Duration::from_millis(200))
            }
        }
    }
}

/// What follows from one publish.
enum Settled {
    /// Nothing more.
    Done,
    /// The broker takes rows of this lane again.
    Again,
    /// It does not: these go back to the store, with the reason if their exchange is somebody else's.
    Refused(Vec<Item>, Option<Arc<TurnedAway>>),
    /// The connection is of no use for so long.
    Pause(Duration),
}

fn next_look(refill_at: Instant, next_count: Option<Instant>, idle: bool) -> Instant {
    if idle { Instant::now() + Duration::from_millis(100) } else { next_count.map_or(refill_at, |count| refill_at.min(count)) }
}

/// Marks confirmed rows in batches, trying until the store has them; only then are their places in memory given up.
///
/// What is done with its confirm ends here, with a change like any end: synced, since an end is not taken back.
async fn mark(store: Arc<dyn JobStore>, hands_off: impl Fn(&Job) -> bool, feed: Feed, mut confirmed: mpsc::Receiver<Item>) {
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
        let now = clock::now();
        let (mut rows, mut changes) = (Vec::with_capacity(batch.len()), Vec::new());
        for item in &batch {
            let done = hands_off(&item.job);
            match confirmed_as(&item.job, done, now) {
                Some(to) => changes.push(Change { id: item.job.id, from: item.job.version, to, history: None, result: None }),
                None => rows.push((item.job.id, item.job.version)),
            }
        }
        let mut wait = Duration::from_millis(100);
        while let Err(error) = write_marks(&*store, &rows, &changes).await {
            tracing::warn!(error = %error, rows = batch.len(), "cannot mark what the broker confirmed, trying again");
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

/// What a confirm changes beyond a mark: the job is done with it, or what kept its message from going out is over.
fn confirmed_as(job: &Job, done: bool, now: Micros) -> Option<Status> {
    match job.status.outlet {
        Some(Outlet::Dead) => None,
        _ if done => Some(rules::handed_off(&job.status, now)),
        _ => rules::taken_after_all(&job.status, now),
    }
}

async fn write_marks(store: &dyn JobStore, rows: &[(Uuid, i64)], changes: &[Change]) -> Result<(), StoreError> {
    if !changes.is_empty() {
        store.apply(changes).await?;
    }
    if !rows.is_empty() {
        store.mark_published(rows, clock::now()).await?;
    }
    Ok(())
}
