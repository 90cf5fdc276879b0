//! What a lane has brought and is not acked: the session's number of each, and the lane's.

use std::time::Duration;

use jiff::Timestamp;
use messaging::devices as lanes;

use super::opening::LaneState;
use super::rows::arrived;
use crate::session::{Delivery, Tag};

/// As many as the lane's prefetch at most.
#[derive(Default)]
pub(super) struct Deliveries {
    next: u64,
    /// In the order in which they came.
    held: Vec<(u64, lanes::Tag)>,
    strays: Vec<lanes::Tag>,
}

impl Deliveries {
    /// For the session; the tag of one that has no place among those of the device.
    pub(super) fn take(&mut self, delivery: lanes::Delivery, fresh: Duration) -> Result<Delivery, lanes::Tag> {
        let lanes::Delivery { tag: own, seq, after, redelivered, message } = delivery;
        let place = seq.ok_or(own)?;
        let seq = u64::try_from(place).map_err(|_| own)?;
        let after = after.and_then(|after| u64::try_from(after).ok()).unwrap_or(0);
        let tag = Tag(self.next);
        self.next += 1;
        self.held.push((tag.0, own));
        let now = Timestamp::now();
        let since = now.saturating_sub(jiff::SignedDuration::try_from(fresh).unwrap_or_default()).unwrap_or(now);
        Ok(Delivery { tag, seq, after, message: arrived(message, place, redelivered, now, since) })
    }

    /// To be acked with what is acked next.
    pub(super) fn ack_stray(&mut self, stray: lanes::Tag) {
        self.strays.push(stray);
    }

    pub(super) async fn ack(&mut self, tags: &[Tag], lane: &mut LaneState) {
        let mut own = Vec::with_capacity(tags.len());
        for tag in tags {
            if let Ok(at) = self.held.binary_search_by_key(&tag.0, |(tag, _)| *tag) {
                own.push(self.held.remove(at).1);
            }
        }
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        if let LaneState::At(attachment) = lane {
            attachment.ack(&own).await;
        }
    }

    pub(super) async fn ack_strays(&mut self, lane: &mut LaneState) {
        if !self.strays.is_empty()
            && let LaneState::At(attachment) = lane
        {
            attachment.ack(&std::mem::take(&mut self.strays)).await;
        }
    }

    /// The lane is another: what it brought before is not ours any more.
    pub(super) fn forget(&mut self) {
        (self.held, self.strays) = (Vec::new(), Vec::new());
    }
}
