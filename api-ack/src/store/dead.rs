//! Dead letters in the store: what they are, how they are found and moved, and the record of who did what.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::selection::Picked;
use super::stored::first_id_at;
use super::{Change, Micros, NewJob, StoreError};
use crate::fingerprint::Fingerprint;

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
    /// What it died of, for programs and for people. Empty in a row of an older version until the sweeper comes to it.
    pub fingerprint: Fingerprint,
    /// What has become of it.
    pub state: DeadState,
    /// Who moved it, and why; empty while open.
    pub actor: String,
    /// The reason given by `actor`.
    pub note: String,
    /// When `state` last changed.
    pub updated_at: Micros,
}

/// Which dead letters; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this reason.
    pub reason: Option<String>,
    /// Only this failure code.
    pub code: Option<String>,
    /// Only this group: the hash of a [`Fingerprint`].
    pub fingerprint: Option<String>,
    /// Only in this state.
    pub state: Option<DeadState>,
    /// Only those that died then or later.
    pub since: Option<Micros>,
    /// Only those that died before.
    pub until: Option<Micros>,
    /// Only those whose error holds this text; the case of ASCII letters does not count.
    pub text: Option<String>,
    /// Only ids before this one.
    pub before: Option<Uuid>,
    /// Only this id and those after it.
    pub from: Option<Uuid>,
    /// At most this many.
    pub limit: u32,
}

impl DeadFilter {
    /// The lowest id that can match: an id is as old as its letter.
    pub fn above(&self) -> Uuid {
        self.since.map_or(Uuid::nil(), first_id_at).max(self.from.unwrap_or_default())
    }

    /// The id below which all that can match are.
    pub fn below(&self) -> Uuid {
        let until = self.until.map_or(Uuid::max(), |until| first_id_at(until.saturating_add(1000)));
        until.min(self.before.unwrap_or(Uuid::max()))
    }
}

/// Open dead letters of one fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadGroup {
    /// What they died of.
    pub fingerprint: Fingerprint,
    /// The kind; empty if they carried none.
    pub kind: String,
    /// Why they died.
    pub reason: String,
    /// The queue of the latest one.
    pub queue: String,
    /// How many; counting stops at the limit that was asked for.
    pub count: u64,
    /// When the first one died.
    pub first_at: Micros,
    /// When the latest one died.
    pub latest_at: Micros,
    /// The latest one.
    pub latest: Uuid,
}

/// What is done to a dead letter, by whom and why.
#[derive(Clone, Debug)]
pub struct Move<'a> {
    /// The letter.
    pub id: Uuid,
    /// What it must be.
    pub from: DeadState,
    /// What it becomes.
    pub to: DeadState,
    /// What becomes of its job.
    pub job: Option<&'a Change>,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub note: &'a str,
    /// When.
    pub at: Micros,
    /// The selection it is done for, where its letter counts as moved then.
    pub picked: Option<Picked>,
}

impl<'a> Move<'a> {
    /// A move of a letter alone.
    pub fn new(id: Uuid, from: DeadState, to: DeadState, actor: &'a str, note: &'a str, at: Micros) -> Self {
        Self { id, from, to, job: None, actor, note, at, picked: None }
    }
}

/// What is put in the place of a dead letter, with another body.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// The letter, which must be open, and becomes redriven.
    pub letter: Uuid,
    /// What takes its place.
    pub made: Made<'a>,
    /// What the caller calls the request; empty if it has no name.
    pub request: &'a str,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub note: &'a str,
    /// When.
    pub at: Micros,
}

/// What an edit makes.
#[derive(Clone, Copy, Debug)]
pub enum Made<'a> {
    /// A new job.
    Job {
        /// The dead one that the letter was of.
        origin: Uuid,
        /// The new one.
        job: &'a NewJob,
    },
    /// A letter of no job, which is on its way back from the start.
    Letter {
        /// Its id.
        id: Uuid,
        /// What it is.
        letter: &'a NewDeadLetter,
        /// What its record says.
        note: &'a str,
    },
}

/// A letter that was edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The new job, or the new letter.
    pub made: Uuid,
    /// What the caller called the request.
    pub request: String,
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

/// A line of the record, with what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Grows with every line.
    pub number: i64,
    /// The letter, which may be gone by now.
    pub letter: Uuid,
    /// Whose it was; empty if it carried none.
    pub tenant: String,
    /// The selection it was done for.
    pub selection: Option<Uuid>,
    /// The line.
    pub entry: AuditEntry,
}

/// Which lines of the record; newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only about letters of this tenant.
    pub tenant: Option<String>,
    /// Only about this letter.
    pub letter: Option<Uuid>,
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only then or later.
    pub since: Option<Micros>,
    /// Only numbers before this one.
    pub before: Option<i64>,
    /// Only this number and those after it.
    pub from: Option<i64>,
    /// At most this many.
    pub limit: u32,
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

    /// Ids of dead letters that match, newest first. The bodies are not read.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_ids(&self, filter: &DeadFilter) -> Result<Vec<Uuid>, StoreError>;

    /// The `look`th letter before `before`, whatever it is; `None` when there are fewer. A search goes from window to window by
    /// it, so that none costs more than a look at so many rows.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_floor(&self, before: Uuid, look: u32) -> Result<Option<Uuid>, StoreError>;

    /// Groups of open letters in the order of their fingerprints, from the one after `after`; of one tenant or of all. The cost
    /// is per group and counted letter, whatever else there is.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_groups(&self, tenant: Option<&str>, after: &str, limit: u32, count: u32) -> Result<Vec<DeadGroup>, StoreError>;

    /// Gives up to `limit` letters of older versions their fingerprint; answers how many.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn print_old(&self, limit: u32) -> Result<u64, StoreError>;

    /// Takes up to `limit` letters that are `redriving` and that nobody holds at `now`, for the caller alone until `until`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn hold_redriving(&self, now: Micros, until: Micros, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;

    /// One dead letter.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError>;

    /// Moves a dead letter, with the change of its job if it has one, in one transaction and with an audit record. Answers
    /// `false`, and changes nothing, when the letter is no longer in `from` or the job has moved on.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn resolve(&self, step: &Move<'_>) -> Result<bool, StoreError>;

    /// Stores what is made, its link to where it comes from, the end of the letter and the audit records, in one transaction.
    /// Answers `false`, and changes nothing, when the letter is not open.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn edit(&self, edit: &Edit<'_>) -> Result<bool, StoreError>;

    /// What a letter was edited to.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn edited(&self, letter: Uuid) -> Result<Option<Edited>, StoreError>;

    /// What was done to a dead letter, oldest first. Outlives the letter.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn audit(&self, id: Uuid) -> Result<Vec<AuditEntry>, StoreError>;

    /// Lines of the record that match, newest first.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn audit_records(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError>;

    /// Open dead letters by queue, for the metric.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn dead_counts(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// Deletes up to `limit` dead letters older than `before`, with their links to what they were edited from; answers how many.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge_dead(&self, before: Micros, limit: u32) -> Result<u64, StoreError>;
}
