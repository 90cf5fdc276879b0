//! Rows in memory, by kind and tenant, and the one function that chooses what goes next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use messaging::consumer::ONE_IN;

use super::Item;
use super::memory::is_work;
use crate::store::{Lane, Priority};

/// Rows in memory. A lane is a kind, a tenant and a class; tenants take turns within a kind by weight, kinds take turns evenly. High
/// lanes come first, but for one row in five while normal ones wait.
pub struct Lanes {
    weights: BTreeMap<String, u32>,
    len: usize,
    lanes: HashMap<Lane, VecDeque<Item>>,
    /// Lanes whose rows the broker did not take: until when they wait. From then on one row a second tries it, until one is taken.
    refused: HashMap<Lane, Instant>,
    /// Lanes with something in them, next one first; by class.
    turns: [VecDeque<Lane>; 2],
    /// What is left over of a fifth of all batches so far.
    fifths: usize,
}

/// How long a lane waits whose row the broker did not take.
const REFUSED: Duration = Duration::from_secs(1);

/// How long it is remembered that it did, without a row to try it with.
const FORGOTTEN: Duration = Duration::from_secs(60);

impl Lanes {
    /// No rows.
    pub fn new(weights: BTreeMap<String, u32>) -> Self {
        Self { weights, len: 0, lanes: HashMap::new(), refused: HashMap::new(), turns: Default::default(), fifths: 0 }
    }

    /// How many rows are in memory.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a row at the end of its lane.
    pub fn push(&mut self, item: Item) {
        let lane = lane_of(&item);
        self.enter(&lane).push_back(item);
        self.len += 1;
    }

    /// Puts a row back at the head of its lane.
    pub fn put_back(&mut self, item: Item) {
        self.enter(&lane_of(&item)).push_front(item);
        self.len += 1;
    }

    /// The broker did not take a row: its lane waits, and what is in memory of it is taken out, with this row.
    pub(super) fn refuse(&mut self, item: Item) -> Vec<Item> {
        let (lane, now) = (lane_of(&item), Instant::now());
        self.refused.retain(|_, at| now < *at + FORGOTTEN);
        let rest = self.lanes.remove(&lane).unwrap_or_default();
        self.turns[lane.priority as usize].retain(|other| *other != lane);
        self.refused.insert(lane, now + REFUSED);
        self.len -= rest.len();
        std::iter::once(item).chain(rest).collect()
    }

    /// The broker took a row; `true` if its lane was refused before.
    pub(super) fn taken(&mut self, item: &Item) -> bool {
        !self.refused.is_empty() && self.refused.remove(&lane_of(item)).is_some()
    }

    /// Takes out what would become work of the kinds that `held` names; their dead letters stay.
    pub(super) fn take_work(&mut self, held: impl Fn(&str) -> bool) -> Vec<Item> {
        let mut taken = Vec::new();
        for (_, items) in self.lanes.iter_mut().filter(|(lane, _)| held(&lane.kind)) {
            let (work, rest): (VecDeque<Item>, VecDeque<Item>) =
                std::mem::take(items).into_iter().partition(|item| is_work(item.job.status.outlet));
            *items = rest;
            taken.extend(work);
        }
        self.lanes.retain(|_, items| !items.is_empty());
        for turns in &mut self.turns {
            turns.retain(|lane| self.lanes.contains_key(lane));
        }
        self.len -= taken.len();
        taken
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.len = 0;
        self.turns = Default::default();
        self.lanes.clear();
    }

    /// How many rows of a lane may go at once, since the broker refused one of them; `None`: as many as there are.
    pub(super) fn trial(&self, lane: &Lane) -> Option<usize> {
        let at = self.refused.get(lane)?;
        Some(usize::from(Instant::now() >= *at))
    }

