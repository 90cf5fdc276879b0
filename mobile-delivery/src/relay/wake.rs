//! How the relay hears that something was stored: in memory from its own process, by notices from others.
//!
//! Nothing here waits, and nothing is lost for good: what does not fit, and what a notice does not bring, is found by a look at the store.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::fresh::Kept;
use crate::follow::{Follow, Fresh};
use crate::store::{Given, Micros, Number, Placed, Session, Withdrawn, slot_of};

/// Devices that are remembered on each side; beyond, whole slots are looked through.
const DEVICES: usize = 8192;

/// Devices in one notice.
const IN_A_NOTICE: usize = 512;

/// Tells the relays of all processes that devices have something to get, and the upkeep what is scheduled. Cheap to clone; never blocks.
#[derive(Clone, Default)]
pub struct Wake(Arc<Inner>);

struct Inner {
    /// Slots that this process has, a bit each.
    mine: AtomicU64,
    here: Mutex<Woken>,
    there: Mutex<Woken>,
    kept: Mutex<Kept>,
    woken_here: Notify,
    woken_there: Notify,
    /// The earliest that was scheduled since it was asked last.
    due: AtomicI64,
    scheduled: Notify,
    /// Something is to be cooled.
    cooling: Notify,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            mine: AtomicU64::new(0),
            here: Mutex::default(),
            there: Mutex::default(),
            kept: Mutex::default(),
            woken_here: Notify::new(),
            woken_there: Notify::new(),
            due: AtomicI64::new(i64::MAX),
            scheduled: Notify::new(),
            cooling: Notify::new(),
        }
    }
}

/// Who has something to get.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Woken {
    /// These.
    pub(super) devices: HashSet<Number>,
    /// And some of these slots, a bit each.
    pub(super) slots: u64,
}

impl Woken {
    fn add(&mut self, device: Number) {
        if self.devices.len() < DEVICES {
            self.devices.insert(device);
        } else if !self.devices.contains(&device) {
            self.slots |= bit(device);
        }
    }

    fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.slots == 0
    }
}

/// The slot of a device among all slots.
fn bit(device: Number) -> u64 {
    1 << slot_of(device)
}

