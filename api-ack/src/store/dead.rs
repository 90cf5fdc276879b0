//! Dead letters in the store: what they are, how they are found and moved, and the record of who did what.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{Change, Micros, StoreError};

/// A message that was given up, on its way into the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDeadLetter {
    /// The work queue it came from.
    pub queue: String,
    /// AMQP `message_id`; for a message without one, a fingerprint of its body in hex.
    pub message_id: String,
    /// 0 when it is no job.
    pub epoch: i32,
    /// 0 when it is no job.
    pub attempt: i32,
    /// The job, if a row with this id exists.
    pub job_id: Option<Uuid>,
    /// The kind or event type; empty if it carried none.
    pub kind: String,
    /// Whose; empty if it carried none.
    pub tenant: String,
    /// Stable kebab-case code: `rejected`, `exhausted`, `poison`, `undecodable`, `origin-gone`, `delivery-limit`, ...
    pub reason: String,
    /// For people; at most 4 KiB.
    pub error: String,
    /// Headers and properties as JSON, for people and for the redrive of what is no job.
    pub headers: serde_json::Value,
    /// MIME type.
    pub content_type: String,
    /// The exact bytes.
    pub body: Bytes,
    /// When it was given up.
    pub died_at: Micros,
}

/// What has become of a dead letter. Stored as the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum DeadState {
    /// Waits for somebody.
    Open = 0,
    /// No job: on its way back, not yet confirmed by the broker.
    Redriving = 1,
    /// Moved back.
    Redriven = 2,
    /// Given up for good, with a reason.
    Discarded = 3,
}

/// A dead letter in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// UUIDv7.
    pub id: Uuid,
    /// What it is.
    pub letter: NewDeadLetter,
    /// What has become of it.
    pub state: DeadState,
    /// Who moved it, and why; empty while open.
    pub actor: String,
    /// The reason given by `actor`.
    pub note: String,
    /// When `state` last changed.
    pub updated_at: Micros,
}

/// Which dead letters to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this reason.
    pub reason: Option<String>,
    /// Only in this state.
    pub state: Option<DeadState>,
    /// Only ids before this one.
    pub before: Option<Uuid>,
    /// At most this many.
    pub limit: u32,
}

/// One line of the record that is only ever added to: who moved a dead letter, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Micros,
    /// Who.
    pub actor: String,
    /// The reason they gave.
    pub note: String,
    /// What the letter was.
    pub from: DeadState,
    /// What it became.
    pub to: DeadState,
}

/// The dead letters.
#[async_trait]
pub trait DeadLetterStore: Send + Sync + 'static {
    /// Stores dead letters durably. One that is there already, by (queue, message id, epoch, attempt), is left as it is.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn keep(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError>;

    /// Dead letters that match, newest first, bodies included.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_letters(&self, filter: &DeadFilter) -> Result<Vec<DeadLetter>, StoreError>;

    /// One dead letter.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError>;

    /// Moves a dead letter from `from` to `to`, with the change of its job if it has one, in one transaction and with an
    /// audit record. Answers `false`, and changes nothing, when the letter is no longer in `from` or the job has moved on.
    ///
    /// # Errors
    /// As [`StoreError`].
    #[allow(clippy::too_many_arguments, reason = "one move, said in full; a struct would only be taken apart again")]
    async fn resolve(
        &self,
        id: Uuid,
        from: DeadState,
        to: DeadState,
        job: Option<&Change>,
        actor: &str,
        note: &str,
        now: Micros,
    ) -> Result<bool, StoreError>;

    /// What was done to a dead letter, oldest first. Outlives the letter.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn audit(&self, id: Uuid) -> Result<Vec<AuditEntry>, StoreError>;

    /// Open dead letters by queue, for the metric.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_counts(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// Deletes up to `limit` dead letters older than `before`; answers how many.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge_dead(&self, before: Micros, limit: u32) -> Result<u64, StoreError>;
}