    /// Chooses up to `limit` rows to publish: lanes take turns, each turn as many rows as the tenant's weight, none from
    /// a lane that was refused. A fifth is kept for normal rows, if there are any.
    pub fn next_batch(&mut self, limit: usize) -> Vec<Item> {
        let mut batch = Vec::new();
        self.fifths += limit;
        let kept = self.fifths / usize::from(ONE_IN);
        self.fifths %= usize::from(ONE_IN);
        self.take(Priority::High, limit - kept, &mut batch);
        self.take(Priority::Normal, limit, &mut batch);
        self.take(Priority::High, limit, &mut batch);
        batch
    }

    /// Fills `batch` up to `limit` rows with rows of one class.
    fn take(&mut self, class: Priority, limit: usize, batch: &mut Vec<Item>) {
        let mut fruitless = 0;
        while batch.len() < limit && fruitless < self.turns[class as usize].len() {
            let Some(lane) = self.turns[class as usize].pop_front() else { break };
            let weight = self.weights.get(&lane.tenant).copied().unwrap_or(1).max(1);
            let may = self.trial(&lane).unwrap_or(weight as usize).min(limit - batch.len());
            let Some(items) = self.lanes.get_mut(&lane) else { continue };
            let taken = may.min(items.len());
            batch.extend(items.drain(..taken));
            if taken > 0
                && let Some(at) = self.refused.get_mut(&lane)
            {
                *at = Instant::now() + REFUSED;
            }
            self.len -= taken;
            fruitless = if taken == 0 { fruitless + 1 } else { 0 };
            if items.is_empty() {
                self.lanes.remove(&lane);
            } else {
                self.turns[class as usize].push_back(lane);
            }
        }
    }

    fn enter(&mut self, lane: &Lane) -> &mut VecDeque<Item> {
        if !self.lanes.contains_key(lane) {
            self.turns[lane.priority as usize].push_back(lane.clone());
        }
        self.lanes.entry(lane.clone()).or_default()
    }
}

