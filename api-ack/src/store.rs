//! The hub's tables behind a trait per aggregate, with one implementation per database.
//!
//! The store decides nothing about jobs: it loads rows, and applies changes that `rules` computed, each only
//! if the row is still at the version the decision was made on. So the state machine exists once, in Rust, and both databases
//! run the same contract tests.
//!
//! Times are microseconds since the Unix epoch, UTC, as `i64`.

mod callback;
mod dead;
mod destination;
mod filters;
mod job;
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
mod stores;

pub use callback::{
    CALLS, Call, Callback, CallbackFilter, CallbackState, CallbackStore, Claimed, Deed, FoundCallbacks, Recalled, Settled, Stop,
    Target,
};
pub use dead::{
    AuditEntry, AuditFilter, AuditRecord, DeadFilter, DeadGroup, DeadLetter, DeadLetterStore, DeadState, Edit, Edited, Made,
    Move, NewDeadLetter,
};
pub use destination::{Destination, DestinationStore};
pub use job::{
    Attempt, Change, HISTORY, Inserted, Job, JobFilter, JobRecord, Key, Lane, NewJob, Outlet, Portion, Progress, Queued, RECORDS,
    State, Status, Waiting,
};
pub use pauses::{Pause, PauseStore};
pub use payload::{Outline, Payload};
pub use postgres::PostgresStore;
pub use purge::{Bookmark, Old, Purged, PurgedKeys};
pub use search::{Found, JobSearch};
pub use secret::{Secret, SecretStore};
pub use selection::{Acting, Action, Picked, Refusal, Selection, SelectionStore, Tally};
pub use sqlite::SqliteStore;
pub use stores::{STEPS, Stores};

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
pub use broker_topology::Priority;
pub use database::{Micros, StoreError};
use uuid::Uuid;

use crate::tags::Tags;

/// A hub process, for as long as it runs. Random and positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub i64);

/// How long after its last beat a process counts as gone, in microseconds.
pub const LAPSE: Micros = 10_000_000;

/// High rows that a claim of normal ones passes over at most: as many entries of an index are read, whatever waits.
pub const PASSED: u32 = 2048;

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

    /// Rows published and not ended, per kind, whether or not the broker still has a message of them; counting stops at `limit`.
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

    /// Rows of a kind that have not ended, by state, wherever they wait; counting stops after `limit` rows that wait in the store, and
    /// as many that are under way. Of a kind that nobody configures any more too.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn unended(&self, kind: &str, limit: u32) -> Result<Vec<(State, u64)>, StoreError>;

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

    /// Rows of `kind` in flight that have not changed since `before`, oldest first; of one class, or of both. Not what runs without a
    /// delivery, in a process or outside.
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

    /// Frees the rows of processes that have lapsed ([`LAPSE`]) which are to be published, and forgets these processes; answers how many
    /// rows were freed. Each becomes [`rules::freed`](crate::rules::freed) of itself.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn release_lapsed(&self) -> Result<u64, StoreError>;

    /// Waiting rows that `me` owns, up to `limit`; not what it runs. Reads every row under way: for now and then.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn owned(&self, me: ProcessId, limit: u32) -> Result<Vec<Job>, StoreError>;

    /// Says that `me` leaves: as [`JobStore::release_lapsed`] of its rows at once; those that run on a delivery can be taken.
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
    /// history and result; but for those with a letter that is open or on its way back, those whose callback is owed, and dead ones that
    /// are not old enough. History
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
