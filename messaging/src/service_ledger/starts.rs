//! The rows of `warren_starts`.

use std::collections::HashMap;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::MAX_STARTS;
use crate::ledger::Ending;
use crate::message::Run;
use crate::process::LAPSE;

/// What a claim found.
#[derive(Debug)]
pub(super) enum Claim {
    /// This process has it now, for the so-many-th time.
    Mine { starts: i32 },
    /// Another live process runs it, or has just ended it.
    Elsewhere,
    /// Started before without an end, and not claimed.
    Unended { starts: i32 },
    /// In the inbox: this was its outcome.
    Settled { outcome: String },
}

/// Claims what is not settled and not in another live process's hands; answers in the order of `runs`.
///
/// Claimed again by its own process it costs no start: only the answer to the first claim was lost.
pub(super) async fn claim(
    pool: &PgPool,
    process: &str,
    queue: &str,
    runs: &[(&str, Run)],
    alone: bool,
) -> Result<Vec<Claim>, sqlx::Error> {
    let keys = Keys::of(runs.iter().copied());
    let rows = sqlx::query(
        "WITH arrived AS (
             SELECT DISTINCT * FROM unnest($3::text[], $4::int[], $5::int[]) AS a(message_id, epoch, attempt)
         ), settled AS (
             SELECT a.*, i.outcome FROM arrived a JOIN warren_inbox i ON i.consumer = $2 AND i.message_id = a.message_id
             WHERE i.settled OR (i.epoch, i.attempt) >= (a.epoch, a.attempt)
         ), claimed AS (
             INSERT INTO warren_starts AS s (queue, message_id, epoch, attempt, starts, owner, started_at)
             SELECT $2, a.*, 1, $1, clock_timestamp() FROM arrived a
             WHERE NOT EXISTS (SELECT FROM settled t WHERE (t.message_id, t.epoch, t.attempt) = (a.message_id, a.epoch, a.attempt))
             ORDER BY a.message_id, a.epoch, a.attempt
             ON CONFLICT (queue, message_id, epoch, attempt) DO UPDATE
             SET starts = s.starts + CASE WHEN s.owner = $1 THEN 0 ELSE 1 END, owner = $1, started_at = clock_timestamp()
             WHERE s.owner = $1 OR ($6 AND s.starts < $7 AND NOT EXISTS (
                 SELECT FROM warren_processes p
                 WHERE p.id = s.owner AND p.beat_at > clock_timestamp() - make_interval(secs => $8)))
             RETURNING message_id, epoch, attempt, starts
         )
         SELECT message_id, epoch, attempt, NULL::int AS starts, outcome FROM settled
         UNION ALL SELECT message_id, epoch, attempt, starts, NULL FROM claimed",
    )
    .bind(process)
    .bind(queue)
    .bind(&keys.ids)
    .bind(&keys.epochs)
    .bind(&keys.attempts)
    .bind(alone)
    .bind(MAX_STARTS)
    .bind(LAPSE)
    .fetch_all(pool)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let claim = match (row.try_get::<Option<i32>, _>("starts")?, row.try_get::<Option<String>, _>("outcome")?) {
            (_, Some(outcome)) => Claim::Settled { outcome },
            (starts, None) => Claim::Mine { starts: starts.unwrap_or(1) },
        };
        found.insert(key(row)?, claim);
    }
    if found.len() < runs.len() {
        let missing = runs.iter().copied().filter(|(id, run)| !found.contains_key(&((*id).to_owned(), *run)));
        let held = held(pool, queue, Keys::of(missing)).await?;
        found.extend(held);
    }
    Ok(runs.iter().map(|(id, run)| found.remove(&((*id).to_owned(), *run)).unwrap_or(Claim::Elsewhere)).collect())
}

/// Who has what was not claimed. What has no row any more was ended in this moment.
async fn held(pool: &PgPool, queue: &str, keys: Keys) -> Result<Vec<((String, Run), Claim)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT s.message_id, s.epoch, s.attempt, s.starts, EXISTS (
             SELECT FROM warren_processes p
             WHERE p.id = s.owner AND p.beat_at > clock_timestamp() - make_interval(secs => $5)) AS lives
         FROM unnest($2::text[], $3::int[], $4::int[]) AS a(message_id, epoch, attempt)
         JOIN warren_starts s ON s.queue = $1 AND (s.message_id, s.epoch, s.attempt) = (a.message_id, a.epoch, a.attempt)",
    )
    .bind(queue)
    .bind(keys.ids)
    .bind(keys.epochs)
    .bind(keys.attempts)
    .bind(LAPSE)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let claim = if row.try_get("lives")? { Claim::Elsewhere } else { Claim::Unended { starts: row.try_get("starts")? } };
            Ok((key(row)?, claim))
        })
        .collect()
}

