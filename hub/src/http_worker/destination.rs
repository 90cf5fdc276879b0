//! The careful side of a destination in this process: room, pace, breaker, and what all processes know about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api_ack::destinations::{Destinations, Verdict};
use api_ack::store::Micros;
use database::clock;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Health;
use super::breaker::Breaker;
use super::pace::Pace;
use crate::config::DestinationConfig;

/// A destination that this process calls.
pub(super) struct Destination {
    pub(super) config: DestinationConfig,
    room: Arc<Semaphore>,
    pace: Option<Pace>,
    calls: Mutex<Calls>,
    shared: Arc<Destinations>,
}

/// What this process's calls have said since the verdict changed last.
struct Calls {
    since: Micros,
    breaker: Breaker,
}

/// Leave to make one call.
pub(super) struct Leave {
    _room: OwnedSemaphorePermit,
    given: Micros,
    /// The claim, of a call that tries a destination that is held.
    probe: Option<Micros>,
}

/// Longer than a probe lasts: the way to the store and back.
const PROBE_SLACK: Duration = Duration::from_secs(10);

impl Destination {
    pub(super) fn new(config: DestinationConfig, shared: Arc<Destinations>) -> Self {
        Self {
            room: Arc::new(Semaphore::new(config.concurrency.into())),
            pace: config.rate.map(|rate| Pace::new(rate.interval())),
            calls: Mutex::new(Calls { since: 0, breaker: Breaker::new(config.breaker.clone()) }),
            config,
            shared,
        }
    }

    /// Leave for a call that may take `timeout`, after a wait that may take as long; or how long to put the job off. One whose
    /// `deadline` has passed by then is not called for.
    pub(super) async fn leave(&self, timeout: Duration, deadline: Option<Timestamp>) -> Result<Leave, Duration> {
        // Nobody waits for a turn that could not be used.
        if let Verdict::Held(until) = self.shared.verdict(&self.config.name) {
            return Err(self.until(until));
        }
        let asked = Instant::now();
        let room = tokio::time::timeout(timeout, self.room.clone().acquire_owned()).await;
        let Ok(Ok(room)) = room else { return Err(spread(Duration::from_secs(1))) };
        if let Some(pace) = &self.pace
            && !pace.turn(timeout.saturating_sub(asked.elapsed())).await
        {
            return Err(spread(Duration::from_secs(1)));
        }
        // The turn may have come too late; a probe would be claimed and not made.
        if deadline.is_some_and(|deadline| deadline <= Timestamp::now()) {
            return Err(Duration::ZERO);
        }
        let given = clock::now();
        match self.shared.verdict(&self.config.name) {
            Verdict::Free => Ok(Leave { _room: room, given, probe: None }),
            Verdict::Held(until) => Err(self.until(until)),
            Verdict::Due => match self.shared.claim_probe(&self.config.name, timeout + PROBE_SLACK).await {
                Some(claim) => Ok(Leave { _room: room, given, probe: Some(claim) }),
                // Another process tries it, and what it finds is known here a second later.
                None => Err(spread(Duration::from_secs(2))),
            },
        }
    }

    /// What a call said about the destination.
    pub(super) async fn learn(&self, leave: &Leave, health: Health, took: Duration) {
        let name = &self.config.name;
        let slow = self.config.breaker.slow.is_some_and(|slow| took > slow);
        let (well, reason) = match health {
            Health::Throttled(wait) => {
                // Whoever asks for a pause gets it, whatever the share of failures.
                return self.shared.hold(name, "throttled", wait).await;
            }
            Health::Well if slow => (false, "slow"),
            Health::Well => (true, ""),
            Health::Failed => (false, "failing"),
        };
        if let Some(claim) = leave.probe {
            return match well {
                true => self.shared.release(name, claim).await,
                false => self.shared.hold(name, reason, self.config.breaker.open).await,
            };
        }
        if self.count(leave, well) && self.shared.verdict(name) == Verdict::Free {
            self.shared.hold(name, reason, self.config.breaker.open).await;
        }
    }

    /// Counts a call; `true` when the destination counts as sick from now on. A call from before it was held or released last has
    /// nothing new to say, whenever it ends. Clocks of processes may differ: by so much this is inexact.
    fn count(&self, leave: &Leave, well: bool) -> bool {
        let since = self.shared.changed_at(&self.config.name);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.since != since {
            *calls = Calls { since, breaker: Breaker::new(self.config.breaker.clone()) };
        }
        leave.given >= since && calls.breaker.count(Instant::now(), well)
    }

    /// From now to that time and a little more, so that not all come at once.
    fn until(&self, until: Micros) -> Duration {
        let left = u64::try_from(until - clock::now()).unwrap_or(0);
        Duration::from_micros(left) + spread(Duration::from_millis(500))
    }
}

/// Between `wait` and twice as long.
fn spread(wait: Duration) -> Duration {
    // The last 32 bits of a UUIDv7 are random, so that no further crate is needed; those before count.
    let random = uuid::Uuid::now_v7().as_u64_pair().1 as u32;
    wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
