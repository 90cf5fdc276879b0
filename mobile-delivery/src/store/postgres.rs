//! The tables of devices on Postgres, for any number of hub processes.
//!
//! What holds for every statement is said in [`database::postgres`].

/// The rows of a batch, as `n`.
macro_rules! each {
    ($batch:literal) => {
        concat!("jsonb_array_elements(CAST(", $batch, " AS jsonb)) AS n(value)")
    };
}

/// Whether a text is one of those in a batch, which is taken apart once.
macro_rules! one_of {
    ($text:expr, $batch:literal) => {
        concat!($text, " = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(", $batch, " AS jsonb))))")
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
        concat!("CAST(n.value->>", $at, " AS uuid)")
    };
}

/// Bytes of a row.
macro_rules! bytes {
    ($at:literal) => {
        concat!("decode(n.value->>", $at, ", 'hex')")
    };
}

/// Holds what was found until the transaction ends.
macro_rules! for_update {
    ($of:literal) => {
        concat!(" FOR UPDATE OF ", $of)
    };
}

/// Now, by the database's clock.
macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}

/// What a tenant `$1` has after `$2`, in the order of both. As a range, with no equality in it: the planner would walk the numbers of
/// all tenants to save a sort.
macro_rules! of_tenant {
    ($number:literal) => {
        concat!("(tenant, ", $number, ") > ($1, $2) AND tenant <= $1")
    };
}

/// Does `$work` in a transaction of the pool `$pool`.
macro_rules! write {
    ($pool:expr, $conn:ident => $work:expr) => {
        write!("BEGIN", $pool, $conn => $work)
    };
    ($begin:literal, $pool:expr, $conn:ident => $work:expr) => {
        database::ask!($pool, held => async {
            let mut tx = sqlx::Connection::begin_with(&mut *held, $begin).await?;
            let done = {
                let $conn: &mut sqlx::PgConnection = &mut tx;
                $work.await?
            };
            tx.commit().await?;
            Ok::<_, database::postgres::error::Fault>(done)
        })
    };
}

/// The same, of what may be lost with the power: nobody waits for the disk.
macro_rules! mark {
    ($pool:expr, $conn:ident => $work:expr) => {
        write!("BEGIN; SET LOCAL synchronous_commit TO off", $pool, $conn => $work)
    };
}

/// Reads what is committed.
macro_rules! read {
    ($pool:expr, $conn:ident => $work:expr) => {
        database::ask!($pool, $conn => $work)
    };
}

#[macro_use]
#[path = "statements/texts.rs"]
mod texts;

use std::sync::Arc;

use database::Step;
use database::postgres::Postgres;
use database::postgres::error::Fault;
use sqlx::PgPool;
use sqlx::postgres::{PgBindIterExt, PgConnection};

use super::NewMessage;
use super::stored::priority_number;

#[path = "statements/answers.rs"]
mod answers;

pub(super) const STEPS: [Step; 8] = [
    (1001, "devices", include_str!("../../migrations/postgres/1001_devices.sql")),
    (1002, "device_details", include_str!("../../migrations/postgres/1002_device_details.sql")),
    (1003, "device_finding", include_str!("../../migrations/postgres/1003_device_finding.sql")),
    (1004, "device_log", include_str!("../../migrations/postgres/1004_device_log.sql")),
    (1005, "device_via", include_str!("../../migrations/postgres/1005_device_via.sql")),
    (1006, "session_roster", include_str!("../../migrations/postgres/1006_session_roster.sql")),
    (1007, "rooms", include_str!("../../migrations/postgres/1007_rooms.sql")),
    (1008, "device_shards", include_str!("../../migrations/postgres/1008_device_shards.sql")),
];

type Conn = PgConnection;

type Devices = PostgresDevices;

/// The tables of devices on Postgres.
#[derive(Debug)]
pub struct PostgresDevices {
    /// For everything that has no connection of its own.
    database: Arc<Postgres>,
    sending: PgPool,
    settling: PgPool,
    /// Which of a tenant's counters this process counts on.
    shard: i16,
}

impl PostgresDevices {
    /// The tables in a database that has [`TABLES`](super::TABLES), with two connections of their own: sending is never behind a
    /// reader, and acks and marks are never behind either.
    pub fn on(database: Arc<Postgres>) -> Self {
        let shard = i16::from(uuid::Uuid::now_v7().into_bytes()[15]) % answers::OF_ACKS;
        Self { sending: database.apart(), settling: database.apart(), database, shard }
    }

    fn sending(&self) -> &PgPool {
        &self.sending
    }

    fn settling(&self) -> &PgPool {
        &self.settling
    }

    fn shared(&self) -> &PgPool {
        self.database.shared()
    }
}

// One statement, since each is a round trip: none of them looks at what another does. Postgres carries out the counters, which everybody wants, after the rest.
const STATES: &str = concat!("WITH counted AS (", counters!("$2", "$3"), ") ", states!("$1"));

/// Writes what became of devices, and then what their tenants have to get.
async fn write_states(conn: &mut Conn, states: String, counted: String, shard: i16) -> Result<(), Fault> {
    sqlx::query(STATES).bind(states).bind(counted).bind(shard).execute(conn).await?;
    Ok(())
}

const MESSAGES: &str = concat!(
    "WITH behind AS (",
    behind!("$13"),
    "), placed AS (",
    places!("$12"),
    ") INSERT INTO device_messages (id, tenant, sender, kind, content_type, body, traceparent, collapse_key, \
     priority, created_at, not_before) SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], \
     $6::bytea[], $7::text[], $8::text[], $9::smallint[], $10::bigint[], $11::bigint[])"
);

/// Stores messages with their bodies, which travel as they are, and deliveries in their places; and says so of the lanes of `devices`.
async fn put_messages(conn: &mut Conn, sends: &[&NewMessage], places: String, devices: String) -> Result<(), Fault> {
    let messages = || sends.iter().map(|send| &send.message);
    let query = sqlx::query(MESSAGES)
        .bind(messages().map(|message| message.id).bind_iter())
        .bind(sends.iter().map(|send| send.tenant.as_str()).bind_iter())
        .bind(messages().map(|message| message.sender.as_str()).bind_iter())
        .bind(messages().map(|message| message.kind.as_str()).bind_iter())
        .bind(messages().map(|message| message.content_type.as_str()).bind_iter())
        .bind(messages().map(|message| &message.body[..]).bind_iter())
        .bind(messages().map(|message| message.traceparent.as_deref()).bind_iter())
        .bind(messages().map(|message| message.collapse_key.as_deref()).bind_iter())
        .bind(messages().map(|message| priority_number(message.priority)).bind_iter())
        .bind(messages().map(|message| message.created_at).bind_iter())
        .bind(sends.iter().map(|send| send.not_before).bind_iter())
        .bind(places)
        .bind(devices);
    query.execute(conn).await?;
    Ok(())
}
