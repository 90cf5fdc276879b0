//! The hub's tables behind a trait for each aggregate, with one implementation per database.
//!
//! The store decides nothing about jobs: it loads rows, and applies changes that `rules` computed, each only
//! if the row is still at the version the decision was made on. So the state machine exists once, in Rust, and both databases
//! run the same contract tests.
//!
//! Times are microseconds since the Unix epoch, UTC, as `i64`.

mod dead;
mod destination;
mod filters;
mod migrations;
mod open;
mod pauses;
mod payload;
pub mod postgres;
mod purge;
mod row;
mod search;
mod secret;
mod selection;
pub mod sqlite;
mod stored;

pub use dead::{
    AuditEntry, AuditFilter, AuditRecord, DeadFilter, DeadGroup, DeadLetter, DeadLetterStore, DeadState, Edit, Edited, Made,
    Move, NewDeadLetter,
};
pub use destination::{Destination, DestinationStore};
pub use open::{Stores, migrate, open};
pub use pauses::{Pause, PauseStore};
pub use payload::{Outline, Payload};
pub use postgres::PostgresStore;
pub use purge::{Bookmark, Old, Purged, PurgedKeys};
pub use search::{Found, JobSearch};
pub use secret::{Secret, SecretStore};
pub use selection::{Acting, Action, Picked, Refusal, Selection, SelectionStore, Tally};
pub use sqlite::SqliteStore;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
pub use broker_topology::Priority;
use bytes::Bytes;
use uuid::Uuid;

use crate::tags::Tags;

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// A hub process, for as long as it runs. Random and positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub i64);

/// How long after its last beat a process counts as gone, in microseconds.
pub const LAPSE: Micros = 10_000_000;

/// High rows that a claim of normal ones passes over at most: as many entries of an index are read, whatever waits.
pub const PASSED: u32 = 2048;

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
    /// `Some` exactly while it waits to be published: where to.
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
    /// Why it is dead, cancelled, expired or retrying, or succeeded without its result: a stable kebab-case code.
    pub reason: Option<String>,
    /// The latest error, for people; at most 4 KiB.
    pub error: Option<String>,
    /// The epoch in which a cancel was asked for while it ran. Only [`JobStore::ask_cancel`] writes it; a change leaves it as it
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

/// Records of attempts that one step of [`JobStore::purge_ended`] deletes at most.
pub const HISTORY: u32 = 10_000;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refuses this data; asking again with the same gives the same. With several rows, at least one is bad.
    #[error("the database refuses the data: {0}")]
    Refused(String),
    /// A row or key is locked by somebody who is still undecided (2 s).
    #[error("another transaction holds the same key: {0}")]
    Undecided(String),
    /// The database is away, overloaded, or full. Whether the write happened is unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The schema is newer or older than this binary can use, or the file is held by another process.
    #[error("{0}")]
    Unusable(String),
}