fn lock<T>(woken: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    woken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Follow for Wake {
    fn placed(&self, deliveries: &[Placed]) {
        self.placed(deliveries);
    }

    fn stored(&self, deliveries: &[Fresh]) {
        let mine = self.0.mine.load(Ordering::Relaxed);
        let mut kept = lock(&self.0.kept);
        deliveries.iter().filter(|fresh| mine & bit(fresh.placed.device) != 0).for_each(|fresh| kept.keep(fresh));
        drop(kept);
        self.wake(deliveries.iter().map(|fresh| fresh.placed.device));
    }

    fn scheduled(&self, due_at: Micros) {
        self.scheduled(due_at);
    }

    /// Sessions are nothing to it.
    fn put_out(&self, _: Number, _: &Session) {}

    fn withdrawn(&self, _: &[Withdrawn]) {}
}

impl Wake {
    /// Says that these were committed, and have their places.
    pub fn placed(&self, placed: &[Placed]) {
        let mine = self.0.mine.load(Ordering::Relaxed);
        self.spoil(placed.iter().map(|placed| placed.device).filter(|device| mine & bit(*device) != 0));
        self.wake(placed.iter().map(|placed| placed.device));
    }

    fn wake(&self, devices: impl Iterator<Item = Number>) {
        let mine = self.0.mine.load(Ordering::Relaxed);
        let (here, there): (Vec<Number>, Vec<Number>) = devices.partition(|device| mine & bit(*device) != 0);
        self.add(&self.0.here, &self.0.woken_here, here);
        self.add(&self.0.there, &self.0.woken_there, there);
    }

    /// These have something that is not at hand.
    fn spoil(&self, devices: impl Iterator<Item = Number>) {
        let mut kept = lock(&self.0.kept);
        devices.for_each(|device| kept.spoil(device));
    }

    /// What is at hand of a device whose turn it is, if that is all that it was woken for.
    pub(super) fn take_kept(&self, device: Number) -> Option<Vec<Given>> {
        lock(&self.0.kept).take(device)
    }

    /// Forgets what is at hand: it is read.
    pub(super) fn forget_kept(&self) {
        lock(&self.0.kept).clear();
    }

    /// Says that something was committed that is due then, and has no place yet.
    pub fn scheduled(&self, due_at: Micros) {
        if self.0.due.fetch_min(due_at, Ordering::Relaxed) > due_at {
            self.0.scheduled.notify_one();
        }
    }

    /// What another process says.
    pub(super) fn heard(&self, devices: &[i64], slots: u64) {
        let mine = self.0.mine.load(Ordering::Relaxed);
        let of_mine = || devices.iter().map(|device| Number(*device)).filter(|device| mine & bit(*device) != 0);
        self.spoil(of_mine());
        self.add(&self.0.here, &self.0.woken_here, of_mine());
        self.look(slots & mine);
    }

    /// Says that something may be in these slots of this process.
    pub(super) fn look(&self, slots: u64) {
        if slots != 0 {
            lock(&self.0.here).slots |= slots;
            self.0.woken_here.notify_one();
        }
    }

    fn add(&self, woken: &Mutex<Woken>, notify: &Notify, devices: impl IntoIterator<Item = Number>) {
        let mut devices = devices.into_iter().peekable();
        if devices.peek().is_some() {
            let mut woken = lock(woken);
            devices.for_each(|device| woken.add(device));
            drop(woken);
            notify.notify_one();
        }
    }

    /// Which slots this process has from now on.
    pub(super) fn set_mine(&self, slots: u64) {
        self.0.mine.store(slots, Ordering::Relaxed);
    }

    /// What was said for this process since the last time.
    pub(super) fn take_here(&self) -> Woken {
        std::mem::take(&mut *lock(&self.0.here))
    }

    pub(super) async fn woken_here(&self) {
        self.0.woken_here.notified().await;
    }

    /// Waits for something that others are to hear, and takes a notice's worth of it.
    pub(super) async fn next_there(&self) -> Woken {
        loop {
            {
                let mut there = lock(&self.0.there);
                if !there.is_empty() {
                    let devices: HashSet<Number> = there.devices.iter().take(IN_A_NOTICE).copied().collect();
                    there.devices.retain(|device| !devices.contains(device));
                    return Woken { devices, slots: std::mem::take(&mut there.slots) };
                }
            }
            self.0.woken_there.notified().await;
        }
    }

    /// The earliest that was scheduled since the last time; far away if nothing was.
    pub(crate) fn take_due(&self) -> Micros {
        self.0.due.swap(i64::MAX, Ordering::Relaxed)
    }

    pub(crate) async fn is_scheduled(&self) {
        self.0.scheduled.notified().await;
    }

    /// Says that a lane is to be cooled.
    pub(super) fn cool(&self) {
        self.0.cooling.notify_one();
    }

    pub(crate) async fn is_cooling(&self) {
        self.0.cooling.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn placed(devices: impl IntoIterator<Item = i64>) -> Vec<Placed> {
        devices.into_iter().map(|device| Placed { device: Number(device), seq: 1, expires_at: None }).collect()
    }

    #[tokio::test]
    async fn what_is_of_this_process_goes_to_its_relay_and_the_rest_to_others() {
        let wake = Wake::default();
        wake.set_mine(bit(Number(1)));
        let other = (2..).find(|device| bit(Number(*device)) != bit(Number(1))).unwrap();
        wake.placed(&placed([1, other]));
        assert_eq!(wake.take_here().devices, HashSet::from([Number(1)]));
        assert_eq!(wake.next_there().await.devices, HashSet::from([Number(other)]));
        assert!(wake.next_there().now_or_never().is_none());
        // Others tell of devices that are nobody's here.
        wake.heard(&[1, other], u64::MAX);
        assert_eq!(wake.take_here(), Woken { devices: HashSet::from([Number(1)]), slots: bit(Number(1)) });
    }

    #[test]
    fn nothing_is_forgotten_when_there_is_no_room() {
        let wake = Wake::default();
        wake.set_mine(u64::MAX);
        let all = i64::try_from(DEVICES).unwrap() + 1000;
        wake.placed(&placed(1..=all));
        let woken = wake.take_here();
        assert_eq!(woken.devices.len(), DEVICES);
        let missing = (1..=all).map(Number).filter(|device| !woken.devices.contains(device));
        assert!(missing.into_iter().all(|device| woken.slots & bit(device) != 0));
    }

    #[tokio::test]
    async fn an_earlier_time_wakes_and_a_later_one_does_not() {
        let wake = Wake::default();
        wake.scheduled(10);
        wake.is_scheduled().await;
        wake.scheduled(20);
        assert!(wake.is_scheduled().now_or_never().is_none());
        wake.scheduled(5);
        wake.is_scheduled().await;
        assert_eq!((wake.take_due(), wake.take_due()), (5, i64::MAX));
    }
}
