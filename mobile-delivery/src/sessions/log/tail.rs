//! The newest entries of a tenant's log, as one process has read them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::{Entry, Limit, Micros};

/// Entries that are kept at most.
const ENTRIES: usize = 512;

/// Bytes of their bodies at most; one is kept whatever its size.
const BYTES: usize = 4 << 20;

/// Withdrawn entries that are remembered.
const RECALLED: usize = 64;

/// What was read, without a hole: whatever there is after `from`, up to `head`.
#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    from: i64,
    head: i64,
    /// The log is known to reach up to here.
    known: i64,
    /// Entries that were withdrawn lately: one that was read just before that may come just after it.
    recalled: VecDeque<i64>,
}

/// Some entries for a device.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) through: i64,
    pub(super) more: bool,
}

impl Tail {
    /// Nothing was read, and nothing up to `at` is asked of it.
    pub(super) fn at(at: i64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, from: at, head: at, known: at, recalled: VecDeque::new() }
    }

    /// Forgets what was read: who wants it asks the store.
    pub(super) fn forget(&mut self) {
        (self.entries, self.bytes, self.from) = (VecDeque::new(), 0, self.head);
    }

    /// Up to where it was read.
    pub(super) fn head(&self) -> i64 {
        self.head
    }

    /// Whether there is more than was read.
    pub(super) fn is_behind(&self) -> bool {
        self.known > self.head
    }

    /// The log reaches up to here.
    pub(super) fn known(&mut self, entry: i64) {
        self.known = self.known.max(entry);
    }

    /// There is nothing after what was read.
    pub(super) fn is_all(&mut self) {
        self.known = self.head;
    }

    /// An entry that was committed here; whether it follows what was read.
    pub(super) fn next(&mut self, entry: &Arc<Entry>) -> bool {
        self.known(entry.entry);
        let follows = entry.entry == self.head + 1;
        if follows {
            self.push(entry.clone());
        }
        follows
    }

    /// What was read after `after`; nothing, if it was read before.
    pub(super) fn read(&mut self, after: i64, entries: &[Arc<Entry>], through: i64) -> bool {
        if after != self.head {
            return false;
        }
        entries.iter().for_each(|entry| self.push(entry.clone()));
        self.head = self.head.max(through);
        self.known(through);
        true
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.head = entry.entry;
        if self.recalled.contains(&entry.entry) {
            return;
        }
        self.bytes += entry.message.body.len();
        self.entries.push_back(entry);
        while self.entries.len() > ENTRIES || (self.bytes > BYTES && self.entries.len() > 1) {
            if let Some(gone) = self.entries.pop_front() {
                self.bytes -= gone.message.body.len();
                self.from = gone.entry;
            }
        }
    }

    /// Forgets an entry that was withdrawn.
    pub(super) fn recall(&mut self, entry: i64) {
        if self.recalled.len() >= RECALLED {
            self.recalled.pop_front();
        }
        self.recalled.push_back(entry);
        if let Ok(at) = self.entries.binary_search_by_key(&entry, |kept| kept.entry)
            && let Some(gone) = self.entries.remove(at)
        {
            self.bytes -= gone.message.body.len();
        }
    }

    /// What there is after `after` for who has these tags, each after its own entry, within `limit`. `None`: that is not kept any more.
    pub(super) fn page(&self, after: i64, tags: &[(String, i64)], limit: Limit, now: Micros) -> Option<Page> {
        // What is known to be there and was not read here is in the store.
        if after < self.from || (after >= self.head && self.is_behind()) {
            return None;
        }
        let begin = self.entries.partition_point(|entry| entry.entry <= after);
        let is_for =
            |entry: &Entry| tags.iter().any(|(tag, since)| *tag == entry.tag && *since < entry.entry) && entry.expires_at > now;
        let (mut page, mut bytes) = (Page { entries: Vec::new(), through: self.head.max(after), more: false }, 0);
        for entry in self.entries.range(begin..).filter(|entry| is_for(entry)) {
            let size = i64::try_from(entry.message.body.len()).unwrap_or(i64::MAX);
            let first = page.entries.is_empty();
            if page.entries.len() >= limit.messages as usize || (!first && bytes + size > limit.bytes) {
                page.more = true;
                page.through = page.entries.last().map_or(after, |last| last.entry);
                return Some(page);
            }
            bytes += size;
            page.entries.push(entry.clone());
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::store::{Message, Priority};

    fn entry(number: i64, tag: &str, size: usize, expires_at: Micros) -> Arc<Entry> {
        let message = Message {
            id: Uuid::from_u128(number.unsigned_abs().into()),
            sender: "back-end".into(),
            kind: String::new(),
            content_type: "text/plain".into(),
            body: Bytes::from(vec![0; size]),
            traceparent: None,
            collapse_key: None,
            priority: Priority::Normal,
            created_at: 1,
        };
        Arc::new(Entry { entry: number, tag: tag.into(), expires_at, author: None, message })
    }

    fn page(tail: &Tail, after: i64, tags: &[(&str, i64)], messages: u32) -> Option<(Vec<i64>, i64, bool)> {
        let tags: Vec<(String, i64)> = tags.iter().map(|(tag, since)| ((*tag).to_owned(), *since)).collect();
        let page = tail.page(after, &tags, Limit { messages, bytes: 100 }, 10)?;
        Some((page.entries.iter().map(|entry| entry.entry).collect(), page.through, page.more))
    }

    #[test]
    fn it_gives_what_is_for_a_device_in_order_and_says_how_far_that_is_all() {
        let mut tail = Tail::at(4);
        for (number, tag, expires_at) in [(5, "*", 99), (6, "g:a", 99), (7, "g:b", 99), (8, "g:a", 9), (9, "g:a", 99)] {
            assert!(tail.next(&entry(number, tag, 1, expires_at)));
        }
        assert_eq!(page(&tail, 4, &[("*", 0), ("g:a", 0)], 9), Some((vec![5, 6, 9], 9, false)), "8 has expired");
        assert_eq!(page(&tail, 4, &[("g:a", 6)], 9), Some((vec![9], 9, false)), "it came after 6");
        assert_eq!(page(&tail, 6, &[("g:c", 0)], 9), Some((vec![], 9, false)));
        assert_eq!(page(&tail, 4, &[("*", 0), ("g:a", 0)], 2), Some((vec![5, 6], 6, true)));
        assert_eq!(page(&tail, 3, &[("*", 0)], 9), None, "4 may have been for it");
        tail.recall(6);
        assert_eq!(page(&tail, 4, &[("*", 0), ("g:a", 0)], 9), Some((vec![5, 9], 9, false)));
    }

    #[test]
    fn what_others_append_leaves_no_hole() {
        let mut tail = Tail::at(0);
        assert!(tail.next(&entry(1, "*", 1, 99)));
        assert!(!tail.next(&entry(3, "*", 1, 99)), "2 is somebody else's");
        assert!(tail.is_behind());
        assert_eq!(page(&tail, 0, &[("*", 0)], 9), Some((vec![1], 1, false)));
        assert_eq!(page(&tail, 1, &[("*", 0)], 9), None, "the store has it");
        assert!(!tail.read(0, &[entry(1, "*", 1, 99)], 1), "read before");
        assert!(tail.read(1, &[entry(2, "*", 1, 99), entry(3, "*", 1, 99)], 4), "4 has expired");
        assert!(!tail.is_behind());
        assert_eq!(page(&tail, 0, &[("*", 0)], 9), Some((vec![1, 2, 3], 4, false)));
        tail.known(9);
        assert!(tail.is_behind(), "somebody says so");
        assert!(tail.read(4, &[], 4));
        tail.is_all();
        assert!(!tail.is_behind(), "the store knows of none");
    }

    #[test]
    fn what_was_withdrawn_while_it_was_read_is_not_kept_and_what_was_read_can_be_forgotten() {
        let mut tail = Tail::at(0);
        tail.recall(2);
        assert!(tail.read(0, &[entry(1, "*", 1, 99), entry(2, "*", 1, 99), entry(3, "*", 1, 99)], 3));
        assert_eq!(page(&tail, 0, &[("*", 0)], 9), Some((vec![1, 3], 3, false)));
        tail.forget();
        assert_eq!((page(&tail, 0, &[("*", 0)], 9), tail.head()), (None, 3), "the store has it");
        assert!(tail.next(&entry(4, "*", 1, 99)));
        assert_eq!(page(&tail, 3, &[("*", 0)], 9), Some((vec![4], 4, false)));
    }

    #[test]
    fn it_is_bounded_and_says_what_it_has_forgotten() {
        let mut tail = Tail::at(0);
        let all = i64::try_from(ENTRIES).unwrap() + 3;
        (1..=all).for_each(|number| assert!(tail.next(&entry(number, "*", 0, 99))));
        assert_eq!(page(&tail, 2, &[("*", 0)], 1), None);
        assert_eq!(page(&tail, 3, &[("*", 0)], 1), Some((vec![4], 4, true)));
        assert!(tail.next(&entry(all + 1, "*", BYTES + 1, 99)));
        assert_eq!(page(&tail, all - 1, &[("*", 0)], 1), None);
        assert_eq!(page(&tail, all, &[("*", 0)], 1), Some((vec![all + 1], all + 1, false)), "one goes whatever its size");
    }
}
