//! How a row that was just stored comes to the relay without being read back.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::Item;
use super::memory::{Memory, is_work};
use super::room::{RoomLimits, Ticket};
use super::window::Windows;
use crate::feed::Feed;
use crate::store::{Job, JobStore, Payload, ProcessId, Waiting};

/// The way into the relay's memory. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct HandOver {
    me: ProcessId,
    memory: Memory,
    queue: mpsc::UnboundedSender<Item>,
    wake: Arc<Notify>,
    doubt: Arc<Notify>,
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

    /// A place in memory for a row that is about to be stored as `job` says, if it may go out and there is one: with a ticket it is
    /// stored as this process's own and then given; without one it is stored without an owner.
    pub fn reserve(&self, job: &Job, payload: &Payload) -> Option<Ticket> {
        self.memory.admit(job.priority, job, payload)
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
        self.memory.rooms.held()
    }

    /// Says that a write had no answer: the store may hold rows as this process's own that were never given, and changes that were
    /// never noted.
    pub fn doubt(&self) {
        self.doubt.notify_one();
        if let Some(feed) = &self.feed {
            feed.doubt();
        }
    }

    /// Says that a row is due in the store that nobody holds. The relay is not woken for what may not go out yet.
    pub fn waits(&self, job: &Job) {
        let windows = &self.memory.windows;
        if !is_work(job.status.outlet) || windows.room(&job.kind, job.priority) > 0 {
            self.wake();
        } else {
            windows.want(&job.kind, job.priority);
        }
    }

    /// Says that something may be due in the store that nobody holds.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The relay's end of a [`HandOver`].
pub struct HandedOver {
    pub(super) queue: mpsc::UnboundedReceiver<Item>,
    pub(super) memory: Memory,
    pub(super) wake: Arc<Notify>,
    pub(super) doubt: Arc<Notify>,
}

impl HandedOver {
    /// Counts windows where it is time to, as one of `sharers` processes; `true` if there is room now where somebody waits for it.
    /// The relay does so as it runs; before the first count there is no room.
    pub async fn count(&self, store: &dyn JobStore, sharers: u32) -> bool {
        let Memory { rooms, windows } = &self.memory;
        windows.count(store, sharers, |kind, class| rooms.of_kind(class, kind)).await
    }
}

/// The way rows are handed over, made before the relay so that the writer can be.
pub fn hand_over(me: ProcessId, limits: RoomLimits, windows: Windows) -> (HandOver, HandedOver) {
    let (sender, queue) = mpsc::unbounded_channel();
    let memory = Memory::new(limits, windows);
    let (wake, doubt) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hand_over = HandOver { me, memory: memory.clone(), queue: sender, wake: wake.clone(), doubt: doubt.clone(), feed: None };
    (hand_over, HandedOver { queue, memory, wake, doubt })
}
