//! The store in one SQLite file, for one hub process.
//!
//! One connection writes, in `BEGIN IMMEDIATE` transactions that never wait for the network; four read what is committed. A
//! batch travels as one JSON text (`json_each` is SQLite's `UNNEST`), bodies beside it as one blob, so that a transaction
//! is three to five statements whatever its size.
//!
//! Guarantees: what a method returned `Ok` for is fsynced (WAL, `synchronous=FULL`), but for marks, which are on disk with the
//! next write that is. A second hub on the same file is refused ([`StoreError::Unusable`]) by a lock on `<file>.lock`, which goes
//! with the process however it ends.
//! Limits: one process, no network file system. Other programs may read the file; one that writes makes Warren wait, 5 s at most.

mod apply;
mod claim;
mod dead;
mod destinations;
mod error;
mod insert;
mod json;
mod pauses;
mod processes;
mod progress;
mod purge;
mod read;
mod search;
mod secrets;
mod rows {
    crate::store::row::decoders!(sqlx::sqlite::SqliteRow);
}
mod selection;
mod tags;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrate;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use uuid::Uuid;

use super::migrations::{self, Step};
use super::{
    Attempt, Bookmark, Change, Destination, DestinationStore, Found, Inserted, Job, JobRecord, JobSearch, JobStore, Lane, Micros,
    NewJob, Old, Pause, PauseStore, Payload, Portion, Priority, ProcessId, Progress, Purged, PurgedKeys, Queued, Secret,
    SecretStore, StoreError, Waiting,
};

use crate::tags::Tags;

/// How long a call waits for the writer, and a statement for a lock that another program holds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that read.
const READERS: u32 = 4;

const STEPS: [Step; 10] = [
    (1, "store", include_str!("../../migrations/sqlite/0001_store.sql")),
    (2, "changing", include_str!("../../migrations/sqlite/0002_changing.sql")),
    (3, "letters", include_str!("../../migrations/sqlite/0003_letters.sql")),
    (4, "destinations", include_str!("../../migrations/sqlite/0004_destinations.sql")),
    (5, "priority", include_str!("../../migrations/sqlite/0005_priority.sql")),
    (6, "reading", include_str!("../../migrations/sqlite/0006_reading.sql")),
    (7, "ended", include_str!("../../migrations/sqlite/0007_ended.sql")),
    (8, "times", include_str!("../../migrations/sqlite/0008_times.sql")),
    (9, "secrets", include_str!("../../migrations/sqlite/0009_secrets.sql")),
    (13, "letters", include_str!("../../migrations/sqlite/0013_letters.sql")),
];

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    reader: SqlitePool,
    /// Held for as long as the store is.
    _lock: File,
}

impl SqliteStore {
    /// Opens the file, or makes it when `migrate` is set; with `migrate`, brings the schema up to date first.
    ///
    /// Processes of earlier runs are gone, since there is only one: what they owned is free at once.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when another process has the file, it cannot be opened, or its schema is old.
    pub async fn open(path: &Path, migrate: bool) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let mut first = single(path, migrate).await?;
        if migrate {
            run_migrations(&mut first).await?;
        }
        check_schema(&mut first).await?;
        processes::forget_all(&mut first).await.map_err(error::store)?;

        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).connect_with(options(path)).await.map_err(error::store)?;
        let reader = pool(READERS).connect_with(options(path).read_only(true)).await.map_err(error::store)?;
        first.close().await.map_err(error::store)?;
        Ok(Self { writer, reader, _lock: lock })
    }

    /// Closes the connections and folds the log into the file. A hub that is killed instead loses nothing: the next one reads
    /// the log.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn lease(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.writer.acquire().await.map_err(error::store)
    }
}

/// Begins to write what is on disk when the commit is answered.
const SYNCED: &str = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE";

/// Begins to write what is on disk with the next synced write: losing it with the power costs a repetition, and nothing else.
const LAZY: &str = "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE";

/// Begins to write. Each transaction says for itself how it is to be committed: nothing to put back, nothing to forget.
async fn begin<'c>(lease: &'c mut PoolConnection<Sqlite>, how: &'static str) -> Result<Transaction<'c, Sqlite>, StoreError> {
    lease.begin_with(how).await.map_err(error::store)
}

