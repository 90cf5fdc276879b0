//! Reads that change nothing.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use super::claim::each_lane;
use super::json::{self, Hex};
use super::{callbacks, error, progress, rows, tags};
use crate::store::row::{JOB_WIDTH, OUTLINE_WIDTH, job_columns, outline_columns, payload_columns};
use crate::store::stored::priority_number;
use crate::store::{Attempt, Job, JobRecord, Micros, Payload, Priority, ProcessId, Queued, State, StoreError};

const LOAD: &str = concat!("SELECT ", job_columns!("jobs"), " FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each(?1))");

const SUBMITTED: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    ", p.subject FROM jobs AS j JOIN job_payloads AS p ON p.id = j.id WHERE j.id IN (SELECT unhex(value) FROM json_each(?1))",
);

const HOLDER: &str = "SELECT job_id, fingerprint FROM idempotency_keys WHERE hash = ?1";

const PAYLOADS: &str = concat!(
    "SELECT ",
    payload_columns!("p"),
    ", p.id FROM job_payloads AS p WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
);

const TRACEPARENT_OF: &str = "SELECT traceparent FROM job_payloads WHERE id = ?1";

const RECORD_OF: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    ", ",
    outline_columns!("p"),
    ", r.body, (SELECT origin FROM job_edits WHERE job = j.id), (SELECT job FROM job_edits WHERE origin = j.id), \
     j.callback FROM jobs AS j JOIN job_payloads AS p ON p.id = j.id LEFT JOIN job_results AS r ON r.job_id = j.id WHERE j.id = ?1",
);

const HISTORY: &str = "SELECT epoch, attempt, lease, started_at, ended_at, outcome, reason, error, worker, http_status, \
     coalesce(times, 1) FROM job_attempts \
     WHERE job_id = ?1 ORDER BY epoch, attempt, lease, outcome";

const IN_FLIGHT: &str = "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_under_way \
     WHERE kind = ?1 AND place = 1 AND (outlet IS NULL OR state = 3) LIMIT ?2)";

const IN_FLIGHT_HIGH: &str = "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_high \
     WHERE priority = 1 AND place < 2 AND place = 1 AND kind = ?1 AND (outlet IS NULL OR state = 3) LIMIT ?2)";

const QUEUED: &str = "SELECT count(*) FILTER (WHERE outlet IN ('jobs', 'return') AND state <> 3), count(*) FILTER (WHERE outlet IS NULL AND state = 2) \
     FROM (SELECT state, outlet FROM jobs INDEXED BY jobs_under_way WHERE kind = ?1 AND place = 1 LIMIT ?2) j";

const UNENDED: &str = "SELECT state, count(*) FROM ( \
     SELECT * FROM (SELECT state FROM jobs INDEXED BY jobs_waiting WHERE kind = ?1 AND place = 0 AND ended_at IS NULL LIMIT ?2) UNION ALL \
     SELECT * FROM (SELECT state FROM jobs INDEXED BY jobs_under_way WHERE kind = ?1 AND place = 1 AND ended_at IS NULL LIMIT ?2)) \
     GROUP BY state ORDER BY state";

// Under way: from kind to kind, each from its nearest deadline on.
const OVERDUE_IN_FLIGHT: &str = concat!(
    "WITH RECURSIVE kinds(kind) AS ( \
     SELECT min(kind) FROM jobs INDEXED BY jobs_under_way WHERE place = 1 UNION ALL \
     SELECT (SELECT min(j.kind) FROM jobs AS j INDEXED BY jobs_under_way \
     WHERE j.place = 1 AND j.kind > kinds.kind) FROM kinds WHERE kinds.kind IS NOT NULL) \
     SELECT ",
    job_columns!("j"),
    " FROM kinds CROSS JOIN jobs AS j INDEXED BY jobs_under_way \
     WHERE j.kind = kinds.kind AND j.place = 1 AND j.deadline < ?1 AND j.ended_at IS NULL LIMIT ?2",
);

