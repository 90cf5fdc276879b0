//! The changes of all jobs of a kind, as they happen, for any number of subscribers.
//!
//! ```text
//! this process changes a job --note--+
//! another one does --warren.notices--+--> ids, for a tenth of a second --one query--> rows --> subscribers of the kind
//! ```
//!
//! Owns the subscriptions of this process. A note is the id of a job that has changed; what is told is the row as it is then. While nobody
//! subscribes to a kind, here or elsewhere, a note costs one look at a flag.
//!
//! Guarantees: each change of this process, and of every process that has heard of the subscription ([`Exchange`]), is told at least once
//! or is within a [`Told::Gap`]; of one job never an older state after a newer; the store is asked once per [`FeedOptions::every`] or
//! for half of [`FeedOptions::buffer`], whatever the number of subscribers. Limits: states in between may be skipped and one may be told twice; nothing is told of
//! the time before. A slow subscriber misses the oldest, is told so, and goes on. On the drain every subscription ends.

mod exchange;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use exchange::Exchange;

use crate::store::{Job, JobStore};
use crate::watch::TooMany;

/// How subscriptions are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedOptions {
    /// How long ids are gathered before the store is asked, 100 ms by default.
    pub every: Duration,
    /// Subscribers at one time in this process, 1024 by default.
    pub subscribers: usize,
    /// Changes of a kind that a slow subscriber may lie behind, 1024 by default.
    pub buffer: usize,
    /// Ids that wait to be looked up, 16,384 by default.
    pub pending: usize,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self { every: Duration::from_millis(100), subscribers: 1024, buffer: 1024, pending: 16_384 }
    }
}

/// Jobs told to others in one notice, and looked up in one statement at most.
const TOGETHER: usize = 4096;

/// How long a subscription waits for other processes to be told of it.
const ANNOUNCED: Duration = Duration::from_secs(1);

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A job, as it is after a change.
    Changed(Arc<Changed>),
    /// Something may have been missed here; the word says why.
    Gap(&'static str),
}

/// A job that has changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it is.
    pub job: Job,
    /// Who submitted it.
    pub subject: String,
}

/// The changes of kinds. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    options: FeedOptions,
    /// Whether somebody subscribes to anything, here or elsewhere.
    anybody: AtomicBool,
    state: Mutex<State>,
    /// There is something to look up.
    noted: Notify,
    drain: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Kinds that somebody subscribes to here.
    here: HashMap<String, Here>,
    /// Kinds that somebody subscribes to in another process, and until when that counts.
    elsewhere: HashMap<String, Instant>,
    /// To be looked up for those here.
    noted: HashSet<Uuid>,
    /// There was no room for more; those here are told once there is some again.
    full: bool,
    /// To be told to those elsewhere.
    telling: BTreeMap<String, HashSet<Uuid>>,
    /// More than could be told.
    untold: bool,
    /// Other processes can be told.
    connected: bool,
    /// Who waits for others to be told.
    announcing: Vec<oneshot::Sender<()>>,
}

struct Here {
    changes: broadcast::Sender<Told>,
    subscribers: usize,
}

impl Feed {
    /// Serves changes from `store` until `drain`; the task that looks is on `tasks`.
    pub fn start(store: Arc<dyn JobStore>, options: FeedOptions, tasks: &TaskTracker, drain: CancellationToken) -> Self {
        let inner = Inner { options, anybody: AtomicBool::new(false), state: Mutex::default(), noted: Notify::new(), drain };
        let feed = Self(Arc::new(inner));
        tasks.spawn(feed.clone().look(store));
        feed
    }

    /// Says that a job of `kind` has changed, and that this is stored.
    pub fn note(&self, kind: &str, id: Uuid) {
        if !self.0.anybody.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        self.note_here(&mut state, kind, id);
        if state.elsewhere.contains_key(kind) {
            let full = state.telling.values().map(HashSet::len).sum::<usize>() >= TOGETHER;
            if full {
                state.untold = true;
            } else {
                state.telling.entry(kind.to_owned()).or_default().insert(id);
            }
        }
    }

    fn note_here(&self, state: &mut State, kind: &str, id: Uuid) {
        if !state.here.contains_key(kind) {
            return;
        }
        if state.noted.len() < self.0.options.pending {
            state.noted.insert(id);
            self.0.noted.notify_one();
        } else {
            state.full = true;
        }
    }

