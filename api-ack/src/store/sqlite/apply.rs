//! Changes of jobs, each only if its row is still at the version the change was computed from.

use std::collections::HashSet;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::json::{self, Bodies, Hex, status_values};
use super::{error, rows};
use crate::store::{Attempt, Change, Micros, RECORDS, StoreError};

const APPLY: &str = concat!(
    "UPDATE jobs SET version = version + 1, state = c.state, epoch = c.epoch, attempt = c.attempt, spent = c.spent, \
     starts = c.starts, interrupted = c.interrupted, lease = c.lease, owner = c.owner, due_at = c.due_at, \
     outlet = c.outlet, deadline = c.deadline, started_at = c.started_at, ended_at = c.ended_at, \
     updated_at = c.updated_at, reason = c.reason, error = c.error, worker = c.worker, http_status = c.http_status \
     FROM (SELECT unhex(value->>1) AS id, value->>2 AS at_version, ",
    status_values!(),
    ", value->>'$[3][0]' AS worker, value->>'$[3][1]' AS http_status FROM json_each(?1)) AS c WHERE jobs.id = c.id AND jobs.version = c.at_version RETURNING id",
);

const RESULTS: &str = "INSERT INTO job_results (job_id, body) \
     SELECT unhex(value->>0), substr(?2, value->>'$[1][0]', value->>'$[1][1]') FROM json_each(?1) WHERE true \
     ON CONFLICT (job_id) DO UPDATE SET body = excluded.body";

const MARK: &str = "UPDATE jobs SET version = version + 1, state = CASE WHEN state IN (0, 1) THEN 2 ELSE state END, owner = NULL, \
     outlet = NULL, updated_at = ?2 \
     FROM (SELECT unhex(value->>0) AS id, value->>1 AS at_version FROM json_each(?1)) AS c \
     WHERE jobs.id = c.id AND jobs.version = c.at_version AND jobs.outlet IS NOT NULL";

const ASK_CANCEL: &str =
    "UPDATE jobs SET cancel_epoch = ?3, version = version + 1, updated_at = ?4 WHERE id = ?1 AND version = ?2";

// Snoozes of one attempt are one record. Where a version of before has left several, the last one goes on.
const AGAIN: &str = "UPDATE job_attempts SET ended_at = c.ended_at, reason = c.reason, error = c.error, worker = c.worker, \
     http_status = c.http_status, times = coalesce(times, 1) + 1 \
     FROM (SELECT unhex(value->>0) AS job_id, value->>'$[1][0]' AS epoch, value->>'$[1][1]' AS attempt, value->>'$[1][4]' AS ended_at, \
     value->>'$[1][6]' AS reason, value->>'$[1][7]' AS error, value->>'$[1][8]' AS worker, value->>'$[1][9]' AS http_status \
     FROM json_each(?1)) AS c \
     WHERE job_attempts.job_id = c.job_id AND job_attempts.epoch = c.epoch AND job_attempts.attempt = c.attempt AND outcome = 'snoozed' \
     AND lease = (SELECT max(l.lease) FROM job_attempts AS l WHERE l.job_id = c.job_id AND l.epoch = c.epoch \
     AND l.attempt = c.attempt AND l.outcome = 'snoozed') RETURNING job_attempts.job_id";

// An attempt of a job that retention has taken is not recorded: nothing would ever take it away. Nor is one more where there are
// as many as there may be.
const RECORD: &str = "INSERT INTO job_attempts (job_id, epoch, attempt, lease, started_at, ended_at, outcome, reason, error, \
     worker, http_status) \
     SELECT unhex(value->>0), value->>'$[1][0]', value->>'$[1][1]', value->>'$[1][2]', value->>'$[1][3]', value->>'$[1][4]', \
     value->>'$[1][5]', value->>'$[1][6]', value->>'$[1][7]', value->>'$[1][8]', value->>'$[1][9]' FROM json_each(?1) \
     WHERE EXISTS (SELECT 1 FROM jobs WHERE id = unhex(value->>0)) \
     AND (SELECT count(*) FROM (SELECT 1 FROM job_attempts WHERE job_id = unhex(value->>0) LIMIT ?2)) < ?2 ON CONFLICT DO NOTHING";