// Waiting: from lane to lane, and of each what is due.
const OVERDUE_WAITING: &str = concat!(
    "WITH RECURSIVE ",
    each_lane!("lane", "jobs_waiting WHERE next.place = 0"),
    " SELECT ",
    job_columns!("j"),
    " FROM lane CROSS JOIN jobs AS first ON first.id = lane.id CROSS JOIN jobs AS j INDEXED BY jobs_waiting \
     ON j.kind = first.kind AND j.tenant = first.tenant AND j.place = 0 AND j.due_at <= ?1 \
     WHERE j.deadline < ?1 AND j.ended_at IS NULL LIMIT ?2",
);

const QUIET: &str = concat!(
    "SELECT ",
    job_columns!("jobs"),
    " FROM jobs INDEXED BY jobs_under_way WHERE kind = ?1 AND place = 1 AND outlet IS NULL AND NOT (state = 3 AND owner IS NULL AND starts = 0) AND updated_at < ?2 \
     AND (?4 IS NULL OR priority = ?4) ORDER BY updated_at LIMIT ?3",
);

const OVERRUN: &str = concat!(
    "SELECT ",
    job_columns!("jobs"),
    " FROM jobs INDEXED BY jobs_under_way WHERE kind = ?1 AND place = 1 AND state = 3 AND starts = 0 AND http_status IS NULL AND updated_at < ?2 LIMIT ?3",
);

const OWNED: &str = concat!(
    "SELECT ",
    job_columns!("jobs"),
    " FROM jobs INDEXED BY jobs_under_way WHERE place = 1 AND outlet IS NOT NULL AND state <> 3 AND owner = ?1 LIMIT ?2"
);

pub(super) fn jobs(found: &[SqliteRow]) -> Result<Vec<Job>, StoreError> {
    found.iter().map(rows::job).collect()
}

pub(super) fn ids(ids: &[Uuid]) -> Result<String, StoreError> {
    json::rows(ids.iter().map(|id| Hex(id.as_bytes())))
}

pub(super) async fn load(conn: &mut SqliteConnection, wanted: &[Uuid]) -> Result<Vec<Job>, StoreError> {
    jobs(&sqlx::query(LOAD).bind(ids(wanted)?).fetch_all(conn).await.map_err(error::store)?)
}

pub(super) async fn submitted(conn: &mut SqliteConnection, ids: &[Uuid]) -> Result<Vec<(Job, String)>, StoreError> {
    let asked = json::rows(ids.iter().map(|id| Hex(id.as_bytes())))?;
    let found = sqlx::query(SUBMITTED).bind(asked).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok((rows::job(row)?, rows::get(row, JOB_WIDTH)?))).collect()
}

pub(super) async fn holder(conn: &mut SqliteConnection, hash: &[u8]) -> Result<Option<(Uuid, [u8; 32])>, StoreError> {
    let found = sqlx::query(HOLDER).bind(hash).fetch_optional(conn).await.map_err(error::store)?;
    found.map(|row| Ok((rows::get(&row, 0)?, rows::hash(&row, 1)?))).transpose()
}

pub(super) async fn payloads(conn: &mut SqliteConnection, wanted: &[Uuid]) -> Result<Vec<(Uuid, Payload)>, StoreError> {
    let found = sqlx::query(PAYLOADS).bind(ids(wanted)?).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok((rows::get(row, 4)?, rows::payload(row, 0)?))).collect()
}

