//! A message that cannot be used as what its queue is for, as a dead letter of that queue, bytes and headers as they came.

use messaging::consumer::Delivered;
use messaging::dead_letter::id_of;

use crate::clock;
use crate::rules::cut;
use crate::store::NewDeadLetter;

/// The letter for what was `delivered` from `queue`.
pub(crate) fn of_no_use(queue: &str, delivered: &Delivered, reason: &str, why: &str) -> NewDeadLetter {
    let message = &delivered.message;
    NewDeadLetter {
        queue: queue.to_owned(),
        message_id: cut(id_of(message)),
        // A redrive gave it the next run: turned down again, it is another letter.
        epoch: message.run.map_or(0, |run| run.epoch),
        attempt: message.run.map_or(0, |run| run.attempt),
        job_id: None,
        kind: cut(message.kind.clone()),
        tenant: cut(message.tenant.clone()),
        reason: reason.to_owned(),
        error: cut(why.to_owned()),
        headers: delivered.properties.clone(),
        content_type: cut(message.content_type.clone()),
        body: message.body.clone(),
        died_at: clock::now(),
    }
}
