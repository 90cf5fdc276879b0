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
use crate::store::{Claimed, Micros, StoreError, Stores};
use database::clock;

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

/// How soon the next look is while there are more hosts than that.
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

/// The walk over hosts, page by page and round again.
#[derive(Default)]
struct Walk {
    /// The host behind which the next page begins; empty when a round begins.
    after: String,
    /// The least time that a host of this round waits for.
    least: Option<Micros>,
}

impl Walk {
    fn waits(&mut self, due_at: Micros) {
        self.least = Some(self.least.map_or(due_at, |least| least.min(due_at)));
    }

    /// Goes on behind `last`, soon, or round again, when the first host of the round has something to do; `None` when none waits, or
    /// there is no room: then the end of a call is waited for, whatever is due meanwhile.
    fn on(&mut self, last: Option<String>, room: bool, now: Micros) -> Option<Micros> {
        if !room {
            return None;
        }
        let next = if last.is_some() { Some(now.saturating_add(micros(MANY))) } else { self.least.take() };
        self.after = last.unwrap_or_default();
        next
    }
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
        let mut walk = Walk::default();
        for look in 0_u32.. {
            let looked = match self.look(&mut walk, &tasks, &drain).await {
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
    async fn look(&self, walk: &mut Walk, tasks: &TaskTracker, drain: &CancellationToken) -> Result<Looked, StoreError> {
        while self.stores.callbacks.owe(clock::now(), BATCH).await? >= u64::from(BATCH) {}
        let hosts = self.stores.callbacks.owed_hosts(&walk.after, HOSTS).await?;
        let last = hosts.last().filter(|_| hosts.len() >= HOSTS as usize).map(|(host, _)| host.clone());
        let now = clock::now();
        let mut looked = Looked::default();
        for (host, due_at) in hosts {
            if due_at > now {
                walk.waits(due_at);
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
            walk.after = host;
        }
        // While there is room the walk goes on; without any, the next page begins behind who was served last.
        let room = self.running.room.available_permits() > 0;
        looked.next = walk.on(last, room, now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_hurries_within_a_round_and_rests_before_the_next() {
        let (mut walk, now) = (Walk::default(), 1_000_000_000);
        let hour = now + 3_600_000_000;
        for round in 0..3 {
            for page in ["k", "t"] {
                walk.waits(hour + round);
                assert_eq!(walk.on(Some(page.to_owned()), true, now), Some(now + micros(MANY)));
                assert_eq!(walk.after, page);
            }
            // The last page may be empty: the least of all pages counts.
            assert_eq!(walk.on(None, true, now), Some(hour + round));
            assert_eq!(walk.after, "");
        }
        assert_eq!(walk.on(None, true, now), None, "nobody waits");
    }

    #[test]
    fn without_room_no_time_is_waited_for_however_much_is_due() {
        let (mut walk, now) = (Walk { after: "h".to_owned(), least: None }, 1_000_000_000);
        walk.waits(now + 5_000_000);
        // Long past by the second look: it must not be looked for again and again.
        for at in [now, now + 60_000_000] {
            assert_eq!(walk.on(Some("t".to_owned()), false, at), None);
        }
        assert_eq!(walk.after, "h", "behind who was served last");
    }
}
