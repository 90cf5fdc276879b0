//! What need not be read: messages that this process has committed itself, and up to where it has filled the lanes of their devices.
//!
//! A device whose next messages are all here, one after the other from where its lane is, is not looked up in the store. Nothing rests on it: whatever is
//! missing here, or was said by somebody else, is read.

use std::collections::HashMap;

use super::carry::At;
use crate::follow::Fresh;
use crate::store::{Given, Number, Placed, Relayed};

/// Messages that are kept of one device, and devices; and bytes of bodies. What is beyond is read.
const EACH: usize = 64;
const DEVICES: usize = 8192;
const BYTES: usize = 8 << 20;

/// Lanes that are remembered. With more all are forgotten, and read once.
const LANES: usize = 16_384;

/// Messages that wait for the turn of their device.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `None`: there may be others, so that it has to be read.
    devices: HashMap<Number, Option<Vec<Given>>>,
    bytes: usize,
}

impl Kept {
    /// Keeps a message, if there is room.
    pub(super) fn keep(&mut self, fresh: &Fresh) {
        let Placed { device, seq, expires_at } = fresh.placed;
        let size = fresh.message.body.len();
        let has_room = self.bytes + size <= BYTES && (self.devices.len() < DEVICES || self.devices.contains_key(&device));
        let Some(expires_at) = expires_at.filter(|_| has_room) else { return self.spoil(device) };
        if let Some(all) = self.devices.entry(device).or_insert_with(|| Some(Vec::new())) {
            if all.len() >= EACH {
                return self.spoil(device);
            }
            all.push(Given { seq, expires_at, message: fresh.message.as_ref().clone() });
            self.bytes += size;
        }
    }

    /// A device has something that is not here.
    pub(super) fn spoil(&mut self, device: Number) {
        self.drop_all_of(device);
        if self.devices.len() < DEVICES {
            self.devices.insert(device, None);
        }
    }

    /// What is kept of a device whose turn it is; `None`: read it.
    pub(super) fn take(&mut self, device: Number) -> Option<Vec<Given>> {
        self.drop_all_of(device)
    }

    /// Forgets all, so that nothing stays of devices whose turn does not come.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn drop_all_of(&mut self, device: Number) -> Option<Vec<Given>> {
        let all = self.devices.remove(&device)??;
        self.bytes -= all.iter().map(|given| given.message.body.len()).sum::<usize>();
        Some(all)
    }
}

/// Up to where lanes are filled, as the store was told.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<Number, At>);

impl Lanes {
    /// This one is filled up to there; `None`: it is not known how far.
    pub(super) fn are(&mut self, device: Number, at: Option<At>) {
        match at {
            Some(at) => {
                if self.0.len() >= LANES {
                    self.0.clear();
                }
                self.0.insert(device, at);
            }
            None => drop(self.0.remove(&device)),
        }
    }

    /// What to publish of what is kept of a device, if that is all that comes next.
    pub(super) fn follow(&self, device: Number, fence: i64, mut kept: Vec<Given>) -> Option<Relayed> {
        let at = self.0.get(&device).filter(|at| at.fence == fence)?;
        kept.retain(|given| given.seq > at.upto);
        let follows = kept.iter().zip(at.upto + 1..).all(|(given, seq)| given.seq == seq);
        let upto = kept.last().filter(|_| follows)?.seq;
        let At { tenant, id, tier, shard, via, turn, .. } = at.clone();
        Some(Relayed { device, tenant, id, tier, shard, via, turn, after: at.upto, messages: kept, upto })
    }

    /// Forgets those that `gone` tells of.
    pub(super) fn forget(&mut self, gone: impl Fn(Number) -> bool) {
        self.0.retain(|device, _| !gone(*device));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{MAIN, Message, Priority, Tier, Via};

    const PHONE: Number = Number(7);

    fn fresh(device: Number, seq: i64, size: usize) -> Fresh {
        let message = Message {
            id: uuid::Uuid::from_u128(seq.unsigned_abs().into()),
            sender: String::new(),
            kind: String::new(),
            content_type: String::new(),
            body: vec![b'x'; size].into(),
            traceparent: None,
            collapse_key: None,
            priority: Priority::Normal,
            created_at: 0,
        };
        Fresh { placed: Placed { device, seq, expires_at: Some(9) }, message: Arc::new(message) }
    }

    fn at(upto: i64) -> At {
        At {
            tenant: "acme".into(),
            id: "phone".into(),
            tier: Tier::Standard,
            shard: MAIN.into(),
            via: Via::Hub,
            turn: 3,
            fence: 5,
            upto,
        }
    }

    fn followed(upto: i64, fence: i64, seqs: &[i64]) -> Option<(i64, Vec<i64>, i64)> {
        let (mut kept, mut lanes) = (Kept::default(), Lanes::default());
        seqs.iter().for_each(|seq| kept.keep(&fresh(PHONE, *seq, 10)));
        lanes.are(PHONE, Some(at(upto)));
        let read = lanes.follow(PHONE, fence, kept.take(PHONE)?)?;
        assert_eq!(kept.bytes, 0);
        Some((read.after, read.messages.iter().map(|given| given.seq).collect(), read.upto))
    }

    #[test]
    fn what_follows_where_the_lane_is_need_not_be_read_and_anything_else_is() {
        assert_eq!(followed(4, 5, &[5, 6]), Some((4, vec![5, 6], 6)));
        assert_eq!(followed(5, 5, &[4, 5, 6]), Some((5, vec![6], 6)), "what is in the lane stays there");
        assert_eq!(followed(4, 5, &[6]), None, "one is missing");
        assert_eq!(followed(4, 5, &[5, 7]), None);
        assert_eq!(followed(4, 5, &[6, 5]), None);
        assert_eq!(followed(6, 5, &[5, 6]), None, "there may be something else that it was woken for");
        assert_eq!(followed(4, 6, &[5, 6]), None, "the slot was somebody else's meanwhile");
        assert_eq!(followed(4, 5, &[]), None);
    }

    #[test]
    fn a_device_that_somebody_else_spoke_of_is_read() {
        let mut kept = Kept::default();
        kept.keep(&fresh(PHONE, 5, 10));
        kept.spoil(PHONE);
        kept.keep(&fresh(PHONE, 6, 10));
        assert_eq!((kept.take(PHONE), kept.bytes), (None, 0));
        let mut over = fresh(PHONE, 7, 10);
        over.placed.expires_at = None;
        kept.keep(&over);
        assert_eq!(kept.take(PHONE), None, "what has ended is not given");
        kept.keep(&fresh(PHONE, 8, 10));
        assert_eq!(kept.take(PHONE).unwrap().len(), 1, "after its turn it begins anew");
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let mut kept = Kept::default();
        (0..=100).for_each(|seq| kept.keep(&fresh(PHONE, seq, 10)));
        assert_eq!((kept.take(PHONE), kept.bytes), (None, 0), "more than it may have: it is read");
        (0..100).for_each(|device| kept.keep(&fresh(Number(device), 1, 1 << 20)));
        assert!(kept.bytes <= BYTES);
        (0..20_000).for_each(|device| kept.keep(&fresh(Number(device), 1, 0)));
        assert!(kept.devices.len() <= DEVICES);
        kept.clear();
        assert_eq!((kept.devices.len(), kept.bytes), (0, 0));
        let mut lanes = Lanes::default();
        (0..40_000).for_each(|device| lanes.are(Number(device), Some(at(1))));
        assert!(lanes.0.len() <= LANES);
    }
}
