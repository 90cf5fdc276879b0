//! Waiting for a job to change, whoever changes it.
//!
//! ```text
//! this process changes a job --tell--> its subscribers, at once
//! another process does       --one query for all watched jobs, every 250 ms while somebody watches--> its subscribers
//! ```
//!
//! Owns the subscriptions of this process. Guarantees: a subscriber sees the newest state within about a tick, and never an older
//! one after a newer; states in between may be skipped. The store is asked once per tick, for however many wait, and not at all
//! while nobody does; when its answer takes long, ticks come less often. Refuses more than [`WatchOptions::limit`] subscribers.
//! On the drain every subscription ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::feed::Feed;
use crate::store::{Job, JobStore, Progress, StoreError};

/// How subscriptions are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// Between two looks into the store, 250 ms by default.
    pub every: Duration,
    /// Subscribers at one time in this process, 4096 by default.
    pub limit: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { every: Duration::from_millis(250), limit: 4096 }
    }
}

/// There are as many subscribers as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} wait for jobs in this process already")]
pub struct TooMany(pub usize);

/// Jobs looked up in one statement.
const TOGETHER: usize = 4096;

/// The longest time between two looks.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The jobs somebody waits for. Cheap to clone.
#[derive(Clone)]
pub struct Watch(Arc<Inner>, Option<Feed>);

struct Inner {
    options: WatchOptions,
    /// So that telling costs nothing while nobody watches.
    subscribers: AtomicUsize,
    watched: Mutex<HashMap<Uuid, Watched>>,
    /// Somebody new watches.
    wake: Notify,
    drain: CancellationToken,
}

struct Watched {
    newest: watch::Sender<Seen>,
    progress: watch::Sender<Option<Progress>>,
    subscribers: usize,
    /// Those among them who want to know how far it is.
    followers: usize,
}

/// What is known of a watched job.
#[derive(Clone, Debug)]
enum Seen {
    /// Not yet looked up.
    Nothing,
    /// This, at least.
    Job(Arc<Job>),
    /// It is not there: it never was, or retention has taken it.
    Gone,
}

impl Watch {
    /// Watches jobs in `store` until `drain`; the task that looks is on `tasks`.
    pub fn start(store: Arc<dyn JobStore>, options: WatchOptions, tasks: &TaskTracker, drain: CancellationToken) -> Self {
        let watch = Self(
            Arc::new(Inner { options, subscribers: AtomicUsize::new(0), watched: Mutex::default(), wake: Notify::new(), drain }),
            None,
        );
        tasks.spawn(watch.clone().look(store));
        watch
    }

    /// Notes for `feed` whatever this is told.
    #[must_use]
    pub fn feeding(self, feed: Feed) -> Self {
        Self(self.0, Some(feed))
    }

    /// Subscribes to a job that the caller has seen at version `seen`: only what is newer is told. 0 for a caller that has seen
    /// nothing, which is then told at once how the job stands.
    ///
    /// # Errors
    /// [`TooMany`] at the limit.
    pub fn job(&self, id: Uuid, seen: i64) -> Result<Subscription, TooMany> {
        self.subscribe(id, seen, false)
    }

    /// As [`Watch::job`], for one who wants to know how far the job is, too: [`Subscription::news`].
    ///
    /// # Errors
    /// [`TooMany`] at the limit.
    pub fn follow(&self, id: Uuid, seen: i64) -> Result<Subscription, TooMany> {
        self.subscribe(id, seen, true)
    }

    fn subscribe(&self, id: Uuid, seen: i64, follows: bool) -> Result<Subscription, TooMany> {
        let mut watched = self.lock();
        let limit = self.0.options.limit;
        if self.0.subscribers.load(Ordering::Relaxed) >= limit {
            return Err(TooMany(limit));
        }
        self.0.subscribers.fetch_add(1, Ordering::Relaxed);
        let job = watched.entry(id).or_insert_with(Watched::new);
        job.subscribers += 1;
        job.followers += usize::from(follows);
        let (newest, mut progress) = (job.newest.subscribe(), job.progress.subscribe());
        // What is known already is news to the one who comes now.
        if progress.borrow().is_some() {
            progress.mark_changed();
        }
        drop(watched);
        self.0.wake.notify_one();
        Ok(Subscription { id, version: seen, newest, progress, follows, watch: self.clone() })
    }

    /// Says what a job has become, as this process has stored it. Costs nothing while nobody watches.
    pub fn tell(&self, job: &Job) {
        self.note(job);
        if self.0.subscribers.load(Ordering::Relaxed) > 0
            && let Some(watched) = self.lock().get(&job.id)
        {
            watched.tell(job);
        }
    }

    /// Says that a job has changed, for those who follow its kind: one who does not know what it has become.
    pub fn note(&self, job: &Job) {
        if let Some(feed) = &self.1 {
            feed.note(&job.kind, job.id);
        }
    }

    /// Says how far a job is, as this process has stored it. Costs nothing while nobody watches.
    pub fn tell_progress(&self, id: Uuid, progress: &Progress) {
        if self.0.subscribers.load(Ordering::Relaxed) > 0
            && let Some(watched) = self.lock().get(&id)
        {
            watched.tell_progress(progress);
        }
    }

