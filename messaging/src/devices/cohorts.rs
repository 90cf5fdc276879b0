//! Consumer channels that devices share: few enough for the broker, small enough that one which dies is no matter.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::refusal::{Failed, LaneError};
use crate::connection::Link;

/// Devices on one channel.
pub const DEVICES_PER_CHANNEL: usize = 64;

/// Channels without a device that are kept for the next.
const SPARE: usize = 2;

/// All channels.
pub(super) struct Cohorts {
    links: Vec<Link>,
    most: usize,
    open: Mutex<Vec<Arc<Cohort>>>,
    /// Who opens a channel keeps others from opening one as well.
    opening: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

/// One channel, and how many devices are on it.
struct Cohort {
    channel: Channel,
    link: usize,
    devices: AtomicUsize,
    /// What the next consumer gets; `None` before the first. Held while something is asked on the channel, so that an answer is its asker's.
    prefetch: tokio::sync::Mutex<Option<u16>>,
}

/// A place on a channel, free again when it is dropped.
pub(super) struct Seat {
    cohort: Arc<Cohort>,
    all: Weak<Cohorts>,
}

impl Cohorts {
    pub(super) fn new(links: Vec<Link>, channels: usize, tasks: TaskTracker) -> Arc<Self> {
        let most = links.len() * channels;
        Arc::new(Self { links, most, open: Mutex::default(), opening: tokio::sync::Mutex::default(), tasks })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Cohort>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on a channel that has one.
    pub(super) async fn seat(self: &Arc<Self>) -> Result<Seat, Failed> {
        if let Some(seat) = self.free() {
            return Ok(seat);
        }
        let _only_one = self.opening.lock().await;
        if let Some(seat) = self.free() {
            return Ok(seat);
        }
        let link = {
            let open = self.lock();
            if open.len() >= self.most {
                return Err(LaneError::Busy("as many devices are attached as may").into());
            }
            let load = |link: &usize| (!self.links[*link].is_usable(), open.iter().filter(|one| one.link == *link).count());
            (0..self.links.len()).min_by_key(load).unwrap_or(0)
        };
        let live = self.links[link].live().await?;
        let channel = live.connection.create_channel().await?;
        let (devices, prefetch) = (AtomicUsize::new(1), tokio::sync::Mutex::default());
        let cohort = Arc::new(Cohort { channel, link, devices, prefetch });
        self.lock().push(cohort.clone());
        Ok(Seat { cohort, all: Arc::downgrade(self) })
    }

    fn free(self: &Arc<Self>) -> Option<Seat> {
        let mut open = self.lock();
        open.retain(|cohort| cohort.channel.status().connected());
        let cohort = open.iter().find(|cohort| cohort.devices.load(Ordering::Relaxed) < DEVICES_PER_CHANNEL)?.clone();
        cohort.devices.fetch_add(1, Ordering::Relaxed);
        Some(Seat { cohort, all: Arc::downgrade(self) })
    }

    /// Closes channels that nobody is on, but for some.
    fn tidy(&self) {
        let mut open = self.lock();
        let mut spare = 0;
        let is_empty = |cohort: &Arc<Cohort>| cohort.devices.load(Ordering::Relaxed) == 0;
        let idle = open.extract_if(.., |cohort| {
            is_empty(cohort) && {
                spare += 1;
                spare > SPARE
            }
        });
        for cohort in idle {
            self.close(cohort.channel.clone(), "nobody is on it");
        }
    }
}

impl Cohorts {
    fn close(&self, channel: Channel, why: &'static str) {
        // Without a runtime there is no connection either.
        if let Ok(runtime) = Handle::try_current() {
            let closing = async move { tokio::time::timeout(Duration::from_secs(5), channel.close(200, why.into())).await };
            self.tasks.spawn_on(closing, &runtime);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Under the lock, so that nobody sits down on a channel that is about to be closed.
        if let Some(all) = self.all.upgrade() {
            let open = all.lock();
            let last = self.cohort.devices.fetch_sub(1, Ordering::Relaxed) == 1;
            drop(open);
            if last {
                all.tidy();
            }
        }
    }
}

impl Seat {
    pub(super) fn channel(&self) -> &Channel {
        &self.cohort.channel
    }

    /// Consumes from `queue`, at most `prefetch` without an ack.
    pub(super) async fn consume(&self, queue: ShortString, prefetch: u16) -> Result<Consumer, Failed> {
        let mut current = self.cohort.prefetch.lock().await;
        // Whoever stops waiting now leaves a consumer that nobody knows: the channel goes with it.
        let undecided = Undecided(self);
        let channel = self.channel();
        #[expect(clippy::disallowed_methods, reason = "the channel goes with an opening that is given up")]
        let consuming = channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let consumed = if *current == Some(prefetch) {
            consuming.await
        } else {
            // It is for the consumers that begin after it.
            let (set, consumed) = join(channel.basic_qos(prefetch, BasicQosOptions::default()), consuming).await;
            set.and(consumed)
        };
        std::mem::forget(undecided);
        *current = consumed.is_ok().then_some(prefetch);
        consumed.map_err(|error| match Failed::from(error) {
            // The channel may have died of something else meanwhile, and is no reason against this queue then.
            Failed::Said(_, why) if !why.contains(&format!("'{queue}'")) => Failed::Lost(why),
            failed => failed,
        })
    }

    /// Waits until the broker has taken what was sent on the channel before.
    pub(super) async fn flush(&self) -> Result<(), lapin::Error> {
        let current = self.cohort.prefetch.lock().await;
        // Setting what is set already: of all that is answered it does least.
        self.channel().basic_qos(current.unwrap_or(1), BasicQosOptions::default()).await
    }

    /// Ends the channel with everybody on it: what is unacked goes back, and the others sit down elsewhere.
    pub(super) fn abandon(&self) {
        let Some(all) = self.all.upgrade() else { return };
        let channel = self.channel().clone();
        all.lock().retain(|cohort| !Arc::ptr_eq(cohort, &self.cohort));
        all.close(channel, "no answer");
    }
}

/// A question without an answer.
struct Undecided<'a>(&'a Seat);

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
