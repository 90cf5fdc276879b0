//! Retention, in small batches.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{error, json, read, rows};
use crate::store::{Bookmark, HISTORY, Micros, Old, Purged, PurgedKeys, State, StoreError};
use database::clock;

// From kind to kind by the index alone.
const KINDS: &str = "WITH RECURSIVE kinds(kind) AS ( \
     SELECT min(kind) FROM jobs INDEXED BY jobs_ended WHERE place = 2 UNION ALL \
     SELECT (SELECT min(j.kind) FROM jobs AS j INDEXED BY jobs_ended WHERE j.place = 2 AND j.kind > kinds.kind) \
     FROM kinds WHERE kinds.kind IS NOT NULL) SELECT kind FROM kinds WHERE kind IS NOT NULL";

// A job that ended but still waits for its way to the dead letters is not in place 2.
const SEEN: &str = "SELECT id, ended_at, state, EXISTS (SELECT 1 FROM dead_letters WHERE job_id = jobs.id AND state < 2) \
     OR callback IS NOT NULL AND EXISTS (SELECT 1 FROM callbacks WHERE job_id = jobs.id AND state < 2) \
     FROM jobs INDEXED BY jobs_ended WHERE kind = ?1 AND place = 2 AND ended_at < ?2 AND (ended_at, id) > (?3, ?4) \
     ORDER BY ended_at, id LIMIT ?5";

// The table has no rowid.
const HISTORY_OF: &str = "DELETE FROM job_attempts WHERE (job_id, epoch, attempt, lease, outcome) IN \
     (SELECT job_id, epoch, attempt, lease, outcome FROM job_attempts \
     WHERE job_id IN (SELECT unhex(value) FROM json_each(?1)) LIMIT ?2)";

const PARTS: [&str; 7] = [
    "DELETE FROM job_payloads WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM job_results WHERE job_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM job_tags WHERE job_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM job_progress WHERE job_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM callbacks WHERE job_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM job_edits WHERE job IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
];

/// Keys looked at in a step.
const LOOK: u32 = 1000;

// The first ones are the oldest ones.
const KEYS: &str = "SELECT number, created_at FROM idempotency_keys WHERE number > ?1 ORDER BY number LIMIT ?2";

const DELETE_KEYS: &str = "DELETE FROM idempotency_keys WHERE number IN (SELECT value FROM json_each(?1))";

pub(super) async fn ended_kinds(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let found = sqlx::query(KINDS).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| rows::get(row, 0)).collect()
}

pub(super) async fn ended(conn: &mut SqliteConnection, old: &Old<'_>, after: Bookmark, limit: u32) -> Result<Purged, StoreError> {
    let query = sqlx::query(SEEN).bind(old.kind).bind(old.before).bind(after.ended_at).bind(after.id).bind(limit);
    let seen = query.fetch_all(&mut *conn).await.map_err(error::store)?;
    let mut next = after;
    let mut gone: Vec<Uuid> = Vec::new();
    for row in &seen {
        next = Bookmark { id: rows::get(row, 0)?, ended_at: rows::get(row, 1)? };
        let dead = rows::get::<i64>(row, 2)? == i64::from(State::Dead.stored());
        if !(rows::get::<bool>(row, 3)? || dead && next.ended_at >= old.dead_before) {
            gone.push(next.id);
        }
    }
    if !gone.is_empty() {
        let ids = read::ids(&gone)?;
        let history = sqlx::query(HISTORY_OF).bind(&ids).bind(HISTORY).execute(&mut *conn).await.map_err(error::store)?;
        if history.rows_affected() >= u64::from(HISTORY) {
            return Ok(Purged { gone: 0, next: after, more: true });
        }
        for part in PARTS {
            sqlx::query(part).bind(&ids).execute(&mut *conn).await.map_err(error::store)?;
        }
    }
    Ok(Purged { gone: gone.len() as u64, next, more: seen.len() as u64 >= u64::from(limit) })
}

pub(super) async fn keys(conn: &mut SqliteConnection, before: Micros, from: u64) -> Result<PurgedKeys, StoreError> {
    let query = sqlx::query_as::<_, (i64, Micros)>(KEYS).bind(i64::try_from(from).unwrap_or(i64::MAX)).bind(LOOK);
    let seen = query.fetch_all(&mut *conn).await.map_err(error::store)?;
    let old: Vec<i64> = seen.iter().filter(|(_, created_at)| *created_at < before).map(|(number, _)| *number).collect();
    if !old.is_empty() {
        let numbers = json::rows(old.iter())?;
        sqlx::query(DELETE_KEYS).bind(numbers).execute(conn).await.map_err(error::store)?;
    }
    // The walk is at its end where a young one comes. One from the future was made by a clock that was wrong, and says nothing.
    let now = clock::now();
    let over = seen.len() < LOOK as usize || seen.iter().any(|(_, created_at)| (before..=now).contains(created_at));
    let last = seen.last().map_or(0, |(number, _)| u64::try_from(*number).unwrap_or(0));
    Ok(PurgedKeys { gone: old.len() as u64, next: if over { 0 } else { last } })
}
