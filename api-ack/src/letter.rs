//! A delivered message as a dead letter: bytes and headers as they came, foreign text without NUL and not endless. But for the token
//! of its run: with that a reader of letters could speak for the job.

use messaging::consumer::Delivered;
use messaging::dead_letter::id_of;
use messaging::message::header;
use sha2::{Digest, Sha256};

use crate::rules::{cut, cut_to};
use crate::store::NewDeadLetter;
use database::clock;

/// The letter of what was `delivered`, dead in `queue`; of no job.
pub(crate) fn letter_of(delivered: &Delivered, queue: &str, reason: &str, error: &str) -> NewDeadLetter {
    let message = &delivered.message;
    NewDeadLetter {
        queue: name(queue.to_owned()),
        message_id: name(id_of(message)),
        // A redrive gave it the next run: turned down again, it is another letter.
        epoch: message.run.map_or(0, |run| run.epoch),
        attempt: message.run.map_or(0, |run| run.attempt),
        job_id: None,
        kind: name(message.kind.clone()),
        tenant: name(message.tenant.clone()),
        reason: name(reason.to_owned()),
        error: cut(error.to_owned()),
        headers: without_token(delivered.properties.clone()),
        content_type: cut(message.content_type.clone()),
        body: message.body.clone(),
        died_at: clock::now(),
    }
}

fn without_token(mut properties: serde_json::Value) -> serde_json::Value {
    if let Some(headers) = properties.get_mut("headers").and_then(|headers| headers.as_object_mut()) {
        headers.remove(header::TOKEN);
    }
    properties
}

/// The longest name that is kept as it came, in bytes: as long as AMQP's own. Indexes hold no text of any length.
const NAME_MAX: usize = 255;

/// Foreign text that is found by. What is too long ends in its hash, so that two that differ stay apart.
fn name(text: String) -> String {
    if text.len() <= NAME_MAX {
        return cut(text);
    }
    let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}#{hash}", cut_to(text, NAME_MAX - 1 - hash.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_an_index_and_stay_apart() {
        let long = |end: &str| name("ä".repeat(4000) + end);
        assert_eq!(name("jobs.demo\0".to_owned()), "jobs.demo");
        assert_eq!(name("x".repeat(255)).len(), 255);
        assert!(long("a").len() <= NAME_MAX && long("a").len() > NAME_MAX - 4, "{}", long("a").len());
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
    }
}
