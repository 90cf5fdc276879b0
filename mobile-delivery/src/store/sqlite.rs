//! The tables of devices in one SQLite file, for one hub process.
//!
//! What holds for every statement is said in [`database::sqlite`].

/// The rows of a batch, as `n`.
macro_rules! each {
    ($batch:literal) => {
        concat!("(SELECT value FROM json_each(", $batch, ")) AS n")
    };
}

/// Whether a text is one of those in a batch, which is taken apart once.
macro_rules! one_of {
    ($text:expr, $batch:literal) => {
        concat!($text, " IN (SELECT value FROM json_each(", $batch, "))")
    };
}

/// A number of a row.
macro_rules! int {
    ($at:literal) => {
        concat!("CAST(n.value->>", $at, " AS bigint)")
    };
}

/// A UUID of a row.
macro_rules! uuid {
    ($at:literal) => {
        concat!("unhex(n.value->>", $at, ", '-')")
    };
}

/// Bytes of a row.
macro_rules! bytes {
    ($at:literal) => {
        concat!("unhex(n.value->>", $at, ")")
    };
}

/// Holds what was found until the transaction ends: there is one that writes.
macro_rules! for_update {
    ($of:literal) => {
        ""
    };
}

/// Now, by the clock of the one machine.
macro_rules! clock {
    () => {
        "CAST(unixepoch('subsec') * 1000000 AS bigint)"
    };
}

/// What a tenant `$1` has after `$2`, in the order of both. As an equality: of a range over both SQLite would use the first half.
macro_rules! of_tenant {
    ($number:literal) => {
        concat!("tenant = $1 AND ", $number, " > $2")
    };
}

/// Does `$work` in a transaction that is on disk when it is answered.
macro_rules! write {
    ($database:expr, $conn:ident => $work:expr) => {
        database::write!(database::sqlite::SYNCED, $database, $conn => $work)
    };
}

/// The same, of what may be lost with the power.
macro_rules! mark {
    ($database:expr, $conn:ident => $work:expr) => {
        database::write!(database::sqlite::LAZY, $database, $conn => $work)
    };
}

/// Reads what is committed.
macro_rules! read {
    ($database:expr, $conn:ident => $work:expr) => {
        async { database::read!($database, $conn => $work).map_err(StoreError::from) }.await
    };
}

#[macro_use]
#[path = "statements/texts.rs"]
#[allow(clippy::duplicate_mod, reason = "the same texts, for each database")]
mod texts;

use std::sync::Arc;

use database::Step;
use database::sqlite::Sqlite;
use database::sqlite::error;
use sqlx::SqliteConnection;

use super::stored::priority_number;
use super::{NewMessage, StoreError};

#[path = "statements/answers.rs"]
#[allow(clippy::duplicate_mod, reason = "the same statements, for each database")]
mod answers;

pub(super) const STEPS: [Step; 8] = [
    (1001, "devices", include_str!("../../migrations/sqlite/1001_devices.sql")),
    (1002, "device_details", include_str!("../../migrations/sqlite/1002_device_details.sql")),
    (1003, "device_finding", include_str!("../../migrations/sqlite/1003_device_finding.sql")),
    (1004, "device_log", include_str!("../../migrations/sqlite/1004_device_log.sql")),
    (1005, "device_via", include_str!("../../migrations/sqlite/1005_device_via.sql")),
    (1006, "session_roster", include_str!("../../migrations/sqlite/1006_session_roster.sql")),
    (1007, "rooms", include_str!("../../migrations/sqlite/1007_rooms.sql")),
    (1008, "device_shards", include_str!("../../migrations/sqlite/1008_device_shards.sql")),
];

type Conn = SqliteConnection;

type Devices = SqliteDevices;

/// What went wrong inside a transaction, already in a store's words.
#[derive(Debug)]
struct Fault(StoreError);

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self(error::store(error))
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

/// The tables of devices in one SQLite file.
#[derive(Debug)]
pub struct SqliteDevices {
    database: Arc<Sqlite>,
    shard: i16,
}

impl SqliteDevices {
    /// The tables in a file that has [`TABLES`](super::TABLES).
    ///
    /// Processes of earlier runs are gone, since there is only one: their slots are free at once, and the next look at who has lapsed ends their sessions.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn on(database: Arc<Sqlite>) -> Result<Self, StoreError> {
        let devices = Self { database, shard: 0 };
        write!(devices.shared(), conn => forget_all(conn))?;
        Ok(devices)
    }

    fn sending(&self) -> &Sqlite {
        &self.database
    }

    fn settling(&self) -> &Sqlite {
        &self.database
    }

    fn shared(&self) -> &Sqlite {
        &self.database
    }
}

async fn forget_all(conn: &mut Conn) -> Result<(), Fault> {
    sqlx::query("DELETE FROM device_processes").execute(&mut *conn).await?;
    sqlx::query("UPDATE device_slots SET process = NULL WHERE process IS NOT NULL").execute(conn).await?;
    Ok(())
}

const MESSAGE: &str = "INSERT INTO device_messages (id, tenant, sender, kind, content_type, body, traceparent, collapse_key, \
     priority, created_at, not_before) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// Writes what became of devices, and then what their tenants have to get.
async fn write_states(conn: &mut Conn, states: String, counted: String, shard: i16) -> Result<(), Fault> {
    sqlx::query(states!("$1")).bind(states).execute(&mut *conn).await?;
    sqlx::query(counters!("$1", "$2")).bind(counted).bind(shard).execute(conn).await?;
    Ok(())
}

/// Stores messages with their bodies, which travel as they are, and deliveries in their places; and says so of the lanes of `devices`.
async fn put_messages(conn: &mut Conn, sends: &[&NewMessage], places: String, devices: String) -> Result<(), Fault> {
    for send in sends {
        let message = &send.message;
        let query = sqlx::query(MESSAGE)
            .bind(message.id)
            .bind(send.tenant.as_str())
            .bind(message.sender.as_str())
            .bind(message.kind.as_str())
            .bind(message.content_type.as_str())
            .bind(&message.body[..])
            .bind(message.traceparent.as_deref())
            .bind(message.collapse_key.as_deref())
            .bind(priority_number(message.priority))
            .bind(message.created_at)
            .bind(send.not_before);
        query.execute(&mut *conn).await?;
    }
    sqlx::query(places!("$1")).bind(places).execute(&mut *conn).await?;
    sqlx::query(behind!("$1")).bind(devices).execute(conn).await?;
    Ok(())
}
