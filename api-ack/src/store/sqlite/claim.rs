//! What waits, lane by lane, and taking some of it.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{error, read, rows};
use crate::store::row::{JOB_WIDTH, job_columns, payload_columns};
use crate::store::{Job, Lane, Micros, PASSED, Payload, Portion, Priority, ProcessId, StoreError, Waiting};

// Loose index scans: from each lane's first row straight to the next lane. That of the high lanes finds an empty index, mostly.
macro_rules! each_lane {
    ($lane:literal, $which:literal) => {
        concat!(
            $lane,
            "(id) AS (SELECT (SELECT next.id FROM jobs AS next INDEXED BY ",
            $which,
            " ORDER BY next.kind, next.tenant, next.due_at LIMIT 1) UNION ALL SELECT (SELECT next.id FROM jobs AS next INDEXED BY ",
            $which,
            " AND (next.kind, next.tenant) > (first.kind, first.tenant) ORDER BY next.kind, next.tenant, next.due_at LIMIT 1) FROM ",
            $lane,
            " AS lane CROSS JOIN jobs AS first ON first.id = lane.id)"
        )
    };
}
pub(super) use each_lane;

const LANES: &str = concat!(
    "WITH RECURSIVE ",
    each_lane!("of_all", "jobs_waiting WHERE next.place = 0"),
    ", ",
    // SQLite knows the index by the words of its condition.
    each_lane!("of_high", "jobs_high WHERE next.priority = 1 AND next.place < 2 AND next.place = 0"),
    " SELECT jobs.kind, jobs.tenant, 0 FROM of_all CROSS JOIN jobs ON jobs.id = of_all.id WHERE jobs.due_at <= ?1 \
     UNION ALL \
     SELECT jobs.kind, jobs.tenant, 1 FROM of_high CROSS JOIN jobs ON jobs.id = of_high.id WHERE jobs.due_at <= ?1",
);

const BACKLOG: &str = concat!(
    "WITH RECURSIVE ",
    each_lane!("lane", "jobs_waiting WHERE next.place = 0"),
    " SELECT jobs.kind, jobs.tenant, 0, (SELECT count(*) FROM jobs AS j INDEXED BY jobs_waiting WHERE j.kind = jobs.kind \
     AND j.tenant = jobs.tenant AND j.place = 0 AND j.due_at <= ?1), jobs.due_at \
     FROM lane CROSS JOIN jobs ON jobs.id = lane.id WHERE jobs.due_at <= ?1",
);

macro_rules! due {
    ($which:expr) => {
        concat!(
            "SELECT ",
            job_columns!("j"),
            ", ",
            payload_columns!("p"),
            " FROM (SELECT picked.id, sum(length(body)) OVER earlier AS upto, row_number() OVER earlier AS number \
             FROM (SELECT id, due_at FROM ",
            $which,
            " ORDER BY due_at, id LIMIT ?2) AS picked \
             CROSS JOIN job_payloads AS b ON b.id = picked.id WINDOW earlier AS (ORDER BY picked.due_at, picked.id)) AS sized \
             CROSS JOIN jobs AS j ON j.id = sized.id CROSS JOIN job_payloads AS p ON p.id = j.id \
             WHERE sized.number = 1 OR sized.upto <= ?3 ORDER BY j.due_at, j.id"
        )
    };
}

macro_rules! of_lane {
    () => {
        " AND kind = ?4 AND tenant = ?5 AND due_at <= ?1 AND (deadline > ?1 OR ended_at IS NOT NULL)"
    };
}

const DUE: &str = due!(concat!("jobs INDEXED BY jobs_waiting WHERE place = 0", of_lane!()));

const DUE_HIGH: &str = due!(concat!("jobs INDEXED BY jobs_high WHERE priority = 1 AND place < 2 AND place = 0", of_lane!()));

