//! The queue of the device in the broker: durable, in order, one active consumer with a prefetch.

use std::collections::{BTreeMap, VecDeque};

use mobile_delivery::session::{Delivery, Tag};

use super::store::Store;

#[derive(Default)]
pub struct Lane {
    /// (seq, the one published before it), in the order of publishing.
    queue: VecDeque<(u64, u64)>,
    unacked: BTreeMap<Tag, (u64, u64)>,
    tags: u64,
    published: u64,
}

impl Lane {
    /// Publishes the next row that was not yet; `kept` says whether a queue was there to take it.
    pub fn publish(&mut self, store: &Store, kept: bool) {
        let Some((seq, _)) = store.rows.range(self.published + 1..).next() else { return };
        if kept {
            self.queue.push_back((*seq, self.published));
        }
        self.published = *seq;
    }

    pub fn deliver(&mut self, prefetch: usize, store: &Store, checks: bool) -> Option<Delivery> {
        if self.unacked.len() >= prefetch {
            return None;
        }
        let (seq, after) = self.queue.pop_front()?;
        self.tags += 1;
        let tag = Tag(self.tags);
        self.unacked.insert(tag, (seq, after));
        let (message, row) = store.rows[&seq].clone();
        // What is known to be gone is not handed over; it may not be known yet.
        let known = checks && row != super::store::Row::Pending;
        Some(Delivery { tag, seq, after, message: (!known).then_some(message) })
    }

    pub fn ack(&mut self, tag: Tag) -> u64 {
        self.unacked.remove(&tag).unwrap_or_else(|| panic!("{tag:?} is settled twice")).0
    }

    pub fn give_back(&mut self, tags: &[Tag]) {
        let back: Vec<_> = tags.iter().map(|tag| (*tag, self.unacked.remove(tag).expect("settled twice"))).collect();
        assert!(back.is_sorted_by_key(|(_, (seq, _))| *seq), "given back out of order: {back:?}");
        back.into_iter().for_each(|(_, entry)| self.queue.push_back(entry));
        self.in_order();
    }

    /// The consumer is gone: what it had is ready again.
    pub fn drop_consumer(&mut self) {
        self.queue.extend(std::mem::take(&mut self.unacked).into_values());
        self.in_order();
    }

    /// The node is lost with what it had.
    pub fn lose(&mut self) {
        (self.queue, self.unacked) = Default::default();
    }

    /// Everything was published, delivered and settled.
    pub fn is_done(&self, store: &Store) -> bool {
        self.published == store.last() && self.queue.is_empty() && self.unacked.is_empty()
    }

    /// A classic queue puts back what it gets back where it was.
    fn in_order(&mut self) {
        self.queue.make_contiguous().sort_unstable();
    }
}
