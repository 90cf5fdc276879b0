//! Messages of one queue on their way to another: published, confirmed, then acked.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::time::Instant;

use super::broken::{Broken, Fault};
use super::moved::moved;
use crate::apply::name;
use crate::connection::Live;
use crate::publisher::{PublishError, Publisher};
use crate::subscription;
use crate::wire::Outbound;

/// Messages in hand at one time, at most; what may come twice when a run dies.
pub(super) const IN_HAND: u16 = 256;

/// Bytes in hand at one time, as far as the average of the queue tells: a prefetch in bytes is nothing that RabbitMQ knows. The bodies are
/// held once.
const BYTES_IN_HAND: u64 = 64 << 20;

/// Ahead of every other consumer: while this one can take a message, no other is given one.
const PRIORITY: i32 = i32::MAX;

/// For the broker to answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Carrier {
    channel: Channel,
    deliveries: Consumer,
    publisher: Publisher,
    exchange: String,
    back: bool,
}

/// How many of `messages` that take `bytes` may be in hand.
pub(super) fn in_hand(messages: u64, bytes: u64) -> u16 {
    let average = bytes.checked_div(messages).unwrap_or(0).max(1);
    u16::try_from(BYTES_IN_HAND / average).unwrap_or(IN_HAND).clamp(1, IN_HAND)
}

impl Carrier {
    /// Consumes from `queue`, ahead of all others, to publish through `exchange`.
    pub(super) async fn open(
        live: &Live,
        publisher: &Publisher,
        queue: &str,
        exchange: &str,
        in_hand: u16,
        back: bool,
    ) -> Result<Self, Fault> {
        let asked = name(queue).map_err(Fault::new)?;
        let opening = async {
            let channel = live.connection.create_channel().await?;
            channel.basic_qos(in_hand, BasicQosOptions::default()).await?;
            let mut arguments = FieldTable::default();
            arguments.insert("x-priority".into(), AMQPValue::LongInt(PRIORITY));
            let deliveries = subscription::consume(&channel, asked, BasicConsumeOptions::default(), arguments).await?;
            Ok::<_, lapin::Error>((channel, deliveries))
        };
        let what = format!("let messages of the queue `{queue}` be taken");
        let (channel, deliveries) = tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| Fault::new(format!("the broker does not answer within {PATIENCE:?}, asked to {what}")))?
            .map_err(|error| Fault::of(&what, &error))?;
        Ok(Self { channel, deliveries, publisher: publisher.clone(), exchange: exchange.to_owned(), back })
    }

    /// Moves what is there, up to [`IN_HAND`]; waits so long for the first. Gives how many.
    pub(super) async fn step(&mut self, wait: Duration, until: Instant) -> Result<usize, Broken> {
        let first = match tokio::time::timeout(wait, self.deliveries.next()).await {
            Err(_) => return Ok(0),
            Ok(None) => return Err(Fault::new("the broker ended the subscription").into()),
            Ok(Some(taken)) => taken.map_err(|error| Fault::of("deliver messages", &error))?,
        };
        let mut batch = vec![first];
        while batch.len() < usize::from(IN_HAND)
            && let Some(Some(Ok(next))) = self.deliveries.next().now_or_never()
        {
            batch.push(next);
        }
        let (count, last) = (batch.len(), batch.last().map(|last| last.acker.clone()));
        self.publish(batch, until).await?;
        if self.back {
            crate::crash_point!("M8");
        } else {
            crate::crash_point!("M2");
        }
        // Tags grow along the stream and all before are settled.
        if let Some(last) = last {
            let acked = tokio::time::timeout(PATIENCE, last.ack(BasicAckOptions { multiple: true })).await;
            acked
                .map_err(|_| Fault::new(format!("the broker takes no ack within {PATIENCE:?}")))?
                .map_err(|error| Fault::of("take an ack", &error))?;
        }
        Ok(count)
    }

    /// Moves what came before the end of the queue, which was deleted; it needs no ack any more. It is nowhere else, so that `timeout`
    /// begins here.
    pub(super) async fn rest(mut self, timeout: Duration) -> Result<usize, Fault> {
        let mut batch = Vec::new();
        // Deliveries come before the cancel that tells of the end.
        while let Ok(Some(Ok(next))) = tokio::time::timeout(PATIENCE, self.deliveries.next()).await {
            batch.push(next);
        }
        crate::crash_point!("M13");
        let count = batch.len();
        let published = self.publish(batch, Instant::now() + timeout).await;
        self.close().await;
        match published {
            Ok(()) => Ok(count),
            Err(broken) => Err(Fault::new(format!(
                "{count} messages that came while their queue was deleted were in the memory of this command alone, and not all of them \
                 could be moved: {broken}"
            ))),
        }
    }

    /// Lets go: what is in hand goes back to its queue.
    pub(super) async fn close(self) {
        let Self { channel, deliveries, .. } = self;
        let closing = async {
            let _ = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default()).await;
            let _ = channel.close(200, "done".into()).await;
        };
        let _ = tokio::time::timeout(PATIENCE, closing).await;
    }

    /// Publishes until each is confirmed. Of those that are refused only they are sent again; where some came back all are, since the
    /// library may have hung a returned message on a neighbour without an id.
    async fn publish(&self, batch: Vec<Delivery>, until: Instant) -> Result<(), Broken> {
        let mut open: Vec<Outbound> = batch.into_iter().map(|delivery| moved(&self.exchange, delivery)).collect();
        while !open.is_empty() {
            let verdicts = self.publisher.publish_all(open.clone()).await;
            let Some(why) = verdicts.iter().find_map(|verdict| verdict.as_ref().err()) else { return Ok(()) };
            if Instant::now() > until {
                return Err(Broken::Late(format!("messages cannot be moved through the exchange `{}`: {why}", self.exchange)));
            }
            tracing::warn!(exchange = self.exchange, error = %why, "cannot move messages, trying again");
            let returned = verdicts.iter().any(|verdict| matches!(verdict, Err(PublishError::Returned { .. })));
            if !returned {
                open = open.into_iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_err()).map(|(open, _)| open).collect();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_bounded_in_bytes_too() {
        assert_eq!(in_hand(0, 0), IN_HAND);
        assert_eq!(in_hand(1000, 1000 * 1024), IN_HAND);
        assert_eq!(in_hand(10, 10 * (1 << 20)), 64);
        assert_eq!(in_hand(1, 128 << 20), 1);
    }
}
