//! A delivered message as a dead letter: bytes and headers as they came, foreign text without NUL and not endless.

use messaging::consumer::Delivered;
use messaging::dead_letter::id_of;

use crate::clock;
use crate::rules::cut;
use crate::store::NewDeadLetter;

/// The letter of what was `delivered`, dead in `queue`; of no job.
pub(crate) fn letter_of(delivered: &Delivered, queue: &str, reason: &str, error: &str) -> NewDeadLetter {
    let message = &delivered.message;
    NewDeadLetter {
        queue: cut(queue.to_owned()),
        message_id: cut(id_of(message)),
        // A redrive gave it the next run: turned down again, it is another letter.
        epoch: message.run.map_or(0, |run| run.epoch),
        attempt: message.run.map_or(0, |run| run.attempt),
        job_id: None,
        kind: cut(message.kind.clone()),
        tenant: cut(message.tenant.clone()),
        reason: cut(reason.to_owned()),
        error: cut(error.to_owned()),
        headers: delivered.properties.clone(),
        content_type: cut(message.content_type.clone()),
        body: message.body.clone(),
        died_at: clock::now(),
    }
}
