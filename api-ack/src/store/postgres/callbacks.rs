//! Callbacks: owed when their job has ended, claimed host by host, settled.

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::error::Fault;
use super::rows;
use crate::store::callback::{CALLBACK_WIDTH, callback_columns, written};
use crate::store::stored::legible;
use crate::store::{Callback, CallbackFilter, Claimed, Deed, FoundCallbacks, Micros, Recalled, Settled, Stop, StoreError};

// Rows that somebody writes are met again a moment later.
const OWE: &str = "WITH ended AS MATERIALIZED (SELECT id FROM jobs WHERE callback < epoch AND ended_at IS NOT NULL \
     ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
     seen AS (UPDATE jobs SET callback = epoch WHERE id = ANY(ARRAY(SELECT id FROM ended)) RETURNING id, epoch), \
     owed AS (UPDATE callbacks c SET state = 1, epoch = seen.epoch, calls = 0, claim = c.claim + 1, due_at = $1, updated_at = $1 \
     FROM seen WHERE c.job_id = seen.id) SELECT count(*) FROM seen";

// From host to host by the index alone.
const HOSTS: &str = "WITH RECURSIVE hosts AS ( \
     (SELECT host, due_at FROM callbacks WHERE state = 1 AND host > $1 ORDER BY host, due_at LIMIT 1) UNION ALL \
     SELECT n.host, n.due_at FROM hosts h CROSS JOIN LATERAL (SELECT c.host, c.due_at FROM callbacks c \
     WHERE c.state = 1 AND c.host > h.host ORDER BY c.host, c.due_at LIMIT 1) n) \
     SELECT host, due_at FROM hosts LIMIT $2";

const CLAIM: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT job_id FROM callbacks WHERE state = 1 AND host = $1 AND due_at <= $2 \
     ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) \
     UPDATE callbacks AS c SET claim = c.claim + 1, calls = c.calls + 1, due_at = $3, updated_at = $2 \
     WHERE job_id = ANY(ARRAY(SELECT job_id FROM due)) RETURNING ",
    callback_columns!("c."),
    ", EXISTS (SELECT FROM callback_stops s WHERE s.tenant = c.tenant AND s.url = c.url)",
);

const SETTLE: &str = "UPDATE callbacks SET state = $3, due_at = $4, history = $5, updated_at = $6 \
     WHERE job_id = $1 AND claim = $2 AND state = 1";

const STOP: &str = "INSERT INTO callback_stops (tenant, url, since, job_id) SELECT tenant, url, $2, job_id FROM callbacks \
     WHERE job_id = $1 ON CONFLICT (tenant, url) DO NOTHING";

const ONE: &str = concat!("SELECT ", callback_columns!("c."), " FROM callbacks c WHERE job_id = $1");

// Where this page ends however little matches: an index alone is read.
const FLOOR: &str = "SELECT job_id FROM callbacks WHERE job_id < $1 ORDER BY job_id DESC OFFSET $2 LIMIT 1";

const SEARCH: &str = concat!(
    "SELECT ",
    callback_columns!("c."),
    " FROM callbacks c WHERE job_id < $1 AND job_id >= $2 AND ($3::text IS NULL OR tenant = $3) \
     AND ($4::smallint IS NULL OR state = $4) ORDER BY job_id DESC LIMIT $5",
);

const COUNT: &str = "SELECT count(*) FROM (SELECT FROM callbacks WHERE state = 1 LIMIT $1) c";

const LOCKED: &str = concat!(
    "SELECT ",
    callback_columns!("c."),
    ", EXISTS (SELECT FROM callback_stops s WHERE s.tenant = c.tenant AND s.url = c.url) \
     FROM callbacks c WHERE job_id = $1 FOR UPDATE OF c",
);

const RECALL: &str =
    "UPDATE callbacks SET state = 1, calls = 0, claim = claim + 1, due_at = $2, updated_at = $2 WHERE job_id = $1";

const STOPS: &str = "SELECT tenant, url, since, job_id FROM callback_stops WHERE (tenant, url) > ($1, $2) \
     ORDER BY tenant, url LIMIT $3";

const STOPS_OF: &str =
    "SELECT tenant, url, since, job_id FROM callback_stops WHERE tenant = $1 AND url > $2 ORDER BY url LIMIT $3";

const UNSTOP: &str = "DELETE FROM callback_stops WHERE tenant = $1 AND url = $2 RETURNING job_id";

const RECORD: &str =
    "INSERT INTO callback_audit (at, actor, note, action, tenant, url, job_id) VALUES ($1, $2, $3, $4, $5, $6, $7)";

const DEEDS: &str = "SELECT at, actor, note, action FROM callback_audit WHERE job_id = $1 ORDER BY number LIMIT 1000";

pub(super) async fn owe(conn: &mut PgConnection, now: Micros, limit: u32) -> Result<u64, Fault> {
    let row = sqlx::query(OWE).bind(now).bind(i64::from(limit)).fetch_one(conn).await?;
    Ok(rows::count(&row, 0)?)
}

