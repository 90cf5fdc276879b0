//! Which slots this process has, and how many it should.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Number, ProcessId, SLOTS, Slot, slot_of};

/// The slots that each of so many live processes may have: enough for all slots together, and no more.
pub fn share(live: u32) -> u32 {
    SLOTS.div_ceil(live.max(1))
}

/// The slots of this process.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// With their fences.
    held: BTreeMap<i16, i64>,
    /// Those of them that go to others once nothing of them is under way.
    leaving: BTreeSet<i16>,
}

impl Shares {
    /// These are what it has, as the store says, and it may have `want`; answers those that are new, a bit each.
    pub(super) fn are(&mut self, slots: &[Slot], want: u32) -> u64 {
        let fresh = slots.iter().filter(|slot| self.held.get(&slot.slot) != Some(&slot.fence));
        let fresh = fresh.fold(0, |bits, slot| bits | 1 << slot.slot);
        self.held = slots.iter().map(|slot| (slot.slot, slot.fence)).collect();
        self.leave(want);
        fresh
    }

    /// Decides which slots are too many.
    pub(super) fn leave(&mut self, want: u32) {
        let want = usize::try_from(want).unwrap_or(usize::MAX);
        self.leaving = self.held.keys().copied().skip(want).collect();
    }

    /// Those to be given back, now that these have something under way; they are held no more.
    pub(super) fn give(&mut self, me: ProcessId, under_way: &BTreeMap<i16, usize>) -> Vec<Slot> {
        let free = |slot: &&i16| !under_way.contains_key(*slot);
        let going: Vec<i16> = self.leaving.iter().filter(free).copied().collect();
        let give = |slot: i16| {
            self.leaving.remove(&slot);
            self.held.remove(&slot).map(|fence| Slot { slot, process: me, fence })
        };
        going.into_iter().filter_map(give).collect()
    }

    /// The fence under which a device is relayed here, if it is.
    pub(super) fn fence_of(&self, device: Number) -> Option<i64> {
        let slot = slot_of(device);
        (!self.leaving.contains(&slot)).then(|| self.held.get(&slot).copied()).flatten()
    }

    /// The slots that are relayed here.
    pub(super) fn relayed(&self) -> impl Iterator<Item = i16> + '_ {
        self.held.keys().copied().filter(|slot| !self.leaving.contains(slot))
    }

    /// The same, a bit each.
    pub(super) fn bits(&self) -> u64 {
        self.relayed().fold(0, |bits, slot| bits | 1 << slot)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The store's part: who has each slot, and its fence.
    #[derive(Debug)]
    struct Table(Vec<(Option<usize>, i64)>);

    impl Table {
        fn take(&mut self, me: usize, want: u32) -> Vec<Slot> {
            let mut has = u32::try_from(self.0.iter().filter(|(owner, _)| *owner == Some(me)).count()).unwrap();
            for (owner, fence) in &mut self.0 {
                if owner.is_none() && has < want {
                    (*owner, *fence, has) = (Some(me), *fence + 1, has + 1);
                }
            }
            self.of(me)
        }

        fn of(&self, me: usize) -> Vec<Slot> {
            let slots = self.0.iter().enumerate().filter(|(_, (owner, _))| *owner == Some(me));
            let process = ProcessId(i64::try_from(me).unwrap());
            slots.map(|(slot, (_, fence))| Slot { slot: i16::try_from(slot).unwrap(), process, fence: *fence }).collect()
        }

        fn give(&mut self, slots: &[Slot]) {
            for slot in slots {
                let held = &mut self.0[usize::try_from(slot.slot).unwrap()];
                if held.1 == slot.fence {
                    held.0 = None;
                }
            }
        }
    }

    proptest! {
        /// Processes come and die; after every change it takes two rounds until each slot is relayed by one that lives.
        #[test]
        fn every_slot_comes_to_one_that_lives(changes in prop::collection::vec((any::<bool>(), 0..5_usize), 1..20)) {
            let mut table = Table(vec![(None, 0); SLOTS as usize]);
            let mut live: BTreeMap<usize, Shares> = BTreeMap::new();
            for (comes, who) in changes {
                if comes {
                    live.entry(who).or_default();
                } else if live.remove(&who).is_some() {
                    // Its lapse.
                    let held = table.of(who);
                    table.give(&held);
                }
                let want = share(u32::try_from(live.len()).unwrap());
                for _ in 0..2 {
                    for (me, shares) in &mut live {
                        let has = table.take(*me, want);
                        shares.are(&has, want);
                        let given = shares.give(ProcessId(i64::try_from(*me).unwrap()), &BTreeMap::new());
                        table.give(&given);
                    }
                }
                let bits: Vec<u64> = live.values().map(Shares::bits).collect();
                let all = bits.iter().fold(0, |all, bits| all | bits);
                prop_assert_eq!(all, if live.is_empty() { 0 } else { u64::MAX });
                prop_assert_eq!(bits.iter().map(|bits| bits.count_ones()).sum::<u32>(), all.count_ones(), "one relay each");
                prop_assert!(live.values().all(|shares| shares.count() <= want));
            }
        }
    }

    #[test]
    fn a_slot_stays_until_nothing_of_it_is_under_way_and_takes_nothing_new() {
        let slot = |slot| Slot { slot, process: ProcessId(1), fence: 9 };
        let mut shares = Shares::default();
        assert_eq!(shares.are(&[slot(3), slot(5)], 1), 1 << 3 | 1 << 5);
        assert_eq!(shares.bits(), 1 << 3);
        assert!(shares.give(ProcessId(1), &BTreeMap::from([(5, 2)])).is_empty());
        assert_eq!(shares.give(ProcessId(1), &BTreeMap::new()), [slot(5)]);
        assert_eq!((shares.count(), shares.are(&[slot(3)], 1)), (1, 0));
    }
}
