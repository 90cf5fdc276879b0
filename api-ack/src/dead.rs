//! What people do with dead letters: move one back, edit it first, or discard it. Many at once: [`crate::selections`].
//!
//! Guarantee: of two who ask for the same letter at once, one does it; letter, job and audit record change together.

mod edit;

pub use edit::{Edition, Replaced};

use std::sync::Arc;

use uuid::Uuid;

use crate::decide::change;
use crate::kinds::{KindSpec, Kinds};
use crate::relay::HandOver;
use crate::rules;
use crate::store::{Action, Change, DeadLetter, DeadState, Move, Picked, StoreError, Stores};
use database::clock;

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
    /// Nobody here does jobs of this kind.
    #[error("there is no kind `{0}` here any more")]
    UnknownKind(String),
    /// The name of the request was used for another body.
    #[error("this Idempotency-Key was used to edit the dead letter to another body")]
    RequestReused,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks at a letter whose job changes meanwhile.
const ROUNDS: usize = 3;

/// What somebody wants done to dead letters.
pub(crate) struct Order<'a> {
    pub(crate) action: Action,
    /// Also what is older than what consumers remember.
    pub(crate) force: bool,
    pub(crate) actor: &'a str,
    pub(crate) note: &'a str,
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
        self.carry_out(id, &Order { action: Action::Redrive, force, actor, note }, None).await?;
        self.get(id).await
    }

    /// Gives one up for good, with a reason. Its job stays dead.
    ///
    /// # Errors
    /// As [`DeadError`]; then nothing has changed.
    pub async fn discard(&self, id: Uuid, actor: &str, reason: &str) -> Result<DeadLetter, DeadError> {
        self.carry_out(id, &Order { action: Action::Discard, force: false, actor, note: reason }, None).await?;
        self.get(id).await
    }

    /// Does what was asked to one letter; for a selection, the letter counts as moved in the same transaction.
    ///
    /// # Errors
    /// As [`DeadError`]; then nothing has changed.
    pub(crate) async fn carry_out(&self, id: Uuid, order: &Order<'_>, picked: Option<Picked>) -> Result<(), DeadError> {
        for _ in 0..ROUNDS {
            let dead = self.open(id).await?;
            let now = clock::now();
            let (to, job) = match (order.action, dead.letter.job_id) {
                (Action::Discard, _) => (DeadState::Discarded, None),
                (Action::Redrive, None) if !order.force && self.forgotten(dead.letter.died_at, now) => {
                    return Err(DeadError::TooOld);
                }
                (Action::Redrive, None) => (DeadState::Redriving, None),
                (Action::Redrive, Some(job)) => (DeadState::Redriven, Some(self.revive(job, &dead, order.force, now).await?)),
            };
            let step = Move { job: job.as_ref(), picked, ..Move::new(id, DeadState::Open, to, order.actor, order.note, now) };
            if self.stores.dead.resolve(&step).await? {
                if let Some(change) = &job {
                    self.note(&dead.letter.kind, change.id);
                }
                self.wake();
                return Ok(());
            }
            // Between our look and the write somebody was faster: a person, or a late mark of the job. Look again.
        }
        let dead = self.open(id).await?;
        Err(DeadError::JobMovedOn(dead.letter.job_id.unwrap_or(id)))
    }

    /// Whether what died then died before the inbox's memory begins.
    fn forgotten(&self, died_at: i64, now: i64) -> bool {
        let memory = i64::try_from(self.inbox_memory.as_micros()).unwrap_or(i64::MAX);
        died_at.saturating_add(memory) < now
    }

    fn note(&self, kind: &str, id: Uuid) {
        if let Some(relay) = &self.relay {
            relay.note(kind, id);
        }
    }

    fn wake(&self) {
        if let Some(relay) = &self.relay {
            relay.wake();
        }
    }

    async fn revive(&self, job: Uuid, dead: &DeadLetter, force: bool, now: i64) -> Result<Change, DeadError> {
        let row = self.stores.jobs.load(&[job]).await?.pop().ok_or(DeadError::JobPurged(job))?;
        // The letter is dated when a keeper found it, which may have been long after.
        let died_at = row.status.ended_at.map_or(dead.letter.died_at, |ended_at| ended_at.min(dead.letter.died_at));
        if !force && self.forgotten(died_at, now) {
            return Err(DeadError::TooOld);
        }
        let allowance = self.kinds.get(&row.kind).map_or(i64::MAX / 4, |spec| allowance(&spec));
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

/// How long after its acceptance a job of a kind is given up, in microseconds.
fn allowance(spec: &KindSpec) -> i64 {
    i64::try_from(spec.deadline.as_micros()).unwrap_or(i64::MAX / 4)
}
