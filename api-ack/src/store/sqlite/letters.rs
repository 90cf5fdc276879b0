//! The traits about dead letters, one read or transaction each.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use database::sqlite::{begin, give_back};

use super::{SYNCED, SqliteStore, dead, error, selection};
use crate::store::{
    Acting, AuditEntry, AuditFilter, AuditRecord, DeadFilter, DeadGroup, DeadLetter, DeadLetterStore, Edit, Edited, Micros, Move,
    NewDeadLetter, Picked, Refusal, Selection, SelectionStore, StoreError, Tally,
};

/// Writes in a transaction, which `false` or an error rolls back.
macro_rules! write_or_not {
    ($store:expr, $conn:ident => $work:expr) => {{
        let mut lease = $store.database.writer().await?;
        let done = async {
            let mut tx = begin(&mut lease, SYNCED).await?;
            let done = {
                let $conn: &mut SqliteConnection = &mut tx;
                $work.await?
            };
            if done {
                tx.commit().await.map_err(error::store)?;
            } else {
                tx.rollback().await.map_err(error::store)?;
            }
            Ok(done)
        }
        .await;
        give_back(lease, &done).await;
        done
    }};
}

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn keep(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        write!(self, conn => dead::keep(conn, letters))
    }

    async fn dead_letters(&self, filter: &DeadFilter) -> Result<Vec<DeadLetter>, StoreError> {
        read!(self, conn => dead::list(conn, filter))
    }

    async fn dead_ids(&self, filter: &DeadFilter) -> Result<Vec<Uuid>, StoreError> {
        read!(self, conn => dead::ids(conn, filter))
    }

    async fn dead_floor(&self, before: Uuid, look: u32) -> Result<Option<Uuid>, StoreError> {
        read!(self, conn => dead::floor(conn, before, look))
    }

    async fn dead_groups(&self, tenant: Option<&str>, after: &str, limit: u32, count: u32) -> Result<Vec<DeadGroup>, StoreError> {
        read!(self, conn => dead::groups(conn, tenant, after, limit, count))
    }

    async fn print_old(&self, limit: u32) -> Result<u64, StoreError> {
        write!(self, conn => dead::print_old(conn, limit))
    }

    async fn hold_redriving(&self, now: Micros, until: Micros, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        write!(self, conn => dead::hold(conn, now, until, limit))
    }

    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        read!(self, conn => dead::one(conn, id))
    }

    async fn resolve(&self, step: &Move<'_>) -> Result<bool, StoreError> {
        write_or_not!(self, conn => dead::resolve(conn, step))
    }

    async fn edit(&self, edit: &Edit<'_>) -> Result<bool, StoreError> {
        write_or_not!(self, conn => dead::edit(conn, edit))
    }

    async fn edited(&self, letter: Uuid) -> Result<Option<Edited>, StoreError> {
        read!(self, conn => dead::edited(conn, letter))
    }

    async fn audit(&self, id: Uuid) -> Result<Vec<AuditEntry>, StoreError> {
        read!(self, conn => dead::audit(conn, id))
    }

    async fn audit_records(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        read!(self, conn => dead::audit_records(conn, filter))
    }

    async fn dead_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        read!(self, conn => dead::counts(conn))
    }

    async fn purge_dead(&self, before: Micros, limit: u32) -> Result<u64, StoreError> {
        write!(self, conn => dead::purge(conn, before, limit))
    }
}

#[async_trait]
impl SelectionStore for SqliteStore {
    async fn freeze(&self, selection: &Selection, letters: &[Uuid]) -> Result<(), StoreError> {
        write!(self, conn => selection::freeze(conn, selection, letters))
    }

    async fn selection(&self, id: Uuid) -> Result<Option<(Selection, Tally)>, StoreError> {
        read!(self, conn => selection::one(conn, id))
    }

    async fn act(&self, id: Uuid, acting: &Acting) -> Result<bool, StoreError> {
        write!(self, conn => selection::act(conn, id, acting))
    }

    async fn acting(&self, after: Uuid, limit: u32) -> Result<Vec<Selection>, StoreError> {
        read!(self, conn => selection::acting(conn, after, limit))
    }

    async fn picked(&self, selection: Uuid, limit: u32) -> Result<Vec<(Picked, Uuid)>, StoreError> {
        read!(self, conn => selection::picked(conn, selection, limit))
    }

    async fn refuse(&self, picked: Picked, why: &str) -> Result<(), StoreError> {
        write!(self, conn => selection::refuse(conn, picked, why))
    }

    async fn refusals(&self, selection: Uuid, after: i32, limit: u32) -> Result<Vec<Refusal>, StoreError> {
        read!(self, conn => selection::refusals(conn, selection, after, limit))
    }

    async fn finish(&self, selection: Uuid, now: Micros) -> Result<bool, StoreError> {
        write!(self, conn => selection::finish(conn, selection, now))
    }

    async fn purge_selections(&self, expired_before: Micros, finished_before: Micros, limit: u32) -> Result<u64, StoreError> {
        write!(self, conn => selection::purge(conn, expired_before, finished_before, limit))
    }
}
