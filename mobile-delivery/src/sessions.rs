//! Sessions at work: devices that are connected to this process, each a task that has a [`Session`](crate::session::Session), a wire and a lane.
//!
//! ```text
//! socket, stream --frames--> driver <--deliveries-- lane (the device's queue)
//!                              |  ^
//!             claims, acks,    |  |   pages, ends, "look", "acked"
//!             ends of sessions v  |
//!     one task for each sort: what waits, in one statement ---> store
//! ```
//!
//! Owns who is connected here, and what is asked of the store for them together. Refuses to own what a session decides ([`crate::session`]), rows,
//! queues, and how a connection is made ([`crate::socket`], [`crate::stream`], [`crate::poll`]).
//!
//! Guarantees:
//!
//! * the newest session of a device has it. An older one of this process ends at once, one elsewhere when its process hears of it
//!   (`telling.rs`), else with its next ack, else with the slow round: what it acks meanwhile counts for nothing (the fence);
//! * a device that comes back declares nothing, and one that has nothing to get reads nothing: its claim says so;
//! * rows do not wait for the broker: a session whose lane is not there in [`Options::lane_within`] begins without, and reads anew when it comes;
//! * an ack is tried until the store has it, or the process goes. A lost one costs a copy;
//! * what a device acks by a request, at any process, its session comes to know: by a word, or by asking within [`Limits::check_every`] (`checking.rs`).
//!
//! Limits: [`Options::sessions`]. An idle session is a task with empty hands; what one holds is bounded by its window. A device that reads nothing is
//! cut off after [`Options::write_within`], and holds up nobody else. What the lane brings is given without a look at its row while it is younger
//! than [`Options::fresh`]: one that is cancelled or expires meanwhile is taken back as soon as its session hears of it (`withdrawing.rs`), and is given
//! all the same where it does not: the notice is lost, or the device has it already.

mod asking;
mod checking;
mod claiming;
mod deliveries;
mod draining;
mod driver;
mod hearing;
mod listening;
mod log;
mod metrics;
mod opening;
mod polls;
mod post;
mod publishing;
mod round;
pub(crate) mod rows;
mod settling;
mod telling;
mod tenure;
mod waiting;
mod watching;
pub mod wire;
mod withdrawing;

use std::sync::Arc;
use std::time::Duration;

use door::auth::Verifier;
use door::current::Current;
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

pub use telling::Notices;

pub(crate) use log::Listener;
pub(crate) use opening::Bearer;
pub(crate) use polls::Rung;
pub(crate) use tenure::Tenure;

use crate::follow::{Follow, NewEntry};
use crate::poll::Polling;
use crate::receipts::Outlet;
use crate::rooms::{RoomOptions, Rooms};
use crate::sending::Sender;
use crate::session::Limits;
use crate::shards::Shards;
use crate::store::{Micros, Number, Placed, ProcessId, Recalled, Session, Stores, Withdrawn};
use checking::Check;
use claiming::{Coming, Leaving};
use driver::Driver;
use hearing::Hears;
use log::Log;
use metrics::Metrics;
use post::Post;
use settling::Settlement;
use telling::Telling;
use tenure::Live;
use waiting::Waiting;
use watching::Watched;
use wire::Wire;

