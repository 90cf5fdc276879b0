//! Callbacks: owed when their job has ended, claimed host by host, settled.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{error, read, rows};
use crate::store::callback::{CALLBACK_WIDTH, callback_columns, written};
use crate::store::stored::legible;
use crate::store::{Callback, CallbackFilter, Claimed, Deed, FoundCallbacks, Micros, Recalled, Settled, Stop, StoreError};

const ENDED: &str = "SELECT id FROM jobs INDEXED BY jobs_to_tell WHERE callback < epoch AND ended_at IS NOT NULL \
     ORDER BY ended_at LIMIT ?1";

const SEEN: &str = "UPDATE jobs SET callback = epoch WHERE id IN (SELECT unhex(value) FROM json_each(?1))";

const OWED: &str = "UPDATE callbacks SET state = 1, epoch = (SELECT epoch FROM jobs WHERE id = job_id), calls = 0, claim = claim + 1, \
     due_at = ?2, updated_at = ?2 WHERE job_id IN (SELECT unhex(value) FROM json_each(?1))";

// From host to host by the index alone.
const HOSTS: &str = "WITH RECURSIVE hosts(host) AS ( \
     SELECT min(host) FROM callbacks INDEXED BY callbacks_due WHERE state = 1 AND host > ?1 UNION ALL \
     SELECT (SELECT min(c.host) FROM callbacks AS c INDEXED BY callbacks_due WHERE c.state = 1 AND c.host > hosts.host) \
     FROM hosts WHERE hosts.host IS NOT NULL LIMIT ?2) \
     SELECT host, (SELECT min(c.due_at) FROM callbacks AS c INDEXED BY callbacks_due WHERE c.state = 1 AND c.host = hosts.host) \
     FROM hosts WHERE host IS NOT NULL";

const CLAIM: &str = concat!(
    "UPDATE callbacks SET claim = claim + 1, calls = calls + 1, due_at = ?3, updated_at = ?2 WHERE job_id IN \
     (SELECT job_id FROM callbacks INDEXED BY callbacks_due WHERE state = 1 AND host = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?4) \
     RETURNING ",
    callback_columns!(""),
    ", EXISTS (SELECT 1 FROM callback_stops AS s WHERE s.tenant = callbacks.tenant AND s.url = callbacks.url)",
);

const SETTLE: &str = "UPDATE callbacks SET state = ?3, due_at = ?4, history = ?5, updated_at = ?6 \
     WHERE job_id = ?1 AND claim = ?2 AND state = 1";

const STOP: &str = "INSERT INTO callback_stops (tenant, url, since, job_id) SELECT tenant, url, ?2, job_id FROM callbacks \
     WHERE job_id = ?1 ON CONFLICT (tenant, url) DO NOTHING";

const ONE: &str = concat!(
    "SELECT ",
    callback_columns!("c."),
    ", EXISTS (SELECT 1 FROM callback_stops AS s WHERE s.tenant = c.tenant AND s.url = c.url) FROM callbacks AS c WHERE job_id = ?1",
);

// Where this page ends however little matches: by the key.
const FLOOR: &str = "SELECT job_id FROM callbacks WHERE job_id < ?1 ORDER BY job_id DESC LIMIT 1 OFFSET ?2";

const SEARCH: &str = concat!(
    "SELECT ",
    callback_columns!("c."),
    " FROM callbacks AS c WHERE job_id < ?1 AND job_id >= ?2 AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR state = ?4) \
     ORDER BY job_id DESC LIMIT ?5",
);

const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM callbacks INDEXED BY callbacks_due WHERE state = 1 LIMIT ?1)";

const RECALL: &str =
    "UPDATE callbacks SET state = 1, calls = 0, claim = claim + 1, due_at = ?2, updated_at = ?2 WHERE job_id = ?1";

const STOPS: &str = "SELECT tenant, url, since, job_id FROM callback_stops WHERE (tenant, url) > (?1, ?2) \
     ORDER BY tenant, url LIMIT ?3";

const STOPS_OF: &str =
    "SELECT tenant, url, since, job_id FROM callback_stops WHERE tenant = ?1 AND url > ?2 ORDER BY url LIMIT ?3";

const UNSTOP: &str = "DELETE FROM callback_stops WHERE tenant = ?1 AND url = ?2 RETURNING job_id";

const RECORD: &str =
    "INSERT INTO callback_audit (at, actor, note, action, tenant, url, job_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const DEEDS: &str = "SELECT at, actor, note, action FROM callback_audit WHERE job_id = ?1 ORDER BY number LIMIT 1000";

pub(super) async fn owe(conn: &mut SqliteConnection, now: Micros, limit: u32) -> Result<u64, StoreError> {
    let ended = sqlx::query(ENDED).bind(limit).fetch_all(&mut *conn).await.map_err(error::store)?;
    if ended.is_empty() {
        return Ok(0);
    }
    let ids = read::ids(&ended.iter().map(|row| rows::get(row, 0)).collect::<Result<Vec<Uuid>, _>>()?)?;
    sqlx::query(SEEN).bind(&ids).execute(&mut *conn).await.map_err(error::store)?;
    sqlx::query(OWED).bind(&ids).bind(now).execute(conn).await.map_err(error::store)?;
    Ok(ended.len() as u64)
}

