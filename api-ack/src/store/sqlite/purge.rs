//! Retention, in small batches.

use sqlx::SqliteConnection;

use super::error;
use crate::store::stored::first_id_at;
use crate::store::{Micros, StoreError};

/// By primary key: an id is as old as its job. A job that ended but still waits for its way to the dead letters stays,
/// and so does one whose letter somebody may still redrive.
macro_rules! old {
    () => {
        "(SELECT id FROM jobs WHERE id < ?1 AND ended_at < ?2 AND place = 2 \
         AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE job_id = jobs.id AND state < 2) ORDER BY id LIMIT ?3)"
    };
}

const PARTS: [&str; 6] = [
    concat!("DELETE FROM job_payloads WHERE id IN ", old!()),
    concat!("DELETE FROM job_results WHERE job_id IN ", old!()),
    concat!("DELETE FROM job_attempts WHERE job_id IN ", old!()),
    concat!("DELETE FROM job_tags WHERE job_id IN ", old!()),
    concat!("DELETE FROM job_progress WHERE job_id IN ", old!()),
    concat!("DELETE FROM job_edits WHERE job IN ", old!()),
];

const JOBS: &str = concat!("DELETE FROM jobs WHERE id IN ", old!());

// The first ones are the oldest ones: a look at these is enough.
const KEYS: &str = "DELETE FROM idempotency_keys WHERE created_at < ?1 \
     AND number IN (SELECT number FROM idempotency_keys ORDER BY number LIMIT ?2)";

pub(super) async fn purge(
    conn: &mut SqliteConnection,
    ended_before: Micros,
    keys_before: Micros,
    limit: u32,
) -> Result<u64, StoreError> {
    // One millisecond more, since ids know no finer time; `ended_at` decides.
    let before = first_id_at(ended_before.saturating_add(1000));
    for part in PARTS {
        sqlx::query(part).bind(before).bind(ended_before).bind(limit).execute(&mut *conn).await.map_err(error::store)?;
    }
    let jobs = sqlx::query(JOBS).bind(before).bind(ended_before).bind(limit).execute(&mut *conn);
    let jobs = jobs.await.map_err(error::store)?.rows_affected();
    let keys = sqlx::query(KEYS).bind(keys_before).bind(limit).execute(conn).await.map_err(error::store)?;
    Ok(jobs + keys.rows_affected())
}
