//! The store on Postgres, for any number of hub processes.
//!
//! Every method is one statement, or one transaction where it cannot be. Batches travel as arrays (`UNNEST`), so the SQL text
//! is constant, is planned once per connection, and costs one round trip whatever the size.
//!
//! What holds for every statement is said in [`database::postgres`].

mod apply;
mod callbacks;
mod claim;
mod dead;
mod destinations;
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
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use database::Step;
use database::postgres::Postgres;
use database::postgres::error::{self, Fault};
use sqlx::{Connection, PgPool};
use uuid::Uuid;

use super::{
    Attempt, Bookmark, Change, Destination, DestinationStore, Found, Inserted, Job, JobRecord, JobSearch, JobStore, Lane, Micros,
    NewJob, Old, Pause, PauseStore, Payload, Portion, Priority, ProcessId, Progress, Purged, PurgedKeys, Queued, Secret,
    SecretStore, State, StoreError, Waiting,
};

use crate::tags::Tags;

pub(super) const STEPS: [Step; 11] = [
    (1, "store", include_str!("../../migrations/postgres/0001_store.sql")),
    (2, "changing", include_str!("../../migrations/postgres/0002_changing.sql")),
    (3, "letters", include_str!("../../migrations/postgres/0003_letters.sql")),
    (4, "destinations", include_str!("../../migrations/postgres/0004_destinations.sql")),
    (5, "priority", include_str!("../../migrations/postgres/0005_priority.sql")),
    (6, "reading", include_str!("../../migrations/postgres/0006_reading.sql")),
    (7, "ended", include_str!("../../migrations/postgres/0007_ended.sql")),
    (8, "times", include_str!("../../migrations/postgres/0008_times.sql")),
    (9, "secrets", include_str!("../../migrations/postgres/0009_secrets.sql")),
    (11, "callbacks", include_str!("../../migrations/postgres/0011_callbacks.sql")),
    (13, "letters", include_str!("../../migrations/postgres/0013_letters.sql")),
];

/// The store on Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    /// For everything that has no connection of its own.
    database: Arc<Postgres>,
    accepting: PgPool,
    marking: PgPool,
    /// When this process last looked for waiting rows whose owner nobody knows.
    swept: Mutex<Option<Instant>>,
}

impl PostgresStore {
    /// The store in a database that has [`STEPS`](super::STEPS), with two connections of its own: accepting is never behind a
    /// reader, and marks are never behind either.
    pub fn on(database: Arc<Postgres>) -> Self {
        Self { accepting: database.apart(), marking: database.apart(), database, swept: Mutex::new(None) }
    }
}

macro_rules! ask {
    ($store:ident, $conn:ident => $work:expr) => {
        database::ask!($store.database.shared(), $conn => $work)
    };
    ($store:ident.$pool:ident, $conn:ident => $work:expr) => {
        database::ask!($store.$pool, $conn => $work)
    };
}

mod calling_back;
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

    async fn unended(&self, kind: &str, limit: u32) -> Result<Vec<(State, u64)>, StoreError> {
        ask!(self, conn => read::unended(conn, kind, limit))
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
