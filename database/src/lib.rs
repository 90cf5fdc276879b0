//! The way to the hub's database, for every crate that has tables in it.
//!
//! Owns connections, the settings that durability rests on, the steps of tables ([`Steps`]), what an error means ([`StoreError`]),
//! time as it is kept ([`clock`]), and how rows share a commit ([`writer`]). Refuses to own tables: each crate brings its own, with a trait for each aggregate and a contract
//! that both databases are tested by.
//!
//! Postgres serves any number of processes ([`postgres`]), a SQLite file one ([`sqlite`]).

mod ask;
pub mod clock;
mod error;
mod inspection;
mod migrations;
mod place;
pub mod postgres;
pub mod sqlite;
pub mod writer;

pub use clock::Micros;
pub use error::{StoreError, damaged};
pub use inspection::{Inspection, Standing};
pub use migrations::{Step, Steps};
#[doc(hidden)]
pub use sqlx;

use std::sync::Arc;

use place::Place;
use postgres::Postgres;
use sqlite::Sqlite;

/// Connections that one hub process shares out on Postgres, over everything that has none of its own.
const CONNECTIONS: u32 = 14;

/// An open database, whichever it is. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Database {
    /// A Postgres server.
    Postgres(Arc<Postgres>),
    /// A SQLite file.
    Sqlite(Arc<Sqlite>),
}

impl Database {
    /// Opens `sqlite://<path>` (relative, or absolute with a third slash) or `postgres://...`; with `migrate`, brings the schema up
    /// to date first.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for another scheme, an old schema, or a file that another process holds; [`StoreError::Unavailable`]
    /// when Postgres does not answer.
    pub async fn open(url: &str, tables: &[Steps], migrate: bool) -> Result<Self, StoreError> {
        match Place::of(url)? {
            Place::Postgres(url) => Ok(Self::Postgres(Arc::new(Postgres::open(url, tables, CONNECTIONS, migrate).await?))),
            Place::Sqlite(path) => Ok(Self::Sqlite(Arc::new(Sqlite::open(path.as_ref(), tables, migrate).await?))),
        }
    }
}

/// Brings the schema at `url` up to date. On SQLite the hub must be stopped; on Postgres it may run.
///
/// # Errors
/// As [`Database::open`].
pub async fn migrate(url: &str, tables: &[Steps]) -> Result<(), StoreError> {
    match Place::of(url)? {
        Place::Postgres(url) => postgres::migrate(url, tables).await,
        Place::Sqlite(path) => sqlite::migrate(path.as_ref(), tables).await,
    }
}

/// Looks at the database at `url` from outside: whether it is there, what it promises, whether its schema is this binary's. Changes
/// nothing, and takes nothing from a hub that runs on it.
///
/// # Errors
/// As [`Database::open`], but for the schema, which is told.
pub async fn inspect(url: &str, tables: &[Steps]) -> Result<Inspection, StoreError> {
    match Place::of(url)? {
        Place::Postgres(url) => postgres::inspect(url, tables).await,
        Place::Sqlite(path) => sqlite::inspect(path.as_ref(), tables).await,
    }
}