/// Returns the connection a write was made on, or throws it away. After a full disk or an I/O error SQLite has ended the
/// transaction by itself, sqlx goes on counting it as open, and would never begin another one there.
async fn give_back<T>(lease: PoolConnection<Sqlite>, done: &Result<T, StoreError>) {
    if matches!(done, Err(StoreError::Unavailable(_) | StoreError::Unusable(_)))
        && let Err(error) = lease.close().await
    {
        tracing::debug!(error = %error, "a connection that failed did not close in good order");
    }
}

/// Brings the schema up to date. The hub must be stopped.
///
/// # Errors
/// As [`SqliteStore::open`].
pub async fn migrate(path: &Path) -> Result<(), StoreError> {
    let _lock = lock(path)?;
    let mut connection = single(path, true).await?;
    run_migrations(&mut connection).await?;
    connection.close().await.map_err(error::store)
}

/// Takes the file for this process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let unusable = |why: &dyn std::fmt::Display, remedy: &str| {
        StoreError::Unusable(format!("cannot use the database {}: {why}; {remedy}", path.display()))
    };
    let file = File::options().create(true).truncate(false).write(true).open(&beside);
    let file = file.map_err(|error| {
        unusable(
            &format_args!("{}: {error}", beside.display()),
            "make its folder, writable for this user, or choose another path",
        )
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unusable(
            &"another Warren process has it",
            "stop that one, choose another file, or use Postgres, which takes several processes",
        )),
        Err(TryLockError::Error(error)) => {
            Err(unusable(&format_args!("{}: {error}", beside.display()), "use a local file system that knows locks"))
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        .synchronous(SqliteSynchronous::Full)
        // 32 MiB of log between checkpoints: a commit that checkpoints waits for it, and pages written twice go once.
        .pragma("wal_autocheckpoint", "8000")
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

/// The first connection: makes the file, and turns it to WAL while nobody else has it.
async fn single(path: &Path, create: bool) -> Result<SqliteConnection, StoreError> {
    let options = options(path).create_if_missing(create).journal_mode(SqliteJournalMode::Wal);
    let unusable =
        |why: &dyn std::fmt::Display| StoreError::Unusable(format!("cannot use the database {}: {why}", path.display()));
    if !create && !path.exists() {
        return Err(unusable(&"there is no such file; `warren migrate` makes it"));
    }
    let mut connection = options.connect().await.map_err(|error| unusable(&error))?;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.map_err(|error| unusable(&error))?;
    match mode.as_str() {
        "wal" => Ok(connection),
        _ => Err(unusable(&"its file system cannot do WAL; choose a local one")),
    }
}

async fn run_migrations(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let done = migrations::migrator(&STEPS).run(connection).await;
    done.map_err(|error| migrations::failed(error, error::store))
}

async fn check_schema(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await
        .map_err(error::store)?;
    let applied = match tables {
        0 => Ok(Vec::new()),
        _ => connection.list_applied_migrations("_sqlx_migrations").await,
    };
    migrations::check(&STEPS, &applied.map_err(|error| migrations::failed(error, error::store))?)
}

/// Reads with a connection of its own.
macro_rules! read {
    ($store:expr, $conn:ident => $work:expr) => {{
        let mut lease = $store.reader.acquire().await.map_err(error::store)?;
        let $conn: &mut SqliteConnection = &mut lease;
        $work.await
    }};
}

/// Writes in a transaction, which an error rolls back.
macro_rules! write {
    ($store:expr, $conn:ident => $work:expr) => {
        write!(SYNCED, $store, $conn => $work)
    };
    ($how:ident, $store:expr, $conn:ident => $work:expr) => {{
        let mut lease = $store.lease().await?;
        let done = async {
            let mut tx = begin(&mut lease, $how).await?;
            let done = {
                let $conn: &mut SqliteConnection = &mut tx;
                $work.await?
            };
            tx.commit().await.map_err(error::store)?;
            Ok::<_, StoreError>(done)
        }
        .await;
        give_back(lease, &done).await;
        done
    }};
}

mod letters;

#[async_trait]
impl JobStore for SqliteStore {
    async fn insert(&self, jobs: &[NewJob]) -> Result<Vec<Inserted>, StoreError> {
        insert::refuse_what_postgres_refuses(jobs)?;
        write!(self, conn => insert::insert(conn, jobs))
    }

    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Job>, StoreError> {
        read!(self, conn => read::load(conn, ids))
    }

    async fn submitted(&self, ids: &[Uuid]) -> Result<Vec<(Job, String)>, StoreError> {
        read!(self, conn => read::submitted(conn, ids))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
        write!(self, conn => apply::apply(conn, changes))
    }

    async fn mark_published(&self, rows: &[(Uuid, i64)], now: Micros) -> Result<u64, StoreError> {
        write!(LAZY, self, conn => apply::mark_published(conn, rows, now))
    }

    async fn ask_cancel(&self, id: Uuid, from: i64, epoch: i32, now: Micros) -> Result<bool, StoreError> {
        write!(self, conn => apply::ask_cancel(conn, id, from, epoch, now))
    }

    async fn record(&self, attempts: &[(Uuid, Attempt)]) -> Result<(), StoreError> {
        write!(self, conn => apply::record(conn, attempts))
    }

    async fn put_progress(&self, said: &[(Uuid, Progress)]) -> Result<Vec<Uuid>, StoreError> {
        write!(self, conn => progress::put(conn, said))
    }

    async fn progress(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Progress)>, StoreError> {
        read!(self, conn => progress::of(conn, ids))
    }

    async fn payloads(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Payload)>, StoreError> {
        read!(self, conn => read::payloads(conn, ids))
    }

    async fn holder(&self, hash: [u8; 32]) -> Result<Option<(Uuid, [u8; 32])>, StoreError> {
        read!(self, conn => read::holder(conn, &hash))
    }

    async fn traceparent_of(&self, id: Uuid) -> Result<Option<String>, StoreError> {
        read!(self, conn => read::traceparent_of(conn, id))
    }

    async fn record_of(&self, id: Uuid) -> Result<Option<JobRecord>, StoreError> {
        read!(self, conn => read::record_of(conn, id))
    }

    async fn search(&self, search: &JobSearch) -> Result<Found, StoreError> {
        read!(self, conn => search::search(conn, search))
    }

    async fn tags(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Tags>, StoreError> {
        read!(self, conn => tags::of(conn, ids))
    }

    async fn lanes(&self, now: Micros) -> Result<Vec<Lane>, StoreError> {
        read!(self, conn => claim::lanes(conn, now))
    }

    async fn claim(&self, me: ProcessId, lane: &Lane, now: Micros, portion: Portion) -> Result<Vec<(Job, Payload)>, StoreError> {
        write!(self, conn => claim::claim(conn, me, lane, now, portion))
    }

    async fn claim_normal(
        &self,
        me: ProcessId,
        lane: &Lane,
        now: Micros,
        portion: Portion,
    ) -> Result<Vec<(Job, Payload)>, StoreError> {
        write!(self, conn => claim::claim_normal(conn, me, lane, now, portion))
    }

    async fn claim_letters(&self, me: ProcessId, now: Micros, portion: Portion) -> Result<Vec<(Job, Payload)>, StoreError> {
        if !read!(self, conn => claim::letters(conn, now))? {
            return Ok(Vec::new());
        }
        write!(self, conn => claim::claim_letters(conn, me, now, portion))
    }

    async fn in_flight(&self, kind: &str, limit: u32) -> Result<u32, StoreError> {
        read!(self, conn => read::in_flight(conn, kind, limit))
    }

    async fn in_flight_high(&self, kind: &str, limit: u32) -> Result<u32, StoreError> {
        read!(self, conn => read::in_flight_high(conn, kind, limit))
    }

    async fn backlog(&self, now: Micros) -> Result<Vec<Waiting>, StoreError> {
        read!(self, conn => claim::backlog(conn, now))
    }

    async fn queued(&self, kind: &str, limit: u32) -> Result<Queued, StoreError> {
        read!(self, conn => read::queued(conn, kind, limit))
    }

    async fn overdue(&self, now: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
        read!(self, conn => read::overdue(conn, now, limit))
    }

    async fn quiet(&self, kind: &str, of: Option<Priority>, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
        read!(self, conn => read::quiet(conn, kind, of, before, limit))
    }

    async fn overrun(&self, kind: &str, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
        read!(self, conn => read::overrun(conn, kind, before, limit))
    }

    async fn beat(&self, me: ProcessId) -> Result<Vec<ProcessId>, StoreError> {
        write!(self, conn => processes::beat(conn, me))
    }

    async fn share_ended(
        &self,
        _me: ProcessId,
        _ended: &BTreeMap<String, u64>,
    ) -> Result<Vec<(ProcessId, BTreeMap<String, u64>)>, StoreError> {
        // There is nobody to tell.
        Ok(Vec::new())
    }

    async fn release_lapsed(&self) -> Result<u64, StoreError> {
        write!(self, conn => processes::release_lapsed(conn))
    }

    async fn owned(&self, me: ProcessId, limit: u32) -> Result<Vec<Job>, StoreError> {
        read!(self, conn => read::owned(conn, me, limit))
    }

    async fn leave(&self, me: ProcessId) -> Result<(), StoreError> {
        write!(self, conn => processes::leave(conn, me))
    }

    async fn ended_kinds(&self) -> Result<Vec<String>, StoreError> {
        read!(self, conn => purge::ended_kinds(conn))
    }

    async fn purge_ended(&self, old: &Old<'_>, after: Bookmark, limit: u32) -> Result<Purged, StoreError> {
        write!(self, conn => purge::ended(conn, old, after, limit))
    }

    async fn purge_keys(&self, before: Micros, from: u64) -> Result<PurgedKeys, StoreError> {
        write!(self, conn => purge::keys(conn, before, from))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        read!(self, conn => async { conn.ping().await.map_err(error::store) })
    }
}

#[async_trait]
impl PauseStore for SqliteStore {
    async fn put_pause(&self, pause: &Pause) -> Result<Pause, StoreError> {
        write!(self, conn => pauses::put(conn, pause))
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        read!(self, conn => pauses::latest(conn))
    }
}

#[async_trait]
impl DestinationStore for SqliteStore {
    async fn destinations(&self) -> Result<Vec<Destination>, StoreError> {
        read!(self, conn => destinations::all(conn))
    }

    async fn hold(&self, name: &str, reason: &str, now: Micros, probe_at: Micros) -> Result<(), StoreError> {
        write!(self, conn => destinations::hold(conn, name, reason, now, probe_at))
    }

    async fn claim_probe(&self, name: &str, now: Micros, until: Micros) -> Result<bool, StoreError> {
        write!(self, conn => destinations::claim(conn, name, now, until))
    }

    async fn release(&self, name: &str, now: Micros, claim: Micros) -> Result<bool, StoreError> {
        write!(self, conn => destinations::release(conn, name, now, claim))
    }
}

#[async_trait]
impl SecretStore for SqliteStore {
    async fn secret(&self, name: &str, fresh: &Secret) -> Result<Secret, StoreError> {
        write!(self, conn => secrets::get_or_put(conn, name, fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_is_synced_also_after_a_mark_that_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("warren.db"), true).await.unwrap();
        let mut lease = store.lease().await.unwrap();
        // 1 is NORMAL, 2 is FULL: as the transaction itself sees it.
        for (how, seen) in [(SYNCED, 2), (LAZY, 1), (SYNCED, 2)] {
            let mut tx = begin(&mut lease, how).await.unwrap();
            let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await.unwrap();
            assert_eq!(level, seen, "{how}");
            tx.commit().await.unwrap();
        }
        // One that was given up half-way leaves nothing behind for the next.
        drop(begin(&mut lease, LAZY).await.unwrap());
        let mut tx = begin(&mut lease, SYNCED).await.unwrap();
        let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(level, 2);
        tx.rollback().await.unwrap();
    }
}
