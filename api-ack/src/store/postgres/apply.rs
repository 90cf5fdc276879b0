//! Changes of jobs: many rows, each only if it is still at the version its change was computed from, in one statement.
//!
//! Rows are locked in the order of their ids, so two batches that overlap wait for each other and never in a circle.

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgBindIterExt, PgConnection};
use sqlx::query::Query;
use uuid::Uuid;

use super::error::Fault;
use super::rows;
use crate::store::stored::legible;
use crate::store::{Attempt, Change, Micros, RECORDS, Status};

/// The columns of a [`Status`] that a new job has, in the order [`bind_status`] binds them.
macro_rules! status_columns {
    () => {
        "state, epoch, attempt, spent, starts, interrupted, lease, owner, due_at, outlet, deadline, started_at, ended_at, \
         updated_at, reason, error"
    };
}
pub(super) use status_columns;

/// The columns of an [`Attempt`], in the order [`bind_attempts`] binds them.
macro_rules! attempt_columns {
    () => {
        "epoch, attempt, lease, started_at, ended_at, outcome, reason, error, worker, http_status"
    };
}

macro_rules! update {
    () => {
        "UPDATE jobs AS j SET version = j.version + 1, state = c.state, epoch = c.epoch, attempt = c.attempt, spent = c.spent, \
         starts = c.starts, interrupted = c.interrupted, lease = c.lease, owner = c.owner, due_at = c.due_at, \
         outlet = c.outlet, deadline = c.deadline, started_at = c.started_at, ended_at = c.ended_at, \
         updated_at = c.updated_at, reason = c.reason, error = c.error, worker = c.worker, http_status = c.http_status "
    };
}

const APPLY: &str = concat!(
    update!(),
    "FROM UNNEST($1::uuid[], $2::bigint[], $3::smallint[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[], $9::bigint[], \
     $10::bigint[], $11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], \
     $18::text[], $19::text[], $20::int[]) AS c(id, at_version, ",
    status_columns!(),
    ", worker, http_status) WHERE j.id = c.id AND j.version = c.at_version RETURNING j.id",
);

const APPLY_ENDS: &str = concat!(
    "WITH done AS (",
    update!(),
    "FROM UNNEST($1::uuid[], $2::bigint[], $3::smallint[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[], $9::bigint[], \
     $10::bigint[], $11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], \
     $18::text[], $19::text[], $20::int[], $21::int[], $22::int[], $23::bigint[], $24::bigint[], $25::bigint[], $26::text[], \
     $27::text[], $28::text[], $29::text[], $30::int[], $31::bytea[]) AS c(id, at_version, ",
    status_columns!(),
    ", worker, http_status, h_epoch, h_attempt, h_lease, h_started_at, h_ended_at, h_outcome, h_reason, h_error, h_worker, \
     h_http_status, result) \
     WHERE j.id = c.id AND j.version = c.at_version \
     RETURNING j.id, c.h_epoch, c.h_attempt, c.h_lease, c.h_started_at, c.h_ended_at, c.h_outcome, c.h_reason, c.h_error, \
     c.h_worker, c.h_http_status, c.result), \
     again AS (UPDATE job_attempts AS a SET ended_at = d.h_ended_at, reason = d.h_reason, error = d.h_error, worker = d.h_worker, \
     http_status = d.h_http_status, times = coalesce(a.times, 1) + 1 \
     FROM done AS d WHERE d.h_outcome = 'snoozed' AND a.job_id = d.id AND a.epoch = d.h_epoch AND a.attempt = d.h_attempt \
     AND a.outcome = 'snoozed' AND a.lease = (SELECT max(l.lease) FROM job_attempts l WHERE l.job_id = d.id AND l.epoch = d.h_epoch \
     AND l.attempt = d.h_attempt AND l.outcome = 'snoozed') RETURNING a.job_id), \
     history AS (INSERT INTO job_attempts (job_id, ",
    attempt_columns!(),
    ") SELECT id, h_epoch, h_attempt, h_lease, h_started_at, h_ended_at, h_outcome, h_reason, h_error, h_worker, h_http_status \
     FROM done \
     WHERE h_epoch IS NOT NULL AND NOT (h_outcome = 'snoozed' AND id = ANY(ARRAY(SELECT job_id FROM again))) \
     ON CONFLICT DO NOTHING), \
     results AS (INSERT INTO job_results (job_id, body) SELECT id, result FROM done WHERE result IS NOT NULL \
     ON CONFLICT (job_id) DO UPDATE SET body = excluded.body) \
     SELECT id FROM done",
);

// The one write that need not be on disk when it is answered: the broker has the message, and a delivery begins a row that is
// still `accepted` all the same. So this transaction alone, set from within, does not wait for the disk.
const MARK: &str = "WITH lazy AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS commit) \
     UPDATE jobs AS j SET version = j.version + 1, state = CASE WHEN j.state IN (0, 1) THEN 2 ELSE j.state END, \
     owner = NULL, outlet = NULL, updated_at = $3 \
     FROM lazy, UNNEST($1::uuid[], $2::bigint[]) AS c(id, at_version) \
     WHERE lazy.commit = 'off' AND j.id = c.id AND j.version = c.at_version AND j.outlet IS NOT NULL";

const ASK_CANCEL: &str =
    "UPDATE jobs SET cancel_epoch = $3, version = version + 1, updated_at = $4 WHERE id = $1 AND version = $2";

