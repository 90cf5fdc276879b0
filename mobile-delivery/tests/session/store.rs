//! The rows of one device, as the store would have them.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use mobile_delivery::protocol::{Gap, Message};
use mobile_delivery::session::{Ask, End, Ended, Page};
use uuid::Uuid;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Pending,
    Delivered,
    Rejected,
    /// Cancelled, collapsed, expired: nobody is to be told of.
    Withdrawn,
    /// Thrown away: the device is to be told.
    Dropped,
}

#[derive(Default)]
pub struct Store {
    pub rows: BTreeMap<u64, (Message, Row)>,
    pub gap: Option<Gap>,
    /// In the order in which they were; the number of a gap is how many had been.
    pub dropped: Vec<u64>,
    pub fence: i64,
    /// Settlings that came under an older fence.
    pub refused: u64,
}

static PAYLOAD: [u8; 8192] = [7; 8192];

pub fn id(seq: u64) -> Uuid {
    Uuid::from_u128(u128::from(seq) << 64 | 7)
}

pub fn message(seq: u64, size: usize) -> Message {
    Message {
        seq,
        logged: None,
        id: id(seq),
        dup: false,
        kind: "note".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        expires: None,
        collapse_key: None,
        high: false,
        content_type: "application/octet-stream".to_owned(),
        payload: Bytes::from_static(&PAYLOAD).slice(..size),
    }
}

impl Store {
    pub fn last(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    pub fn send(&mut self, size: usize) -> u64 {
        // Numbers that a rolled back transaction took stay holes.
        let seq = self.last() + 1 + u64::from(size % 7 == 3);
        self.rows.insert(seq, (message(seq, size), Row::Pending));
        seq
    }

    pub fn row(&self, seq: u64) -> Row {
        self.rows[&seq].1
    }

    pub fn pending(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.rows.iter().filter(|(_, (_, row))| *row == Row::Pending).map(|(seq, _)| *seq)
    }

    /// Ends a row without the device.
    pub fn end(&mut self, seq: u64, row: Row) {
        self.rows.get_mut(&seq).unwrap().1 = row;
        if row == Row::Dropped {
            self.dropped.push(seq);
            let count = self.gap.as_ref().map_or(0, |gap| gap.count.unwrap()) + 1;
            let number = u64::try_from(self.dropped.len()).unwrap();
            self.gap = Some(Gap { number, reason: "overflow".to_owned(), count: Some(count) });
        }
    }

    pub fn read(&self, ask: Ask) -> Page {
        let mut page = Page { through: self.last(), gap: self.gap.clone(), ..Page::default() };
        let mut bytes = 0;
        for seq in self.pending().filter(|seq| *seq > ask.after) {
            let message = self.rows[&seq].0.clone();
            let full = page.messages.len() == usize::from(ask.messages);
            if full || (!page.messages.is_empty() && bytes + message.size() > ask.bytes as usize) {
                page.more = true;
                break;
            }
            bytes += message.size();
            page.messages.push(message);
        }
        page
    }

    /// `false` under an older fence.
    pub fn settle(&mut self, fence: i64, ends: &[End]) -> bool {
        if fence != self.fence {
            self.refused += 1;
            return false;
        }
        for end in ends {
            let row = &mut self.rows.get_mut(&end.seq).unwrap().1;
            if *row == Row::Pending {
                *row = if end.ended == Ended::Delivered { Row::Delivered } else { Row::Rejected };
            }
        }
        true
    }

    pub fn gap_told(&mut self, fence: i64, number: u64) {
        if fence == self.fence {
            self.gap.take_if(|gap| gap.number <= number);
        }
    }
}
