//! A Postgres server, for any number of processes.
//!
//! Guarantees: what was committed is fsynced (`synchronous_commit=on`). No call takes longer than [`PATIENCE`] plus [`ANSWER`]: a
//! server that hangs is [`StoreError::Unavailable`], and its connection is thrown away.
//! Limits: behind pgbouncer only in session mode, or with `ignore_startup_parameters = options` and the settings below made in
//! the database.

pub mod error;

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrate;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};

use crate::StoreError;
use crate::inspection::{Inspection, standing_of};
use crate::migrations::{self, Steps};

/// How long a call waits for a connection.
pub const PATIENCE: Duration = Duration::from_millis(2500);

/// How long a call waits for the answer. The server gives up a little earlier by itself.
pub const ANSWER: Duration = Duration::from_secs(5);

/// How often a statement that met a conflict with another transaction (40001, 40P01) is tried again.
pub const CONFLICTS: u32 = 5;

/// A connection that was idle for longer is asked whether it lives before it is used. Those in steady use are not: a broken one
/// shows itself by an error, is thrown away, and the hot path saves a round trip.
const FRESH: Duration = Duration::from_millis(500);

/// What every connection is told.
///
/// Plans: every statement here goes by an index, whatever the statistics of a young or bursting table suggest, and is planned
/// once (planning costs more than running it). Which index is up to the statement: one that is planned over an empty table keeps to
/// its plan until somebody analyses the table, so it is written such that only the right one will do.
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

/// Connections to one server.
#[derive(Debug)]
pub struct Postgres {
    options: PgConnectOptions,
    pool: PgPool,
}

impl Postgres {
    /// Connects, with `connections` that are shared; with `migrate`, brings the schema up to date first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the URL, the password or the schema is wrong; [`StoreError::Unavailable`] when nobody answers.
    pub async fn open(url: &str, tables: &[Steps], connections: u32, migrate: bool) -> Result<Self, StoreError> {
        if migrate {
            self::migrate(url, tables).await?;
        }
        let options = options(url)?;
        check_schema(&options, tables).await?;
        let options = options.options(SETTINGS);
        let opened = Self { pool: pool(&options, connections), options };
        crate::ask!(opened.pool, conn => async { conn.ping().await.map_err(error::Fault::Sql) })?;
        Ok(opened)
    }

    /// What everybody shares who has no connection of its own.
    pub fn shared(&self) -> &PgPool {
        &self.pool
    }

    /// One connection apart, made when it is first used: never behind anybody else, and always the same server process, whose
    /// caches are warm.
    pub fn apart(&self) -> PgPool {
        pool(&self.options, 1)
    }
}

/// The answer of `work`, unless it takes longer than [`ANSWER`]; for [`ask!`](crate::ask).
///
/// # Errors
/// When it does.
pub async fn in_time<F: Future>(work: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(ANSWER, work).await
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
/// As [`Postgres::open`].
pub(crate) async fn migrate(url: &str, tables: &[Steps]) -> Result<(), StoreError> {
    let mut connection = single(&options(url)?).await?;
    for steps in tables {
        let done = migrations::migrator(steps.postgres).run(&mut connection).await;
        done.map_err(|error| migrations::failed(error, error::store))?;
    }
    connection.close().await.map_err(error::store)
}

/// Looks at a server and its schema, and changes nothing. What is asked for is what every connection begins with, not what the store's
/// own are told.
///
/// # Errors
/// As [`Postgres::open`], but for the schema.
pub(crate) async fn inspect(url: &str, tables: &[Steps]) -> Result<Inspection, StoreError> {
    const ASKED: &str = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')";
    let options = options(url)?;
    let mut connection = single(&options).await?;
    let asked = in_time(sqlx::query_as(ASKED).fetch_all(&mut connection)).await;
    let settings: Vec<(String, String)> = asked.map_err(|_| error::silent())?.map_err(error::store)?;
    connection.close().await.map_err(error::store)?;
    let schema = standing_of(check_schema(&options, tables).await)?;
    Ok(Inspection { settings: settings.into_iter().collect(), schema, path: None })
}

async fn check_schema(options: &PgConnectOptions, tables: &[Steps]) -> Result<(), StoreError> {
    let mut connection = single(options).await?;
    let looked = in_time(async {
        let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .map_err(error::store)?;
        let applied = match there {
            true => connection.list_applied_migrations("_sqlx_migrations").await,
            false => Ok(Vec::new()),
        };
        let applied = applied.map_err(|error| migrations::failed(error, error::store))?;
        tables.iter().try_for_each(|steps| migrations::check(steps.postgres, &applied))?;
        connection.close().await.map_err(error::store)
    });
    looked.await.unwrap_or_else(|_| Err(error::silent()))
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Unusable(format!("the database URL is not one of Postgres: {error}")))?;
    Ok(options.application_name("warren").disable_statement_logging())
}

async fn single(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match in_time(options.connect()).await {
        Ok(connection) => connection.map_err(error::store),
        Err(_) => Err(error::silent()),
    }
}
