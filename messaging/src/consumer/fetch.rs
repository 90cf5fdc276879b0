//! Deliveries of long work: fetched one by one, each for a slot that is free, so that none waits without an ack.
//!
//! `basic.get` and no subscription: a broker hands a subscriber the next delivery as soon as one is acked, and of work that is acked
//! before it runs that one has no slot. To give it back each time would use up its queue's delivery limit.

use std::sync::Arc;
use std::time::Duration;

use broker_topology::Priority;
use lapin::Channel;
use lapin::options::BasicGetOptions;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::receive::{Arrived, take};
use super::registry::Registry;
use super::turns::Turns;
use super::{ConsumerSpec, Runtime};
use crate::connection::Link;

/// How long to leave a queue alone that had nothing: little beside work that takes minutes.
pub(super) const PACE: Duration = Duration::from_millis(250);

/// How long to leave it alone after one fault upon another.
const LONGEST: Duration = Duration::from_secs(5);

/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Both queues of a consumer, or the one it has.
pub(super) struct Fetch<'a> {
    link: &'a Link,
    stop: &'a CancellationToken,
    registry: &'a Registry,
    normal: Arc<str>,
    high: Option<Arc<str>>,
    turns: Turns,
    /// Stays open between deliveries, since acks go by it.
    channel: Option<Channel>,
    /// After a fault: how long to leave the broker alone, and until when.
    wait: Duration,
    again: Instant,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(spec: &ConsumerSpec, runtime: &'a Runtime, registry: &'a Registry) -> Self {
        Self {
            link: &runtime.link,
            stop: &runtime.stop,
            registry,
            normal: spec.queue.as_str().into(),
            high: spec.high.as_deref().map(Into::into),
            turns: Turns::default(),
            channel: None,
            wait: PACE,
            again: Instant::now(),
        }
    }

    /// What is next at this moment; `None` when nothing is there, the broker is away, or nothing more is to be started.
    pub(super) async fn next(&mut self) -> Option<Arrived> {
        if Instant::now() < self.again {
            return None;
        }
        let stop = self.stop;
        let fetched = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            fetched = tokio::time::timeout(ANSWER, self.fetch()) => fetched,
        };
        match fetched {
            Ok(Ok(arrived)) => {
                self.wait = PACE;
                arrived
            }
            Ok(Err(error)) => {
                tracing::warn!(queue = &*self.normal, error = %error, "cannot fetch deliveries, trying again");
                self.fault().await
            }
            Err(_) => {
                // What it answers later is given back with the channel.
                tracing::warn!(queue = &*self.normal, "cannot fetch deliveries: the broker does not answer, trying again");
                self.fault().await
            }
        }
    }

    async fn fault(&mut self) -> Option<Arrived> {
        self.close().await;
        self.again = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(LONGEST);
        None
    }

    async fn fetch(&mut self) -> Result<Option<Arrived>, lapin::Error> {
        let order = match (&self.high, self.turns.next(self.high.is_some(), true)) {
            (Some(high), Some(Priority::High)) => vec![high.clone(), self.normal.clone()],
            (Some(high), _) => vec![self.normal.clone(), high.clone()],
            (None, _) => vec![self.normal.clone()],
        };
        let channel = match &self.channel {
            Some(channel) if channel.status().connected() => channel.clone(),
            _ => {
                // While it is away or blocked nothing is asked of it.
                if !self.link.is_usable() {
                    return Ok(None);
                }
                let Ok(live) = self.link.live().await else { return Ok(None) };
                let channel = live.connection.create_channel().await?;
                self.channel.insert(channel).clone()
            }
        };
        for queue in order {
            // A copy of a run in hand is no work, and there may be more behind it.
            while let Some(got) = channel.basic_get(queue.as_ref().into(), BasicGetOptions::default()).await? {
                crate::crash_point!("K7");
                if let Some(arrived) = take(self.registry, &queue, got.delivery).await {
                    return Ok(Some(arrived));
                }
            }
        }
        Ok(None)
    }

    /// Gives back what is not acked.
    pub(super) async fn close(&mut self) {
        if let Some(channel) = self.channel.take() {
            let _ = tokio::time::timeout(Duration::from_secs(2), channel.close(200, "done".into())).await;
        }
    }
}
