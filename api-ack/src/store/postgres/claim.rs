//! What waits, lane by lane, and taking some of it.

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;

use super::error::Fault;
use super::rows;
use crate::store::row::{JOB_WIDTH, job_columns, payload_columns};
use crate::store::{Job, Lane, Micros, PASSED, Payload, Portion, Priority, ProcessId, StoreError, Waiting};

// Loose index scans: from each lane's first row straight to the next lane. That of the high lanes finds an empty index, mostly.
macro_rules! each_lane {
    ($lane:literal, $which:literal) => {
        concat!(
            $lane,
            " AS ((SELECT kind, tenant, due_at FROM jobs j WHERE ",
            $which,
            " ORDER BY kind, tenant, due_at LIMIT 1) UNION ALL SELECT next.* FROM ",
            $lane,
            " AS lane CROSS JOIN LATERAL (SELECT j.kind, j.tenant, j.due_at FROM jobs j WHERE ",
            $which,
            " AND (j.kind, j.tenant) > (lane.kind, lane.tenant) ORDER BY j.kind, j.tenant, j.due_at LIMIT 1) next)"
        )
    };
}

pub(super) use each_lane;

const LANES: &str = concat!(
    "WITH RECURSIVE ",
    each_lane!("of_all", "j.place = 0"),
    ", ",
    each_lane!("of_high", "j.place = 0 AND j.priority = 1"),
    " SELECT kind, tenant, 0::smallint FROM of_all WHERE due_at <= $1 \
     UNION ALL SELECT kind, tenant, 1::smallint FROM of_high WHERE due_at <= $1",
);

const BACKLOG: &str = concat!(
    "WITH RECURSIVE ",
    each_lane!("lane", "j.place = 0"),
    " SELECT kind, tenant, 0::smallint, (SELECT count(*) FROM jobs j WHERE j.kind = lane.kind AND j.tenant = lane.tenant \
     AND j.place = 0 AND j.due_at <= $1), due_at FROM lane WHERE due_at <= $1",
);

macro_rules! due {
    () => {
        "kind = $5 AND tenant = $6 AND place = 0 AND due_at <= $2 \
         AND (deadline > $2 OR ended_at IS NOT NULL)"
    };
}

macro_rules! claim {
    ($which:expr) => {
        concat!(
            "WITH picked AS (SELECT id, due_at FROM jobs WHERE ",
            $which,
            " ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED), \
             sized AS (SELECT picked.id, sum(octet_length(body)) OVER earlier AS upto, row_number() OVER earlier AS number \
             FROM picked JOIN job_payloads USING (id) WINDOW earlier AS (ORDER BY picked.due_at, picked.id)), \
             taken AS (UPDATE jobs AS j SET owner = $1, version = j.version + 1, updated_at = $2 \
             FROM sized WHERE j.id = sized.id AND (sized.number = 1 OR sized.upto <= $4) RETURNING j.*) \
             SELECT ",
            job_columns!("taken"),
            ", ",
            payload_columns!("p"),
            " FROM taken JOIN job_payloads p ON p.id = taken.id ORDER BY taken.due_at, taken.id"
        )
    };
}

const CLAIM: &str = claim!(due!());

const CLAIM_HIGH: &str = claim!(concat!(due!(), " AND priority = 1"));

// What was taken since the inner look is left alone: `place` says so.
const CLAIM_NORMAL: &str = claim!(concat!(
    "place = 0 AND id IN (SELECT id FROM (SELECT id, priority FROM jobs WHERE ",
    due!(),
    " ORDER BY due_at, id LIMIT $7 + $3) AS first WHERE priority = 0)"
));

// What has ended and waits to be published is a dead letter.
const CLAIM_LETTERS: &str = claim!("place = 0 AND ended_at IS NOT NULL AND due_at <= $2");

pub(super) async fn lanes(conn: &mut PgConnection, now: Micros) -> Result<Vec<Lane>, Fault> {
    let found = sqlx::query(LANES).bind(now).fetch_all(conn).await?;
    Ok(found.iter().map(rows::lane).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn backlog(conn: &mut PgConnection, now: Micros) -> Result<Vec<Waiting>, Fault> {
    let found = sqlx::query(BACKLOG).bind(now).fetch_all(conn).await?;
    let waiting =
        found.iter().map(|row| Ok(Waiting { lane: rows::lane(row)?, rows: rows::count(row, 3)?, oldest: rows::get(row, 4)? }));
    Ok(waiting.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn claim(
    conn: &mut PgConnection,
    me: ProcessId,
    lane: &Lane,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, Fault> {
    let sql = if lane.priority == Priority::High { CLAIM_HIGH } else { CLAIM };
    pairs(&of(lane, taking(sql, me, now, portion)).fetch_all(conn).await?)
}

pub(super) async fn claim_normal(
    conn: &mut PgConnection,
    me: ProcessId,
    lane: &Lane,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, Fault> {
    pairs(&of(lane, taking(CLAIM_NORMAL, me, now, portion)).bind(i64::from(PASSED)).fetch_all(conn).await?)
}

pub(super) async fn claim_letters(
    conn: &mut PgConnection,
    me: ProcessId,
    now: Micros,
    portion: Portion,
) -> Result<Vec<(Job, Payload)>, Fault> {
    pairs(&taking(CLAIM_LETTERS, me, now, portion).fetch_all(conn).await?)
}

type Taking<'q> = Query<'q, Postgres, PgArguments>;

fn taking<'q>(sql: &'static str, me: ProcessId, now: Micros, portion: Portion) -> Taking<'q> {
    let bytes = i64::try_from(portion.bytes).unwrap_or(i64::MAX);
    sqlx::query(sql).bind(me.0).bind(now).bind(i64::from(portion.rows)).bind(bytes)
}

fn of<'q>(lane: &'q Lane, query: Taking<'q>) -> Taking<'q> {
    query.bind(&lane.kind).bind(&lane.tenant)
}

fn pairs(found: &[PgRow]) -> Result<Vec<(Job, Payload)>, Fault> {
    let pairs = found.iter().map(|row| Ok((rows::job(row)?, rows::payload(row, JOB_WIDTH)?)));
    Ok(pairs.collect::<Result<_, StoreError>>()?)
}
