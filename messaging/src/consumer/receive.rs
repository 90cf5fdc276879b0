//! Subscriptions: a stream that ends unasked is a fault, and is opened again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use super::{BATCH, Runtime};
use crate::connection::{Link, Stopped};
use crate::message::{Message, Run};
use crate::wire;

/// One delivery on its way to the ledger.
pub(super) struct Arrived {
    /// Where it came from, and goes back to.
    pub(super) queue: Arc<str>,
    pub(super) message: Arc<Message>,
    pub(super) run: Run,
    /// The name it is in hand under: its id, or a name of its own, since what carries no id is nobody's copy.
    pub(super) hold: String,
    pub(super) properties: BasicProperties,
}

/// Feeds deliveries of `queue`, `prefetch` at a time, into `arrivals` until stopped, then keeps the channel open until `finished`.
pub(super) async fn receive(
    queue: Arc<str>,
    prefetch: u16,
    runtime: &Runtime,
    registry: &Registry,
    arrivals: mpsc::Sender<Arrived>,
    finished: &CancellationToken,
) {
    let mut arrivals = Some(arrivals);
    loop {
        let subscription = tokio::select! {
            biased;
            () = runtime.stop.cancelled() => return,
            opened = open(&runtime.link, &queue, prefetch) => match opened {
                Ok(subscription) => subscription,
                Err(Stopped) => return,
            },
        };
        let Subscription { channel, mut deliveries, tag } = subscription;
        let drained = loop {
            tokio::select! {
                biased;
                () = runtime.stop.cancelled() => break true,
                delivery = deliveries.next() => match (delivery, &arrivals) {
                    (Some(Ok(delivery)), Some(arrivals)) => {
                        crate::crash_point!("K7");
                        let Delivery { properties, data, acker, .. } = delivery;
                        let message = Arc::new(wire::read(&properties, Bytes::from(data)));
                        let run = message.run.unwrap_or_default();
                        // The channel holds as many as the broker hands out, so this waits only while a batch is begun.
                        let anonymous = message.id.is_empty();
                        let hold = if anonymous { uuid::Uuid::now_v7().to_string() } else { message.id.clone() };
                        if registry.take(&hold, run, acker)
                            && arrivals.send(Arrived { queue: queue.clone(), message, run, hold, properties }).await.is_err()
                        {
                            return;
                        }
                    }
                    (Some(Err(error)), _) => {
                        tracing::warn!(queue = &*queue, error = %error, "the subscription failed, opening it again");
                        break false;
                    }
                    (None, _) => {
                        tracing::warn!(queue = &*queue, "the broker ended the subscription, opening it again");
                        break false;
                    }
                    (_, None) => return,
                },
            }
        };
        if drained {
            let cancel = channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default());
            let _ = tokio::time::timeout(Duration::from_secs(2), cancel).await;
            // Ends the start stage, which ends the finish stage.
            arrivals = None;
            finished.cancelled().await;
            let _ = tokio::time::timeout(Duration::from_secs(2), channel.close(200, "drained".into())).await;
            drop(arrivals);
            return;
        }
    }
}

struct Subscription {
    channel: Channel,
    deliveries: lapin::Consumer,
    tag: String,
}

/// Opens a subscription, trying for as long as it takes.
async fn open(link: &Link, queue: &str, prefetch: u16) -> Result<Subscription, Stopped> {
    let mut wait = Duration::from_millis(200);
    loop {
        let live = link.live().await?;
        let opening = async {
            let channel = live.connection.create_channel().await?;
            channel.basic_qos(prefetch.max(1), BasicQosOptions::default()).await?;
            let deliveries =
                channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
            let tag = deliveries.tag().as_str().to_owned();
            Ok::<_, lapin::Error>(Subscription { channel, deliveries, tag })
        };
        match tokio::time::timeout(Duration::from_secs(10), opening).await {
            Ok(Ok(subscription)) => return Ok(subscription),
            Ok(Err(error)) => tracing::warn!(queue, error = %error, "cannot subscribe, trying again"),
            Err(_) => tracing::warn!(queue, "cannot subscribe: the broker does not answer, trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// One delivery of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Delivered {
    /// As a message.
    pub message: Message,
    /// Headers and properties as they came, as JSON.
    pub properties: serde_json::Value,
    /// The exchange it was last published to.
    pub exchange: String,
    /// The key it was last published with.
    pub key: String,
}

/// What was waiting, up to [`BATCH`].
pub type Batch = [Delivered];

/// Handles what waits in a terminal queue, together.
#[async_trait]
pub trait BatchHandler: Send + Sync + 'static {
    /// Handles a batch; all of it is acked when this returns.
    ///
    /// # Errors
    /// A text for the log. The same batch is handed in again after a while: nothing is acked and nothing more is taken.
    async fn handle(&self, batch: &Batch) -> Result<(), String>;
}

/// Payload bytes after which a batch is full: one statement of the store takes so much with ease.
const BATCH_BYTES: usize = 4 << 20;

/// Consumes a terminal queue in batches until `drain`, each of what waits: up to [`BATCH`] messages or 4 MiB, one more at the
/// most. In memory are up to `prefetch` messages.
pub async fn consume_batches(queue: &str, prefetch: u16, link: &Link, handler: &dyn BatchHandler, drain: &CancellationToken) {
    loop {
        let subscription = tokio::select! {
            biased;
            () = drain.cancelled() => return,
            opened = open(link, queue, prefetch) => match opened {
                Ok(subscription) => subscription,
                Err(Stopped) => return,
            },
        };
        let Subscription { channel, mut deliveries, .. } = subscription;
        loop {
            let first = tokio::select! {
                biased;
                () = drain.cancelled() => {
                    let _ = tokio::time::timeout(Duration::from_secs(2), channel.close(200, "drained".into())).await;
                    return;
                }
                next = deliveries.next() => next,
            };
            let Some(Ok(first)) = first else {
                tracing::warn!(queue, "the subscription ended, opening it again");
                break;
            };
            let mut bytes = first.data.len();
            let mut taken = vec![first];
            while taken.len() < BATCH
                && bytes < BATCH_BYTES
                && let Some(Some(Ok(next))) = deliveries.next().now_or_never()
            {
                bytes += next.data.len();
                taken.push(next);
            }
            if !settle(queue, taken, handler, drain).await {
                break;
            }
        }
    }
}

/// Hands a batch in until it is taken, then acks it. `false` when the subscription must be opened again.
async fn settle(queue: &str, taken: Vec<Delivery>, handler: &dyn BatchHandler, drain: &CancellationToken) -> bool {
    let Some(last) = taken.last().map(|delivery| delivery.acker.clone()) else { return true };
    let batch: Vec<Delivered> = taken
        .into_iter()
        .map(|delivery| Delivered {
            properties: wire::properties_as_json(&delivery.properties),
            message: wire::read(&delivery.properties, Bytes::from(delivery.data)),
            exchange: delivery.exchange.as_str().to_owned(),
            key: delivery.routing_key.as_str().to_owned(),
        })
        .collect();
    let mut wait = Duration::from_millis(200);
    while let Err(error) = handler.handle(&batch).await {
        tracing::warn!(queue, error, messages = batch.len(), "a batch is not handled, trying again");
        tokio::select! {
            () = drain.cancelled() => return false,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(10));
    }
    // Tags grow along the stream and all before are settled: one frame acks the batch.
    last.ack(BasicAckOptions { multiple: true }).await.is_ok()
}
