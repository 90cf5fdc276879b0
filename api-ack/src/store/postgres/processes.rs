//! Which hub processes live, by the database's clock, and what those that are gone leave behind.
//!
//! A process beats before it stores rows of its own. Its row and its waiting jobs go in one statement, but a job may arrive
//! after it: from a process that was paused past its lapse and died before its next beat. Such orphans are looked for
//! now and then, since that reads every row under way.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::{LAPSE, ProcessId, StoreError};

/// How often orphans are looked for when no process has lapsed.
const ORPHANS: Duration = Duration::from_secs(60);

macro_rules! micros {
    ($clock:literal) => {
        concat!("(extract(epoch FROM ", $clock, ") * 1000000)::bigint")
    };
}

const BEAT: &str = concat!(
    "WITH mine AS (INSERT INTO processes (id, beat_at) VALUES ($1, ",
    micros!("clock_timestamp()"),
    ") ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at RETURNING id) \
     SELECT id FROM mine UNION SELECT id FROM processes WHERE beat_at >= ",
    micros!("statement_timestamp()"),
    " - $2",
);

// A row says nothing new to itself, and one that lapsed says nothing to anybody.
const SHARE_ENDED: &str = concat!(
    "WITH mine AS (UPDATE processes SET ended = $2 WHERE id = $1) \
     SELECT id, ended FROM processes WHERE id <> $1 AND ended IS NOT NULL AND beat_at >= ",
    micros!("statement_timestamp()"),
    " - $3",
);

const ANY_LAPSED: &str =
    concat!("SELECT EXISTS (SELECT FROM processes WHERE beat_at < ", micros!("statement_timestamp()"), " - $1)");

const RELEASE: &str = concat!(
    "WITH gone AS (DELETE FROM processes WHERE beat_at < ",
    micros!("statement_timestamp()"),
    " - $1 RETURNING id) \
     UPDATE jobs SET owner = NULL, state = CASE WHEN state = 3 THEN 2 ELSE state END, version = version + 1, updated_at = ",
    micros!("statement_timestamp()"),
    " WHERE place = 1 AND outlet IS NOT NULL AND (owner IN (SELECT id FROM gone) \
     OR (updated_at < ",
    micros!("statement_timestamp()"),
    " - $1 AND owner NOT IN (SELECT id FROM processes)))",
);

const LEAVE: &str = concat!(
    "WITH me AS (DELETE FROM processes WHERE id = $1) \
     UPDATE jobs SET owner = NULL, state = CASE WHEN state = 3 THEN 2 ELSE state END, version = version + 1, updated_at = ",
    micros!("statement_timestamp()"),
    " WHERE place = 1 AND outlet IS NOT NULL AND owner = $1",
);

pub(super) async fn share_ended(
    conn: &mut PgConnection,
    me: ProcessId,
    ended: &BTreeMap<String, u64>,
) -> Result<Vec<(ProcessId, BTreeMap<String, u64>)>, Fault> {
    let mine = serde_json::to_string(ended).unwrap_or_default();
    let found = sqlx::query(SHARE_ENDED).bind(me.0).bind(mine).bind(LAPSE).fetch_all(conn).await?;
    // What a later version may write there says nothing to this one.
    let said = found.iter().map(|row| {
        let text: String = rows::get(row, 1)?;
        Ok((ProcessId(rows::get(row, 0)?), serde_json::from_str(&text).unwrap_or_default()))
    });
    Ok(said.collect::<Result<_, StoreError>>()?)
}

pub(super) async fn beat(conn: &mut PgConnection, me: ProcessId) -> Result<Vec<ProcessId>, Fault> {
    let found = sqlx::query(BEAT).bind(me.0).bind(LAPSE).fetch_all(conn).await?;
    Ok(found.iter().map(|row| rows::get(row, 0).map(ProcessId)).collect::<Result<_, StoreError>>()?)
}

/// Whether it is time to look for orphans; says so once per [`ORPHANS`].
pub(super) fn time_for_orphans(swept: &Mutex<Option<Instant>>) -> bool {
    let mut swept = swept.lock().unwrap_or_else(PoisonError::into_inner);
    let due = swept.is_none_or(|at| at.elapsed() >= ORPHANS);
    if due {
        *swept = Some(Instant::now());
    }
    due
}

pub(super) async fn release_lapsed(conn: &mut PgConnection, orphans: bool) -> Result<u64, Fault> {
    let work = orphans || rows::get(&sqlx::query(ANY_LAPSED).bind(LAPSE).fetch_one(&mut *conn).await?, 0)?;
    match work {
        true => Ok(sqlx::query(RELEASE).bind(LAPSE).execute(conn).await?.rows_affected()),
        false => Ok(0),
    }
}

pub(super) async fn leave(conn: &mut PgConnection, me: ProcessId) -> Result<(), Fault> {
    sqlx::query(LEAVE).bind(me.0).execute(conn).await?;
    Ok(())
}