pub(super) async fn hosts(conn: &mut PgConnection, after: &str, limit: u32) -> Result<Vec<(String, Micros)>, Fault> {
    let found = sqlx::query(HOSTS).bind(after).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(found.iter().map(|row| Ok((rows::get(row, 0)?, rows::get(row, 1)?))).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn claim(
    conn: &mut PgConnection,
    host: &str,
    now: Micros,
    until: Micros,
    limit: u32,
) -> Result<Vec<Claimed>, Fault> {
    let found = sqlx::query(CLAIM).bind(host).bind(now).bind(until).bind(i64::from(limit)).fetch_all(conn).await?;
    let claimed =
        found.iter().map(|row| Ok(Claimed { callback: rows::callback(row)?, stopped: rows::get(row, CALLBACK_WIDTH)? }));
    Ok(claimed.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn settle(conn: &mut PgConnection, settled: &Settled) -> Result<bool, Fault> {
    let mut tx = conn.begin().await?;
    let query = sqlx::query(SETTLE).bind(settled.job).bind(settled.claim).bind(settled.state.stored()).bind(settled.due_at);
    let query = query.bind(written(&settled.history)?).bind(settled.at);
    let done = query.execute(&mut *tx).await?.rows_affected() > 0;
    // Whoever has said 410 meant it, though the claim is void by now.
    if settled.stop {
        sqlx::query(STOP).bind(settled.job).bind(settled.at).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(done)
}

pub(super) async fn one(conn: &mut PgConnection, job: Uuid) -> Result<Option<Callback>, Fault> {
    let found = sqlx::query(ONE).bind(job).fetch_optional(conn).await?;
    Ok(found.as_ref().map(rows::callback).transpose()?)
}

pub(super) async fn search(conn: &mut PgConnection, filter: &CallbackFilter) -> Result<FoundCallbacks, Fault> {
    let from = filter.before.unwrap_or(Uuid::max());
    let floor = sqlx::query(FLOOR).bind(from).bind(i64::from(filter.scan.max(1)) - 1).fetch_optional(&mut *conn).await?;
    let floor: Option<Uuid> = floor.map(|row| rows::get(&row, 0)).transpose()?;
    let query = sqlx::query(SEARCH)
        .bind(from)
        .bind(floor.unwrap_or(Uuid::nil()))
        .bind(filter.tenant.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(i64::from(filter.limit));
    let found: Vec<PgRow> = query.fetch_all(conn).await?;
    let callbacks = found.iter().map(rows::callback).collect::<Result<_, StoreError>>()?;
    Ok(filter.found(callbacks, floor))
}

pub(super) async fn count(conn: &mut PgConnection, limit: u32) -> Result<u64, Fault> {
    Ok(rows::count(&sqlx::query(COUNT).bind(i64::from(limit)).fetch_one(conn).await?, 0)?)
}

pub(super) async fn recall(conn: &mut PgConnection, job: Uuid, deed: &Deed) -> Result<Recalled, Fault> {
    let mut tx = conn.begin().await?;
    let Some(row) = sqlx::query(LOCKED).bind(job).fetch_optional(&mut *tx).await? else { return Ok(Recalled::Unknown) };
    let callback = rows::callback(&row)?;
    let recalled = callback.recalled(rows::get(&row, CALLBACK_WIDTH)?);
    if recalled == Recalled::Done {
        sqlx::query(RECALL).bind(job).bind(deed.at).execute(&mut *tx).await?;
        record(&mut tx, deed, &callback.tenant, &callback.target.url, Some(job)).await?;
    }
    tx.commit().await?;
    Ok(recalled)
}

pub(super) async fn stops(
    conn: &mut PgConnection,
    tenant: Option<&str>,
    after: (&str, &str),
    limit: u32,
) -> Result<Vec<Stop>, Fault> {
    let query = match tenant {
        None => sqlx::query(STOPS).bind(after.0),
        Some(tenant) => sqlx::query(STOPS_OF).bind(tenant),
    };
    let found = query.bind(after.1).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(found.iter().map(rows::stop).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn unstop(conn: &mut PgConnection, tenant: &str, url: &str, deed: &Deed) -> Result<bool, Fault> {
    let mut tx = conn.begin().await?;
    let Some(row) = sqlx::query(UNSTOP).bind(tenant).bind(url).fetch_optional(&mut *tx).await? else { return Ok(false) };
    record(&mut tx, deed, tenant, url, rows::get(&row, 0)?).await?;
    tx.commit().await?;
    Ok(true)
}

async fn record(conn: &mut PgConnection, deed: &Deed, tenant: &str, url: &str, job: Option<Uuid>) -> Result<(), Fault> {
    let query = sqlx::query(RECORD).bind(deed.at).bind(legible(&deed.actor)).bind(legible(&deed.note)).bind(&deed.action);
    query.bind(tenant).bind(url).bind(job).execute(conn).await?;
    Ok(())
}

pub(super) async fn deeds(conn: &mut PgConnection, job: Uuid) -> Result<Vec<Deed>, Fault> {
    let found = sqlx::query(DEEDS).bind(job).fetch_all(conn).await?;
    Ok(found.iter().map(rows::deed).collect::<Result<_, StoreError>>()?)
}
