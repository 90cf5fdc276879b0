//! Scratch channels: for what may be refused. A refusal closes its channel, and nobody else is on it.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use lapin::Channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::refusal::{Failed, LaneError};
use crate::connection::Link;

/// For one answer of the broker.
const ANSWER: Duration = Duration::from_secs(10);

/// Channels over some connections, so many in use at one time.
pub(super) struct Scratch {
    homes: Vec<Home>,
    next: AtomicUsize,
    room: Arc<Semaphore>,
}

/// One connection, and those of its channels that nobody uses.
struct Home {
    link: Link,
    idle: Mutex<Vec<Channel>>,
}

/// A channel in use. Unless it is kept it is closed.
pub(super) struct Lease {
    scratch: Arc<Scratch>,
    channel: Channel,
    home: usize,
    _room: OwnedSemaphorePermit,
}

impl Deref for Lease {
    type Target = Channel;
    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Lease {
    /// Gives it back for the next one.
    pub(super) fn keep(self) {
        let Some(home) = self.scratch.homes.get(self.home) else { return };
        if self.channel.status().connected() {
            home.idle().push(self.channel.clone());
        }
    }
}

impl Home {
    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scratch {
    pub(super) fn new(links: Vec<Link>, channels: usize) -> Arc<Self> {
        let home = |link| Home { link, idle: Mutex::default() };
        Arc::new(Self {
            homes: links.into_iter().map(home).collect(),
            next: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(channels)),
        })
    }

    /// A channel, once there is one.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, Failed> {
        let room = self.room.clone().acquire_owned().await.map_err(|_| LaneError::Stopped)?;
        let count = self.homes.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let usable = (0..count).map(|step| (first + step) % count).find(|home| self.homes[*home].link.is_usable());
        let home = usable.unwrap_or(first);
        let at = &self.homes[home];
        let live = at.link.live().await?;
        let idle = {
            let mut idle = at.idle();
            // Of a connection that is gone.
            idle.retain(|channel| channel.status().connected());
            idle.pop()
        };
        let channel = match idle {
            Some(channel) => channel,
            None => live.connection.create_channel().await?,
        };
        Ok(Lease { scratch: self.clone(), channel, home, _room: room })
    }
}

/// Tries of something that does no harm when it is done twice.
pub(super) struct Tries {
    what: String,
    patience: Duration,
    until: Instant,
    waits: backon::ExponentialBackoff,
    latest: String,
}

impl Tries {
    /// To do `what`, as it reads after "asked to".
    pub(super) fn new(what: String, patience: Duration) -> Self {
        let latest = "nothing was said".to_owned();
        Self { what, patience, until: Instant::now() + patience, waits: backoff(), latest }
    }

    /// One more try; `None` when another is to follow: what went wrong may pass, and there is patience left.
    pub(super) async fn once<T>(&mut self, attempt: impl Future<Output = Result<T, Failed>>) -> Option<Result<T, LaneError>> {
        // A broker that hangs may be another one at the next try.
        let patient = self.until.min(Instant::now() + ANSWER.max(self.patience / 2));
        match tokio::time::timeout_at(patient, attempt).await {
            Ok(Ok(done)) => return Some(Ok(done)),
            Ok(Err(failed)) => match failed.told(&self.what) {
                Ok(error) => return Some(Err(error)),
                Err(why) => self.latest = why,
            },
            Err(_) => {}
        }
        let wait = self.waits.next().unwrap_or(LONGEST);
        if Instant::now() + wait >= self.until {
            let (what, why) = (std::mem::take(&mut self.what), std::mem::take(&mut self.latest));
            return Some(Err(LaneError::Away { what, why, after: self.patience }));
        }
        tokio::time::sleep(wait).await;
        None
    }
}

const LONGEST: Duration = Duration::from_secs(2);

/// With jitter, from 50 ms to 2 s, without end.
pub(super) fn backoff() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}