    /// Looks into the store while somebody watches.
    async fn look(self, store: Arc<dyn JobStore>) {
        let drain = self.0.drain.clone();
        loop {
            let ids = self.open();
            let begun = Instant::now();
            if ids.is_empty() {
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = self.0.wake.notified() => continue,
                }
            }
            for ids in ids.chunks(TOGETHER) {
                match self.look_at(&*store, ids).await {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot look at the jobs that are waited for, trying again");
                        break;
                    }
                }
            }
            let rest = (begun.elapsed() * 4).clamp(self.0.options.every, LONGEST_REST.max(self.0.options.every));
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn look_at(&self, store: &dyn JobStore, ids: &[Uuid]) -> Result<(), StoreError> {
        self.compare(ids, &store.load(ids).await?);
        let followed: Vec<Uuid> = {
            let watched = self.lock();
            ids.iter().filter(|id| watched.get(id).is_some_and(|watched| watched.followers > 0)).copied().collect()
        };
        if !followed.is_empty() {
            for (id, progress) in store.progress(&followed).await? {
                self.tell_progress(id, &progress);
            }
        }
        Ok(())
    }

    /// What may still change.
    fn open(&self) -> Vec<Uuid> {
        let watched = self.lock();
        let ended = |seen: &Seen| match seen {
            Seen::Nothing => false,
            Seen::Job(job) => job.status.state.is_end(),
            Seen::Gone => true,
        };
        watched.iter().filter(|(_, watched)| !ended(&watched.newest.borrow())).map(|(id, _)| *id).collect()
    }

    fn compare(&self, asked: &[Uuid], found: &[Job]) {
        let found: HashMap<Uuid, &Job> = found.iter().map(|job| (job.id, job)).collect();
        let watched = self.lock();
        for id in asked {
            match (watched.get(id), found.get(id)) {
                (Some(watched), Some(job)) => watched.tell(job),
                (Some(watched), None) => drop(watched.newest.send_replace(Seen::Gone)),
                (None, _) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Watched>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn new() -> Self {
        Self { newest: watch::Sender::new(Seen::Nothing), progress: watch::Sender::new(None), subscribers: 0, followers: 0 }
    }

    fn tell_progress(&self, progress: &Progress) {
        self.progress.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|known| known.order() < progress.order());
            if newer {
                *known = Some(progress.clone());
            }
            newer
        });
    }

    fn tell(&self, job: &Job) {
        self.newest.send_if_modified(|seen| {
            let newer = match seen {
                Seen::Nothing => true,
                Seen::Job(known) => known.version < job.version,
                Seen::Gone => false,
            };
            if newer {
                *seen = Seen::Job(Arc::new(job.clone()));
            }
            newer
        });
    }
}

/// One who waits for one job. Gives its place up on drop.
pub struct Subscription {
    id: Uuid,
    /// The newest version told.
    version: i64,
    newest: watch::Receiver<Seen>,
    progress: watch::Receiver<Option<Progress>>,
    follows: bool,
    watch: Watch,
}

/// What is told to one who follows a job.
#[derive(Clone, Debug)]
pub enum News {
    /// It has changed.
    Job(Arc<Job>),
    /// Its handler says how far it is.
    Progress(Progress),
}

impl Subscription {
    /// The job as soon as it is newer than what was told before. `None` when nothing more will be told: the process drains, or there
    /// is no such job (any more). Cancel-safe.
    pub async fn changed(&mut self) -> Option<Arc<Job>> {
        let drain = self.watch.0.drain.clone();
        let version = self.version;
        let newer = |seen: &Seen| match seen {
            Seen::Nothing => false,
            Seen::Job(job) => job.version > version,
            Seen::Gone => true,
        };
        let seen = tokio::select! {
            biased;
            seen = self.newest.wait_for(newer) => seen.ok()?.clone(),
            () = drain.cancelled() => return None,
        };
        match seen {
            Seen::Job(job) => {
                self.version = job.version;
                Some(job)
            }
            Seen::Nothing | Seen::Gone => None,
        }
    }

    /// As [`Subscription::changed`], or how far the job is, once that is known or has changed. A change comes first. Cancel-safe.
    pub async fn news(&mut self) -> Option<News> {
        let mut progress = self.progress.clone();
        let changed = tokio::select! {
            biased;
            job = self.changed() => Some(job),
            _ = progress.changed() => None,
        };
        match changed {
            Some(job) => job.map(News::Job),
            None => {
                let said = progress.borrow_and_update().clone();
                self.progress = progress;
                said.map(News::Progress)
            }
        }
    }

    /// The job once it has ended; `None` as for [`Subscription::changed`]. Put a time limit around it: a job may take days.
    /// A job that had ended as `seen` is not told again: ask first whether that had, or subscribe with 0. Cancel-safe.
    pub async fn ended(&mut self) -> Option<Arc<Job>> {
        loop {
            let job = self.changed().await?;
            if job.status.state.is_end() {
                return Some(job);
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watched = self.watch.lock();
        self.watch.0.subscribers.fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut job) = watched.entry(self.id) {
            job.get_mut().subscribers -= 1;
            job.get_mut().followers -= usize::from(self.follows);
            if job.get().subscribers == 0 {
                job.remove();
            }
        }
    }
}
