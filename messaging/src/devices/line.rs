//! Publishing to one device: one message after the other, each confirmed before the next.

use std::time::Duration;

use broker_topology::{Device, MQTT_EXCHANGE, Names};
use tokio::sync::Mutex;

use super::{Inner, Lanes};
use crate::message::{Message, Route, header};
use crate::publisher::{PublishError, Publisher};
use crate::wire::Outbound;

/// A message for a device, with its place among those of the device.
#[derive(Clone, Debug)]
pub struct DeviceMessage {
    /// What it says.
    pub message: Message,
    /// Given by the store, rising.
    pub seq: i64,
    /// The seq that was published before it, if there was one.
    pub after: Option<i64>,
    /// `None`: what it says is kept elsewhere, and the queue need not survive its broker. `Some`: nobody but the broker will have it. It is written to
    /// disk, and dropped after so long.
    pub kept: Option<Duration>,
}

/// What became of a message for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Its queue has it: in memory, or on disk where it was to be kept.
    Queued,
    /// There is no queue, or it is being taken away: the device is cold. Nothing has it.
    Cold,
    /// It was not sent, since one before it failed.
    Held,
    /// It may be there or not, after [`PublishError::Closed`] and [`PublishError::TimedOut`]; otherwise nothing has it.
    Failed(PublishError),
}

impl Sent {
    fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Cold => "cold",
            Self::Held => "held",
            Self::Failed(PublishError::Nacked) => "nacked",
            Self::Failed(PublishError::Unsendable(_)) => "unsendable",
            Self::Failed(_) => "unknown",
        }
    }
}

/// Where messages go for a device.
#[derive(Clone, Copy)]
enum By {
    /// To its queue.
    Queue,
    /// To whatever the MQTT plugin has bound to its topic.
    Topic,
}

/// The way to one device, for whoever relays it. After the first failure everything on it is [`Sent::Held`]: who has decided how to go on
/// opens another.
pub struct Line {
    lanes: Lanes,
    device: Device,
    by: By,
    /// Whether something failed. Whoever comes first publishes first.
    failed: Mutex<bool>,
}

impl Lanes {
    /// A way to `device`. Nothing is done yet.
    pub fn line(&self, device: Device) -> Line {
        Line { lanes: self.clone(), device, by: By::Queue, failed: Mutex::new(false) }
    }

    /// The same to a device that is a client of the broker's MQTT plugin: to the queue of its session, which the plugin alone makes, binds and takes away.
    /// [`Sent::Cold`] says that it has none that is subscribed to its topic.
    pub fn topic_line(&self, device: Device) -> Line {
        Line { by: By::Topic, ..self.line(device) }
    }
}

impl Line {
    /// Publishes in order; answers in order. Calls go one after the other, in the order of their first poll.
    ///
    /// # Cancel safety
    /// A dropped call may have published one message more than it told, and fails the line.
    pub async fn publish(&self, messages: Vec<DeviceMessage>) -> Vec<Sent> {
        let inner = &self.lanes.inner;
        let mut failed = self.failed.lock().await;
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            let sent = if *failed {
                Sent::Held
            } else {
                // Stays so when the call is dropped: a message is on its way, and nothing may overtake it.
                *failed = true;
                inner.publish(self.device, self.by, &message).await
            };
            *failed = sent != Sent::Queued;
            inner.metrics.publishes(sent.name()).inc();
            all.push(sent);
        }
        all
    }
}

impl Inner {
    async fn publish(&self, device: Device, by: By, message: &DeviceMessage) -> Sent {
        let Some(_under_way) = self.outstanding.begin(device.number) else { return Sent::Cold };
        let route = match by {
            By::Queue => Route::new(self.names.devices(), Names::device_key(device.number)),
            By::Topic => Route::new(MQTT_EXCHANGE, self.names.mqtt_key(device.number)),
        };
        let seq = message.seq.to_string();
        let after = message.after.map(|after| after.to_string());
        let mut headers = vec![(header::SEQ, seq.as_str())];
        headers.extend(after.as_deref().map(|after| (header::AFTER, after)));
        let outbound = match Outbound::with_headers(route, &message.message, &headers) {
            Ok(outbound) => match message.kept {
                None => outbound.transient(),
                Some(ttl) => outbound.expiring(ttl),
            },
            Err(unsendable) => return Sent::Failed(unsendable.into()),
        };
        match self.publisher(device).publish(outbound).await {
            Ok(()) => Sent::Queued,
            Err(PublishError::Returned { .. }) => Sent::Cold,
            Err(error) => Sent::Failed(error),
        }
    }

    fn publisher(&self, device: Device) -> &Publisher {
        let count = self.publishers.len() as u64;
        let at = usize::try_from(device.number % count).unwrap_or(0);
        &self.publishers[at]
    }
}
