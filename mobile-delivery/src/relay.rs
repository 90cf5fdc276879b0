//! The relay: what is stored for hot devices goes into their queues, in order.
//!
//! ```text
//!                                      +-- at hand ---------------------+
//! commit of a send --> Wake --> whose turn --> one read for many devices -+-> a Line each --> confirms --> one mark for many
//!                       ^  |                                                     |
//!      another process -+  +-- warren.notices --> the relay of that slot         +-- returned: the lane is cooled
//! ```
//!
//! Every process relays its share of the [`SLOTS`](crate::store::SLOTS); it takes slots that nobody has and gives back what is too many.
//!
//! Owns who is read when, and how many are under way. Refuses to own rows and their order (the store's), channels and confirms
//! ([`Lanes`](messaging::devices::Lanes)), which broker a lane is at ([`Shards`]), and what a device is given (a session's).
//!
//! Guarantees:
//!
//! * A device is under way once at most, and what is read of it is published in the order of `seq`, each confirmed before the next. After a
//!   failure nothing of it goes on before that has gone: nothing is skipped but what AMQP cannot carry, which a session reads.
//! * What this process has committed goes without a read if nothing else comes before it (ADR 53); whatever is in doubt is read.
//! * What is published and not marked is published again: a copy, by its id and `seq`. Marks count only for who has the slot, on the turn that was read.
//! * What nobody was woken for is found by a look through the slots every [`RelayOptions::look`].
//! * A broker that is away, or takes nothing, takes no room from another. What is for it is not read, and found by a look once it is back.
//!
//! Limits: between the death of a process and its lapse (10 s) nothing of its slots is relayed; rows wait, and a session reads them. Two
//! processes that both take a slot for theirs, as after a pause, cause copies and a wrong order in the queue, which sessions put right.

mod carry;
mod fresh;
mod judge;
mod marks;
mod metrics;
mod notices;
mod share;
mod turns;
mod wake;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use database::clock;
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::carry::{Back, Carrier, How};
use self::marks::marks;
use self::share::Shares;
use self::turns::Turns;
use crate::processes::Processes;
use crate::shards::Shards;
use crate::store::{Number, Reading, Relayed, StoreError, Stores};

pub use self::metrics::Metrics;
pub use self::notices::{KIND as NOTICE, Notices};
pub use self::share::share;
pub use self::wake::Wake;

/// How a relay works.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Devices under way at one time at each broker, 1024 by default, and one read more.
    pub devices: usize,
    /// Devices in one read, 256 by default.
    pub together: usize,
    /// Messages of one device in one read, 64 by default.
    pub each: u32,
    /// Messages in one read, 1024 by default.
    pub messages: u32,
    /// Bytes of bodies in one read, 4 MiB by default; under way at each broker are eight times that at most, and one read more.
    pub bytes: i64,
    /// Between two looks through its slots, 1.5 s by default.
    pub look: Duration,
    /// Between two looks at how many slots it should have, 1 s by default.
    pub share: Duration,
    /// How long the drain waits for confirms, 10 s by default.
    pub drain: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            devices: 1024,
            together: 256,
            each: 64,
            messages: 1024,
            bytes: 4 << 20,
            look: Duration::from_millis(1500),
            share: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// Devices that wait in line; what is said beyond stays where it was said.
const IN_LINE: usize = 8192;

/// A process that has all that it should makes sure of that every so often.
const SURE: Duration = Duration::from_secs(10);

/// The relay of a process.
pub struct Relay {
    /// The tables.
    pub stores: Stores,
    /// Who lives; they beat elsewhere ([`Processes::run`]).
    pub processes: Arc<Processes>,
    /// The queues. They must be there for as long as the relay runs: stop it first.
    pub shards: Shards,
    /// Who wakes it.
    pub wake: Wake,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Options.
    pub options: RelayOptions,
}

impl Relay {
    /// Relays until `stop`; then waits for what is under way, and gives its slots back.
    pub async fn run(self, stop: CancellationToken) {
        let (marks, marker) = marks(self.stores.lanes.clone());
        let Self { stores, shards, wake, metrics, .. } = &self;
        let (stores, shards, wake, metrics) = (stores.clone(), shards.clone(), wake.clone(), metrics.clone());
        let carrier = Carrier { stores, shards, marks, wake, metrics, stop: stop.clone() };
        let running = Running {
            relay: self,
            carrier,
            turns: Turns::default(),
            shares: Shares::default(),
            under_way: JoinSet::new(),
            lanes: fresh::Lanes::default(),
            loads: HashMap::new(),
            reach: HashMap::new(),
            walk: None,
            rest: Number(0),
            sure_until: Instant::now(),
        };
        // The marker ends once all that could hand in marks are gone.
        tokio::join!(running.run(stop), marker.run());
    }
}

/// What is under way at one broker.
#[derive(Clone, Copy, Default)]
struct Load {
    devices: usize,
    /// Of bodies.
    bytes: usize,
}

