//! The store on Postgres, for any number of hub processes.
//!
//! Every method is one statement, or one transaction where it cannot be. Batches travel as arrays (`UNNEST`), so the SQL text
//! is constant, is planned once per connection, and costs one round trip whatever the size.
//!
//! Guarantees: what a method returned `Ok` for is fsynced (`synchronous_commit=on`). No call takes longer than [`PATIENCE`] plus
//! [`ANSWER`]: a server that hangs is [`StoreError::Unavailable`], and its connection is thrown away.
//! Limits: behind pgbouncer only in session mode, or with `ignore_startup_parameters = options` and the settings below made in
//! the database.

mod apply;
mod claim;
mod dead;
mod destinations;
mod error;
mod insert;
mod pauses;
mod processes;
mod progress;
mod purge;
mod read;
mod search;
mod secrets;
mod rows {
    crate::store::row::decoders!(sqlx::postgres::PgRow);
}
mod selection;
mod tags;

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::migrate::Migrate;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};
use uuid::Uuid;

use self::error::Fault;
use super::migrations::{self, Step};
use super::{
    Attempt, Bookmark, Change, Destination, DestinationStore, Found, Inserted, Job, JobRecord, JobSearch, JobStore, Lane, Micros,
    NewJob, Old, Pause, PauseStore, Payload, Portion, Priority, ProcessId, Progress, Purged, PurgedKeys, Queued, Secret,
    SecretStore, StoreError, Waiting,
};

use crate::tags::Tags;

/// How long a call waits for a connection.
pub const PATIENCE: Duration = Duration::from_millis(2500);

/// How long a call waits for the answer. The server gives up a little earlier by itself.
pub const ANSWER: Duration = Duration::from_secs(5);

/// How often a statement that met a conflict with another transaction (40001, 40P01) is tried again.
const CONFLICTS: u32 = 5;

/// A connection that was idle for longer is asked whether it lives before it is used. Those in steady use are not: a broken one
/// shows itself by an error, is thrown away, and the hot path saves a round trip.
const FRESH: Duration = Duration::from_millis(500);

/// What every connection is told.
///
/// Plans: every statement here goes by an index, whatever the statistics of a young or bursting table suggest, and is planned
/// once (planning costs more than running it).
const SETTINGS: [(&str, &str); 11] = [
    ("synchronous_commit", "on"),
    ("statement_timeout", "4500"),
    ("lock_timeout", "2000"),
    ("idle_in_transaction_session_timeout", "10000"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("random_page_cost", "1.1"),
    ("work_mem", "16MB"),
];

const STEPS: [Step; 10] = [
    (1, "store", include_str!("../../migrations/postgres/0001_store.sql")),
    (2, "changing", include_str!("../../migrations/postgres/0002_changing.sql")),
    (3, "letters", include_str!("../../migrations/postgres/0003_letters.sql")),
    (4, "destinations", include_str!("../../migrations/postgres/0004_destinations.sql")),
    (5, "priority", include_str!("../../migrations/postgres/0005_priority.sql")),
    (6, "reading", include_str!("../../migrations/postgres/0006_reading.sql")),
    (7, "ended", include_str!("../../migrations/postgres/0007_ended.sql")),
    (8, "times", include_str!("../../migrations/postgres/0008_times.sql")),
    (9, "secrets", include_str!("../../migrations/postgres/0009_secrets.sql")),
    (13, "letters", include_str!("../../migrations/postgres/0013_letters.sql")),
];

/// The store on Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    /// For everything that has no connection of its own.
    pool: PgPool,
    /// For accepting: never behind a reader, and always the same server process, whose caches are warm.
    accepting: PgPool,
    /// For marks, likewise.
    marking: PgPool,
    /// When this process last looked for waiting rows whose owner nobody knows.
    swept: Mutex<Option<Instant>>,
}

impl PostgresStore {
    /// Connects, with `max_connections` and two more; with `migrate`, brings the schema up to date first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the URL, the password or the schema is wrong; [`StoreError::Unavailable`] when nobody answers.
    pub async fn connect(url: &str, max_connections: u32, migrate: bool) -> Result<Self, StoreError> {
        if migrate {
            self::migrate(url).await?;
        }
        let options = options(url)?;
        check_schema(&options).await?;
        let options = options.options(SETTINGS);
        let store = Self {
            pool: pool(&options, max_connections),
            accepting: pool(&options, 1),
            marking: pool(&options, 1),
            swept: Mutex::new(None),
        };
        store.ping().await?;
        Ok(store)
    }
}

fn pool(options: &PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone())
}