/// How sessions work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections of devices at one time, polls too; 20,000 by default. More are refused.
    pub sessions: usize,
    /// What each session is held to.
    pub limits: Limits,
    /// How long a session waits for its lane before it begins without; 2 s by default.
    pub lane_within: Duration,
    /// How long a message may have been on its way to be given without a look at its row; 5 s by default.
    pub fresh: Duration,
    /// How often each session is looked at by the slow round; 30 s by default.
    pub round: Duration,
    /// Reads of pages at one time; 6 by default, so that others have connections to the database too.
    pub reads: usize,
    /// How long a device may take to take what is sent; 10 s by default.
    pub write_within: Duration,
    /// How often something is written to a stream, so that a dead one is noticed on both sides; 20 s by default.
    pub keep_alive: Duration,
    /// How long the drain may take; 20 s by default. Longer than that nobody is waited for.
    pub drain_within: Duration,
    /// In what time those who were told to go come back elsewhere; 10 s by default.
    pub goaway_spread: Duration,
    /// What devices may publish.
    pub rooms: RoomOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sessions: 20_000,
            limits: Limits::default(),
            lane_within: Duration::from_secs(2),
            fresh: Duration::from_secs(5),
            round: Duration::from_secs(30),
            reads: 6,
            write_within: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            drain_within: Duration::from_secs(20),
            goaway_spread: Duration::from_secs(10),
            rooms: RoomOptions::default(),
        }
    }
}

/// What sessions work with.
pub struct Parts {
    /// Rows.
    pub stores: Stores,
    /// Queues. They must work until sessions have ended: stop them after the tasks of sessions.
    pub shards: Shards,
    /// Who is believed.
    pub verifier: Arc<Verifier>,
    /// This process, which somebody beats for ([`SessionStore::beat`](crate::store::SessionStore::beat)).
    pub me: ProcessId,
    /// The way to other processes; `None` where there are none.
    pub notices: Option<Notices>,
    /// Who hears of comings and goings, and that receipts were written; `None` where nobody does.
    pub outlet: Option<Outlet>,
}

/// The sessions of this process. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    stores: Stores,
    shards: Shards,
    verifier: Arc<Verifier>,
    me: ProcessId,
    outlet: Option<Outlet>,
    options: Options,
    limits: Arc<Limits>,
    metrics: Metrics,
    live: Live,
    coming: Waiting<Coming>,
    leaving: Waiting<Leaving>,
    settling: Waiting<Settlement>,
    checking: Waiting<Check>,
    telling: Telling,
    suspects: Waiting<Number>,
    ended: Waiting<(Number, Uuid)>,
    log: Log,
    hearing: Waiting<Hears>,
    rooms: Rooms,
    watched: Watched,
    polling: Polling,
    reads: Semaphore,
    places: Arc<Semaphore>,
    drain: CancellationToken,
    /// Tasks of connections.
    connections: TaskTracker,
    /// All others.
    tasks: TaskTracker,
}

impl Sessions {
    /// Starts what serves sessions, on `tasks`, until `drain`; then sessions end, and `tasks` once they have.
    ///
    /// # Errors
    /// When `registry` has one of the metrics already.
    pub fn start(
        parts: Parts,
        options: Options,
        tasks: &TaskTracker,
        drain: CancellationToken,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let Parts { stores, shards, verifier, me, notices, outlet } = parts;
        let sessions = Self(Arc::new(Inner {
            stores,
            shards,
            verifier,
            me,
            outlet,
            limits: Arc::new(options.limits.clone()),
            metrics: Metrics::new(registry)?,
            live: Live::default(),
            coming: Waiting::default(),
            leaving: Waiting::default(),
            settling: Waiting::default(),
            checking: Waiting::default(),
            telling: Telling::default(),
            suspects: Waiting::default(),
            ended: Waiting::default(),
            log: Log::default(),
            hearing: Waiting::default(),
            rooms: Rooms::new(options.rooms),
            watched: Watched::default(),
            polling: Polling::default(),
            reads: Semaphore::new(options.reads.max(1)),
            places: Arc::new(Semaphore::new(options.sessions)),
            drain: drain.clone(),
            connections: TaskTracker::new(),
            tasks: tasks.clone(),
            options,
        }));
        // It waits for none that comes later: those are refused.
        sessions.0.connections.close();
        let over = CancellationToken::new();
        tasks.spawn(sessions.clone().claims(over.clone()));
        tasks.spawn(sessions.clone().settles(over.clone()));
        tasks.spawn(sessions.clone().releases(over.clone()));
        tasks.spawn(sessions.clone().checks(over.clone()));
        tasks.spawn(sessions.clone().looks(over.clone()));
        tasks.spawn(sessions.clone().withdraws(over.clone()));
        tasks.spawn(sessions.clone().reads_logs(over.clone()));
        tasks.spawn(sessions.clone().hears(over.clone()));
        tasks.spawn(sessions.clone().watches(over.clone()));
        tasks.spawn(sessions.clone().rounds(over.clone()));
        match notices {
            Some(Notices { publisher, link, names }) => {
                tasks.spawn(sessions.clone().listens(link, names.clone(), over.clone()));
                tasks.spawn(sessions.clone().tells(publisher, names, over.clone()));
            }
            None => {
                tasks.spawn(sessions.clone().tells_nobody(over.clone()));
            }
        }
        tasks.spawn(sessions.clone().drains(drain, over));
        Ok(sessions)
    }

