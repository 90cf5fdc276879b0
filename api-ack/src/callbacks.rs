//! Callbacks: whoever submitted a job is told over HTTP when it has ended, signed after Standard Webhooks.
//!
//! ```text
//! accept: job and callback in one transaction ... the job ends, by whatever process -> owed -> claimed -> one POST -> delivered
//!                                                                                     ^                     |
//!                                                                                     '-- 5 s to 24 h ------+-> failed, disabled
//! ```
//!
//! A callback is as certain as the end it tells of: its row is there with the job, and the end of the job makes it findable
//! ([`crate::store::CallbackStore::owe`]), so that no process has to remember anything. Each look of a process (about once a second)
//! owes what has ended, and claims what is due, host by host, so that one that hangs keeps no other waiting. A claim lapses:
//! what a process was calling when it died is called again, under the same `webhook-id`.
//!
//! Guarantees: at least once per end of the job, as long as the schedule lasts; a job that was redriven is told of when it ends again.
//! Limits: nothing is promised about order. Of an answer only the status is kept: its body could be read by who may not see it.

mod call;
pub mod guard;
mod metrics;
mod rules;
mod schedule;
mod sign;
mod told;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::call::{Courier, Post, Reply};
pub use self::metrics::Metrics;
pub use self::rules::{CALLBACK_HEADER, CallbackError, CallbackRules, CallbackSettings, URL_MAX};
pub use self::sign::{SecretError, SigningSecret};
use crate::clock;
use crate::store::{Claimed, Micros, StoreError, Stores};

/// How a process calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackOptions {
    /// Calls at one time, 64 by default.
    pub concurrency: usize,
    /// The same to one host and port, 8 by default.
    pub per_host: u32,
    /// How long one call may take, from the resolution of the name to the end of the answer; 15 s by default.
    pub timeout: Duration,
}

impl Default for CallbackOptions {
    fn default() -> Self {
        Self { concurrency: 64, per_host: 8, timeout: Duration::from_secs(15) }
    }
}

/// How often ended jobs and due callbacks are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How long a claim lasts beyond the call itself: the way to the store and back, which may be away for a moment.
const SLACK: Duration = Duration::from_secs(45);

/// Ended jobs that one statement takes.
const BATCH: u32 = 500;

/// Hosts that one look walks over.
const HOSTS: u32 = 1000;

/// How soon the next look is when there are more hosts than that.
const MANY: Duration = Duration::from_millis(100);

/// The gauge counts no further, and not more often than every so many looks.
const COUNTED: u32 = 100_000;
const COUNT_EVERY: u32 = 10;

/// What calls in one process. Cheap to clone.
#[derive(Clone)]
pub struct Callbacks {
    stores: Stores,
    rules: CallbackRules,
    courier: Arc<dyn Courier>,
    options: CallbackOptions,
    metrics: Metrics,
    running: Arc<Running>,
}

/// Calls that are being made.
struct Running {
    room: Arc<Semaphore>,
    by_host: Mutex<HashMap<String, u32>>,
    /// Told when a call is over.
    over: Notify,
}

/// A place for one call.
struct Place {
    room: Option<OwnedSemaphorePermit>,
    host: String,
    running: Arc<Running>,
}

impl Running {
    fn by_host(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.by_host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call of `host`, if there is one in all.
    fn place(self: &Arc<Self>, host: &str) -> Option<Place> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        *self.by_host().entry(host.to_owned()).or_default() += 1;
        Some(Place { room: Some(room), host: host.to_owned(), running: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_host = self.running.by_host();
        if let Some(count) = by_host.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                by_host.remove(&self.host);
            }
        }
        drop(by_host);
        // Whoever is told finds the place free.
        self.room = None;
        self.running.over.notify_one();
    }
}

/// What a look came to.
#[derive(Default)]
struct Looked {
    /// When there is something to do that waits for nothing but its time.
    next: Option<Micros>,
    /// There is more than there was room for.
    more: bool,
}