/// Jobs, their keys and the processes that work on them.
///
/// Every method is one transaction. Conflicts between transactions (40001, 40P01, SQLITE_BUSY) are retried inside.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Stores jobs durably (fsynced when this returns); answers in order. All or nothing, but for taken keys.
    ///
    /// Keys within one call must be distinct; the caller sees to it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when some row is bad: nothing was stored.
    async fn insert(&self, jobs: &[NewJob]) -> Result<Vec<Inserted>, StoreError>;

    /// The rows of `ids`, in any order; unknown ones are left out.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Job>, StoreError>;

    /// The rows of `ids` with who submitted each, in any order; unknown ones are left out.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn submitted(&self, ids: &[Uuid]) -> Result<Vec<(Job, String)>, StoreError>;

    /// Applies each change whose job is still at its `from`; answers in order whether it was. At most 512, ids distinct.
    ///
    /// # Errors
    /// As [`StoreError`]; then nothing was applied, or (`Unavailable`) it is unknown.
    async fn apply(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError>;

    /// The hot special case of [`JobStore::apply`]: rows the broker confirmed, as (id, version). Each becomes
    /// `rules::published` of itself: no longer waiting, owner gone, `accepted` and `scheduled` turned to `queued`.
    /// A row that has moved on is left alone. Answers how many were changed.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn mark_published(&self, rows: &[(Uuid, i64)], now: Micros) -> Result<u64, StoreError>;

    /// Puts down that a cancel is asked for the job, in `epoch`, if it is still at version `from`; answers whether it was. The
    /// row gets `from + 1`. The one writer of [`Status::cancel_epoch`].
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn ask_cancel(&self, id: Uuid, from: i64, epoch: i32, now: Micros) -> Result<bool, StoreError>;

    /// Puts attempts on record that change nothing (late and forged ones). Duplicates by (job, epoch, attempt, lease, outcome) are ignored, and
    /// so is what comes for a job that has [`RECORDS`] already.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn record(&self, attempts: &[(Uuid, Attempt)]) -> Result<(), StoreError>;

    /// Puts down how far jobs are, where that is news: of one job the later of two by (epoch, attempt, lease, at) stays. Answers for which.
    /// At most 512, ids distinct.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn put_progress(&self, said: &[(Uuid, Progress)]) -> Result<Vec<Uuid>, StoreError>;

    /// How far those of `ids` are whose handlers said so.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn progress(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Progress)>, StoreError>;

    /// Which job has an idempotency key, and the fingerprint of the request that made it.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn holder(&self, hash: [u8; 32]) -> Result<Option<(Uuid, [u8; 32])>, StoreError>;

    /// Payloads of `ids`, in any order.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn payloads(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Payload)>, StoreError>;

    /// The trace context of the request that made a job, if it had one. SQLite walks past the body to find it.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn traceparent_of(&self, id: Uuid) -> Result<Option<String>, StoreError>;

    /// One job with everything about it. Does not read its payload's body.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn record_of(&self, id: Uuid) -> Result<Option<JobRecord>, StoreError>;

    /// Jobs that match, newest first, within [`JobSearch::scan`] rows. A walk down the primary key; with tags down that of the tags.
    ///
    /// # Errors
    /// As [`StoreError`]; [`StoreError::Refused`] for tags of nobody.
    async fn search(&self, search: &JobSearch) -> Result<Found, StoreError>;

    /// The tags of those of `ids` that have some.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn tags(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Tags>, StoreError>;

    /// Lanes with a row that nobody owns and that is due at `now`: the normal one with a row of either class, and the high one
    /// if there is a high row. The cost is per lane, not per row.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn lanes(&self, now: Micros) -> Result<Vec<Lane>, StoreError>;

    /// Takes up to `portion` of the due rows of a lane that NOBODY owns and whose deadline has not passed (that of an ended one, on
    /// its way to the dead letters, does not count), oldest due first, and makes `me` their owner (which bumps their version). A
    /// normal lane gives what is oldest, of either class: so nothing has to be passed over, and a normal row waits behind no high
    /// one but those that were due before it. Rows another transaction is taking are skipped. Rows that `me` owns already are in its memory: they are not
    /// taken again.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn claim(&self, me: ProcessId, lane: &Lane, now: Micros, portion: Portion) -> Result<Vec<(Job, Payload)>, StoreError>;

    /// As [`JobStore::claim`] of a normal lane, but passes over high rows: at most [`PASSED`] of them, and what is behind those waits.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn claim_normal(
        &self,
        me: ProcessId,
        lane: &Lane,
        now: Micros,
        portion: Portion,
    ) -> Result<Vec<(Job, Payload)>, StoreError>;

    /// As [`JobStore::claim`], of dead letters alone, whatever their lane: they wait for no window, no resume and no destination.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn claim_letters(&self, me: ProcessId, now: Micros, portion: Portion) -> Result<Vec<(Job, Payload)>, StoreError>;

    /// Rows published and not ended, per kind; counting stops at `limit`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn in_flight(&self, kind: &str, limit: u32) -> Result<u32, StoreError>;

    /// As [`JobStore::in_flight`], high rows alone.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn in_flight_high(&self, kind: &str, limit: u32) -> Result<u32, StoreError>;

    /// Rows of a kind under way that have not begun; counting stops after a look at `limit` rows.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn queued(&self, kind: &str, limit: u32) -> Result<Queued, StoreError>;

    /// Rows that are due at `now` and wait for anybody to publish them, lane by lane. What processes hold in memory is not among
    /// them, nor what is scheduled: the cost is per lane and per row that is due.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn backlog(&self, now: Micros) -> Result<Vec<Waiting>, StoreError>;

    /// Live rows (waiting or in flight) whose deadline is before `now`. One that waits for a later time is not among them:
    /// nothing is due after its deadline.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn overdue(&self, now: Micros, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Rows of `kind` in flight that have not changed since `before`, oldest first; of one class, or of both.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn quiet(&self, kind: &str, of: Option<Priority>, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Rows of `kind` that run with no owner and no start of the hub's, and have not changed since `before`; up to `limit`. A walk
    /// over the rows of the kind that are under way.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn overrun(&self, kind: &str, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Says that `me` lives, by the database's clock. Answers the processes that live, `me` among them.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn beat(&self, me: ProcessId) -> Result<Vec<ProcessId>, StoreError>;

    /// Says how many attempts `me` has ended since it began, per kind. Answers what the others that live said last; of a process
    /// that says nothing there is no answer. A store that takes one process does nothing.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn share_ended(
        &self,
        me: ProcessId,
        ended: &BTreeMap<String, u64>,
    ) -> Result<Vec<(ProcessId, BTreeMap<String, u64>)>, StoreError>;

    /// Frees the waiting rows of processes that have lapsed ([`LAPSE`]) and forgets these; answers how many rows were freed.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn release_lapsed(&self) -> Result<u64, StoreError>;

    /// Waiting rows that `me` owns, up to `limit`. Reads every row under way: for now and then.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn owned(&self, me: ProcessId, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Says that `me` leaves: its waiting rows are freed at once, its running ones can be taken.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn leave(&self, me: ProcessId) -> Result<(), StoreError>;

    /// Kinds that have ended jobs, configured or not, by name. The cost is per kind, not per row.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn ended_kinds(&self) -> Result<Vec<String>, StoreError>;

    /// Looks at up to `limit` jobs of a kind that ended before `old.before`, from `after` on, and deletes them with payload,
    /// history and result; but for those with a letter that is open or on its way back, and dead ones that are not old enough. History
    /// goes first, [`HISTORY`] records at most: with more than that nothing else goes, and the walk stays where it is.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge_ended(&self, old: &Old<'_>, after: Bookmark, limit: u32) -> Result<Purged, StoreError>;

    /// Looks at some thousand idempotency keys, from the place `from` on, and deletes those made before `before`. 0 is the first
    /// place, and comes again after the last one.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge_keys(&self, before: Micros, from: u64) -> Result<PurgedKeys, StoreError>;

    /// Asks the database for nothing: for `/ready` and `/health`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn ping(&self) -> Result<(), StoreError>;
}
