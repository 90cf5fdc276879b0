//! One SQLite file, for one hub process.
//!
//! One connection writes, in `BEGIN IMMEDIATE` transactions that never wait for the network; four read what is committed.
//!
//! Guarantees: what was committed is fsynced (WAL, `synchronous=FULL`), but for what began [`LAZY`], which is on disk with the
//! next write that is. A second hub on the same file is refused ([`StoreError::Unusable`]) by a lock on `<file>.lock`, which goes
//! with the process however it ends.
//! Limits: one process, no network file system. Other programs may read the file; one that writes makes Warren wait, 5 s at most.

pub mod error;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrate;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool, Transaction};

use crate::StoreError;
use crate::inspection::{Inspection, Standing, standing_of};
use crate::migrations::{self, Steps};

/// How long a call waits for the writer, and a statement for a lock that another program holds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that read.
const READERS: u32 = 4;

/// One file, open.
#[derive(Debug)]
pub struct Sqlite {
    writer: SqlitePool,
    reader: SqlitePool,
    /// Held for as long as the file is open.
    _lock: File,
}

impl Sqlite {
    /// Opens the file, or makes it when `migrate` is set; with `migrate`, brings the schema up to date first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when another process has the file, it cannot be opened, or its schema is old.
    pub async fn open(path: &Path, tables: &[Steps], migrate: bool) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let mut first = single(path, migrate).await?;
        if migrate {
            run_migrations(&mut first, tables).await?;
        }
        check_schema(&mut first, tables).await?;

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

    /// A connection that reads what is committed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none comes free.
    pub async fn reader(&self) -> Result<PoolConnection<sqlx::Sqlite>, StoreError> {
        self.reader.acquire().await.map_err(error::store)
    }

    /// The connection that writes, to [`begin`] on and [`give_back`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not come free.
    pub async fn writer(&self) -> Result<PoolConnection<sqlx::Sqlite>, StoreError> {
        self.writer.acquire().await.map_err(error::store)
    }
}

/// Begins to write what is on disk when the commit is answered.
pub const SYNCED: &str = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE";

/// Begins to write what is on disk with the next synced write: losing it with the power costs a repetition, and nothing else.
pub const LAZY: &str = "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE";

/// Begins to write. Each transaction says for itself how it is to be committed: nothing to put back, nothing to forget.
///
/// # Errors
/// As [`StoreError`].
pub async fn begin<'c>(
    lease: &'c mut PoolConnection<sqlx::Sqlite>,
    how: &'static str,
) -> Result<Transaction<'c, sqlx::Sqlite>, StoreError> {
    lease.begin_with(how).await.map_err(error::store)
}

/// Returns the connection a write was made on, or throws it away. After a full disk or an I/O error SQLite has ended the
/// transaction by itself, sqlx goes on counting it as open, and would never begin another one there.
pub async fn give_back<T>(lease: PoolConnection<sqlx::Sqlite>, done: &Result<T, StoreError>) {
    if matches!(done, Err(StoreError::Unavailable(_) | StoreError::Unusable(_)))
        && let Err(error) = lease.close().await
    {
        tracing::debug!(error = %error, "a connection that failed did not close in good order");
    }
}

/// Brings the schema up to date. The hub must be stopped.
///
/// # Errors
/// As [`Sqlite::open`].
pub(crate) async fn migrate(path: &Path, tables: &[Steps]) -> Result<(), StoreError> {
    let _lock = lock(path)?;
    let mut connection = single(path, true).await?;
    run_migrations(&mut connection, tables).await?;
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

/// Looks at a file and its schema, and changes nothing; a hub may have it meanwhile. A file that is not there has no schema.
///
/// # Errors
/// [`StoreError::Unusable`] when it cannot be read.
pub(crate) async fn inspect(path: &Path, tables: &[Steps]) -> Result<Inspection, StoreError> {
    let found = |schema| Inspection { schema, path: Some(path.to_owned()), settings: BTreeMap::new() };
    if !path.exists() {
        return Ok(found(Standing::Missing));
    }
    let unusable = |error| StoreError::Unusable(format!("cannot read the database {}: {error}", path.display()));
    let reading = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(PATIENCE).disable_statement_logging();
    let mut connection = reading.connect().await.map_err(unusable)?;
    let schema = standing_of(check_schema(&mut connection, tables).await)?;
    connection.close().await.map_err(error::store)?;
    Ok(found(schema))
}

async fn run_migrations(connection: &mut SqliteConnection, tables: &[Steps]) -> Result<(), StoreError> {
    for steps in tables {
        let done = migrations::migrator(steps.sqlite).run(&mut *connection).await;
        done.map_err(|error| migrations::failed(error, error::store))?;
    }
    Ok(())
}

async fn check_schema(connection: &mut SqliteConnection, tables: &[Steps]) -> Result<(), StoreError> {
    let recorded: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await
        .map_err(error::store)?;
    let applied = match recorded {
        0 => Ok(Vec::new()),
        _ => connection.list_applied_migrations("_sqlx_migrations").await,
    };
    let applied = applied.map_err(|error| migrations::failed(error, error::store))?;
    tables.iter().try_for_each(|steps| migrations::check(steps.sqlite, &applied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_is_synced_also_after_a_mark_that_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("warren.db"), &[], true).await.unwrap();
        let mut lease = store.writer().await.unwrap();
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
