//! Taking the queue of a device away: fenced, cleared, unbound, drained, and deleted only once it is empty.
//!
//! Deleting `if-empty` alone loses what is on its way: a message that was routed to a queue which is deleted before it arrives counts as
//! confirmed. So nothing of this process is on its way, and nothing more is routed, when the drain begins.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use lapin::options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};

use super::refusal::{Failed, LaneError, short};
use super::scratch::{Lease, Tries};
use super::{Inner, Lane, Lanes};

/// What AMQP says of a queue that is in use, or not empty.
const PRECONDITION_FAILED: u16 = 406;

/// Drains of one retire: whoever goes on publishing has not been fenced.
const ROUNDS: usize = 16;

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Ids of the messages that were in the queue, in order. What a process that died had drained is in none: the rows say what is not
    /// settled, and these only that nothing else has them.
    pub drained: Vec<String>,
    /// Whether there was a queue.
    pub was_there: bool,
}

impl Lanes {
    /// Takes the queue of a device away. Whoever calls has fenced the device in the store, and its session is detached. May be repeated.
    ///
    /// From the call on, publishes of this process to the device are [`super::Sent::Cold`]; declares and attaches wait until it is over.
    ///
    /// # Errors
    /// [`LaneError::InUse`] when somebody consumes: nothing was done, or, when it began meanwhile, the queue is there without its bindings:
    /// declare it again. [`LaneError::Refused`], [`LaneError::Away`], [`LaneError::Stopped`]: repeat it.
    pub async fn retire(&self, lane: &Lane) -> Result<Retired, LaneError> {
        let inner = &self.inner;
        let retired = tokio::select! {
            biased;
            () = inner.stop.cancelled() => Err(LaneError::Stopped),
            retired = inner.retire(lane) => retired,
        };
        let result = match &retired {
            Ok(retired) if retired.was_there => "retired",
            Ok(_) => "absent",
            Err(LaneError::InUse { .. }) => "in-use",
            Err(LaneError::Away { .. }) => "away",
            Err(LaneError::Stopped) => return retired,
            Err(_) => "refused",
        };
        inner.metrics.retires(result).inc();
        retired
    }
}

/// What is known over several tries.
#[derive(Default)]
struct Found {
    was_there: bool,
    drained: Vec<String>,
    known: HashSet<String>,
}

impl Inner {
    async fn retire(&self, lane: &Lane) -> Result<Retired, LaneError> {
        let queue = self.names.device_queue(lane.device);
        let what = || format!("take the queue `{queue}` away");
        let fence = self.outstanding.fence(lane.device.number).await;
        // A publish ends by itself after its deadline, a declare or an attach after its patience.
        let longest = self.publishing.max(self.patience) + Duration::from_secs(1);
        if tokio::time::timeout(longest, fence.clear()).await.is_err() {
            let why = "something is still under way for the device".to_owned();
            return Err(LaneError::Away { what: what(), why, after: longest });
        }
        let mut found = Found::default();
        let mut tries = Tries::new(what(), self.patience);
        loop {
            if let Some(retired) = tries.once(self.retire_once(lane, &queue, &mut found)).await {
                let Found { was_there, drained, .. } = found;
                return retired.map(|()| Retired { drained, was_there });
            }
        }
    }

    async fn retire_once(&self, lane: &Lane, queue: &str, found: &mut Found) -> Result<(), Failed> {
        let name = short(queue)?;
        let in_use = |why: &str| Failed::Over(LaneError::InUse { queue: queue.to_owned(), why: why.to_owned() });
        match self.consumers(&name).await {
            Err(failed) if failed.is_not_found() => return Ok(()),
            Err(failed) => return Err(failed),
            Ok(0) => found.was_there = true,
            Ok(_) => return Err(in_use("a session consumes from it")),
        }
        self.unbind(lane, &name).await?;
        // Not acked: were the answer to the delete lost, a repeated drain finds them again.
        let holder = self.scratch.lease().await?;
        for _ in 0..ROUNDS {
            drain(&holder, &name, found).await?;
            let channel = self.scratch.lease().await?;
            let options = QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() };
            match channel.queue_delete(name.clone(), options).await.map_err(Failed::from) {
                Ok(_) => {
                    channel.keep();
                    return Ok(());
                }
                Err(Failed::Said(PRECONDITION_FAILED, why)) if why.contains("in use") => {
                    return Err(in_use("a session began to consume from it"));
                }
                // Something arrived since the drain.
                Err(Failed::Said(PRECONDITION_FAILED, _)) => {}
                Err(failed) => return Err(failed),
            }
        }
        Err(in_use("messages keep coming"))
    }

    async fn consumers(&self, queue: &ShortString) -> Result<u32, Failed> {
        let channel = self.scratch.lease().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let looked = channel.queue_declare(queue.clone(), passive, FieldTable::default()).await?;
        channel.keep();
        Ok(looked.consumer_count())
    }

    /// What leads from an exchange that is not there is not there either.
    async fn unbind(&self, lane: &Lane, queue: &ShortString) -> Result<(), Failed> {
        let channel = self.scratch.lease().await?;
        let mut ends = Vec::new();
        for binding in lane.bindings(&self.names) {
            ends.push((short(&binding.source)?, short(&binding.key)?));
        }
        let unbinding =
            ends.into_iter().map(|(source, key)| channel.queue_unbind(queue.clone(), source, key, FieldTable::default()));
        match join_all(unbinding).await.into_iter().collect::<Result<(), lapin::Error>>().map_err(Failed::from) {
            Ok(()) => {
                channel.keep();
                Ok(())
            }
            Err(failed) if failed.is_not_found() => Ok(()),
            Err(failed) => Err(failed),
        }
    }
}

/// Takes everything out, without an ack.
async fn drain(channel: &Lease, queue: &ShortString, found: &mut Found) -> Result<(), Failed> {
    while let Some(got) = channel.basic_get(queue.clone(), BasicGetOptions { no_ack: false }).await? {
        let id = got.delivery.properties.message_id().as_ref().map_or_else(String::new, |id| id.as_str().to_owned());
        if found.known.insert(id.clone()) {
            found.drained.push(id);
        }
    }
    Ok(())
}
