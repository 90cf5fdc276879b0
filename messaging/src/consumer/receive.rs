//! Subscriptions: a stream that ends unasked is a fault, and is opened again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Runtime;
use super::registry::Registry;
use crate::connection::{Link, Stopped};
use crate::message::{Message, Run};
use crate::{subscription, wire};

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
                        // The channel holds as many as the broker hands out, so this waits only while a batch is begun.
                        if let Some(arrived) = take(registry, &queue, delivery).await
                            && arrivals.send(arrived).await.is_err()
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

/// Takes a delivery in hand; `None` if it is a copy of a run that is.
pub(super) async fn take(registry: &Registry, queue: &Arc<str>, delivery: Delivery) -> Option<Arrived> {
    let Delivery { properties, data, acker, .. } = delivery;
    let message = Arc::new(wire::read(&properties, Bytes::from(data)));
    let run = message.run.unwrap_or_default();
    let anonymous = message.id.is_empty();
    let hold = if anonymous { uuid::Uuid::now_v7().to_string() } else { message.id.clone() };
    let taken = registry.take(&hold, run, acker).await;
    taken.then(|| Arrived { queue: queue.clone(), message, run, hold, properties })
}

pub(super) struct Subscription {
    pub(super) channel: Channel,
    pub(super) deliveries: lapin::Consumer,
    tag: String,
}

/// Opens a subscription, trying for as long as it takes.
pub(super) async fn open(link: &Link, queue: &str, prefetch: u16) -> Result<Subscription, Stopped> {
    let mut wait = Duration::from_millis(200);
    loop {
        let live = link.live().await?;
        let opening = async {
            let channel = live.connection.create_channel().await?;
            channel.basic_qos(prefetch.max(1), BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            let deliveries = subscription::consume(&channel, queue.into(), options, FieldTable::default()).await?;
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
