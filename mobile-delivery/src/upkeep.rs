//! Upkeep: what time does to devices and their messages, whether or not anybody asks.
//!
//! | | when | by whom |
//! |---|---|---|
//! | scheduled messages get their places | within a second of their time; at it, where they were accepted here | all |
//! | messages expire | every [`UpkeepOptions::every`] | who leads |
//! | what ended, and keys, are forgotten | every minute, in small batches | who leads |
//! | idle devices lose their queues, and what a lane has left goes | every 2 s, so many per second | who leads, at each broker |
//!
//! Sessions and slots of lapsed processes are freed where processes beat ([`Processes::run`]).
//!
//! One task, and nothing in memory but a batch. All of it is safe to be done by several at once, which happens for a moment when
//! processes come and go: who is second finds nothing left to do.

mod cooling;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use database::clock;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::cooling::Cooling;
use crate::follow::Follow;
use crate::processes::Processes;
use crate::relay::Wake;
use crate::shards::Shards;
use crate::store::{Due, Limits, Micros, StoreError, Stores, Withdrawn};

pub use self::metrics::Metrics;

/// How often, and how long things are kept.
#[derive(Clone, Debug)]
pub struct UpkeepOptions {
    /// Between two looks at what is due or over, 1 s by default.
    pub every: Duration,
    /// How long it is known how deliveries ended, 7 days by default.
    pub ended: Duration,
    /// How long idempotency keys are known, 7 days by default.
    pub keys: Duration,
    /// How long nobody must have been connected before a device loses its queue, 48 h by default.
    pub cool_after: Duration,
    /// Queues taken away per second, 20 by default.
    pub cool_per_second: u32,
    /// Queues that are being taken away at one time, 8 by default.
    pub cool_together: usize,
    /// How long a queue that could not be taken away is left alone, 30 s by default.
    pub cool_again: Duration,
    /// How long a queue that a lane has left at a broker, or that is about to be made there, stays on the list before it goes; 30 s by default. It is to be longer than a declare may take, with all that
    /// wait before it.
    pub left_for: Duration,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            every: Duration::from_secs(1),
            ended: 7 * day,
            keys: 7 * day,
            cool_after: 2 * day,
            cool_per_second: 20,
            cool_together: 8,
            cool_again: Duration::from_secs(30),
            left_for: Duration::from_secs(30),
        }
    }
}

/// Rows in one statement.
const BATCH: u32 = 500;

/// How long one pass may place, expire or purge, each; what is left is for the next.
const BUDGET: Duration = Duration::from_millis(500);

/// Between two passes of the purge with nothing left to forget.
const PURGE: Duration = Duration::from_secs(60);

/// The upkeep of a process.
pub struct Upkeep {
    /// The tables.
    pub stores: Stores,
    /// Who lives, and leads.
    pub processes: Arc<Processes>,
    /// The queues. They must be there for as long as the upkeep runs: stop it first.
    pub shards: Shards,
    /// The relay's wake-up, which tells what was scheduled, and what is to be cooled.
    pub wake: Wake,
    /// Who hears what got its place, and what ended under a session.
    pub follow: Arc<dyn Follow>,
    /// What sending has to keep to: what is due is sent then.
    pub limits: Limits,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Options.
    pub options: UpkeepOptions,
}

impl Upkeep {
    /// Keeps up until `stop`. What is under way then is left as it is: whoever leads next ends it.
    pub async fn run(self, stop: CancellationToken) {
        let cooling = Cooling::new(&self);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = async { tokio::join!(self.place(), self.sweep(), cooling.run(), cooling.tell()) } => {}
        }
    }

    /// Gives what is due its places.
    async fn place(&self) {
        let mut tick = interval(self.options.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = Micros::MAX;
        loop {
            // What other processes accepted is found by the tick.
            let left = u64::try_from(next.saturating_sub(clock::now())).unwrap_or(0);
            tokio::select! {
                _ = tick.tick() => {}
                () = self.wake.is_scheduled() => {}
                () = tokio::time::sleep(Duration::from_micros(left)), if next != Micros::MAX => {}
            }
            next = next.min(self.wake.take_due());
            let now = clock::now();
            if next <= now {
                next = Micros::MAX;
            }
            if let Err(error) = self.place_all(now).await {
                tracing::warn!(error = %error, "cannot place messages whose time has come");
            }
        }
    }

    async fn place_all(&self, now: Micros) -> Result<(), StoreError> {
        let until = Instant::now() + BUDGET;
        loop {
            let Due { placed, withdrawn } = self.stores.messages.place_due(&self.limits, now, BATCH).await?;
            self.follow.placed(&placed);
            self.tell_withdrawn(&withdrawn);
            self.metrics.done("placed", placed.len());
            if placed.len() < BATCH as usize || Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Ends what is over, and forgets what is old.
    async fn sweep(&self) {
        let mut tick = interval(self.options.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut purge_at = Instant::now();
        loop {
            tick.tick().await;
            if !self.processes.leads() {
                continue;
            }
            let now = clock::now();
            if let Err(error) = self.batches("expired", || self.expire(now)).await {
                tracing::warn!(error = %error, "cannot end messages whose time is over");
            }
            if Instant::now() >= purge_at {
                let more = self.purge(now).await.unwrap_or_else(|error| {
                    tracing::warn!(error = %error, "cannot forget what became of old messages");
                    false
                });
                purge_at = Instant::now() + if more { Duration::ZERO } else { PURGE };
            }
        }
    }

    async fn expire(&self, now: Micros) -> Result<u32, StoreError> {
        let expired = self.stores.messages.expire(now, BATCH).await?;
        self.tell_withdrawn(&expired.withdrawn);
        Ok(expired.count + self.stores.log.expire_log(now, BATCH).await?)
    }

    fn tell_withdrawn(&self, withdrawn: &[Withdrawn]) {
        if !withdrawn.is_empty() {
            self.follow.withdrawn(withdrawn);
        }
    }

    /// Answers whether there is more to forget.
    async fn purge(&self, now: Micros) -> Result<bool, StoreError> {
        let before = |kept: Duration| now.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        let (ended, keys) = (before(self.options.ended), before(self.options.keys));
        let messages = &self.stores.messages;
        let more = self.batches("purged", || messages.purge(ended, BATCH)).await?;
        Ok(self.batches("keys-purged", || messages.purge_keys(keys, BATCH)).await? || more)
    }

    /// Does `batch` until it finds nothing, or the budget is spent: then `true`.
    async fn batches<F>(&self, what: &str, batch: impl Fn() -> F) -> Result<bool, StoreError>
    where
        F: Future<Output = Result<u32, StoreError>>,
    {
        let until = Instant::now() + BUDGET;
        loop {
            let rows = batch().await?;
            self.metrics.done(what, usize::try_from(rows).unwrap_or_default());
            if rows == 0 {
                return Ok(false);
            }
            if Instant::now() >= until {
                return Ok(true);
            }
        }
    }
}
