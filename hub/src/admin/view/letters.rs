//! Groups, selections, edits and the audit of dead letters.

use api_ack::store::{self, Action, DeadGroup, Tally};
use database::clock::timestamp;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{AuditLine, DeadLine};

/// A page of groups, those with the most letters first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupPage {
    /// The groups; a page with a filter may be short, or empty, before the last one.
    pub items: Vec<GroupLine>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Open dead letters that died of the same thing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupLine {
    /// 16 hex digits.
    pub fingerprint: String,
    /// The error without what varies.
    pub title: String,
    /// The kind; empty if they carried none.
    pub kind: String,
    /// Why they died.
    pub reason: String,
    /// The code of the failure; empty if there was none.
    pub code: String,
    /// The queue of the latest one.
    pub queue: String,
    /// How many are open.
    pub count: u64,
    /// Counting stopped: there are `count` or more. A selection counts exactly.
    pub at_least: bool,
    /// When the first one died.
    pub first_seen: Timestamp,
    /// When the latest one died.
    pub last_seen: Timestamp,
    /// The latest one.
    pub example: Uuid,
}

impl GroupLine {
    pub(in super::super) fn new(group: DeadGroup, counted: u64) -> Self {
        Self {
            fingerprint: group.fingerprint.hash,
            title: group.fingerprint.title,
            kind: group.kind,
            reason: group.reason,
            code: group.fingerprint.code,
            queue: group.queue,
            count: group.count,
            at_least: group.count >= counted,
            first_seen: timestamp(group.first_at),
            last_seen: timestamp(group.latest_at),
            example: group.latest,
        }
    }
}

/// A frozen set of dead letters, and how far what is done to it has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SelectionView {
    /// Its id.
    pub id: Uuid,
    /// How many letters are in it.
    pub count: u64,
    /// More letters match than one selection takes: the newest are in it. Only told by the request that froze it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub capped: bool,
    /// What was asked for.
    pub filter: Value,
    /// Who froze it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it goes, unless something is done to it.
    pub expires_at: Timestamp,
    /// What is done to it; absent until something is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<Action>,
    /// Who asked.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub actor: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub note: String,
    /// Letters per second, at most.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<u32>,
    /// When the last letter had its turn.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<Timestamp>,
    /// Letters that wait for their turn.
    pub waiting: u64,
    /// Letters that were moved.
    pub moved: u64,
    /// Letters that were not, for the reasons in `refusals`.
    pub refused: u64,
    /// The newest few, from the request that froze it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sample: Vec<DeadLine>,
    /// Letters that were not moved; the `number` of the last one is the `after` of the next page.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub refusals: Vec<RefusalLine>,
}

/// A letter that was not moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusalLine {
    /// Its place in the selection.
    pub number: i32,
    /// The letter.
    pub letter: Uuid,
    /// Why not.
    pub why: String,
}

impl SelectionView {
    pub(in super::super) fn new(selection: store::Selection, tally: Tally) -> Self {
        let acting = selection.acting;
        Self {
            id: selection.id,
            count: tally.waiting + tally.moved + tally.refused,
            capped: false,
            filter: selection.filter,
            created_by: selection.created_by,
            created_at: timestamp(selection.created_at),
            expires_at: timestamp(selection.expires_at),
            action: acting.as_ref().map(|acting| acting.action),
            rate: acting.as_ref().map(|acting| acting.rate),
            actor: acting.as_ref().map(|acting| acting.actor.clone()).unwrap_or_default(),
            note: acting.map(|acting| acting.note).unwrap_or_default(),
            finished_at: selection.finished_at.map(timestamp),
            waiting: tally.waiting,
            moved: tally.moved,
            refused: tally.refused,
            sample: Vec::new(),
            refusals: Vec::new(),
        }
    }
}

impl From<store::Refusal> for RefusalLine {
    fn from(refusal: store::Refusal) -> Self {
        Self { number: refusal.number, letter: refusal.letter, why: refusal.why }
    }
}

/// A letter that was edited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EditView {
    /// The new job, if the letter was a job's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<Uuid>,
    /// The new message, if it was not; the letter that it goes out from has the same id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_id: Option<Uuid>,
    /// The dead job it was made from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edited_from: Option<Uuid>,
    /// The same request came before: this is the first answer again.
    pub replayed: bool,
    /// The letter.
    pub letter: DeadLine,
}

/// A page of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditPage {
    /// Newest first.
    pub items: Vec<AuditRecordLine>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
}

/// A line of the record, with what it is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRecordLine {
    /// Grows with every line.
    pub number: i64,
    /// The letter, which may be gone by now.
    pub letter: Uuid,
    /// Whose it was.
    pub tenant: String,
    /// The selection it was done for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub selection: Option<Uuid>,
    /// The line.
    #[serde(flatten)]
    pub line: AuditLine,
}

impl From<store::AuditRecord> for AuditRecordLine {
    fn from(record: store::AuditRecord) -> Self {
        let store::AuditRecord { number, letter, tenant, selection, entry } = record;
        Self { number, letter, tenant, selection, line: entry.into() }
    }
}