/// Brings the schema up to date. Safe while hubs run, and from several processes at once (advisory lock).
///
/// # Errors
/// As [`PostgresStore::connect`].
pub async fn migrate(url: &str) -> Result<(), StoreError> {
    let mut connection = single(&options(url)?).await?;
    let done = migrations::migrator(&STEPS).run(&mut connection).await;
    done.map_err(|error| migrations::failed(error, error::store))?;
    connection.close().await.map_err(error::store)
}

async fn check_schema(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = single(options).await?;
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut connection)
        .await
        .map_err(error::store)?;
    let applied = match there {
        true => connection.list_applied_migrations("_sqlx_migrations").await,
        false => Ok(Vec::new()),
    };
    migrations::check(&STEPS, &applied.map_err(|error| migrations::failed(error, error::store))?)?;
    connection.close().await.map_err(error::store)
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Unusable(format!("the database URL is not one of Postgres: {error}")))?;
    Ok(options.application_name("warren").disable_statement_logging())
}

async fn single(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(ANSWER, options.connect()).await {
        Ok(connection) => connection.map_err(error::store),
        Err(_) => Err(error::silent()),
    }
}

/// Does `$work` on a connection `$conn`, again after a conflict, and not for longer than [`ANSWER`].
macro_rules! ask {
    ($store:ident, $conn:ident => $work:expr) => {
        ask!($store.pool, $conn => $work)
    };
    ($store:ident.$pool:ident, $conn:ident => $work:expr) => {{
        let mut left = CONFLICTS;
        loop {
            let mut lease = $store.$pool.acquire().await.map_err(error::store)?;
            let answer = {
                let $conn: &mut PgConnection = &mut lease;
                tokio::time::timeout(ANSWER, $work).await
            };
            match answer {
                Ok(Ok(value)) => break Ok(value),
                Ok(Err(fault)) if left > 0 && fault.is_conflict() => left -= 1,
                Ok(Err(fault)) => break Err(StoreError::from(fault)),
                Err(_) => {
                    drop(lease.detach());
                    break Err(error::silent());
                }
            }
        }
    }};
}

mod letters;

#[async_trait]
impl JobStore for PostgresStore {
    async fn insert(&self, jobs: &[NewJob]) -> Result<Vec<Inserted>, StoreError> {
        ask!(self.accepting, conn => insert::insert(conn, jobs))
    }

    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Job>, StoreError> {
        ask!(self, conn => read::load(conn, ids))
    }

    async fn submitted(&self, ids: &[Uuid]) -> Result<Vec<(Job, String)>, StoreError> {
        ask!(self, conn => read::submitted(conn, ids))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
        ask!(self, conn => apply::apply(conn, changes))
    }

    async fn mark_published(&self, rows: &[(Uuid, i64)], now: Micros) -> Result<u64, StoreError> {
        ask!(self.marking, conn => apply::mark_published(conn, rows, now))
    }

    async fn ask_cancel(&self, id: Uuid, from: i64, epoch: i32, now: Micros) -> Result<bool, StoreError> {
        ask!(self, conn => apply::ask_cancel(conn, id, from, epoch, now))
    }

    async fn record(&self, attempts: &[(Uuid, Attempt)]) -> Result<(), StoreError> {
        ask!(self, conn => apply::record(conn, attempts))
    }

    async fn put_progress(&self, said: &[(Uuid, Progress)]) -> Result<Vec<Uuid>, StoreError> {
        ask!(self, conn => progress::put(conn, said))
    }

    async fn progress(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Progress)>, StoreError> {
        ask!(self, conn => progress::of(conn, ids))
    }

    async fn payloads(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Payload)>, StoreError> {
        ask!(self, conn => read::payloads(conn, ids))
    }

    async fn holder(&self, hash: [u8; 32]) -> Result<Option<(Uuid, [u8; 32])>, StoreError> {
        ask!(self, conn => read::holder(conn, &hash))
    }

    async fn traceparent_of(&self, id: Uuid) -> Result<Option<String>, StoreError> {
        ask!(self, conn => read::traceparent_of(conn, id))
    }

    async fn record_of(&self, id: Uuid) -> Result<Option<JobRecord>, StoreError> {
        ask!(self, conn => read::record_of(conn, id))
    }

    async fn search(&self, search: &JobSearch) -> Result<Found, StoreError> {
        ask!(self, conn => search::search(conn, search))
    }

