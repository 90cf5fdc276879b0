//! Reads that change nothing.

use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};
use uuid::Uuid;

use super::claim::each_lane;
use super::error::Fault;
use super::{callbacks, rows};
use crate::store::row::{JOB_WIDTH, OUTLINE_WIDTH, job_columns, outline_columns, payload_columns, progress_columns};
use crate::store::stored::priority_number;
use crate::store::{Attempt, Job, JobRecord, Micros, Payload, Priority, ProcessId, Queued, State, StoreError};
use crate::tags::Tags;

const LOAD: &str = concat!("SELECT ", job_columns!("jobs"), " FROM jobs WHERE id = ANY($1)");

const SUBMITTED: &str =
    concat!("SELECT ", job_columns!("j"), ", p.subject FROM jobs j JOIN job_payloads p ON p.id = j.id WHERE j.id = ANY($1)");

const HOLDER: &str = "SELECT job_id, fingerprint FROM idempotency_keys WHERE hash = $1";

const PAYLOADS: &str = concat!("SELECT ", payload_columns!("p"), ", p.id FROM job_payloads p WHERE id = ANY($1)");

const TRACEPARENT_OF: &str = "SELECT traceparent FROM job_payloads WHERE id = $1";

const RECORD_OF: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    ", ",
    outline_columns!("p"),
    ", r.body, h.epoch, h.attempt, h.lease, h.started_at, h.ended_at, h.outcome, h.reason, h.error, \
     h.worker, h.http_status, h.times, \
     (SELECT origin FROM job_edits WHERE job = j.id), (SELECT job FROM job_edits WHERE origin = j.id), \
     ARRAY(SELECT tag FROM job_tags WHERE job_id = j.id), g.job_id, ",
    progress_columns!("g."),
    ", j.callback FROM jobs j LEFT JOIN job_progress g ON g.job_id = j.id JOIN job_payloads p ON p.id = j.id LEFT JOIN job_results r ON r.job_id = j.id \
     CROSS JOIN LATERAL (SELECT array_agg(a.epoch) epoch, array_agg(a.attempt) attempt, array_agg(a.lease) lease, \
     array_agg(a.started_at) started_at, array_agg(a.ended_at) ended_at, array_agg(a.outcome) outcome, \
     array_agg(a.reason) reason, array_agg(a.error) error, array_agg(a.worker) worker, array_agg(a.http_status) http_status, array_agg(coalesce(a.times, 1)) times \
     FROM (SELECT * FROM job_attempts WHERE job_id = j.id ORDER BY epoch, attempt, lease, outcome) a) h \
     WHERE j.id = $1",
);

const IN_FLIGHT: &str =
    "SELECT count(*) FROM (SELECT FROM jobs WHERE kind = $1 AND place = 1 AND (outlet IS NULL OR state = 3) LIMIT $2) j";

const IN_FLIGHT_HIGH: &str = "SELECT count(*) FROM (SELECT FROM jobs WHERE kind = $1 AND priority = 1 AND place = 1 AND (outlet IS NULL OR state = 3) LIMIT $2) j";

const QUEUED: &str = "SELECT count(*) FILTER (WHERE outlet IN ('jobs', 'return') AND state <> 3), count(*) FILTER (WHERE outlet IS NULL AND state = 2) \
     FROM (SELECT state, outlet FROM jobs WHERE kind = $1 AND place = 1 LIMIT $2) j";

const UNENDED: &str = "SELECT state, count(*) FROM ( \
     (SELECT state FROM jobs WHERE kind = $1 AND place = 0 AND ended_at IS NULL LIMIT $2) UNION ALL \
     (SELECT state FROM jobs WHERE kind = $1 AND place = 1 AND ended_at IS NULL LIMIT $2)) j GROUP BY state ORDER BY state";

