//! Whose turn it is: which devices are to be read, which are under way, and which are put off. A value: no I/O and no clock.
//!
//! A device is under way once at most, so nothing of it overtakes. What is said of it meanwhile makes it wait again when it is back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Number;

/// The first time that a device is put off, and the longest.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Devices that are put off, at most.
const OFF: usize = 16_384;

/// All devices that something is known of.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<Number>,
    /// The same, to find them by.
    in_line: HashSet<Number>,
    /// And whether something was said since they were read.
    under_way: HashMap<Number, bool>,
    off: BTreeSet<(Instant, Number)>,
    until: HashMap<Number, Instant>,
    failures: HashMap<Number, u32>,
}

impl Turns {
    /// Something is there for a device. One that is put off stays so: what is new comes after what failed.
    pub(super) fn wake(&mut self, device: Number) {
        if let Some(again) = self.under_way.get_mut(&device) {
            *again = true;
        } else if !self.until.contains_key(&device) && self.in_line.insert(device) {
            self.waiting.push_back(device);
        }
    }

    /// Up to `most` of those that have waited longest; they are under way from now on.
    pub(super) fn take(&mut self, most: usize) -> Vec<Number> {
        let taken: Vec<Number> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        for device in &taken {
            self.in_line.remove(device);
            self.under_way.insert(*device, false);
        }
        taken
    }

    /// Takes one that the store has told of; `false` when it waits, is under way or put off: it has its turn anyway.
    pub(super) fn take_this(&mut self, device: Number) -> bool {
        let known = self.in_line.contains(&device) || self.until.contains_key(&device);
        if known || self.under_way.contains_key(&device) {
            return false;
        }
        self.under_way.insert(device, false);
        true
    }

    /// It is back, with nothing wrong; it waits again if it has `more`, or something was said meanwhile.
    pub(super) fn back(&mut self, device: Number, more: bool) {
        self.failures.remove(&device);
        if self.under_way.remove(&device).unwrap_or(false) || more {
            self.wake(device);
        }
    }

    /// It is back, and is not to be tried again for a while: twice as long each time. `false`: there is no room, and it is forgotten.
    pub(super) fn put_off(&mut self, device: Number, now: Instant) -> bool {
        self.under_way.remove(&device);
        if self.until.len() >= OFF {
            self.failures.remove(&device);
            return false;
        }
        let failures = self.failures.entry(device).or_default();
        let wait = SHORTEST.saturating_mul(1 << (*failures).min(10)).min(LONGEST);
        *failures += 1;
        self.until.insert(device, now + wait);
        self.off.insert((now + wait, device));
        true
    }

    /// Lets those wait again that were put off until `now`.
    pub(super) fn ring(&mut self, now: Instant) {
        while let Some((until, device)) = self.off.first().copied().filter(|(until, _)| *until <= now) {
            self.off.remove(&(until, device));
            self.until.remove(&device);
            self.wake(device);
        }
    }

    /// When the next of them does.
    pub(super) fn rings_at(&self) -> Option<Instant> {
        self.off.first().map(|(until, _)| *until)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Forgets those that `gone` tells of, but for what is under way.
    pub(super) fn forget(&mut self, gone: impl Fn(Number) -> bool) {
        self.waiting.retain(|device| !gone(*device));
        self.in_line.retain(|device| !gone(*device));
        self.off.retain(|(_, device)| !gone(*device));
        self.until.retain(|device, _| !gone(*device));
        self.failures.retain(|device, _| !gone(*device));
    }

    /// How many of those under way are in each slot.
    pub(super) fn slots_under_way(&self) -> BTreeMap<i16, usize> {
        let mut slots = BTreeMap::new();
        self.under_way.keys().for_each(|device| *slots.entry(crate::store::slot_of(*device)).or_default() += 1);
        slots
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wake(i64),
        Take(usize),
        Found(i64),
        Back(i64, bool),
        Fail(i64),
        Later(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let device = 0..6_i64;
        prop_oneof![
            3 => device.clone().prop_map(Step::Wake),
            2 => (0..4_usize).prop_map(Step::Take),
            1 => device.clone().prop_map(Step::Found),
            2 => (device.clone(), any::<bool>()).prop_map(|(device, more)| Step::Back(device, more)),
            1 => device.prop_map(Step::Fail),
            1 => (0..3000_u64).prop_map(Step::Later),
        ]
    }

    proptest! {
        /// Whatever happens: nobody is under way twice, and whoever was woken is read after it was woken.
        #[test]
        fn a_device_is_under_way_once_and_nobody_woken_is_forgotten(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let (mut turns, mut under_way, mut owed) = (Turns::default(), HashSet::new(), HashSet::new());
            for step in steps {
                match step {
                    Step::Wake(device) => {
                        turns.wake(Number(device));
                        owed.insert(device);
                    }
                    Step::Take(most) => for device in turns.take(most) {
                        prop_assert!(under_way.insert(device.0));
                        owed.remove(&device.0);
                    },
                    Step::Found(device) => if turns.take_this(Number(device)) {
                        prop_assert!(under_way.insert(device));
                        owed.remove(&device);
                    },
                    Step::Back(device, more) => if under_way.remove(&device) {
                        turns.back(Number(device), more);
                        if more { owed.insert(device); }
                    },
                    Step::Fail(device) => if under_way.remove(&device) {
                        turns.put_off(Number(device), now);
                        owed.insert(device);
                    },
                    Step::Later(millis) => {
                        now += Duration::from_millis(millis);
                        turns.ring(now);
                    }
                }
                prop_assert_eq!(turns.under_way(), under_way.len());
            }
            under_way.drain().for_each(|device| turns.back(Number(device), false));
            turns.ring(now + LONGEST);
            let left: HashSet<i64> = turns.take(usize::MAX).into_iter().map(|device| device.0).collect();
            prop_assert!(owed.is_subset(&left), "{owed:?} are owed, {left:?} wait");
            prop_assert!(turns.waiting() == 0 && turns.rings_at().is_none());
        }
    }

    #[test]
    fn a_device_that_fails_is_tried_less_and_less_until_it_works() {
        let (mut turns, device, start) = (Turns::default(), Number(1), Instant::now());
        let waits = |turns: &Turns, now| turns.rings_at().unwrap() - now;
        turns.put_off(device, start);
        assert_eq!(waits(&turns, start), SHORTEST);
        turns.ring(start + SHORTEST);
        assert_eq!(turns.take(9), [device]);
        turns.put_off(device, start);
        assert_eq!(waits(&turns, start), 2 * SHORTEST);
        turns.ring(start + LONGEST);
        turns.take(9);
        turns.back(device, false);
        turns.put_off(device, start);
        assert_eq!(waits(&turns, start), SHORTEST);
    }
}
