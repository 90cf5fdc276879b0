//! Retention, in small batches.

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::Micros;
use crate::store::stored::first_id_at;

// By primary key: an id is as old as its job. A job that ended but still waits for its way to the dead letters stays,
// and so does one whose letter somebody may still redrive.
const PURGE: &str = "WITH old AS (SELECT id FROM jobs WHERE id < $1 AND ended_at < $2 AND place = 2 \
     AND NOT EXISTS (SELECT FROM dead_letters WHERE job_id = jobs.id AND state < 2) ORDER BY id LIMIT $4 \
     FOR UPDATE SKIP LOCKED), \
     stale AS (SELECT hash FROM idempotency_keys WHERE created_at < $3 LIMIT $4 FOR UPDATE SKIP LOCKED), \
     bodies AS (DELETE FROM job_payloads WHERE id IN (SELECT id FROM old)), \
     results AS (DELETE FROM job_results WHERE job_id IN (SELECT id FROM old)), \
     history AS (DELETE FROM job_attempts WHERE job_id IN (SELECT id FROM old)), \
     tags AS (DELETE FROM job_tags WHERE job_id IN (SELECT id FROM old)), \
     progress AS (DELETE FROM job_progress WHERE job_id IN (SELECT id FROM old)), \
     edits AS (DELETE FROM job_edits WHERE job IN (SELECT id FROM old)), \
     jobs AS (DELETE FROM jobs WHERE id IN (SELECT id FROM old) RETURNING 1), \
     keys AS (DELETE FROM idempotency_keys WHERE hash IN (SELECT hash FROM stale) RETURNING 1) \
     SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM keys)";

pub(super) async fn purge(conn: &mut PgConnection, ended_before: Micros, keys_before: Micros, limit: u32) -> Result<u64, Fault> {
    // One millisecond more, since ids know no finer time; `ended_at` decides.
    let before = first_id_at(ended_before.saturating_add(1000));
    let query = sqlx::query(PURGE).bind(before).bind(ended_before).bind(keys_before).bind(i64::from(limit));
    Ok(rows::count(&query.fetch_one(conn).await?, 0)?)
}