// An attempt of a job that retention has taken is not recorded: nothing would ever take it away. Nor is one more where there are
// many: whoever reports what is over might never end to.
const RECORD: &str = concat!(
    "INSERT INTO job_attempts (job_id, ",
    attempt_columns!(),
    ") SELECT * FROM UNNEST($1::uuid[], $2::int[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], \
     $9::text[], $10::text[], $11::int[]) AS a(job_id, ",
    attempt_columns!(),
    ") WHERE EXISTS (SELECT FROM jobs WHERE id = a.job_id) \
     AND (SELECT count(*) FROM (SELECT FROM job_attempts WHERE job_id = a.job_id LIMIT $12) r) < $12 ON CONFLICT DO NOTHING",
);

type Bound<'q> = Query<'q, Postgres, PgArguments>;

/// Binds the columns of [`status_columns`].
pub(super) fn bind_status<'q, 's>(query: Bound<'q>, rows: impl Iterator<Item = &'s Status> + Clone) -> Bound<'q> {
    query
        .bind(rows.clone().map(|row| row.state.stored()).bind_iter())
        .bind(rows.clone().map(|row| row.epoch).bind_iter())
        .bind(rows.clone().map(|row| row.attempt).bind_iter())
        .bind(rows.clone().map(|row| row.spent).bind_iter())
        .bind(rows.clone().map(|row| row.starts).bind_iter())
        .bind(rows.clone().map(|row| row.interrupted).bind_iter())
        .bind(rows.clone().map(|row| row.lease).bind_iter())
        .bind(rows.clone().map(|row| row.owner.map(|process| process.0)).bind_iter())
        .bind(rows.clone().map(|row| row.due_at).bind_iter())
        .bind(rows.clone().map(|row| row.outlet.map(|outlet| outlet.stored())).bind_iter())
        .bind(rows.clone().map(|row| row.deadline).bind_iter())
        .bind(rows.clone().map(|row| row.started_at).bind_iter())
        .bind(rows.clone().map(|row| row.ended_at).bind_iter())
        .bind(rows.clone().map(|row| row.updated_at).bind_iter())
        .bind(rows.clone().map(|row| row.reason.as_deref().map(legible)).bind_iter())
        .bind(rows.map(|row| row.error.as_deref().map(legible)).bind_iter())
}

pub(super) async fn apply(conn: &mut PgConnection, changes: &[Change]) -> Result<Vec<bool>, Fault> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_unstable_by_key(|&at| changes[at].id);
    let sorted = || order.iter().map(|&at| &changes[at]);

    let ends = changes.iter().any(|change| change.history.is_some() || change.result.is_some());
    let query = sqlx::query(if ends { APPLY_ENDS } else { APPLY })
        .bind(sorted().map(|change| change.id).bind_iter())
        .bind(sorted().map(|change| change.from).bind_iter());
    let mut query = bind_status(query, sorted().map(|change| &change.to))
        .bind(sorted().map(|change| change.to.worker.as_deref().map(legible)).bind_iter())
        .bind(sorted().map(|change| change.to.http_status).bind_iter());
    if ends {
        query = bind_attempts(query, sorted().map(|change| change.history.as_ref()))
            .bind(sorted().map(|change| change.result.as_deref()).bind_iter());
    }

    let mut applied = vec![false; changes.len()];
    for row in query.fetch_all(conn).await? {
        let id: Uuid = rows::get(&row, 0)?;
        if let Ok(place) = order.binary_search_by_key(&id, |&at| changes[at].id) {
            applied[order[place]] = true;
        }
    }
    Ok(applied)
}

fn bind_attempts<'q, 's>(query: Bound<'q>, rows: impl Iterator<Item = Option<&'s Attempt>> + Clone) -> Bound<'q> {
    query
        .bind(rows.clone().map(|row| row.map(|row| row.epoch)).bind_iter())
        .bind(rows.clone().map(|row| row.map(|row| row.attempt)).bind_iter())
        .bind(rows.clone().map(|row| row.map(|row| row.lease)).bind_iter())
        .bind(rows.clone().map(|row| row.and_then(|row| row.started_at)).bind_iter())
        .bind(rows.clone().map(|row| row.map(|row| row.ended_at)).bind_iter())
        .bind(rows.clone().map(|row| row.map(|row| legible(&row.outcome))).bind_iter())
        .bind(rows.clone().map(|row| row.and_then(|row| row.reason.as_deref()).map(legible)).bind_iter())
        .bind(rows.clone().map(|row| row.and_then(|row| row.error.as_deref()).map(legible)).bind_iter())
        .bind(rows.clone().map(|row| row.and_then(|row| row.worker.as_deref()).map(legible)).bind_iter())
        .bind(rows.map(|row| row.and_then(|row| row.http_status)).bind_iter())
}

pub(super) async fn mark_published(conn: &mut PgConnection, rows: &[(Uuid, i64)], now: Micros) -> Result<u64, Fault> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    let query = sqlx::query(MARK)
        .bind(rows.iter().map(|(id, _)| *id).bind_iter())
        .bind(rows.iter().map(|(_, version)| *version).bind_iter())
        .bind(now);
    Ok(query.execute(conn).await?.rows_affected())
}

pub(super) async fn ask_cancel(conn: &mut PgConnection, id: Uuid, from: i64, epoch: i32, now: Micros) -> Result<bool, Fault> {
    let done = sqlx::query(ASK_CANCEL).bind(id).bind(from).bind(epoch).bind(now).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn record(conn: &mut PgConnection, attempts: &[(Uuid, Attempt)]) -> Result<(), Fault> {
    let mut sorted: Vec<_> = attempts.iter().collect();
    sorted.sort_unstable_by_key(|(id, attempt)| (*id, attempt.epoch, attempt.attempt, attempt.lease));
    let query = sqlx::query(RECORD).bind(sorted.iter().map(|(id, _)| *id).bind_iter());
    bind_attempts(query, sorted.iter().map(|(_, attempt)| Some(attempt))).bind(i64::from(RECORDS)).execute(conn).await?;
    Ok(())
}
