//! Whose rows are claimed next where not all of them may be: tenants by weight, whoever had least before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::store::{Lane, Priority};

/// What a row costs a tenant of weight 1.
const ROW: u64 = 1 << 20;

/// How much each lane had that waits.
pub(super) struct Turns {
    weights: BTreeMap<String, u32>,
    /// Rows taken, divided by the weight.
    had: HashMap<Lane, u64>,
}

impl Turns {
    /// Weights of tenants; 1 unless named here.
    pub(super) fn new(weights: BTreeMap<String, u32>) -> Self {
        Self { weights, had: HashMap::new() }
    }

    pub(super) fn weight(&self, lane: &Lane) -> u32 {
        self.weights.get(&lane.tenant).copied().unwrap_or(1).max(1)
    }

    /// Puts the lanes that wait in the order of their turns, high ones first: a normal lane may hold the same rows, further back. Who
    /// is new had as much as the last of its kind; who waits no more is forgotten.
    pub(super) fn arrange(&mut self, waiting: &mut [Lane]) {
        let mut least: HashMap<(&str, Priority), u64> = HashMap::new();
        for lane in waiting.iter() {
            if let Some(had) = self.had.get(lane) {
                let least = least.entry((&lane.kind, lane.priority)).or_insert(*had);
                *least = (*least).min(*had);
            }
        }
        let had = |lane: &Lane| {
            let known = self.had.get(lane).or_else(|| least.get(&(lane.kind.as_str(), lane.priority)));
            (lane.clone(), known.copied().unwrap_or(0))
        };
        self.had = waiting.iter().map(had).collect();
        waiting.sort_by_key(|lane| (Reverse(lane.priority), self.had[lane]));
    }

    /// Puts down what a lane was given.
    pub(super) fn gave(&mut self, lane: &Lane, rows: usize) {
        let cost = rows as u64 * ROW / u64::from(self.weight(lane));
        if let Some(had) = self.had.get_mut(lane) {
            *had = had.saturating_add(cost);
        }
    }
}

/// What lanes of one kind and class share: each is given a part of what is there by its weight, those before it first.
pub(super) struct Parts<'a>(HashMap<(&'a str, Priority), u64>);

impl<'a> Parts<'a> {
    /// Of `lanes`, which are then asked for in this order.
    pub(super) fn new(lanes: &'a [Lane], turns: &Turns) -> Self {
        let mut weights = HashMap::new();
        for lane in lanes {
            *weights.entry((lane.kind.as_str(), lane.priority)).or_default() += u64::from(turns.weight(lane));
        }
        Self(weights)
    }

    /// The part of `lane` in `room`, which is what those before it left.
    pub(super) fn of(&mut self, lane: &'a Lane, room: u32, turns: &Turns) -> u32 {
        let weight = u64::from(turns.weight(lane));
        let rest = self.0.entry((&lane.kind, lane.priority)).or_insert(weight);
        let part = (u64::from(room) * weight).div_ceil((*rest).max(1));
        *rest = rest.saturating_sub(weight);
        u32::try_from(part).unwrap_or(room).min(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(tenant: &str) -> Lane {
        Lane { kind: "k".into(), tenant: tenant.into(), priority: Priority::Normal }
    }

    fn turns() -> Turns {
        Turns::new(BTreeMap::from([("c".to_owned(), 2)]))
    }

    /// Who is given how much of `room`, once, in the order of their turns.
    fn round(turns: &mut Turns, tenants: &str, room: u32) -> Vec<(String, u32)> {
        let mut waiting: Vec<Lane> = tenants.chars().map(|tenant| lane(&tenant.to_string())).collect();
        turns.arrange(&mut waiting);
        let (mut parts, mut left, mut given) = (Parts::new(&waiting, turns), room, Vec::new());
        for lane in &waiting {
            let part = parts.of(lane, left, turns);
            left -= part;
            turns.gave(lane, part as usize);
            given.push((lane.tenant.clone(), part));
        }
        given
    }

    #[test]
    fn room_is_shared_by_weight_and_none_of_it_is_left() {
        let given: BTreeMap<String, u32> = round(&mut turns(), "abc", 9).into_iter().collect();
        assert_eq!(given, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2), ("c".to_owned(), 4)]));
    }

    #[test]
    fn one_place_at_a_time_is_fair_over_the_turns() {
        let mut turns = turns();
        let mut given: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..40 {
            for (tenant, part) in round(&mut turns, "abc", 1) {
                *given.entry(tenant).or_default() += part;
            }
        }
        assert_eq!(given, BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 10), ("c".to_owned(), 20)]));
        // Who comes later has no claim to what the others had before.
        let mut later: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..8 {
            for (tenant, part) in round(&mut turns, "abd", 1) {
                *later.entry(tenant).or_default() += part;
            }
        }
        assert!(later["d"] <= 3, "{later:?}");
    }

    #[test]
    fn high_lanes_come_first() {
        let high = Lane { priority: Priority::High, ..lane("z") };
        let mut waiting = vec![lane("a"), high.clone()];
        turns().arrange(&mut waiting);
        assert_eq!(waiting[0], high);
    }
}