pub(super) async fn apply(conn: &mut SqliteConnection, changes: &[Change]) -> Result<Vec<bool>, StoreError> {
    let batch = json::rows(
        changes.iter().map(|change| (json::status(&change.to), Hex(change.id.as_bytes()), change.from, json::ran(&change.to))),
    )?;
    let found = sqlx::query(APPLY).bind(batch).fetch_all(&mut *conn).await.map_err(error::store)?;
    let applied: HashSet<Uuid> = found.iter().map(|row| rows::get(row, 0)).collect::<Result<_, _>>()?;
    let done = || changes.iter().filter(|change| applied.contains(&change.id));

    if done().any(|change| change.history.is_some()) {
        let ends = || done().filter_map(|change| Some((change.id, change.history.as_ref()?)));
        let snoozes = ends().filter(|(_, attempt)| attempt.outcome == "snoozed");
        let again = again(conn, snoozes).await?;
        put(conn, ends().filter(|(id, attempt)| !(attempt.outcome == "snoozed" && again.contains(id))), i64::MAX).await?;
    }
    if done().any(|change| change.result.is_some()) {
        let mut bodies = Bodies::new();
        let results = done().filter_map(|change| Some((Hex(change.id.as_bytes()), bodies.push(change.result.as_ref()?))));
        let batch = json::rows(results)?;
        sqlx::query(RESULTS).bind(batch).bind(bodies.joined()).execute(conn).await.map_err(error::store)?;
    }
    Ok(changes.iter().map(|change| applied.contains(&change.id)).collect())
}

pub(super) async fn mark_published(conn: &mut SqliteConnection, rows: &[(Uuid, i64)], now: Micros) -> Result<u64, StoreError> {
    let batch = json::rows(rows.iter().map(|(id, version)| (Hex(id.as_bytes()), version)))?;
    let done = sqlx::query(MARK).bind(batch).bind(now).execute(conn).await.map_err(error::store)?;
    Ok(done.rows_affected())
}

pub(super) async fn ask_cancel(
    conn: &mut SqliteConnection,
    id: Uuid,
    from: i64,
    epoch: i32,
    now: Micros,
) -> Result<bool, StoreError> {
    let asking = sqlx::query(ASK_CANCEL).bind(id).bind(from).bind(epoch).bind(now);
    Ok(asking.execute(conn).await.map_err(error::store)?.rows_affected() > 0)
}

/// Attempts that change nothing.
pub(super) async fn record(conn: &mut SqliteConnection, attempts: &[(Uuid, Attempt)]) -> Result<(), StoreError> {
    put(conn, attempts.iter().map(|(id, attempt)| (*id, attempt)), i64::from(RECORDS)).await
}

/// Counts the snoozes of attempts that have one on record already; answers whose they are.
async fn again<'a>(
    conn: &mut SqliteConnection,
    snoozes: impl Iterator<Item = (Uuid, &'a Attempt)>,
) -> Result<HashSet<Uuid>, StoreError> {
    let snoozes: Vec<_> = snoozes.collect();
    if snoozes.is_empty() {
        return Ok(HashSet::new());
    }
    let found = sqlx::query(AGAIN).bind(batch(&snoozes)?).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| rows::get(row, 0)).collect()
}

/// Puts attempts of jobs on record that have fewer than `most`.
async fn put<'a>(
    conn: &mut SqliteConnection,
    attempts: impl Iterator<Item = (Uuid, &'a Attempt)>,
    most: i64,
) -> Result<(), StoreError> {
    let attempts: Vec<_> = attempts.collect();
    if !attempts.is_empty() {
        sqlx::query(RECORD).bind(batch(&attempts)?).bind(most).execute(conn).await.map_err(error::store)?;
    }
    Ok(())
}

fn batch(attempts: &[(Uuid, &Attempt)]) -> Result<String, StoreError> {
    json::rows(attempts.iter().map(|(id, attempt)| (Hex(id.as_bytes()), json::attempt(attempt))))
}
