//! Which hub processes live: one, since the file takes only one. The table keeps the store's contract the same.

use sqlx::SqliteConnection;

use super::{error, rows};
use crate::store::{LAPSE, Micros, ProcessId, StoreError};

const BEAT: &str =
    "INSERT INTO processes (id, beat_at) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at";

const ALIVE: &str = "SELECT id FROM processes WHERE beat_at >= ?1";

const ANY_LAPSED: &str = "SELECT EXISTS (SELECT 1 FROM processes WHERE beat_at < ?1)";

const FREE_LAPSED: &str = "UPDATE jobs INDEXED BY jobs_under_way SET owner = NULL, state = CASE WHEN state = 3 THEN 2 ELSE state END, version = version + 1, updated_at = ?2 \
     WHERE place = 1 AND outlet IS NOT NULL AND owner IN (SELECT id FROM processes WHERE beat_at < ?1)";

const FORGET_LAPSED: &str = "DELETE FROM processes WHERE beat_at < ?1";

const FREE: &str = "UPDATE jobs INDEXED BY jobs_under_way SET owner = NULL, state = CASE WHEN state = 3 THEN 2 ELSE state END, version = version + 1, updated_at = ?2 \
     WHERE place = 1 AND outlet IS NOT NULL AND owner = ?1";

const FORGET: &str = "DELETE FROM processes WHERE id = ?1";

const FREE_ALL: &str = "UPDATE jobs INDEXED BY jobs_under_way SET owner = NULL, state = CASE WHEN state = 3 THEN 2 ELSE state END, version = version + 1, updated_at = ?1 \
     WHERE place = 1 AND outlet IS NOT NULL";

const FORGET_ALL: &str = "DELETE FROM processes";

fn now() -> Micros {
    jiff::Timestamp::now().as_microsecond()
}

/// Nobody of an earlier run lives.
pub(super) async fn forget_all(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(FREE_ALL).bind(now()).execute(&mut *conn).await?;
    sqlx::query(FORGET_ALL).execute(conn).await?;
    Ok(())
}

pub(super) async fn beat(conn: &mut SqliteConnection, me: ProcessId) -> Result<Vec<ProcessId>, StoreError> {
    let now = now();
    sqlx::query(BEAT).bind(me.0).bind(now).execute(&mut *conn).await.map_err(error::store)?;
    let alive = sqlx::query(ALIVE).bind(now - LAPSE).fetch_all(conn).await.map_err(error::store)?;
    alive.iter().map(|row| rows::get(row, 0).map(ProcessId)).collect()
}

pub(super) async fn release_lapsed(conn: &mut SqliteConnection) -> Result<u64, StoreError> {
    let (now, before) = (now(), now() - LAPSE);
    let any = sqlx::query(ANY_LAPSED).bind(before).fetch_one(&mut *conn).await.map_err(error::store)?;
    if !rows::get::<bool>(&any, 0)? {
        return Ok(0);
    }
    let freed = sqlx::query(FREE_LAPSED).bind(before).bind(now).execute(&mut *conn).await.map_err(error::store)?;
    sqlx::query(FORGET_LAPSED).bind(before).execute(conn).await.map_err(error::store)?;
    Ok(freed.rows_affected())
}

pub(super) async fn leave(conn: &mut SqliteConnection, me: ProcessId) -> Result<(), StoreError> {
    sqlx::query(FREE).bind(me.0).bind(now()).execute(&mut *conn).await.map_err(error::store)?;
    sqlx::query(FORGET).bind(me.0).execute(conn).await.map_err(error::store)?;
    Ok(())
}