    async fn tags(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Tags>, StoreError> {
        ask!(self, conn => tags::of(conn, ids))
    }

    async fn lanes(&self, now: Micros) -> Result<Vec<Lane>, StoreError> {
        ask!(self, conn => claim::lanes(conn, now))
    }

    async fn claim(&self, me: ProcessId, lane: &Lane, now: Micros, portion: Portion) -> Result<Vec<(Job, Payload)>, StoreError> {
        ask!(self, conn => claim::claim(conn, me, lane, now, portion))
    }

    async fn claim_normal(
        &self,
        me: ProcessId,
        lane: &Lane,
        now: Micros,
        portion: Portion,
    ) -> Result<Vec<(Job, Payload)>, StoreError> {
        ask!(self, conn => claim::claim_normal(conn, me, lane, now, portion))
    }

    async fn claim_letters(&self, me: ProcessId, now: Micros, portion: Portion) -> Result<Vec<(Job, Payload)>, StoreError> {
        ask!(self, conn => claim::claim_letters(conn, me, now, portion))
    }

    async fn in_flight(&self, kind: &str, limit: u32) -> Result<u32, StoreError> {
        ask!(self, conn => read::in_flight(conn, kind, limit))
    }

    async fn in_flight_high(&self, kind: &str, limit: u32) -> Result<u32, StoreError> {
        ask!(self, conn => read::in_flight_high(conn, kind, limit))
    }

    async fn backlog(&self, now: Micros) -> Result<Vec<Waiting>, StoreError> {
        ask!(self, conn => claim::backlog(conn, now))
    }

    async fn queued(&self, kind: &str, limit: u32) -> Result<Queued, StoreError> {
        ask!(self, conn => read::queued(conn, kind, limit))
    }

    async fn overdue(&self, now: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
        ask!(self, conn => read::overdue(conn, now, limit))
    }

    async fn quiet(&self, kind: &str, of: Option<Priority>, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
        ask!(self, conn => read::quiet(conn, kind, of, before, limit))
    }

    async fn overrun(&self, kind: &str, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
        ask!(self, conn => read::overrun(conn, kind, before, limit))
    }

    async fn beat(&self, me: ProcessId) -> Result<Vec<ProcessId>, StoreError> {
        ask!(self, conn => processes::beat(conn, me))
    }

    async fn share_ended(
        &self,
        me: ProcessId,
        ended: &BTreeMap<String, u64>,
    ) -> Result<Vec<(ProcessId, BTreeMap<String, u64>)>, StoreError> {
        ask!(self, conn => processes::share_ended(conn, me, ended))
    }

    async fn release_lapsed(&self) -> Result<u64, StoreError> {
        let orphans = processes::time_for_orphans(&self.swept);
        ask!(self, conn => processes::release_lapsed(conn, orphans))
    }

    async fn owned(&self, me: ProcessId, limit: u32) -> Result<Vec<Job>, StoreError> {
        ask!(self, conn => read::owned(conn, me, limit))
    }

    async fn leave(&self, me: ProcessId) -> Result<(), StoreError> {
        ask!(self, conn => processes::leave(conn, me))
    }

    async fn ended_kinds(&self) -> Result<Vec<String>, StoreError> {
        ask!(self, conn => purge::ended_kinds(conn))
    }

    async fn purge_ended(&self, old: &Old<'_>, after: Bookmark, limit: u32) -> Result<Purged, StoreError> {
        ask!(self, conn => purge::ended(conn, old, after, limit))
    }

    async fn purge_keys(&self, before: Micros, from: u64) -> Result<PurgedKeys, StoreError> {
        ask!(self, conn => purge::keys(conn, before, from))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        ask!(self, conn => async { conn.ping().await.map_err(Fault::Sql) })
    }
}

#[async_trait]
impl PauseStore for PostgresStore {
    async fn put_pause(&self, pause: &Pause) -> Result<Pause, StoreError> {
        ask!(self, conn => pauses::put(conn, pause))
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        ask!(self, conn => pauses::latest(conn))
    }
}

#[async_trait]
impl DestinationStore for PostgresStore {
    async fn destinations(&self) -> Result<Vec<Destination>, StoreError> {
        ask!(self, conn => destinations::all(conn))
    }

    async fn hold(&self, name: &str, reason: &str, now: Micros, probe_at: Micros) -> Result<(), StoreError> {
        ask!(self, conn => destinations::hold(conn, name, reason, now, probe_at))
    }

    async fn claim_probe(&self, name: &str, now: Micros, until: Micros) -> Result<bool, StoreError> {
        ask!(self, conn => destinations::claim(conn, name, now, until))
    }

    async fn release(&self, name: &str, now: Micros, claim: Micros) -> Result<bool, StoreError> {
        ask!(self, conn => destinations::release(conn, name, now, claim))
    }
}

#[async_trait]
impl SecretStore for PostgresStore {
    async fn secret(&self, name: &str, fresh: &Secret) -> Result<Secret, StoreError> {
        ask!(self, conn => secrets::get_or_put(conn, name, fresh))
    }
}