// Under way: from kind to kind, each from its nearest deadline on. Waiting: from lane to lane, and of each what is due.
const OVERDUE: &str = concat!(
    "WITH RECURSIVE ",
    each_lane!("lane", "j.place = 0"),
    ", kinds AS ( \
     (SELECT kind FROM jobs WHERE place = 1 ORDER BY kind LIMIT 1) UNION ALL \
     SELECT (SELECT j.kind FROM jobs j WHERE j.place = 1 AND j.kind > k.kind ORDER BY j.kind LIMIT 1) \
     FROM kinds k WHERE k.kind IS NOT NULL) \
     (SELECT f.* FROM kinds CROSS JOIN LATERAL (SELECT ",
    job_columns!("j"),
    " FROM jobs j WHERE j.kind = kinds.kind AND j.place = 1 AND j.deadline < $1 AND j.ended_at IS NULL \
     ORDER BY j.deadline LIMIT $2) f LIMIT $2) \
     UNION ALL \
     (SELECT f.* FROM lane CROSS JOIN LATERAL (SELECT ",
    job_columns!("j"),
    " FROM jobs j WHERE j.kind = lane.kind AND j.tenant = lane.tenant AND j.place = 0 AND j.due_at <= $1 \
     AND j.deadline < $1 AND j.ended_at IS NULL LIMIT $2) f LIMIT $2) \
     LIMIT $2",
);

const QUIET: &str = concat!(
    "SELECT ",
    job_columns!("jobs"),
    " FROM jobs WHERE kind = $1 AND place = 1 AND outlet IS NULL AND NOT (state = 3 AND owner IS NULL AND starts = 0) AND updated_at < $2 AND ($4::smallint IS NULL OR priority = $4) \
     ORDER BY updated_at LIMIT $3",
);

const OVERRUN: &str = concat!(
    "SELECT ",
    job_columns!("jobs"),
    " FROM jobs WHERE kind = $1 AND place = 1 AND state = 3 AND starts = 0 AND http_status IS NULL AND updated_at < $2 LIMIT $3",
);

const OWNED: &str = concat!(
    "SELECT ",
    job_columns!("jobs"),
    " FROM jobs WHERE place = 1 AND outlet IS NOT NULL AND state <> 3 AND owner = $1 LIMIT $2"
);

