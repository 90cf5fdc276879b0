//! What people do with dead letters: move one back, or discard it.

use std::sync::Arc;

use uuid::Uuid;

use crate::clock;
use crate::decide::change;
use crate::kinds::Kinds;
use crate::relay::HandOver;
use crate::rules;
use crate::store::{Change, DeadLetter, DeadState, StoreError, Stores};

/// Why a dead letter was not moved.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// No such dead letter, or it is another tenant's.
    #[error("there is no dead letter {0}")]
    Unknown(Uuid),
    /// Somebody moved it before.
    #[error("the dead letter is {0:?} already")]
    NotOpen(DeadState),
    /// The job behind it is not dead, or has died again since.
    #[error("the job {0} has moved on since: see its state")]
    JobMovedOn(Uuid),
    /// The row of its job is gone.
    #[error("the job {0} was purged: its dead letter cannot be moved back")]
    JobPurged(Uuid),
    /// It is older than what consumers remember: a handler might do it again.
    #[error(
        "it died before the inbox's memory begins, so a handler could repeat its effect; ask with force to move it all the same"
    )]
    TooOld,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Moves dead letters. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    stores: Stores,
    kinds: Kinds,
    /// How long consumers remember what they did.
    inbox_memory: std::time::Duration,
    relay: Option<Arc<HandOver>>,
}

impl DeadLetters {
    /// Over `stores`; `relay` is woken when something is due.
    pub fn new(stores: Stores, kinds: Kinds, inbox_memory: std::time::Duration, relay: Option<Arc<HandOver>>) -> Self {
        Self { stores, kinds, inbox_memory, relay }
    }

    /// Moves one back to its queue: the job gets a new epoch and is published through the outbox, once.
    ///
    /// # Errors
    /// As [`DeadError`]; then nothing has changed.
    pub async fn redrive(&self, id: Uuid, actor: &str, note: &str, force: bool) -> Result<DeadLetter, DeadError> {
        let dead = self.open(id).await?;
        let now = clock::now();
        let memory = i64::try_from(self.inbox_memory.as_micros()).unwrap_or(i64::MAX);
        if !force && dead.letter.died_at.saturating_add(memory) < now {
            return Err(DeadError::TooOld);
        }
        let (to, job) = match dead.letter.job_id {
            None => (DeadState::Redriving, None),
            Some(job) => (DeadState::Redriven, Some(self.revive(job, &dead, now).await?)),
        };
        if !self.stores.dead.resolve(id, DeadState::Open, to, job.as_ref(), actor, note, now).await? {
            // Between our look and the write somebody was faster: say what is true now.
            let dead = self.open(id).await?;
            return Err(DeadError::JobMovedOn(dead.letter.job_id.unwrap_or(id)));
        }
        if let Some(relay) = &self.relay {
            relay.wake();
        }
        self.get(id).await
    }

    /// Gives one up for good, with a reason. Its job stays dead.
    ///
    /// # Errors
    /// As [`DeadError`]; then nothing has changed.
    pub async fn discard(&self, id: Uuid, actor: &str, reason: &str) -> Result<DeadLetter, DeadError> {
        self.open(id).await?;
        if !self.stores.dead.resolve(id, DeadState::Open, DeadState::Discarded, None, actor, reason, clock::now()).await? {
            return Err(DeadError::NotOpen(self.get(id).await?.state));
        }
        self.get(id).await
    }

    async fn revive(&self, job: Uuid, dead: &DeadLetter, now: i64) -> Result<Change, DeadError> {
        let row = self.stores.jobs.load(&[job]).await?.pop().ok_or(DeadError::JobPurged(job))?;
        let spec = self.kinds.get(&row.kind);
        let allowance = spec.map_or(i64::MAX / 4, |spec| i64::try_from(spec.deadline.as_micros()).unwrap_or(i64::MAX / 4));
        let same_epoch = row.status.epoch == dead.letter.epoch;
        let to = rules::redrive(&row.status, now.saturating_add(allowance), now).filter(|_| same_epoch);
        let to = to.ok_or(DeadError::JobMovedOn(job))?;
        Ok(Change { history: Some(rules::last_attempt(&row.status)), ..change(&row, to) })
    }

    async fn open(&self, id: Uuid) -> Result<DeadLetter, DeadError> {
        let dead = self.get(id).await?;
        if dead.state == DeadState::Open { Ok(dead) } else { Err(DeadError::NotOpen(dead.state)) }
    }

    async fn get(&self, id: Uuid) -> Result<DeadLetter, DeadError> {
        self.stores.dead.dead_letter(id).await?.ok_or(DeadError::Unknown(id))
    }
}