fn lane_of(item: &Item) -> Lane {
    Lane { kind: item.job.kind.clone(), tenant: item.job.tenant.clone(), priority: item.job.priority }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::room::{RoomLimits, Rooms};
    use crate::store::{Job, Payload, Status};
    use database::clock;

    fn item(kind: &str, tenant: &str) -> Item {
        item_of(kind, tenant, Priority::Normal)
    }

    fn item_of(kind: &str, tenant: &str, priority: Priority) -> Item {
        let status = Status::accepted(clock::now(), i64::MAX);
        let job = Job { id: uuid::Uuid::now_v7(), kind: kind.into(), tenant: tenant.into(), version: 1, priority, status };
        let payload =
            Payload { subject: String::new(), content_type: String::new(), body: Default::default(), traceparent: None };
        let ticket = Rooms::new(RoomLimits::default()).reserve(priority, &job, &payload).unwrap();
        Item { job, payload, ticket }
    }

    fn tenants(batch: &[Item]) -> String {
        batch.iter().map(|item| item.job.tenant.as_str()).collect()
    }

    #[test]
    fn a_tenant_with_a_long_queue_does_not_make_others_wait() {
        let mut lanes = Lanes::new(BTreeMap::new());
        (0..500).for_each(|_| lanes.push(item("k", "a")));
        (0..3).for_each(|_| lanes.push(item("k", "b")));
        let batch = lanes.next_batch(8);
        assert_eq!(tenants(&batch), "abababaa");
    }

    #[test]
    fn weights_are_shares() {
        let mut lanes = Lanes::new(BTreeMap::from([("a".to_owned(), 3)]));
        (0..50).for_each(|_| {
            lanes.push(item("k", "a"));
            lanes.push(item("k", "b"));
        });
        let batch = lanes.next_batch(8);
        assert_eq!(tenants(&batch), "aaabaaab");
    }

    fn classes(batch: &[Item]) -> String {
        batch.iter().map(|item| if item.job.priority == Priority::High { 'h' } else { 'n' }).collect()
    }

    #[test]
    fn high_rows_go_first_and_one_in_five_is_a_normal_one_however_small_the_batches() {
        let flood = || {
            let mut lanes = Lanes::new(BTreeMap::new());
            (0..100).for_each(|_| lanes.push(item("k", "a")));
            (0..100).for_each(|_| lanes.push(item_of("k", "b", Priority::High)));
            lanes
        };
        assert_eq!(classes(&flood().next_batch(10)), "hhhhhhhhnn");
        let mut lanes = flood();
        let ones: String = (0..20).map(|_| classes(&lanes.next_batch(1))).collect();
        assert_eq!(ones, "hhhhnhhhhnhhhhnhhhhn");

        let mut lanes = Lanes::new(BTreeMap::new());
        (0..20).for_each(|_| lanes.push(item_of("k", "b", Priority::High)));
        assert_eq!(lanes.next_batch(10).len(), 10, "nothing is kept for those who are not there");
        lanes.push(item("k", "a"));
        assert_eq!(classes(&lanes.next_batch(20)), "hhhhhhhhhhn");
        assert!(lanes.is_empty());
    }

    #[test]
    fn high_rows_are_fair_over_tenants_too() {
        let mut lanes = Lanes::new(BTreeMap::new());
        (0..500).for_each(|_| lanes.push(item_of("k", "a", Priority::High)));
        (0..3).for_each(|_| lanes.push(item_of("k", "b", Priority::High)));
        assert_eq!(tenants(&lanes.next_batch(8)), "abababaa");
    }

    #[test]
    fn a_lane_that_is_refused_leaves_the_memory_and_lets_the_others_pass() {
        let mut lanes = Lanes::new(BTreeMap::new());
        (0..3).for_each(|_| lanes.push(item("k", "a")));
        assert_eq!(lanes.refuse(item("k", "a")).len(), 4);
        (0..3).for_each(|_| lanes.push(item("k", "a")));
        lanes.push(item("k", "b"));
        let batch = lanes.next_batch(8);
        assert_eq!(tenants(&batch), "b");
        assert_eq!(lanes.len(), 3);
        let lane = lane_of(&item("k", "a"));
        assert_eq!(lanes.trial(&lane), Some(0));
        lanes.refused.insert(lane.clone(), Instant::now());
        assert_eq!((tenants(&lanes.next_batch(8)), lanes.trial(&lane)), ("a".to_owned(), Some(0)), "one tries it");
        assert!(lanes.taken(&item("k", "a")) && !lanes.taken(&item("k", "a")));
        assert_eq!(tenants(&lanes.next_batch(8)), "aa");
    }

    #[test]
    fn work_of_a_paused_kind_leaves_the_memory_and_its_dead_letters_stay() {
        let mut lanes = Lanes::new(BTreeMap::new());
        let mut dead = item("k", "a");
        dead.job.status.outlet = Some(crate::store::Outlet::Dead);
        lanes.push(dead);
        (0..3).for_each(|_| lanes.push(item("k", "a")));
        lanes.push(item("k", "b"));
        lanes.push(item("other", "c"));
        assert_eq!(lanes.take_work(|kind| kind == "k").len(), 4);
        let batch = lanes.next_batch(8);
        assert_eq!(tenants(&batch), "ac");
        assert!(lanes.is_empty());
    }

    #[test]
    fn no_lane_can_fill_the_memory() {
        let rooms = Rooms::new(RoomLimits { rows: 3, lane: 2, bytes: 1 << 20 });
        let reserve = |tenant, room| rooms.reserve(room, &item("k", tenant).job, &item("k", tenant).payload);
        let held: Vec<Option<crate::relay::Ticket>> =
            ["a", "a", "a", "b", "c"].map(|tenant| reserve(tenant, Priority::Normal)).into();
        assert_eq!(held.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, false]);
        let high = [reserve("a", Priority::High), reserve("b", Priority::High)];
        assert_eq!(high.map(|ticket| ticket.is_some()), [true, false], "high rows have a room of their own, a quarter as large");
        drop(held);
        assert!(reserve("c", Priority::Normal).is_some(), "a dropped ticket gives its place up");
    }
}
