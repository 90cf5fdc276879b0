//! What waits, lane by lane, and taking some of it.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{error, read, rows};
use crate::store::row::{JOB_WIDTH, job_columns, payload_columns};
use crate::store::{Job, Lane, Micros, Payload, Portion, ProcessId, StoreError, Waiting};

/// The lanes, each by the row that is due first. A loose index scan: from each lane's first row straight to the next lane.
macro_rules! each_lane {
    () => {
        "WITH RECURSIVE lane(id) AS ( \
         SELECT (SELECT id FROM jobs INDEXED BY jobs_waiting WHERE place = 0 ORDER BY kind, tenant, due_at LIMIT 1) UNION ALL \
         SELECT (SELECT next.id FROM jobs AS next INDEXED BY jobs_waiting \
         WHERE next.place = 0 AND (next.kind, next.tenant) > (first.kind, first.tenant) \
         ORDER BY next.kind, next.tenant, next.due_at LIMIT 1) FROM lane CROSS JOIN jobs AS first ON first.id = lane.id)"
    };
}
pub(super) use each_lane;

const LANES: &str = concat!(
    each_lane!(),
    " SELECT jobs.kind, jobs.tenant FROM lane CROSS JOIN jobs ON jobs.id = lane.id WHERE jobs.due_at <= ?1"
);

const BACKLOG: &str = concat!(
    each_lane!(),
    " SELECT jobs.kind, jobs.tenant, (SELECT count(*) FROM jobs AS j INDEXED BY jobs_waiting WHERE j.kind = jobs.kind \
     AND j.tenant = jobs.tenant AND j.place = 0 AND j.due_at <= ?1), jobs.due_at \
     FROM lane CROSS JOIN jobs ON jobs.id = lane.id WHERE jobs.due_at <= ?1",
);

const DUE: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    ", ",
    payload_columns!("p"),
    " FROM (SELECT picked.id, sum(length(body)) OVER earlier AS upto, row_number() OVER earlier AS number \
     FROM (SELECT id, due_at FROM jobs INDEXED BY jobs_waiting \
     WHERE kind = ?1 AND tenant = ?2 AND place = 0 AND due_at <= ?3 \
     AND (deadline > ?3 OR ended_at IS NOT NULL) ORDER BY due_at, id LIMIT ?4) AS picked \
     CROSS JOIN job_payloads AS b ON b.id = picked.id WINDOW earlier AS (ORDER BY picked.due_at, picked.id)) AS sized \
     CROSS JOIN jobs AS j ON j.id = sized.id CROSS JOIN job_payloads AS p ON p.id = j.id \
     WHERE sized.number = 1 OR sized.upto <= ?5 ORDER BY j.due_at, j.id",
);

const TAKE: &str = "UPDATE jobs SET owner = ?1, version = version + 1, updated_at = ?2 \
     WHERE id IN (SELECT unhex(value) FROM json_each(?3))";

pub(super) async fn lanes(conn: &mut SqliteConnection, now: Micros) -> Result<Vec<Lane>, StoreError> {
    let found = sqlx::query(LANES).bind(now).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok(Lane { kind: rows::get(row, 0)?, tenant: rows::get(row, 1)? })).collect()
}

pub(super) async fn backlog(conn: &mut SqliteConnection, now: Micros) -> Result<Vec<Waiting>, StoreError> {
    let found = sqlx::query(BACKLOG).bind(now).fetch_all(conn).await.map_err(error::store)?;
    let waiting = found.iter().map(|row| {
        let lane = Lane { kind: rows::get(row, 0)?, tenant: rows::get(row, 1)? };
        Ok(Waiting { lane, rows: rows::count(row, 2)?, oldest: rows::get(row, 3)? })
    });
    waiting.collect()
}

pub(super) async fn claim(
    conn: &mut SqliteConnection,
    me: ProcessId,
    lane: &Lane,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, StoreError> {
    let query = sqlx::query(DUE)
        .bind(&lane.kind)
        .bind(&lane.tenant)
        .bind(now)
        .bind(portion.rows)
        .bind(i64::try_from(portion.bytes).unwrap_or(i64::MAX));
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