impl Callbacks {
    /// Callbacks in `stores`, called by `courier` as `rules` allow.
    pub fn new(
        stores: Stores,
        rules: CallbackRules,
        courier: Arc<dyn Courier>,
        options: CallbackOptions,
        metrics: Metrics,
    ) -> Self {
        let running =
            Running { room: Arc::new(Semaphore::new(options.concurrency)), by_host: Mutex::default(), over: Notify::new() };
        Self { stores, rules, courier, options, metrics, running: Arc::new(running) }
    }

    /// Calls until `drain`; the calls that are made then go on as `tasks`.
    pub async fn run(self, tasks: TaskTracker, drain: CancellationToken) {
        let mut after = String::new();
        for look in 0_u32.. {
            let looked = match self.look(&mut after, &tasks, &drain).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!(error = %error, "callbacks cannot be looked for");
                    Looked::default()
                }
            };
            if look.is_multiple_of(COUNT_EVERY)
                && let Ok(owed) = self.stores.callbacks.count_owed(COUNTED).await
            {
                self.metrics.owed(owed);
            }
            let wait = looked.next.map_or(LOOK, |next| micros_until(next).clamp(Duration::from_millis(10), LOOK));
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.running.over.notified(), if looked.more => {}
            }
        }
    }

    /// Owes what has ended, and begins the calls that are due and for which there is room.
    async fn look(&self, after: &mut String, tasks: &TaskTracker, drain: &CancellationToken) -> Result<Looked, StoreError> {
        while self.stores.callbacks.owe(clock::now(), BATCH).await? >= u64::from(BATCH) {}
        let from = after.clone();
        let hosts = self.stores.callbacks.owed_hosts(&from, HOSTS).await?;
        let last = hosts.last().filter(|_| hosts.len() >= HOSTS as usize).map(|(host, _)| host.clone());
        let now = clock::now();
        let mut looked = Looked::default();
        for (host, due_at) in hosts {
            if due_at > now {
                looked.next = Some(looked.next.map_or(due_at, |next| next.min(due_at)));
                continue;
            }
            let busy = self.running.by_host().get(&host).copied().unwrap_or(0);
            let places: Vec<Place> = (busy..self.options.per_host).map_while(|_| self.running.place(&host)).collect();
            let until = now.saturating_add(micros(self.options.timeout + SLACK));
            let room = u32::try_from(places.len()).unwrap_or(u32::MAX);
            if room == 0 {
                looked.more = true;
                continue;
            }
            let claimed = self.stores.callbacks.claim_callbacks(&host, now, until, room).await?;
            looked.more |= claimed.len() >= places.len();
            for (claimed, place) in claimed.into_iter().zip(places) {
                tasks.spawn(self.clone().one(claimed, place, until, drain.clone()));
            }
            *after = host;
        }
        // While there is room the walk goes on, page by page and round again; without any, the next one begins behind who was served last.
        if self.running.room.available_permits() > 0 {
            *after = last.unwrap_or_default();
            if !after.is_empty() || !from.is_empty() {
                looked.next = Some(now.saturating_add(micros(MANY)));
            }
        }
        Ok(looked)
    }

    /// One call, and what becomes of its callback.
    async fn one(self, claimed: Claimed, place: Place, until: Micros, drain: CancellationToken) {
        let job = claimed.callback.job;
        let settled = match self.call(claimed).await {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!(job = %job, error = %error, "a callback cannot be made now: it is due again in a minute");
                return;
            }
        };
        drop(place);
        messaging::crash_point!("K15");
        // The store may be away for a moment; when the claim has lapsed the call is made again, and nothing is lost.
        let mut left = if drain.is_cancelled() { 3 } else { u32::MAX };
        while left > 0 && clock::now() < until {
            match self.stores.callbacks.settle(&settled).await {
                Ok(_) => return,
                Err(error) => tracing::debug!(job = %job, error = %error, "what came of a callback cannot be put down yet"),
            }
            left -= 1;
            if drain.is_cancelled() {
                left = left.min(3);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tracing::warn!(job = %job, "what came of a callback could not be put down: it is made again");
    }
}

fn micros(span: Duration) -> Micros {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn micros_until(at: Micros) -> Duration {
    Duration::from_micros(u64::try_from(at.saturating_sub(clock::now())).unwrap_or(0))
}
