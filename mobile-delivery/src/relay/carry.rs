//! One device's way: what was read is published in order, confirmed, marked; and what is done when its queue is not there.

use std::sync::Arc;
use std::time::Duration;

use broker_topology::Device;
use database::clock;
use messaging::devices::{DeviceMessage, Line, Sent};
use tokio_util::sync::CancellationToken;

use super::judge::{Then, judge};
use super::marks::Marks;
use super::metrics::Metrics;
use super::wake::Wake;
use crate::lane::{lane_of, queue_of};
use crate::lane_message;
use crate::shards::Shards;
use crate::store::{Handed, Mark, Micros, Number, Relayed, StoreError, Stores, Temperature, Tier, Turned, Via};

/// What carries devices' messages. Cheap to clone.
#[derive(Clone)]
pub(super) struct Carrier {
    pub(super) stores: Stores,
    pub(super) shards: Shards,
    pub(super) marks: Marks,
    pub(super) wake: Wake,
    pub(super) metrics: Arc<Metrics>,
    /// Nobody waits for what only makes up for a lost queue.
    pub(super) stop: CancellationToken,
}

/// A device that is back.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) device: Number,
    /// The broker that it was for.
    pub(super) shard: String,
    /// Bytes of bodies that are free again.
    pub(super) bytes: usize,
    pub(super) how: How,
    /// Where its lane is, if that is known.
    pub(super) at: Option<At>,
}

/// Up to where a lane is filled.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) tier: Tier,
    pub(super) shard: String,
    pub(super) via: Via,
    /// The lane's turn, and the fence of its slot.
    pub(super) turn: i64,
    pub(super) fence: i64,
    pub(super) upto: i64,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Nothing is wrong; `more`: read it again.
    Well { more: bool },
    /// Again, later.
    Later,
    /// It is relayed by somebody else, on another turn, or not at all.
    NotOurs,
}

impl Carrier {
    /// Carries what comes next for a device under a slot's fence. Answers once the store knows of it; and where the lane is, if all went well.
    pub(super) async fn carry(self, read: Relayed, fence: i64, more: bool) -> (How, Option<At>) {
        let (how, upto) = self.published(&read, fence, more).await;
        let Relayed { tenant, id, tier, shard, via, turn, .. } = read;
        (how, upto.map(|upto| At { tenant, id, tier, shard, via, turn, fence, upto }))
    }

    async fn published(&self, read: &Relayed, fence: i64, more: bool) -> (How, Option<i64>) {
        let &Relayed { device, ref tenant, turn, tier, via, after, upto, .. } = read;
        let began = clock::now();
        let seqs: Vec<i64> = read.messages.iter().map(|given| given.seq).collect();
        let befores = std::iter::once(after).chain(seqs.iter().copied());
        let message = |(given, before): (&_, i64)| {
            let given: &crate::store::Given = given;
            let after = Some(before).filter(|before| *before > 0);
            // What the broker hands out itself is in no row any more once it has it.
            let kept = via.is_broker().then(|| left(given.expires_at, began));
            DeviceMessage { message: lane_message::write(given, tenant), seq: given.seq, after, kept }
        };
        let messages: Vec<DeviceMessage> = read.messages.iter().zip(befores).map(message).collect();
        let sent = match self.line(&read.shard, via, queue_of(device, tier)) {
            _ if messages.is_empty() => Vec::new(),
            Some(line) => line.publish(messages).await,
            None => return (How::Later, None),
        };
        let judged = judge(&seqs, upto, &sent);
        // One that AMQP cannot carry was passed over: it is not with the broker, and waits until it expires.
        let queued = sent.iter().take_while(|sent| **sent == Sent::Queued).count().checked_sub(1).and_then(|last| seqs.get(last));
        let handed = queued.filter(|_| via.is_broker()).map(|queued| Handed { after, upto: *queued, at: began });
        let now = clock::now();
        for given in read.messages.iter().take_while(|given| judged.upto.is_some_and(|upto| given.seq <= upto)) {
            self.metrics.confirmed(now.saturating_sub(given.message.created_at));
        }
        if let Some(upto) = judged.upto
            && !self.marks.mark(Mark { device, fence, turn, upto, handed }).await
        {
            self.metrics.refused.inc();
            return (How::NotOurs, None);
        }
        let how = match judged.then {
            Then::Done => return (How::Well { more }, judged.upto),
            Then::More => {
                tracing::warn!(
                    device = device.0,
                    via = via.name(),
                    "a message cannot go by the queue of its device; a session gives it from the store"
                );
                How::Well { more: true }
            }
            Then::Later => How::Later,
            Then::Cold => match self.no_queue(read).await {
                Ok(how) => how,
                Err(error) => {
                    tracing::warn!(error = %error, device = device.0, "cannot make a device cold whose queue is gone");
                    How::Later
                }
            },
        };
        (how, None)
    }

    /// `None`: this process does not have the broker.
    fn line(&self, shard: &str, via: Via, queue: Device) -> Option<Line> {
        let lanes = self.shards.lanes(shard)?;
        Some(match via {
            Via::Hub | Via::Amqp => lanes.line(queue),
            Via::Mqtt => lanes.topic_line(queue),
        })
    }

    /// There is no queue behind a hot lane: it is made cold, unless somebody is connected, or may be, whose queue is declared again.
    async fn no_queue(&self, read: &Relayed) -> Result<How, StoreError> {
        let (device, turn) = (read.device, read.turn);
        if let Turned::Done { .. } = self.stores.lanes.cool(device, turn, clock::now()).await? {
            // Not all of it need be gone: whoever cools takes away what is left, and ends it.
            self.wake.cool();
            self.metrics.cold.with_label_values(&["cooled"]).inc();
            return Ok(How::NotOurs);
        }
        let found = self.stores.devices.get(&read.tenant, &read.id).await?.filter(|found| found.number == device);
        let listens = |found: &crate::store::Device| found.session.is_some() || found.registration.via == Via::Amqp;
        let is_there = |found: &crate::store::Device| found.temperature == Temperature::Hot && found.queue_shard == read.shard;
        let Some(found) = found.filter(|found| listens(found) && is_there(found)) else {
            self.metrics.cold.with_label_values(&["turned"]).inc();
            return Ok(How::NotOurs);
        };
        self.metrics.cold.with_label_values(&["declared"]).inc();
        let declaring = async { self.shards.open(&read.shard)?.ensure(lane_of(&found)).await };
        let declared = tokio::select! {
            () = self.stop.cancelled() => return Ok(How::Later),
            declared = declaring => declared,
        };
        if let Err(error) = declared {
            tracing::warn!(error = %error, device = device.0, "cannot declare the queue of a device again");
        }
        Ok(How::Later)
    }
}

/// How long a message is still good for; one that is over is gone at once.
fn left(expires_at: Micros, now: Micros) -> Duration {
    Duration::from_micros(expires_at.saturating_sub(now).max(0).unsigned_abs())
}
