//! What is stored of jobs, and what is asked about them.

use bytes::Bytes;
use uuid::Uuid;

use super::{Callback, Micros, Outline, Payload, Priority, ProcessId, Tags, Target};

/// Where a job is. Stored as the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum State {
    /// Waits in the store for its time.
    Scheduled = 0,
    /// Durable, not yet confirmed by the broker.
    Accepted = 1,
    /// The broker has it.
    Queued = 2,
    /// A worker has it.
    Running = 3,
    /// Failed, and will be tried again.
    Retrying = 4,
    /// Ended well.
    Succeeded = 5,
    /// Given up; a dead letter.
    Dead = 6,
    /// Ended by a caller.
    Cancelled = 7,
    /// Ended by its deadline.
    Expired = 8,
}

/// Where the relay publishes a waiting row to. Stored as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outlet {
    /// `warren.jobs`, key = kind. Stored as `jobs`.
    Jobs,
    /// A delay queue, which gives it back to its work queue. Stored as the rung's name.
    Rung(broker_topology::Rung),
    /// `warren.return`, key = work queue: a redrive. Stored as `return`.
    Return,
    /// `warren.dead`, key = work queue. Stored as `dead`.
    Dead,
}

/// The mutable part of a job: everything `rules` may change.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// Grows with every redrive, from 1.
    pub epoch: i32,
    /// The attempt that runs or comes next, from 1; never goes back within an epoch.
    pub attempt: i32,
    /// Attempts spent before this epoch: the retry budget counts from here.
    pub spent: i32,
    /// Starts of this attempt that have not ended.
    pub starts: i32,
    /// How often a start was cut short, over the job's life.
    pub interrupted: i32,
    /// Grows with every start; fences ends of earlier starts.
    pub lease: i64,
    /// While it waits to be published: the process that will; while it runs: the process that runs it.
    pub owner: Option<ProcessId>,
    /// While it waits to be published: not before this time. Afterwards it stays as it was and says nothing.
    pub due_at: Micros,
    /// `Some` exactly while the broker has nothing of it and must be given it: where to publish it. While it runs, whoever publishes it
    /// is not its owner but the one that comes after it.
    pub outlet: Option<Outlet>,
    /// When it is given up.
    pub deadline: Micros,
    /// When the attempt started; `None` while it waits.
    pub started_at: Option<Micros>,
    /// Who runs or ran the attempt: `host:pid` of a hub process, or the name under which a service reports. `None` while it waits;
    /// not stored with a new job.
    pub worker: Option<String>,
    /// What a service that the attempt called answered, if it did; likewise.
    pub http_status: Option<i32>,
    /// `Some` exactly in an end state.
    pub ended_at: Option<Micros>,
    /// When this row last changed.
    pub updated_at: Micros,
    /// Why it is dead, cancelled, expired or retrying, why the broker does not take it, or why it succeeded without its result: a
    /// stable kebab-case code.
    pub reason: Option<String>,
    /// The latest error, for people; at most 4 KiB.
    pub error: Option<String>,
    /// The epoch in which a cancel was asked for while it ran. Only [`JobStore::ask_cancel`](super::JobStore::ask_cancel) writes it; a change leaves it as it
    /// is, and an epoch later it says nothing.
    pub cancel_epoch: Option<i32>,
}

/// A job as the store holds it, without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// UUIDv7: its time is the time of acceptance.
    pub id: Uuid,
    /// The kind.
    pub kind: String,
    /// Whose it is.
    pub tenant: String,
    /// Grows with every change; a change names the version it was computed from.
    pub version: i64,
    /// Its class, for as long as it lives.
    pub priority: Priority,
    /// The rest.
    pub status: Status,
}

/// A job to be stored.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The row; `version` must be 1.
    pub job: Job,
    /// Its payload.
    pub payload: Payload,
    /// Set when the request carried an `Idempotency-Key`.
    pub key: Option<Key>,
    /// Words to find it by.
    pub tags: Tags,
    /// Who is to be told of its end.
    pub callback: Option<Target>,
}

/// An idempotency key, hashed with its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// SHA-256 over (tenant, subject, route, key), length-prefixed.
    pub hash: [u8; 32],
    /// SHA-256 over content type and body.
    pub fingerprint: [u8; 32],
}