pub(super) fn jobs(found: &[PgRow]) -> Result<Vec<Job>, Fault> {
    Ok(found.iter().map(rows::job).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn load(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Job>, Fault> {
    jobs(&sqlx::query(LOAD).bind(ids).fetch_all(conn).await?)
}

pub(super) async fn submitted(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Job, String)>, Fault> {
    let found = sqlx::query(SUBMITTED).bind(ids).fetch_all(conn).await?;
    Ok(found.iter().map(|row| Ok((rows::job(row)?, rows::get(row, JOB_WIDTH)?))).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn holder(conn: &mut PgConnection, hash: &[u8]) -> Result<Option<(Uuid, [u8; 32])>, Fault> {
    let found = sqlx::query(HOLDER).bind(hash).fetch_optional(conn).await?;
    Ok(found.map(|row| Ok::<_, StoreError>((rows::get(&row, 0)?, rows::hash(&row, 1)?))).transpose()?)
}

pub(super) async fn payloads(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, Payload)>, Fault> {
    let found = sqlx::query(PAYLOADS).bind(ids.iter().bind_iter()).fetch_all(conn).await?;
    let pairs = found.iter().map(|row| Ok((rows::get(row, 4)?, rows::payload(row, 0)?)));
    Ok(pairs.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn traceparent_of(conn: &mut PgConnection, id: Uuid) -> Result<Option<String>, Fault> {
    let Some(row) = sqlx::query(TRACEPARENT_OF).bind(id).fetch_optional(conn).await? else { return Ok(None) };
    Ok(rows::get(&row, 0)?)
}

/// Where what follows the payload begins.
const OUTLINE_END: usize = JOB_WIDTH + OUTLINE_WIDTH;

pub(super) async fn record_of(conn: &mut PgConnection, id: Uuid) -> Result<Option<JobRecord>, Fault> {
    let Some(row) = sqlx::query(RECORD_OF).bind(id).fetch_optional(&mut *conn).await? else { return Ok(None) };
    let callback = match rows::get::<Option<i32>>(&row, OUTLINE_END + 22)? {
        Some(_) => callbacks::one(conn, id).await?,
        None => None,
    };
    Ok(Some(JobRecord {
        callback,
        job: rows::job(&row)?,
        payload: rows::outline(&row, JOB_WIDTH)?,
        result: rows::get::<Option<Vec<u8>>>(&row, OUTLINE_END)?.map(Into::into),
        history: history(&row, OUTLINE_END + 1)?,
        edited_from: rows::get(&row, OUTLINE_END + 12)?,
        edited_to: rows::get(&row, OUTLINE_END + 13)?,
        tags: Tags::stored(rows::get(&row, OUTLINE_END + 14)?),
        progress: match rows::get::<Option<Uuid>>(&row, OUTLINE_END + 15)? {
            Some(_) => Some(rows::progress(&row, OUTLINE_END + 16)?),
            None => None,
        },
    }))
}

/// The attempts in the parallel arrays from column `at`; no attempt, no array.
fn history(row: &PgRow, at: usize) -> Result<Vec<Attempt>, StoreError> {
    let Some(epochs) = rows::get::<Option<Vec<i32>>>(row, at)? else { return Ok(Vec::new()) };
    let attempts: Vec<i32> = rows::get(row, at + 1)?;
    let leases: Vec<i64> = rows::get(row, at + 2)?;
    let starts: Vec<Option<i64>> = rows::get(row, at + 3)?;
    let ends: Vec<i64> = rows::get(row, at + 4)?;
    let outcomes: Vec<String> = rows::get(row, at + 5)?;
    let reasons: Vec<Option<String>> = rows::get(row, at + 6)?;
    let errors: Vec<Option<String>> = rows::get(row, at + 7)?;
    let workers: Vec<Option<String>> = rows::get(row, at + 8)?;
    let statuses: Vec<Option<i32>> = rows::get(row, at + 9)?;
    let times: Vec<i32> = rows::get(row, at + 10)?;
    let spans = starts.into_iter().zip(ends);
    let ends = outcomes.into_iter().zip(reasons).zip(errors).zip(times);
    let columns = epochs.into_iter().zip(attempts).zip(leases).zip(spans).zip(ends).zip(workers).zip(statuses);
    let attempt = |((((((epoch, attempt), lease), (started_at, ended_at)), end), worker), http_status)| {
        let (((outcome, reason), error), times) = end;
        Attempt { epoch, attempt, lease, started_at, ended_at, outcome, reason, error, worker, http_status, times }
    };
    Ok(columns.map(attempt).collect())
}

pub(super) async fn in_flight(conn: &mut PgConnection, kind: &str, limit: u32) -> Result<u32, Fault> {
    let row = sqlx::query(IN_FLIGHT).bind(kind).bind(i64::from(limit)).fetch_one(conn).await?;
    Ok(u32::try_from(rows::count(&row, 0)?).unwrap_or(limit))
}

pub(super) async fn in_flight_high(conn: &mut PgConnection, kind: &str, limit: u32) -> Result<u32, Fault> {
    let row = sqlx::query(IN_FLIGHT_HIGH).bind(kind).bind(i64::from(limit)).fetch_one(conn).await?;
    Ok(u32::try_from(rows::count(&row, 0)?).unwrap_or(limit))
}

pub(super) async fn queued(conn: &mut PgConnection, kind: &str, limit: u32) -> Result<Queued, Fault> {
    let row = sqlx::query(QUEUED).bind(kind).bind(i64::from(limit)).fetch_one(conn).await?;
    Ok(Queued { to_publish: rows::count(&row, 0)?, published: rows::count(&row, 1)? })
}

pub(super) async fn unended(conn: &mut PgConnection, kind: &str, limit: u32) -> Result<Vec<(State, u64)>, Fault> {
    let found = sqlx::query(UNENDED).bind(kind).bind(i64::from(limit)).fetch_all(conn).await?;
    let counts = found.iter().map(|row| Ok((rows::state(row, 0)?, rows::count(row, 1)?)));
    Ok(counts.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn overdue(conn: &mut PgConnection, now: Micros, limit: u32) -> Result<Vec<Job>, Fault> {
    jobs(&sqlx::query(OVERDUE).bind(now).bind(i64::from(limit)).fetch_all(conn).await?)
}

pub(super) async fn quiet(
    conn: &mut PgConnection,
    kind: &str,
    of: Option<Priority>,
    before: Micros,
    limit: u32,
) -> Result<Vec<Job>, Fault> {
    let query = sqlx::query(QUIET).bind(kind).bind(before).bind(i64::from(limit)).bind(of.map(priority_number));
    jobs(&query.fetch_all(conn).await?)
}

pub(super) async fn overrun(conn: &mut PgConnection, kind: &str, before: Micros, limit: u32) -> Result<Vec<Job>, Fault> {
    jobs(&sqlx::query(OVERRUN).bind(kind).bind(before).bind(i64::from(limit)).fetch_all(conn).await?)
}

pub(super) async fn owned(conn: &mut PgConnection, me: ProcessId, limit: u32) -> Result<Vec<Job>, Fault> {
    jobs(&sqlx::query(OWNED).bind(me.0).bind(i64::from(limit)).fetch_all(conn).await?)
}