/// Clears runs that ended, unless another process has taken them over.
pub(super) async fn end(pool: &PgPool, process: &str, endings: &[&Ending]) -> Result<(), sqlx::Error> {
    if endings.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(endings.iter().map(|ending| (ending.message.id.as_str(), ending.run)));
    let queues: Vec<&str> = endings.iter().map(|ending| &*ending.queue).collect();
    sqlx::query(
        "DELETE FROM warren_starts s USING unnest($2::text[], $3::text[], $4::int[], $5::int[]) AS a(queue, message_id, epoch, attempt)
         WHERE (s.queue, s.message_id, s.epoch, s.attempt) = (a.queue, a.message_id, a.epoch, a.attempt) AND s.owner = $1",
    )
    .bind(process)
    .bind(queues)
    .bind(keys.ids)
    .bind(keys.epochs)
    .bind(keys.attempts)
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes one start back from runs the drain cut short, and lets go of them.
pub(super) async fn give_back(pool: &PgPool, process: &str, endings: &[&Ending]) -> Result<(), sqlx::Error> {
    if endings.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(endings.iter().map(|ending| (ending.message.id.as_str(), ending.run)));
    let queues: Vec<&str> = endings.iter().map(|ending| &*ending.queue).collect();
    sqlx::query(
        "WITH mine AS (
             SELECT s.queue, s.message_id, s.epoch, s.attempt, s.starts FROM warren_starts s
             JOIN unnest($2::text[], $3::text[], $4::int[], $5::int[]) AS a(queue, message_id, epoch, attempt)
             ON (s.queue, s.message_id, s.epoch, s.attempt) = (a.queue, a.message_id, a.epoch, a.attempt)
             WHERE s.owner = $1
         ), never AS (
             DELETE FROM warren_starts s USING mine m WHERE m.starts = 1
             AND (s.queue, s.message_id, s.epoch, s.attempt) = (m.queue, m.message_id, m.epoch, m.attempt)
         )
         UPDATE warren_starts s SET starts = s.starts - 1, owner = NULL FROM mine m WHERE m.starts > 1
         AND (s.queue, s.message_id, s.epoch, s.attempt) = (m.queue, m.message_id, m.epoch, m.attempt)",
    )
    .bind(process)
    .bind(queues)
    .bind(keys.ids)
    .bind(keys.epochs)
    .bind(keys.attempts)
    .execute(pool)
    .await?;
    Ok(())
}

/// Clears runs that are over, whoever had them.
pub(super) async fn forget(pool: &PgPool, queue: &str, runs: &[(&str, Run)]) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(runs.iter().copied());
    sqlx::query(
        "DELETE FROM warren_starts s USING unnest($2::text[], $3::int[], $4::int[]) AS a(message_id, epoch, attempt)
         WHERE s.queue = $1 AND (s.message_id, s.epoch, s.attempt) = (a.message_id, a.epoch, a.attempt)",
    )
    .bind(queue)
    .bind(keys.ids)
    .bind(keys.epochs)
    .bind(keys.attempts)
    .execute(pool)
    .await?;
    Ok(())
}

/// Deletes starts older than `keep`: of poison, and of messages that went another way, such as with a purged queue. Gives the number.
///
/// # Errors
/// When the database is away.
pub async fn purge(pool: &PgPool, keep: std::time::Duration) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query("DELETE FROM warren_starts WHERE started_at < now() - make_interval(secs => $1)")
        .bind(keep.as_secs_f64())
        .execute(pool)
        .await?;
    Ok(deleted.rows_affected())
}

/// Runs as columns, the form in which a statement with constant text takes many.
struct Keys {
    ids: Vec<String>,
    epochs: Vec<i32>,
    attempts: Vec<i32>,
}

impl Keys {
    fn of<'a>(runs: impl Iterator<Item = (&'a str, Run)>) -> Self {
        let mut keys = Self { ids: Vec::new(), epochs: Vec::new(), attempts: Vec::new() };
        for (id, run) in runs {
            keys.ids.push(id.to_owned());
            keys.epochs.push(run.epoch);
            keys.attempts.push(run.attempt);
        }
        keys
    }
}

fn key(row: &PgRow) -> Result<(String, Run), sqlx::Error> {
    Ok((row.try_get("message_id")?, Run { epoch: row.try_get("epoch")?, attempt: row.try_get("attempt")? }))
}