/// What became of a [`NewJob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Durable.
    New,
    /// The key was taken: nothing was stored for this one.
    Existing {
        /// The job that has the key.
        id: Uuid,
        /// What the first request looked like.
        fingerprint: [u8; 32],
    },
}

/// A change of one job, void if the job is no longer at `from`.
#[derive(Clone, Debug)]
pub struct Change {
    /// The job.
    pub id: Uuid,
    /// The version the decision was made on; the row gets `from + 1`.
    pub from: i64,
    /// What the mutable part becomes.
    pub to: Status,
    /// An attempt that is over and whose place in the row is taken by the next one. Snoozes of one attempt become one record, whose
    /// [`Attempt::times`] the store counts.
    pub history: Option<Attempt>,
    /// The result of a job that succeeded.
    pub result: Option<Bytes>,
}

/// One attempt of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Which epoch.
    pub epoch: i32,
    /// Which attempt.
    pub attempt: i32,
    /// The lease it ran under.
    pub lease: i64,
    /// When it started.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Micros,
    /// `failed`, `rejected`, `snoozed`, `interrupted`, `late`, `forged`, ...
    pub outcome: String,
    /// Stable code of the failure.
    pub reason: Option<String>,
    /// The error, for people.
    pub error: Option<String>,
    /// As [`Status::worker`].
    pub worker: Option<String>,
    /// As [`Status::http_status`].
    pub http_status: Option<i32>,
    /// How often it was put off by a snooze, when `outcome` is `snoozed`: one record stands for all, with the lease and the start of
    /// the first and all else of the last. 1 otherwise.
    pub times: i32,
}

/// How many records of attempts a job may have for a further one that changes nothing to be kept.
pub const RECORDS: u32 = 1000;

/// How far a run is, as its handler last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which epoch.
    pub epoch: i32,
    /// Which attempt.
    pub attempt: i32,
    /// Which start of it.
    pub lease: i64,
    /// 0 to 100.
    pub percent: i16,
    /// For people.
    pub note: String,
    /// When it was said.
    pub at: Micros,
}

impl Progress {
    /// What is greater was said later, by whichever clock: a newer run speaks after an older one.
    pub(crate) fn order(&self) -> (i32, i32, i64, Micros) {
        (self.epoch, self.attempt, self.lease, self.at)
    }
}

/// A kind and a tenant with rows that wait to be published: the unit of fairness. High rows have lanes of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The kind.
    pub kind: String,
    /// The tenant.
    pub tenant: String,
    /// In the store, a high lane is a way around the normal one, whose rows are those of both classes.
    pub priority: Priority,
}

/// How much to take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Rows at most.
    pub rows: u32,
    /// Payload bytes at most; one row may be larger.
    pub bytes: u64,
}

/// How much of a lane is due and waits to be published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The lane.
    pub lane: Lane,
    /// Rows.
    pub rows: u64,
    /// Since when the first of them is due.
    pub oldest: Micros,
}

/// Jobs of a kind that are under way and have not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// In the memory of a process, on their way to the work queue.
    pub to_publish: u64,
    /// In the work queue, as far as the row says. Not what waits in a rung.
    pub published: u64,
}

/// Everything about one job, for people, but for the bytes of its payload.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// The row.
    pub job: Job,
    /// What is told of the payload.
    pub payload: Outline,
    /// Attempts of the past, oldest first. The latest one is in the row itself.
    pub history: Vec<Attempt>,
    /// The result, if it succeeded with one.
    pub result: Option<Bytes>,
    /// Words to find it by.
    pub tags: Tags,
    /// How far it is, or was when its handler last said so.
    pub progress: Option<Progress>,
    /// Who is told of its end, and how far that is.
    pub callback: Option<Callback>,
    /// The dead job it was made from, by editing its letter.
    pub edited_from: Option<Uuid>,
    /// The job that was made from it, by editing its dead letter.
    pub edited_to: Option<Uuid>,
}

/// Which jobs to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this state.
    pub state: Option<State>,
    /// Only ids before this one: the last id of the page before.
    pub before: Option<Uuid>,
    /// At most this many.
    pub limit: u32,
}

/// Records of attempts that one step of [`JobStore::purge_ended`](super::JobStore::purge_ended) deletes at most.
pub const HISTORY: u32 = 10_000;