    /// Subscribes to the jobs of `kind`, from now on. Waits until other processes are told, a second at most.
    ///
    /// # Errors
    /// [`TooMany`] at the limit.
    pub async fn subscribe(&self, kind: &str) -> Result<Subscription, TooMany> {
        let (subscription, announced) = {
            let mut state = self.lock();
            let limit = self.0.options.subscribers;
            if state.here.values().map(|here| here.subscribers).sum::<usize>() >= limit {
                return Err(TooMany(limit));
            }
            let buffer = self.0.options.buffer;
            let new = || Here { changes: broadcast::Sender::new(buffer), subscribers: 0 };
            let here = state.here.entry(kind.to_owned()).or_insert_with(new);
            here.subscribers += 1;
            let changes = here.changes.subscribe();
            let announced = state.connected.then(oneshot::channel).map(|(announce, announced)| {
                state.announcing.push(announce);
                announced
            });
            self.0.anybody.store(true, Ordering::Relaxed);
            (Subscription { kind: kind.to_owned(), changes, feed: self.clone() }, announced)
        };
        if let Some(announced) = announced {
            let _ = tokio::time::timeout(ANNOUNCED, announced).await;
        }
        Ok(subscription)
    }

    /// Looks up what is noted, and tells it.
    async fn look(self, store: Arc<dyn JobStore>) {
        loop {
            tokio::select! {
                () = self.0.drain.cancelled() => return,
                () = self.0.noted.notified() => tokio::time::sleep(self.0.options.every).await,
            }
            loop {
                let ids = self.take_noted();
                match store.submitted(&ids).await {
                    Ok(found) => self.tell(found),
                    Err(error) => {
                        tracing::warn!(error = %error, jobs = ids.len(), "cannot look at jobs that have changed");
                        self.gap("store");
                    }
                }
                // What came meanwhile waits its tenth of a second as well.
                if ids.len() < self.at_once() {
                    break;
                }
            }
        }
    }

    /// Subscribers who read have time to, before the next ones come.
    fn at_once(&self) -> usize {
        (self.0.options.buffer / 2).clamp(1, TOGETHER)
    }

    fn take_noted(&self) -> Vec<Uuid> {
        let mut state = self.lock();
        if std::mem::take(&mut state.full) {
            Self::tell_gap(&state, "busy");
        }
        let ids: Vec<Uuid> = state.noted.iter().take(self.at_once()).copied().collect();
        for id in &ids {
            state.noted.remove(id);
        }
        ids
    }

    fn tell(&self, found: Vec<(Job, String)>) {
        let state = self.lock();
        for (job, subject) in found {
            if let Some(here) = state.here.get(&job.kind) {
                let _ = here.changes.send(Told::Changed(Arc::new(Changed { job, subject })));
            }
        }
    }

    /// Says that changes may have been stored here without being noted.
    pub fn doubt(&self) {
        if self.0.anybody.load(Ordering::Relaxed) {
            let mut state = self.lock();
            state.untold |= !state.elsewhere.is_empty();
            Self::tell_gap(&state, "store");
        }
    }

    /// Tells every subscriber that something may have been missed.
    fn gap(&self, why: &'static str) {
        Self::tell_gap(&self.lock(), why);
    }

    fn tell_gap(state: &State, why: &'static str) {
        for here in state.here.values() {
            let _ = here.changes.send(Told::Gap(why));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see_who_is_there(&self, state: &State) {
        self.0.anybody.store(!state.here.is_empty() || !state.elsewhere.is_empty(), Ordering::Relaxed);
    }
}

/// One who hears of the jobs of a kind. Gives its place up on drop.
pub struct Subscription {
    kind: String,
    changes: broadcast::Receiver<Told>,
    feed: Feed,
}

impl Subscription {
    /// What happens next; `None` when nothing more will be told, since the process drains. Cancel-safe.
    pub async fn next(&mut self) -> Option<Told> {
        tokio::select! {
            biased;
            () = self.feed.0.drain.cancelled() => None,
            told = self.changes.recv() => match told {
                Ok(told) => Some(told),
                Err(RecvError::Lagged(_)) => Some(Told::Gap("slow")),
                Err(RecvError::Closed) => None,
            },
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.feed.lock();
        if let Some(here) = state.here.get_mut(&self.kind) {
            here.subscribers -= 1;
            if here.subscribers == 0 {
                state.here.remove(&self.kind);
            }
        }
        self.feed.see_who_is_there(&state);
    }
}
