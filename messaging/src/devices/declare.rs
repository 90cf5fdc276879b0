//! Declaring: queue and bindings go out together on one scratch channel, and are there once all are answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use broker_topology::device_queue;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join, join_all};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::sync::oneshot;

use super::refusal::{Failed, LaneError, short};
use super::scratch::Tries;
use super::{Inner, Lane, Lanes, MAX_KEYS};
use crate::apply::table;

type Answer = Result<(), LaneError>;

/// Declares that have no answer yet.
pub(super) struct Declares {
    open: Mutex<HashMap<Lane, Shared<BoxFuture<'static, Answer>>>>,
    most: usize,
}

impl Declares {
    pub(super) fn new(most: usize) -> Self {
        Self { open: Mutex::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Lane, Shared<BoxFuture<'static, Answer>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// Makes sure that queue and bindings of `lane` exist; what is there already stays as it is, other bindings too. Declares wait for their
    /// turn, and for a device that is being retired.
    ///
    /// # Errors
    /// [`LaneError::Refused`] with the broker's words, [`LaneError::Away`], [`LaneError::Busy`], [`LaneError::Unfit`],
    /// [`LaneError::Stopped`]. After all but `Busy` and `Unfit` a part of it may be there.
    ///
    /// # Cancel safety
    /// A dropped call declares all the same.
    pub async fn ensure(&self, lane: Lane) -> Result<(), LaneError> {
        if lane.keys.len() > MAX_KEYS {
            let count = lane.keys.len();
            return Err(LaneError::Unfit(format!(
                "a device has {MAX_KEYS} keys of groups and users at most, this one has {count}"
            )));
        }
        let inner = &self.inner;
        let answer = {
            let mut open = inner.declares.lock();
            match open.get(&lane) {
                Some(answer) => answer.clone(),
                None if open.len() >= inner.declares.most => {
                    inner.metrics.declares("busy").inc();
                    return Err(LaneError::Busy("as many devices wait to be declared as may"));
                }
                None => {
                    let (sender, receiver) = oneshot::channel();
                    let answer = receiver.map(|told| told.unwrap_or(Err(LaneError::Stopped))).boxed().shared();
                    open.insert(lane.clone(), answer.clone());
                    let this = self.clone();
                    inner.tasks.spawn(async move {
                        let answer = this.inner.declare(&lane).await;
                        this.inner.declares.lock().remove(&lane);
                        let _ = sender.send(answer);
                    });
                    answer
                }
            }
        };
        answer.await
    }

    /// Takes `keys` of groups and users away from a device; those it has not, and a queue that is not there, are no error.
    ///
    /// # Errors
    /// As [`Lanes::ensure`].
    pub async fn leave(&self, lane: &Lane) -> Result<(), LaneError> {
        let queue = self.inner.names.device_queue(lane.device);
        let mut tries = Tries::new(format!("unbind the queue `{queue}`"), self.inner.patience);
        loop {
            if let Some(left) = tries.once(self.inner.leave_once(lane, &queue)).await {
                return left;
            }
        }
    }
}

impl Inner {
    async fn declare(&self, lane: &Lane) -> Answer {
        let declaring = async {
            let _under_way = self.outstanding.begin_unfenced(lane.device.number).await;
            self.pace.turn().await;
            let what = format!("declare the queue `{}`", self.names.device_queue(lane.device));
            let mut tries = Tries::new(what, self.patience);
            loop {
                if let Some(answer) = tries.once(self.declare_once(lane)).await {
                    break answer;
                }
            }
        };
        let answer = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(LaneError::Stopped),
            answer = declaring => answer,
        };
        let result = match &answer {
            Ok(()) => "declared",
            Err(LaneError::Away { .. }) => "away",
            Err(LaneError::Stopped) => return answer,
            Err(_) => "refused",
        };
        self.metrics.declares(result).inc();
        answer
    }

    async fn leave_once(&self, lane: &Lane, queue: &str) -> Result<(), Failed> {
        let keys = lane.keys.iter().map(|key| short(key)).collect::<Result<Vec<_>, _>>()?;
        let (queue, groups) = (short(queue)?, short(&self.names.groups())?);
        let channel = self.scratch.lease().await?;
        let unbinding =
            keys.into_iter().map(|key| channel.queue_unbind(queue.clone(), groups.clone(), key, FieldTable::default()));
        join_all(unbinding).await.into_iter().collect::<Result<(), lapin::Error>>()?;
        channel.keep();
        Ok(())
    }

    async fn declare_once(&self, lane: &Lane) -> Result<(), Failed> {
        let queue = device_queue(&self.names, lane.device);
        let name = short(&queue.name)?;
        let mut ends = Vec::new();
        for binding in lane.bindings(&self.names) {
            ends.push((short(&binding.source)?, short(&binding.key)?));
        }
        let channel = self.scratch.lease().await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declaring = channel.queue_declare(name.clone(), options, table(&queue.arguments()));
        let binding = ends.into_iter().map(|(source, key)| {
            channel.queue_bind(name.clone(), source, key, QueueBindOptions::default(), FieldTable::default())
        });
        // Polled in this order, so sent in this order; the broker takes what comes on one channel one after the other.
        let (declared, bound) = join(declaring, join_all(binding)).await;
        // Of what follows a refusal nothing is to be learned.
        declared?;
        bound.into_iter().collect::<Result<(), lapin::Error>>()?;
        channel.keep();
        Ok(())
    }
}