/// Whether [`owe`] has anything to do: without a place among those who write.
pub(super) async fn is_any_ended(conn: &mut SqliteConnection) -> Result<bool, StoreError> {
    let found = sqlx::query(ENDED).bind(1).fetch_optional(conn).await.map_err(error::store)?;
    Ok(found.is_some())
}

pub(super) async fn hosts(conn: &mut SqliteConnection, after: &str, limit: u32) -> Result<Vec<(String, Micros)>, StoreError> {
    let found = sqlx::query(HOSTS).bind(after).bind(limit).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok((rows::get(row, 0)?, rows::get(row, 1)?))).collect()
}

pub(super) async fn claim(
    conn: &mut SqliteConnection,
    host: &str,
    now: Micros,
    until: Micros,
    limit: u32,
) -> Result<Vec<Claimed>, StoreError> {
    let query = sqlx::query(CLAIM).bind(host).bind(now).bind(until).bind(limit);
    let found = query.fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok(Claimed { callback: rows::callback(row)?, stopped: rows::get(row, CALLBACK_WIDTH)? })).collect()
}

pub(super) async fn settle(conn: &mut SqliteConnection, settled: &Settled) -> Result<bool, StoreError> {
    let query = sqlx::query(SETTLE).bind(settled.job).bind(settled.claim).bind(settled.state.stored()).bind(settled.due_at);
    let query = query.bind(written(&settled.history)?).bind(settled.at);
    let done = query.execute(&mut *conn).await.map_err(error::store)?.rows_affected() > 0;
    // Whoever has said 410 meant it, though the claim is void by now.
    if settled.stop {
        sqlx::query(STOP).bind(settled.job).bind(settled.at).execute(conn).await.map_err(error::store)?;
    }
    Ok(done)
}

pub(super) async fn one(conn: &mut SqliteConnection, job: Uuid) -> Result<Option<Callback>, StoreError> {
    let found = sqlx::query(ONE).bind(job).fetch_optional(conn).await.map_err(error::store)?;
    found.as_ref().map(rows::callback).transpose()
}

pub(super) async fn search(conn: &mut SqliteConnection, filter: &CallbackFilter) -> Result<FoundCallbacks, StoreError> {
    let from = filter.before.unwrap_or(Uuid::max());
    let floor = sqlx::query(FLOOR).bind(from).bind(i64::from(filter.scan.max(1)) - 1);
    let floor = floor.fetch_optional(&mut *conn).await.map_err(error::store)?;
    let floor: Option<Uuid> = floor.map(|row| rows::get(&row, 0)).transpose()?;
    let query = sqlx::query(SEARCH)
        .bind(from)
        .bind(floor.unwrap_or(Uuid::nil()))
        .bind(filter.tenant.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(filter.limit);
    let found = query.fetch_all(conn).await.map_err(error::store)?;
    Ok(filter.found(found.iter().map(rows::callback).collect::<Result<_, StoreError>>()?, floor))
}

pub(super) async fn count(conn: &mut SqliteConnection, limit: u32) -> Result<u64, StoreError> {
    rows::count(&sqlx::query(COUNT).bind(limit).fetch_one(conn).await.map_err(error::store)?, 0)
}

pub(super) async fn recall(conn: &mut SqliteConnection, job: Uuid, deed: &Deed) -> Result<Recalled, StoreError> {
    let found = sqlx::query(ONE).bind(job).fetch_optional(&mut *conn).await.map_err(error::store)?;
    let Some(row) = found else { return Ok(Recalled::Unknown) };
    let callback = rows::callback(&row)?;
    let recalled = callback.recalled(rows::get(&row, CALLBACK_WIDTH)?);
    if recalled == Recalled::Done {
        sqlx::query(RECALL).bind(job).bind(deed.at).execute(&mut *conn).await.map_err(error::store)?;
        record(conn, deed, &callback.tenant, &callback.target.url, Some(job)).await?;
    }
    Ok(recalled)
}

pub(super) async fn stops(
    conn: &mut SqliteConnection,
    tenant: Option<&str>,
    after: (&str, &str),
    limit: u32,
) -> Result<Vec<Stop>, StoreError> {
    let query = match tenant {
        None => sqlx::query(STOPS).bind(after.0),
        Some(tenant) => sqlx::query(STOPS_OF).bind(tenant),
    };
    query.bind(after.1).bind(limit).fetch_all(conn).await.map_err(error::store)?.iter().map(rows::stop).collect()
}

pub(super) async fn unstop(conn: &mut SqliteConnection, tenant: &str, url: &str, deed: &Deed) -> Result<bool, StoreError> {
    let found = sqlx::query(UNSTOP).bind(tenant).bind(url).fetch_optional(&mut *conn).await.map_err(error::store)?;
    let Some(row) = found else { return Ok(false) };
    record(conn, deed, tenant, url, rows::get(&row, 0)?).await?;
    Ok(true)
}

async fn record(conn: &mut SqliteConnection, deed: &Deed, tenant: &str, url: &str, job: Option<Uuid>) -> Result<(), StoreError> {
    let query = sqlx::query(RECORD).bind(deed.at).bind(legible(&deed.actor)).bind(legible(&deed.note)).bind(&deed.action);
    query.bind(tenant).bind(url).bind(job).execute(conn).await.map_err(error::store)?;
    Ok(())
}

pub(super) async fn deeds(conn: &mut SqliteConnection, job: Uuid) -> Result<Vec<Deed>, StoreError> {
    let found = sqlx::query(DEEDS).bind(job).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::deed).collect()
}
