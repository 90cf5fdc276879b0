//! Messages of one queue, taken one by one by whoever plays a part in person: no handler, no ledger, no subscription that comes back.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel, Consumer};

use crate::connection::Link;
use crate::message::Message;
use crate::{subscription, wire};

/// Messages that are held without an ack at one time, at most.
const HELD: u16 = 256;

/// Longer than the broker takes for anything asked here.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription of its own.
#[derive(Debug)]
pub struct Tap {
    queue: String,
    channel: Channel,
    deliveries: Consumer,
}

/// A message that was taken; unless it is acked it goes back when its tap is closed.
#[derive(Debug)]
pub struct Tapped {
    /// As it is read.
    pub message: Message,
    acker: Acker,
}

/// The queue cannot be taken from: it is gone, or the broker is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot take from `{queue}`: {why}")]
pub struct TapError {
    queue: String,
    why: String,
}

impl Tap {
    /// Subscribes to `queue`, once. Up to 256 messages are held without an ack.
    ///
    /// # Errors
    /// When the queue is not there or the broker does not answer within 10 s.
    pub async fn open(link: &Link, queue: &str) -> Result<Self, TapError> {
        let refused = |why: String| TapError { queue: queue.to_owned(), why };
        let name = ShortString::try_new(queue).map_err(|_| refused("the name is too long".to_owned()))?;
        let opening = async {
            let live = link.live().await.map_err(|stopped| stopped.to_string())?;
            let subscribed = async {
                let channel = live.connection.create_channel().await?;
                channel.basic_qos(HELD, BasicQosOptions::default()).await?;
                let options = BasicConsumeOptions::default();
                let deliveries = subscription::consume(&channel, name, options, FieldTable::default()).await?;
                Ok::<_, lapin::Error>((channel, deliveries))
            };
            subscribed.await.map_err(|error| error.to_string())
        };
        let opened =
            tokio::time::timeout(PATIENCE, opening).await.map_err(|_| refused("the broker does not answer".to_owned()))?;
        let (channel, deliveries) = opened.map_err(refused)?;
        Ok(Self { queue: queue.to_owned(), channel, deliveries })
    }

    /// The next message, whenever it comes.
    ///
    /// # Errors
    /// When the subscription has ended.
    ///
    /// # Cancel safety
    /// A dropped call has taken nothing.
    pub async fn next(&mut self) -> Result<Tapped, TapError> {
        let ended = |why: String| TapError { queue: self.queue.clone(), why };
        match self.deliveries.next().await {
            Some(Ok(delivery)) => {
                let message = wire::read(&delivery.properties, Bytes::from(delivery.data));
                Ok(Tapped { message, acker: delivery.acker })
            }
            Some(Err(error)) => Err(ended(error.to_string())),
            None => Err(ended("the broker ended the subscription".to_owned())),
        }
    }

    /// Ends the subscription; what was not acked is back in the queue.
    pub async fn close(self) {
        let Self { channel, deliveries, .. } = self;
        let closing = async {
            // The queue knows of a cancel when it is answered, of a closed channel some time later.
            let _ = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default()).await;
            let _ = channel.close(200, "done".into()).await;
        };
        // A connection that is gone gives it back as well.
        let _ = tokio::time::timeout(PATIENCE, closing).await;
    }
}

impl Tapped {
    /// It is dealt with. One whose channel is gone comes again.
    pub async fn ack(&self) {
        let _ = self.acker.ack(BasicAckOptions::default()).await;
    }
}