struct Running {
    relay: Relay,
    carrier: Carrier,
    turns: Turns,
    shares: Shares,
    under_way: JoinSet<Back>,
    /// Where lanes are.
    lanes: fresh::Lanes,
    /// What is under way at each broker, where something is.
    loads: HashMap<String, Load>,
    /// The brokers that are up, as of the last read, and whether there was room at each.
    reach: HashMap<String, bool>,
    /// From where the walk through its slots goes on, while there is one.
    walk: Option<Number>,
    /// From where the next one goes on.
    rest: Number,
    /// When it looks again whether its slots are its own.
    sure_until: Instant,
}

impl Running {
    async fn run(mut self, stop: CancellationToken) {
        let (mut look, mut share) = (interval(self.relay.options.look), interval(self.relay.options.share));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        share.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rings_at = self.turns.rings_at();
            let ring = async {
                match rings_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(back) = self.under_way.join_next() => self.back(back),
                _ = share.tick() => self.share().await,
                () = self.relay.wake.woken_here(), if self.turns.waiting() < IN_LINE => self.woken(),
                _ = look.tick() => {
                    self.relay.wake.forget_kept();
                    self.walk.get_or_insert(self.rest);
                }
                () = ring => self.turns.ring(Instant::now()),
                () = std::future::ready(()), if self.has_work() => {}
            }
            while let Some(back) = self.under_way.try_join_next() {
                self.back(back);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.read() => {}
            }
        }
        self.leave().await;
    }

    /// For how many more devices there is room at a broker.
    fn room(&self, shard: &str) -> usize {
        let options = &self.relay.options;
        let Load { devices, bytes } = self.loads.get(shard).copied().unwrap_or_default();
        let most = usize::try_from(options.bytes).unwrap_or(usize::MAX).saturating_mul(8);
        if bytes < most { options.devices.saturating_sub(devices) } else { 0 }
    }

    /// The same at the broker that has most of it.
    fn most_room(&self) -> usize {
        self.relay.shards.up().into_iter().map(|shard| self.room(shard)).max().unwrap_or(0)
    }

    fn has_work(&self) -> bool {
        let anybody = self.turns.waiting() > 0 || self.walk.is_some();
        anybody && self.most_room() > 0 && self.shares.bits() != 0 && !self.relay.processes.lapsed()
    }

    fn woken(&mut self) {
        let woken = self.relay.wake.take_here();
        woken.devices.into_iter().for_each(|device| self.turns.wake(device));
        if woken.slots != 0 {
            self.walk = Some(Number(0));
        }
    }

    /// Takes what it should have, and gives back what it should not.
    async fn share(&mut self) {
        let (want, now) = (share(self.relay.processes.count()), Instant::now());
        if self.relay.processes.lapsed() {
            self.sure_until = now;
            return;
        }
        let store = &self.relay.stores.lanes;
        if self.shares.count() < want || now >= self.sure_until {
            match store.take_slots(self.relay.processes.me(), want).await {
                Ok(slots) => {
                    self.sure_until = now + SURE;
                    if self.shares.are(&slots, want) != 0 {
                        self.walk = Some(Number(0));
                    }
                }
                Err(error) => tracing::warn!(error = %error, "cannot see which devices this process is to relay"),
            }
        } else {
            self.shares.leave(want);
        }
        let shares = &self.shares;
        self.turns.forget(|device| shares.fence_of(device).is_none());
        self.lanes.forget(|device| shares.fence_of(device).is_none());
        self.tell_share();
        let given = self.shares.give(self.relay.processes.me(), &self.turns.slots_under_way());
        if !given.is_empty()
            && let Err(error) = store.give_slots(&given).await
        {
            tracing::warn!(error = %error, "cannot give devices to other relays");
            self.sure_until = now;
        }
    }

    fn tell_share(&self) {
        self.relay.wake.set_mine(self.shares.bits());
        self.relay.metrics.slots.set(i64::from(self.shares.count()));
    }

    /// Reads once, if there is somebody to read and room for it.
    async fn read(&mut self) {
        if !self.has_work() {
            return;
        }
        let options = &self.relay.options;
        let most = options.together.min(self.most_room());
        let slots: Vec<i16> = self.shares.relayed().collect();
        // What is for one that is away stays where it is, and costs nobody room.
        let shards = self.relay.shards.clone();
        let up = shards.up();
        self.reach = up.iter().map(|shard| ((*shard).to_owned(), self.room(shard) > 0)).collect();
        let reading = Reading {
            slots: &slots,
            shards: &up,
            after: self.walk.unwrap_or(Number(0)),
            devices: u32::try_from(most).unwrap_or(u32::MAX),
            each: options.each,
            messages: options.messages,
            bytes: options.bytes,
        };
        let result = match self.turns.waiting() {
            0 => self.walk_on(&reading).await,
            _ => self.read_those(most, &reading).await,
        };
        if let Err(error) = result {
            tracing::warn!(error = %error, "cannot read what devices are to get");
            // The next look tries again.
            self.walk = None;
        }
    }

    /// Those whose turn it is: they get what is at hand, and the others are read.
    async fn read_those(&mut self, most: usize, reading: &Reading<'_>) -> Result<(), StoreError> {
        let mut devices = self.turns.take(most);
        devices.retain(|device| !self.carry_on(*device));
        if devices.is_empty() {
            return Ok(());
        }
        devices.sort_unstable();
        match self.relay.stores.lanes.unsent_of(&devices, reading, clock::now()).await {
            Ok(read) => {
                let last = read.last().map(|read| read.device);
                let mut found: HashMap<Number, Relayed> = read.into_iter().map(|read| (read.device, read)).collect();
                for device in devices {
                    match found.remove(&device) {
                        Some(read) => self.carry(read, Some(device) == last),
                        // After the last that was read there may be more, which did not fit.
                        None => self.turns.back(device, last.is_some_and(|last| device > last)),
                    }
                }
                Ok(())
            }
            Err(error) => {
                devices.into_iter().for_each(|device| self.put_off(device));
                Err(error)
            }
        }
    }

    /// Goes on through its slots, for those that nobody was woken for.
    async fn walk_on(&mut self, reading: &Reading<'_>) -> Result<(), StoreError> {
        let read = self.relay.stores.lanes.unsent(reading, clock::now()).await?;
        let mut news = 0;
        let last = read.last().map(|read| read.device);
        for read in read {
            if self.turns.take_this(read.device) {
                news += 1;
                let is_last = Some(read.device) == last;
                self.carry(read, is_last);
            }
        }
        self.rest = last.unwrap_or(Number(0));
        // Where all have their turn anyway there is no hurry.
        self.walk = last.filter(|_| news > 0);
        Ok(())
    }

    /// Puts a device on its way with what is at hand; `false`: it is to be read.
    fn carry_on(&mut self, device: Number) -> bool {
        let kept = self.relay.wake.take_kept(device);
        let next = kept.zip(self.shares.fence_of(device)).and_then(|(kept, fence)| self.lanes.follow(device, fence, kept));
        let Some(next) = next else { return false };
        self.relay.metrics.relayed.with_label_values(&["memory"]).inc_by(next.messages.len() as u64);
        self.go(next, false);
        true
    }

    /// Puts a device on its way that was read. `cut`: a limit of the reading may have been met in it.
    fn carry(&mut self, read: Relayed, cut: bool) {
        self.relay.metrics.relayed.with_label_values(&["store"]).inc_by(read.messages.len() as u64);
        self.go(read, cut);
    }

    fn go(&mut self, read: Relayed, cut: bool) {
        let device = read.device;
        let Some(fence) = self.shares.fence_of(device) else { return self.turns.back(device, false) };
        match self.reach.get(&read.shard) {
            Some(true) => {}
            Some(false) => return self.put_off(device),
            // The next look finds it, once its broker is there.
            None => return self.turns.back(device, false),
        }
        let each = usize::try_from(self.relay.options.each).unwrap_or(usize::MAX);
        let more = !read.messages.is_empty() && (cut || read.messages.len() >= each);
        let bytes = read.messages.iter().map(|given| given.message.body.len()).sum();
        let shard = read.shard.clone();
        let load = self.loads.entry(shard.clone()).or_default();
        load.devices += 1;
        load.bytes += bytes;
        let carrying = AssertUnwindSafe(self.carrier.clone().carry(read, fence, more)).catch_unwind();
        self.under_way.spawn(async move {
            let (how, at) = carrying.await.unwrap_or((How::Later, None));
            Back { device, shard, bytes, how, at }
        });
    }

    fn back(&mut self, back: Result<Back, tokio::task::JoinError>) {
        // Panics are caught, and nothing is aborted.
        let Ok(Back { device, shard, bytes, how, at }) = back else { return };
        if let Some(load) = self.loads.get_mut(&shard) {
            load.devices -= 1;
            load.bytes -= bytes;
            if load.devices == 0 {
                self.loads.remove(&shard);
            }
        }
        self.lanes.are(device, at);
        match how {
            How::Well { more } => self.turns.back(device, more),
            How::Later => self.put_off(device),
            How::NotOurs => {
                self.turns.back(device, false);
                self.sure_until = self.sure_until.min(Instant::now() + self.relay.options.share);
            }
        }
    }

    fn put_off(&mut self, device: Number) {
        if !self.turns.put_off(device, Instant::now()) {
            tracing::debug!(device = device.0, "too many devices are put off; this one is found by the next look");
        }
    }

    /// Waits for what is under way, and gives its slots back.
    async fn leave(mut self) {
        self.relay.wake.set_mine(0);
        let clear = async { while self.under_way.join_next().await.is_some() {} };
        if timeout(self.relay.options.drain, clear).await.is_err() {
            tracing::warn!("some devices' messages are not confirmed; whoever relays them next sends them again");
            self.under_way.abort_all();
        }
        self.shares.leave(0);
        let given = self.shares.give(self.relay.processes.me(), &Default::default());
        if let Err(error) = self.relay.stores.lanes.give_slots(&given).await {
            tracing::warn!(error = %error, "cannot give devices to other relays; they take them in 10 s");
        }
        self.relay.metrics.slots.set(0);
    }
}
