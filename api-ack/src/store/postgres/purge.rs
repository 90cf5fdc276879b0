//! Retention, in small batches.

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::{Bookmark, HISTORY, Micros, Old, Purged, PurgedKeys};

// From kind to kind by the index alone.
const KINDS: &str = "WITH RECURSIVE kinds AS ( \
     (SELECT kind FROM jobs WHERE place = 2 ORDER BY kind LIMIT 1) UNION ALL \
     SELECT (SELECT j.kind FROM jobs j WHERE j.place = 2 AND j.kind > k.kind ORDER BY j.kind LIMIT 1) \
     FROM kinds k WHERE k.kind IS NOT NULL) SELECT kind FROM kinds WHERE kind IS NOT NULL";

// A job that ended but still waits for its way to the dead letters is not in place 2. Rows that stay are not locked, which would
// write them; those that go are looked at once more with the lock: by id, which a condition that an index is about would hide (`+ 0`).
const ENDED: &str = "WITH seen AS MATERIALIZED (SELECT id, ended_at, state, callback FROM jobs WHERE kind = $1 AND place = 2 AND ended_at < $2 \
     AND (ended_at, id) > ($4, $5) ORDER BY ended_at, id LIMIT $6), \
     old AS (SELECT id FROM jobs WHERE id = ANY(ARRAY(SELECT id FROM seen WHERE (state <> 6 OR ended_at < $3) \
     AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.job_id = seen.id AND d.state < 2) \
     AND (callback IS NULL OR NOT EXISTS (SELECT FROM callbacks c WHERE c.job_id = seen.id AND c.state < 2)))) \
     AND place + 0 = 2 AND ended_at < $2 ORDER BY id FOR UPDATE SKIP LOCKED), \
     bodies AS (DELETE FROM job_payloads WHERE id IN (SELECT id FROM old)), \
     results AS (DELETE FROM job_results WHERE job_id IN (SELECT id FROM old)), \
     history AS (DELETE FROM job_attempts WHERE job_id IN (SELECT id FROM old)), \
     tags AS (DELETE FROM job_tags WHERE job_id IN (SELECT id FROM old)), \
     progress AS (DELETE FROM job_progress WHERE job_id IN (SELECT id FROM old)), \
     called AS (DELETE FROM callbacks WHERE job_id IN (SELECT id FROM old)), \
     edits AS (DELETE FROM job_edits WHERE job IN (SELECT id FROM old)), \
     gone AS (DELETE FROM jobs WHERE id IN (SELECT id FROM old) RETURNING 1) \
     SELECT ended_at, id, (SELECT count(*) FROM gone), (SELECT count(*) FROM seen) FROM seen \
     ORDER BY ended_at DESC, id DESC LIMIT 1";

// The history of those that go, so far as one step may. What the statement below finds of it is little, or none.
const HISTORY_OF: &str = "WITH seen AS MATERIALIZED (SELECT id, ended_at, state, callback FROM jobs WHERE kind = $1 AND place = 2 AND ended_at < $2 \
     AND (ended_at, id) > ($4, $5) ORDER BY ended_at, id LIMIT $6) \
     DELETE FROM job_attempts WHERE ctid = ANY(ARRAY(SELECT a.ctid FROM seen CROSS JOIN LATERAL \
     (SELECT ctid FROM job_attempts WHERE job_id = seen.id LIMIT $7) a WHERE (state <> 6 OR ended_at < $3) \
     AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.job_id = seen.id AND d.state < 2) \
     AND (callback IS NULL OR NOT EXISTS (SELECT FROM callbacks c WHERE c.job_id = seen.id AND c.state < 2)) LIMIT $7))";

/// Blocks of keys looked at in a step: 8,000 keys, more or less.
const BLOCKS: u64 = 128;

// Where the rows lie is what bounds the look, and no index is needed for it (TID range scan, PostgreSQL 14).
const KEYS: &str = "WITH gone AS (DELETE FROM idempotency_keys \
     WHERE ctid >= format('(%s,0)', $2::bigint)::tid AND ctid < format('(%s,0)', $3::bigint)::tid AND created_at < $1 RETURNING 1) \
     SELECT (SELECT count(*) FROM gone), pg_relation_size('idempotency_keys') / current_setting('block_size')::bigint";

pub(super) async fn ended_kinds(conn: &mut PgConnection) -> Result<Vec<String>, Fault> {
    let found = sqlx::query(KINDS).fetch_all(conn).await?;
    Ok(found.iter().map(|row| rows::get(row, 0)).collect::<Result<_, _>>()?)
}

pub(super) async fn ended(conn: &mut PgConnection, old: &Old<'_>, after: Bookmark, limit: u32) -> Result<Purged, Fault> {
    let of = |statement: &'static str| {
        let query = sqlx::query(statement).bind(old.kind).bind(old.before).bind(old.dead_before);
        query.bind(after.ended_at).bind(after.id).bind(i64::from(limit))
    };
    let history = of(HISTORY_OF).bind(i64::from(HISTORY)).execute(&mut *conn).await?.rows_affected();
    if history >= u64::from(HISTORY) {
        return Ok(Purged { gone: 0, next: after, more: true });
    }
    let query = of(ENDED);
    let Some(last) = query.fetch_optional(conn).await? else { return Ok(Purged { gone: 0, next: after, more: false }) };
    let more = rows::count(&last, 3)? >= u64::from(limit);
    let next = Bookmark { ended_at: rows::get(&last, 0)?, id: rows::get(&last, 1)? };
    Ok(Purged { gone: rows::count(&last, 2)?, next, more })
}

pub(super) async fn keys(conn: &mut PgConnection, before: Micros, from: u64) -> Result<PurgedKeys, Fault> {
    let next = from.saturating_add(BLOCKS);
    let query = sqlx::query(KEYS).bind(before).bind(i64::try_from(from).unwrap_or(0)).bind(i64::try_from(next).unwrap_or(0));
    let row = query.fetch_one(conn).await?;
    Ok(PurgedKeys { gone: rows::count(&row, 0)?, next: if next < rows::count(&row, 1)? { next } else { 0 } })
}