const DUE_NORMAL: &str = due!(concat!(
    "(SELECT id, due_at, priority FROM jobs INDEXED BY jobs_waiting WHERE place = 0",
    of_lane!(),
    " ORDER BY due_at, id LIMIT ?6 + ?2) WHERE priority = 0"
));

// What has ended and waits to be published is a dead letter.
const DUE_LETTERS: &str = due!("jobs INDEXED BY jobs_letters WHERE place = 0 AND ended_at IS NOT NULL AND due_at <= ?1");

const LETTERS: &str = "SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_letters \
     WHERE place = 0 AND ended_at IS NOT NULL AND due_at <= ?1)";

const TAKE: &str = "UPDATE jobs SET owner = ?1, version = version + 1, updated_at = ?2 \
     WHERE id IN (SELECT unhex(value) FROM json_each(?3))";

pub(super) async fn lanes(conn: &mut SqliteConnection, now: Micros) -> Result<Vec<Lane>, StoreError> {
    let found = sqlx::query(LANES).bind(now).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::lane).collect()
}

pub(super) async fn backlog(conn: &mut SqliteConnection, now: Micros) -> Result<Vec<Waiting>, StoreError> {
    let found = sqlx::query(BACKLOG).bind(now).fetch_all(conn).await.map_err(error::store)?;
    let waiting =
        found.iter().map(|row| Ok(Waiting { lane: rows::lane(row)?, rows: rows::count(row, 3)?, oldest: rows::get(row, 4)? }));
    waiting.collect()
}

pub(super) async fn claim(
    conn: &mut SqliteConnection,
    me: ProcessId,
    lane: &Lane,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, StoreError> {
    let sql = if lane.priority == Priority::High { DUE_HIGH } else { DUE };
    take(conn, me, now, of(lane, due(sql, now, portion))).await
}

pub(super) async fn claim_normal(
    conn: &mut SqliteConnection,
    me: ProcessId,
    lane: &Lane,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, StoreError> {
    take(conn, me, now, of(lane, due(DUE_NORMAL, now, portion)).bind(PASSED)).await
}

/// Whether there is one to claim: looking takes no turn of the one connection that writes.
pub(super) async fn letters(conn: &mut SqliteConnection, now: Micros) -> Result<bool, StoreError> {
    sqlx::query_scalar(LETTERS).bind(now).fetch_one(conn).await.map_err(error::store)
}

pub(super) async fn claim_letters(
    conn: &mut SqliteConnection,
    me: ProcessId,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, StoreError> {
    take(conn, me, now, due(DUE_LETTERS, now, portion)).await
}

type Due<'q> = Query<'q, Sqlite, SqliteArguments>;

fn due<'q>(sql: &'static str, now: Micros, portion: Portion) -> Due<'q> {
    sqlx::query(sql).bind(now).bind(portion.rows).bind(i64::try_from(portion.bytes).unwrap_or(i64::MAX))
}

fn of<'q>(lane: &'q Lane, query: Due<'q>) -> Due<'q> {
    query.bind(&lane.kind).bind(&lane.tenant)
}

async fn take(
    conn: &mut SqliteConnection,
    me: ProcessId,
    now: Micros,
    query: Due<'_>,
) -> Result<Vec<(Job, Payload)>, StoreError> {
    let found = query.fetch_all(&mut *conn).await.map_err(error::store)?;
    let mut claimed: Vec<(Job, Payload)> =
        found.iter().map(|row| Ok((rows::job(row)?, rows::payload(row, JOB_WIDTH)?))).collect::<Result<_, StoreError>>()?;
    for (job, _) in &mut claimed {
        job.version += 1;
        job.status.owner = Some(me);
        job.status.updated_at = now;
    }
    let ids: Vec<Uuid> = claimed.iter().map(|(job, _)| job.id).collect();
    if !ids.is_empty() {
        let query = sqlx::query(TAKE).bind(me.0).bind(now).bind(read::ids(&ids)?);
        query.execute(conn).await.map_err(error::store)?;
    }
    Ok(claimed)
}