pub(super) async fn traceparent_of(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<String>, StoreError> {
    let found = sqlx::query(TRACEPARENT_OF).bind(id).fetch_optional(conn).await.map_err(error::store)?;
    found.map_or(Ok(None), |row| rows::get(&row, 0))
}

/// Where what follows the payload begins.
const OUTLINE_END: usize = JOB_WIDTH + OUTLINE_WIDTH;

pub(super) async fn record_of(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<JobRecord>, StoreError> {
    // One transaction, so that row and history are of one moment.
    let mut tx = conn.begin().await.map_err(error::store)?;
    let found = sqlx::query(RECORD_OF).bind(id).fetch_optional(&mut *tx).await.map_err(error::store)?;
    let history = sqlx::query(HISTORY).bind(id).fetch_all(&mut *tx).await.map_err(error::store)?;
    let progress = progress::of(&mut tx, &[id]).await?.pop().map(|(_, progress)| progress);
    let tags = tags::of(&mut tx, &[id]).await?.remove(&id).unwrap_or_default();
    let called = found.as_ref().map(|row| rows::get::<Option<i32>>(row, OUTLINE_END + 3)).transpose()?.flatten().is_some();
    let callback = if called { callbacks::one(&mut tx, id).await? } else { None };
    tx.commit().await.map_err(error::store)?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(JobRecord {
        callback,
        job: rows::job(&row)?,
        payload: rows::outline(&row, JOB_WIDTH)?,
        result: rows::get::<Option<Vec<u8>>>(&row, OUTLINE_END)?.map(Into::into),
        history: history.iter().map(attempt).collect::<Result<_, _>>()?,
        edited_from: rows::get(&row, OUTLINE_END + 1)?,
        edited_to: rows::get(&row, OUTLINE_END + 2)?,
        tags,
        progress,
    }))
}

fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        epoch: rows::get(row, 0)?,
        attempt: rows::get(row, 1)?,
        lease: rows::get(row, 2)?,
        started_at: rows::get(row, 3)?,
        ended_at: rows::get(row, 4)?,
        outcome: rows::get(row, 5)?,
        reason: rows::get(row, 6)?,
        error: rows::get(row, 7)?,
        worker: rows::get(row, 8)?,
        http_status: rows::get(row, 9)?,
        times: rows::get(row, 10)?,
    })
}

pub(super) async fn in_flight(conn: &mut SqliteConnection, kind: &str, limit: u32) -> Result<u32, StoreError> {
    let row = sqlx::query(IN_FLIGHT).bind(kind).bind(limit).fetch_one(conn).await.map_err(error::store)?;
    Ok(u32::try_from(rows::count(&row, 0)?).unwrap_or(limit))
}

pub(super) async fn in_flight_high(conn: &mut SqliteConnection, kind: &str, limit: u32) -> Result<u32, StoreError> {
    let row = sqlx::query(IN_FLIGHT_HIGH).bind(kind).bind(limit).fetch_one(conn).await.map_err(error::store)?;
    Ok(u32::try_from(rows::count(&row, 0)?).unwrap_or(limit))
}

pub(super) async fn queued(conn: &mut SqliteConnection, kind: &str, limit: u32) -> Result<Queued, StoreError> {
    let row = sqlx::query(QUEUED).bind(kind).bind(limit).fetch_one(conn).await.map_err(error::store)?;
    Ok(Queued { to_publish: rows::count(&row, 0)?, published: rows::count(&row, 1)? })
}

pub(super) async fn unended(conn: &mut SqliteConnection, kind: &str, limit: u32) -> Result<Vec<(State, u64)>, StoreError> {
    let found = sqlx::query(UNENDED).bind(kind).bind(limit).fetch_all(conn).await.map_err(error::store)?;
    let counts = found.iter().map(|row| Ok((rows::state(row, 0)?, rows::count(row, 1)?)));
    counts.collect()
}

pub(super) async fn overdue(conn: &mut SqliteConnection, now: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
    let in_flight = sqlx::query(OVERDUE_IN_FLIGHT).bind(now).bind(limit).fetch_all(&mut *conn);
    let mut found = in_flight.await.map_err(error::store)?;
    let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(limit));
    found.extend(sqlx::query(OVERDUE_WAITING).bind(now).bind(left).fetch_all(conn).await.map_err(error::store)?);
    jobs(&found)
}

pub(super) async fn quiet(
    conn: &mut SqliteConnection,
    kind: &str,
    of: Option<Priority>,
    before: Micros,
    limit: u32,
) -> Result<Vec<Job>, StoreError> {
    let query = sqlx::query(QUIET).bind(kind).bind(before).bind(limit).bind(of.map(priority_number));
    jobs(&query.fetch_all(conn).await.map_err(error::store)?)
}

pub(super) async fn overrun(conn: &mut SqliteConnection, kind: &str, before: Micros, limit: u32) -> Result<Vec<Job>, StoreError> {
    jobs(&sqlx::query(OVERRUN).bind(kind).bind(before).bind(limit).fetch_all(conn).await.map_err(error::store)?)
}

pub(super) async fn owned(conn: &mut SqliteConnection, me: ProcessId, limit: u32) -> Result<Vec<Job>, StoreError> {
    jobs(&sqlx::query(OWNED).bind(me.0).bind(limit).fetch_all(conn).await.map_err(error::store)?)
}
