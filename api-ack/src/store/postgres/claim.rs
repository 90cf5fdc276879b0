//! What waits, lane by lane, and taking some of it.

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::row::{JOB_WIDTH, job_columns, payload_columns};
use crate::store::{Job, Lane, Micros, Payload, Portion, ProcessId, StoreError, Waiting};

/// The lanes with what is due first in each. A loose index scan: from each lane's first row straight to the next lane.
macro_rules! each_lane {
    () => {
        "WITH RECURSIVE lane AS ( \
         (SELECT kind, tenant, due_at FROM jobs WHERE place = 0 ORDER BY kind, tenant, due_at LIMIT 1) UNION ALL \
         SELECT next.* FROM lane CROSS JOIN LATERAL (SELECT j.kind, j.tenant, j.due_at FROM jobs j \
         WHERE j.place = 0 AND (j.kind, j.tenant) > (lane.kind, lane.tenant) \
         ORDER BY j.kind, j.tenant, j.due_at LIMIT 1) next)"
    };
}
pub(super) use each_lane;

const LANES: &str = concat!(each_lane!(), " SELECT kind, tenant FROM lane WHERE due_at <= $1");

const BACKLOG: &str = concat!(
    each_lane!(),
    " SELECT kind, tenant, (SELECT count(*) FROM jobs j WHERE j.kind = lane.kind AND j.tenant = lane.tenant AND j.place = 0 \
     AND j.due_at <= $1), due_at FROM lane WHERE due_at <= $1",
);

const CLAIM: &str = concat!(
    "WITH picked AS (SELECT id, due_at FROM jobs WHERE kind = $2 AND tenant = $3 AND place = 0 AND due_at <= $4 \
     AND (deadline > $4 OR ended_at IS NOT NULL) ORDER BY due_at, id LIMIT $5 FOR UPDATE SKIP LOCKED), \
     sized AS (SELECT picked.id, sum(octet_length(body)) OVER earlier AS upto, row_number() OVER earlier AS number \
     FROM picked JOIN job_payloads USING (id) WINDOW earlier AS (ORDER BY picked.due_at, picked.id)), \
     taken AS (UPDATE jobs AS j SET owner = $1, version = j.version + 1, updated_at = $4 \
     FROM sized WHERE j.id = sized.id AND (sized.number = 1 OR sized.upto <= $6) RETURNING j.*) \
     SELECT ",
    job_columns!("taken"),
    ", ",
    payload_columns!("p"),
    " FROM taken JOIN job_payloads p ON p.id = taken.id ORDER BY taken.due_at, taken.id",
);

pub(super) async fn lanes(conn: &mut PgConnection, now: Micros) -> Result<Vec<Lane>, Fault> {
    let found = sqlx::query(LANES).bind(now).fetch_all(conn).await?;
    let lanes = found.iter().map(|row| Ok(Lane { kind: rows::get(row, 0)?, tenant: rows::get(row, 1)? }));
    Ok(lanes.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn backlog(conn: &mut PgConnection, now: Micros) -> Result<Vec<Waiting>, Fault> {
    let found = sqlx::query(BACKLOG).bind(now).fetch_all(conn).await?;
    let waiting = found.iter().map(|row| {
        let lane = Lane { kind: rows::get(row, 0)?, tenant: rows::get(row, 1)? };
        Ok(Waiting { lane, rows: rows::count(row, 2)?, oldest: rows::get(row, 3)? })
    });
    Ok(waiting.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn claim(
    conn: &mut PgConnection,
    me: ProcessId,
    lane: &Lane,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, Fault> {
    let query = sqlx::query(CLAIM)
        .bind(me.0)
        .bind(&lane.kind)
        .bind(&lane.tenant)
        .bind(now)
        .bind(i64::from(portion.rows))
        .bind(i64::try_from(portion.bytes).unwrap_or(i64::MAX));
    let found = query.fetch_all(conn).await?;
    let pairs = found.iter().map(|row| Ok((rows::job(row)?, rows::payload(row, JOB_WIDTH)?)));
    Ok(pairs.collect::<Result<_, StoreError>>()?)
}
