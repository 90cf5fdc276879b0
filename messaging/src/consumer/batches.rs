//! What waits in a terminal queue, taken in batches: handled together, then acked with one frame.
//!
//! What a handler cannot take yet does not stop the others: it waits apart, in a rung, and comes back to the queue by itself.

use std::time::Duration;

use async_trait::async_trait;
use broker_topology::{Names, Rung};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;

use super::receive::{Subscription, open};
use super::{BATCH, Runtime};
use crate::connection::Stopped;
use crate::dead_letter::id_of;
use crate::message::{Message, Route, header};
use crate::publisher::PublishError;
use crate::wire::{self, Outbound};

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

/// A delivery that is to come again, as it is, after the delay of a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// Its place in the batch.
    pub at: usize,
    /// Where it waits.
    pub rung: Rung,
}

/// Handles what waits in a terminal queue, together.
#[async_trait]
pub trait BatchHandler: Send + Sync + 'static {
    /// Handles a batch; all of it is acked when this returns, and what it gives comes again later. `warren.return` must know the
    /// queue then.
    ///
    /// # Errors
    /// A text for the log. The same batch is handed in again after a while: nothing is acked and nothing more is taken.
    async fn handle(&self, batch: &Batch) -> Result<Vec<Later>, String>;
}

/// Payload bytes after which a batch is full: one statement of the store takes so much with ease.
const BATCH_BYTES: usize = 4 << 20;

/// Consumes a terminal queue in batches until the drain, each of what waits: up to [`BATCH`] messages or 4 MiB, one more at the
/// most. In memory are up to `prefetch` messages.
pub async fn consume_batches(queue: &str, prefetch: u16, runtime: &Runtime, handler: &dyn BatchHandler) {
    let drain = &runtime.drain;
    loop {
        let subscription = tokio::select! {
            biased;
            () = drain.cancelled() => return,
            opened = open(&runtime.link, queue, prefetch) => match opened {
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
            if !settle(queue, taken, handler, runtime).await {
                break;
            }
        }
    }
}

/// Hands a batch in until it is taken, then acks it. `false` when the subscription must be opened again.
async fn settle(queue: &str, taken: Vec<Delivery>, handler: &dyn BatchHandler, runtime: &Runtime) -> bool {
    let Some(last) = taken.last().map(|delivery| delivery.acker.clone()) else { return true };
    let (batch, came): (Vec<Delivered>, Vec<BasicProperties>) =
        taken.into_iter().map(|delivery| read(delivery, &runtime.names)).unzip();
    let spans: Vec<_> = batch.iter().map(|delivered| runtime.tracer.process(queue, &delivered.message)).collect();
    let mut pause = Pause::default();
    let later = loop {
        match handler.handle(&batch).await {
            Ok(later) => break later,
            Err(error) => tracing::warn!(queue, error, messages = batch.len(), "a batch is not handled, trying again"),
        }
        if !pause.over(runtime).await {
            return false;
        }
    };
    drop(spans);
    let copies = later.iter().filter_map(|later| {
        let (delivered, properties) = (batch.get(later.at)?, came.get(later.at)?);
        let route = Route::waiting(&runtime.names, later.rung, queue);
        let message = &delivered.message;
        Some(Outbound::copy(route, id_of(message), properties, Bytes::clone(&message.body), &[]))
    });
    if !put_apart(queue, copies.collect(), runtime).await {
        return false;
    }
    // Tags grow along the stream and all before are settled: one frame acks the batch.
    last.ack(BasicAckOptions { multiple: true }).await.is_ok()
}

fn read(delivery: Delivery, names: &Names) -> (Delivered, BasicProperties) {
    let message = wire::read(&delivery.properties, Bytes::from(delivery.data));
    let came = delivery.exchange.as_str();
    // What waited while its queue was made anew still says where it came from.
    let before = message.headers.get(header::MOVED_FROM).filter(|_| came.starts_with(&names.moving("")));
    let delivered = Delivered {
        properties: wire::properties_as_json(&delivery.properties),
        exchange: before.map_or(came, String::as_str).to_owned(),
        key: delivery.routing_key.as_str().to_owned(),
        message,
    };
    (delivered, delivery.properties)
}

/// Publishes copies until each is confirmed; only what was not is sent again, so that nothing multiplies while it waits. `false`
/// when the process leaves first: then all of it is delivered again, and whoever handles it meets some twice.
async fn put_apart(queue: &str, mut copies: Vec<Outbound>, runtime: &Runtime) -> bool {
    let counted = runtime.metrics.deliveries.with_label_values(&[queue, "apart"]);
    let mut pause = Pause::default();
    while !copies.is_empty() {
        let asked = copies.len();
        let verdicts = runtime.publisher.publish_all(copies.clone()).await;
        let refused = copies.into_iter().zip(verdicts).filter_map(|(copy, verdict)| Some((copy, verdict.err()?)));
        let refused: Vec<(Outbound, PublishError)> = refused.collect();
        counted.inc_by((asked - refused.len()) as u64);
        if let Some((_, why)) = refused.first() {
            tracing::warn!(queue, error = %why, messages = refused.len(), "cannot put deliveries apart, trying again");
            if !pause.over(runtime).await {
                return false;
            }
        } else {
            crate::crash_point!("K12");
        }
        copies = refused.into_iter().map(|(copy, _)| copy).collect();
    }
    true
}

/// A wait before another try: from 0.2 s, twice as long each time, 10 s at most.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(200))
    }
}

impl Pause {
    /// Waits; `false` when the process leaves meanwhile.
    async fn over(&mut self, runtime: &Runtime) -> bool {
        tokio::select! {
            biased;
            () = runtime.drain.cancelled() => return false,
            () = tokio::time::sleep(self.0) => {}
        }
        self.0 = (self.0 * 2).min(Duration::from_secs(10));
        true
    }
}
