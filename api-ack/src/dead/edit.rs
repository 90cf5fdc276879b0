//! Edit and redrive: a new job with another body in the place of a dead one.
//!
//! The new job has an id of its own, so that no consumer takes it for the old one; the two know each other. The old one stays
//! dead. One transaction makes the new job, links it, and closes the letter.

use bytes::Bytes;
use uuid::Uuid;

use super::{DeadError, DeadLetters, allowance};
use crate::clock;
use crate::store::{DeadState, Edit, Job, NewJob, Payload, State, Status};

/// What a letter is edited to. The content type stays what it was.
#[derive(Clone, Debug)]
pub struct Edition<'a> {
    /// The new body; the caller has checked it.
    pub body: Bytes,
    /// What the caller calls the request: asked twice under one name, one job is made. Empty: it has no name.
    pub request: &'a str,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub note: &'a str,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The new job.
    pub job: Uuid,
    /// It was made when the same was asked before.
    pub replayed: bool,
}

impl DeadLetters {
    /// Makes a new job of the letter `id` with another body, and closes the letter.
    ///
    /// # Errors
    /// As [`DeadError`]; then nothing has changed.
    pub async fn edit(&self, id: Uuid, edition: &Edition<'_>) -> Result<Replaced, DeadError> {
        let dead = self.get(id).await?;
        if dead.state != DeadState::Open {
            return self.first_answer(id, edition).await?.ok_or(DeadError::NotOpen(dead.state));
        }
        let origin = dead.letter.job_id.ok_or(DeadError::NoJob(id))?;
        let record = self.stores.jobs.record_of(origin).await?.ok_or(DeadError::JobPurged(origin))?;
        if record.job.status.state != State::Dead || record.job.status.epoch != dead.letter.epoch {
            return Err(DeadError::JobMovedOn(origin));
        }
        let kind = record.job.kind;
        let spec = self.kinds.get(&kind).ok_or_else(|| DeadError::UnknownKind(kind.clone()))?;
        let now = clock::now();
        let deadline = now.saturating_add(allowance(&spec));
        let job = NewJob {
            job: Job { id: Uuid::now_v7(), kind, tenant: record.job.tenant, version: 1, status: Status::accepted(now, deadline) },
            payload: Payload { body: edition.body.clone(), ..record.payload },
            key: None,
            tags: record.tags,
        };
        let made = job.job.id;
        let note = format!("edited as job {made}{}{}", if edition.note.is_empty() { "" } else { ": " }, edition.note);
        let Edition { request, actor, .. } = *edition;
        let edit = Edit { letter: id, origin, job: &job, request, actor, note: &note, at: now };
        if !self.stores.dead.edit(&edit).await? {
            // Somebody was faster; perhaps the same caller, who asked again.
            return match self.first_answer(id, edition).await? {
                Some(replaced) => Ok(replaced),
                None => Err(DeadError::NotOpen(self.get(id).await?.state)),
            };
        }
        self.note(&job.job.kind, made);
        self.wake();
        Ok(Replaced { job: made, replayed: false })
    }

    /// What was answered when this very request came first.
    async fn first_answer(&self, id: Uuid, edition: &Edition<'_>) -> Result<Option<Replaced>, DeadError> {
        let edited = self.stores.dead.edited(id).await?;
        let Some(edited) = edited.filter(|edited| !edition.request.is_empty() && edited.request == edition.request) else {
            return Ok(None);
        };
        // A new job that was purged since has no body to compare.
        match self.stores.jobs.payloads(&[edited.job]).await?.pop() {
            Some((_, payload)) if payload.body != edition.body => Err(DeadError::RequestReused),
            _ => Ok(Some(Replaced { job: edited.job, replayed: true })),
        }
    }
}
