//! The store in one SQLite file, for one hub process.
//!
//! A batch travels as one JSON text (`json_each` is SQLite's `UNNEST`), bodies beside it as one blob, so that a transaction is three
//! to five statements whatever its size. What holds for every statement is said in [`database::sqlite`].

mod apply;
mod callbacks;
mod claim;
mod dead;
mod destinations;
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
use std::sync::Arc;

use async_trait::async_trait;
use database::Step;
use database::sqlite::error;
use database::sqlite::{LAZY, SYNCED, Sqlite};
use sqlx::Connection;
use uuid::Uuid;

use super::{
    Attempt, Bookmark, Change, Destination, DestinationStore, Found, Inserted, Job, JobRecord, JobSearch, JobStore, Lane, Micros,
    NewJob, Old, Pause, PauseStore, Payload, Portion, Priority, ProcessId, Progress, Purged, PurgedKeys, Queued, Secret,
    SecretStore, State, StoreError, Waiting,
};

use crate::tags::Tags;

pub(super) const STEPS: [Step; 11] = [
    (1, "store", include_str!("../../migrations/sqlite/0001_store.sql")),
    (2, "changing", include_str!("../../migrations/sqlite/0002_changing.sql")),
    (3, "letters", include_str!("../../migrations/sqlite/0003_letters.sql")),
    (4, "destinations", include_str!("../../migrations/sqlite/0004_destinations.sql")),
    (5, "priority", include_str!("../../migrations/sqlite/0005_priority.sql")),
    (6, "reading", include_str!("../../migrations/sqlite/0006_reading.sql")),
    (7, "ended", include_str!("../../migrations/sqlite/0007_ended.sql")),
    (8, "times", include_str!("../../migrations/sqlite/0008_times.sql")),
    (9, "secrets", include_str!("../../migrations/sqlite/0009_secrets.sql")),
    (11, "callbacks", include_str!("../../migrations/sqlite/0011_callbacks.sql")),
    (13, "letters", include_str!("../../migrations/sqlite/0013_letters.sql")),
];

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    database: Arc<Sqlite>,
}

macro_rules! read {
    ($store:expr, $conn:ident => $work:expr) => {
        database::read!($store.database, $conn => $work)
    };
}

macro_rules! write {
    ($store:expr, $conn:ident => $work:expr) => {
        database::write!(SYNCED, $store.database, $conn => $work)
    };
    ($how:ident, $store:expr, $conn:ident => $work:expr) => {
        database::write!($how, $store.database, $conn => $work)
    };
}

impl SqliteStore {
    /// The store in a file that has [`STEPS`](super::STEPS).
    ///
    /// Processes of earlier runs are gone, since there is only one: what they owned is free at once.
    ///
    /// # Errors
    /// As [`StoreError`].
    pub async fn on(database: Arc<Sqlite>) -> Result<Self, StoreError> {
        let store = Self { database };
        write!(store, conn => async { processes::forget_all(conn).await.map_err(error::store) })?;
        Ok(store)
    }
}

mod calling_back;
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

    async fn unended(&self, kind: &str, limit: u32) -> Result<Vec<(State, u64)>, StoreError> {
        read!(self, conn => read::unended(conn, kind, limit))
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