    /// Sessions that are here now.
    pub fn count(&self) -> usize {
        self.0.live.len()
    }

    /// What devices publish is sent by this; until the drain is over.
    pub fn publish_by(&self, sender: Sender) {
        self.0.rooms.sends_by(Some(sender));
    }

    /// Rows.
    pub(crate) fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// A turn to read a page of the store.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Closed never.
        self.0.reads.acquire().await.ok()
    }

    /// What this process takes of what devices publish.
    pub(crate) fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    /// How often something is written to a stream.
    pub(crate) fn keep_alive(&self) -> Duration {
        self.0.options.keep_alive
    }

    /// A place for one more connection; `None` when there is none, or the process drains.
    pub(crate) fn place(&self) -> Option<Place> {
        let waited_for = self.0.connections.token();
        if self.0.drain.is_cancelled() {
            return None;
        }
        let place = self.0.places.clone().try_acquire_owned().ok()?;
        Some(Place { _counted: place, _waited_for: waited_for })
    }

    /// Runs the session of a connection to its end. What it holds while nothing happens is small: the rest is made when it is needed.
    pub(crate) fn serve<W: Wire + 'static>(
        self,
        wire: W,
        bearer: Option<Bearer>,
        current: Option<Current>,
        place: Place,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut driver = Box::new(Driver::new(self, wire, bearer, current));
        async move {
            driver.run().await;
            Box::pin(driver.leave()).await;
            drop(place);
        }
    }

    /// The same in a task of its own, for a connection whose request is answered meanwhile.
    pub(crate) fn serve_apart<W: Wire + 'static>(self, wire: W, bearer: Bearer, place: Place) {
        let connections = self.0.connections.clone();
        connections.spawn(self.serve(wire, Some(bearer), None, place));
    }
}

/// A place for a connection, which the drain waits for.
pub(crate) struct Place {
    _counted: OwnedSemaphorePermit,
    _waited_for: TaskTrackerToken,
}

impl Follow for Sessions {
    /// Wakes those that no lane wakes.
    fn placed(&self, deliveries: &[Placed]) {
        for placed in deliveries {
            if let Some(entry) = self.0.live.get(placed.device).filter(|entry| !entry.post.is_laned()) {
                entry.post.look();
            }
        }
    }

    fn logged(&self, entries: &[NewEntry]) {
        self.0.log.append(entries);
        entries.iter().for_each(|new| self.0.telling.logged(&new.tenant, new.entry.entry));
    }

    fn recalled(&self, recalled: &Recalled) {
        self.recall_entry(recalled);
    }

    /// Who watches it may not any more.
    fn regrouped(&self, tenant: &str, group: &str) {
        self.attendance_changed(tenant, &[group.to_owned()]);
    }

    /// What has no place is given to nobody.
    fn scheduled(&self, _: Micros) {}

    fn put_out(&self, device: Number, session: &Session) {
        self.put_out_session(device, session);
    }

    fn withdrawn(&self, deliveries: &[Withdrawn]) {
        self.withdraw(deliveries);
    }
}
