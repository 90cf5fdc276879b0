//! Edit and redrive: something new with another body in the place of a dead letter.
//!
//! The letter of a job becomes a new job; the old one stays dead, and the two know each other. The letter of a message that is no
//! job's becomes a message that says in the header `warren-edited-from` which one it was: it goes its way as a letter of its own
//! that is redriven from the start, held by one keeper and confirmed by the broker. Either has an id of its own, so that no
//! consumer takes it for the old one. One transaction makes what is new, links it, and closes the letter.

use bytes::Bytes;
use messaging::message::header;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{DeadError, DeadLetters, allowance};
use crate::store::{DeadLetter, DeadState, Edit, Job, Made, NewDeadLetter, NewJob, Payload, State, Status};
use database::clock;

/// What a letter is edited to. The content type stays what it was.
#[derive(Clone, Debug)]
pub struct Edition<'a> {
    /// The new body; the caller has checked it.
    pub body: Bytes,
    /// What the caller calls the request: asked twice under one name, one thing is made. Empty: it has no name.
    pub request: &'a str,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub note: &'a str,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The new job; for a letter of no job the new letter, whose message has the same id.
    pub by: Uuid,
    /// It was made when the same was asked before.
    pub replayed: bool,
}

impl DeadLetters {
    /// Puts a new job, or message, with another body in the place of the letter `id`, and closes the letter.
    ///
    /// # Errors
    /// As [`DeadError`]; then nothing has changed.
    pub async fn edit(&self, id: Uuid, edition: &Edition<'_>) -> Result<Replaced, DeadError> {
        let dead = self.get(id).await?;
        if dead.state != DeadState::Open {
            return self.first_answer(&dead, edition).await?.ok_or(DeadError::NotOpen(dead.state));
        }
        let now = clock::now();
        let Edition { request, actor, note, .. } = *edition;
        let why = if note.is_empty() { String::new() } else { format!(": {note}") };
        let edit = |made, note| async move {
            let edit = Edit { letter: id, made, request, actor, note, at: now };
            self.stores.dead.edit(&edit).await
        };
        let (by, done) = match dead.letter.job_id {
            Some(origin) => {
                let job = self.job_instead(origin, &dead, edition, now).await?;
                let note = format!("edited as job {}{why}", job.job.id);
                let done = edit(Made::Job { origin, job: &job }, &note).await?;
                if done {
                    self.note(&job.job.kind, job.job.id);
                }
                (job.job.id, done)
            }
            None => {
                let by = Uuid::now_v7();
                let letter = message_instead(by, &dead.letter, edition, now);
                let [to, from] = [format!("edited as message {by}{why}"), format!("edited from letter {id}{why}")];
                (by, edit(Made::Letter { id: by, letter: &letter, note: &from }, &to).await?)
            }
        };
        if !done {
            // Somebody was faster; perhaps the same caller, who asked again.
            return match self.first_answer(&dead, edition).await? {
                Some(replaced) => Ok(replaced),
                None => Err(DeadError::NotOpen(self.get(id).await?.state)),
            };
        }
        self.wake();
        Ok(Replaced { by, replayed: false })
    }

    /// A new job as the dead one was, but for its body.
    async fn job_instead(&self, origin: Uuid, dead: &DeadLetter, edition: &Edition<'_>, now: i64) -> Result<NewJob, DeadError> {
        let record = self.stores.jobs.record_of(origin).await?.ok_or(DeadError::JobPurged(origin))?;
        if record.job.status.state != State::Dead || record.job.status.epoch != dead.letter.epoch {
            return Err(DeadError::JobMovedOn(origin));
        }
        let kind = record.job.kind.clone();
        let spec = self.kinds.get(&kind).ok_or_else(|| DeadError::UnknownKind(kind.clone()))?;
        let status = Status::accepted(now, now.saturating_add(allowance(&spec)));
        Ok(NewJob {
            job: Job { id: Uuid::now_v7(), kind, version: 1, status, ..record.job },
            payload: Payload {
                subject: record.payload.subject,
                content_type: record.payload.content_type,
                body: edition.body.clone(),
                traceparent: self.stores.jobs.traceparent_of(origin).await?,
            },
            key: None,
            tags: record.tags,
            callback: record.callback.map(|callback| callback.target),
        })
    }

    /// What was answered when this very request came first.
    async fn first_answer(&self, dead: &DeadLetter, edition: &Edition<'_>) -> Result<Option<Replaced>, DeadError> {
        let edited = self.stores.dead.edited(dead.id).await?;
        let Some(edited) = edited.filter(|edited| !edition.request.is_empty() && edited.request == edition.request) else {
            return Ok(None);
        };
        // What was purged since has no body to compare.
        let body = match dead.letter.job_id {
            Some(_) => self.stores.jobs.payloads(&[edited.made]).await?.pop().map(|(_, payload)| payload.body),
            None => self.stores.dead.dead_letter(edited.made).await?.map(|made| made.letter.body),
        };
        match body {
            Some(body) if body != edition.body => Err(DeadError::RequestReused),
            _ => Ok(Some(Replaced { by: edited.made, replayed: true })),
        }
    }
}

/// A letter of a message as the dead one was, but for its id and its body.
fn message_instead(id: Uuid, dead: &NewDeadLetter, edition: &Edition<'_>, now: i64) -> NewDeadLetter {
    let mut properties = dead.headers.clone();
    if let Value::Object(properties) = &mut properties {
        properties.insert("message_id".to_owned(), json!(id));
        if let Value::Object(headers) = properties.entry("headers").or_insert_with(|| json!({})) {
            headers.insert(header::EDITED_FROM.to_owned(), json!(dead.message_id));
        }
    }
    NewDeadLetter {
        message_id: id.to_string(),
        // A message of its own: no run of the old one.
        epoch: 0,
        attempt: 0,
        headers: properties,
        body: edition.body.clone(),
        died_at: now,
        ..dead.clone()
    }
}
