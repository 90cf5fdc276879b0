//! Verdicts on destinations of calls: few rows, each change one conditional statement.

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::{Destination, Micros, StoreError};

const ALL: &str = "SELECT name, held, reason, since, probe_at, probing_until FROM destinations ORDER BY name LIMIT 10000";

const HOLD: &str = "INSERT INTO destinations AS old (name, held, reason, since, probe_at, probing_until) \
     VALUES ($1, true, $2, $3, $4, 0) ON CONFLICT (name) DO UPDATE SET held = true, reason = excluded.reason, \
     since = CASE WHEN old.held THEN old.since ELSE excluded.since END, \
     probe_at = CASE WHEN old.held THEN GREATEST(old.probe_at, excluded.probe_at) ELSE excluded.probe_at END, \
     probing_until = 0";

const CLAIM: &str = "UPDATE destinations SET probing_until = $3 \
     WHERE name = $1 AND held AND probe_at <= $2 AND probing_until <= $2";

const RELEASE: &str = "UPDATE destinations SET held = false, reason = '', since = $2, probing_until = 0 \
     WHERE name = $1 AND held AND probing_until = $3";

pub(super) async fn all(conn: &mut PgConnection) -> Result<Vec<Destination>, Fault> {
    let found = sqlx::query(ALL).fetch_all(conn).await?;
    let all = found.iter().map(|row| {
        Ok(Destination {
            name: rows::get(row, 0)?,
            held: rows::get(row, 1)?,
            reason: rows::get(row, 2)?,
            since: rows::get(row, 3)?,
            probe_at: rows::get(row, 4)?,
            probing_until: rows::get(row, 5)?,
        })
    });
    Ok(all.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn hold(conn: &mut PgConnection, name: &str, reason: &str, now: Micros, probe_at: Micros) -> Result<(), Fault> {
    sqlx::query(HOLD).bind(name).bind(reason).bind(now).bind(probe_at).execute(conn).await?;
    Ok(())
}

pub(super) async fn claim(conn: &mut PgConnection, name: &str, now: Micros, until: Micros) -> Result<bool, Fault> {
    let done = sqlx::query(CLAIM).bind(name).bind(now).bind(until).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn release(conn: &mut PgConnection, name: &str, now: Micros, claim: Micros) -> Result<bool, Fault> {
    let done = sqlx::query(RELEASE).bind(name).bind(now).bind(claim).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}
