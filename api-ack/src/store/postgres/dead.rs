//! Dead letters and the audit.

use sqlx::Connection;
use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};
use uuid::Uuid;

use super::error::Fault;
use super::{apply, rows};
use crate::store::row::letter_columns;
use crate::store::stored::{first_id_at, legible, new_id_at};
use crate::store::{AuditEntry, Change, DeadFilter, DeadLetter, DeadState, Micros, NewDeadLetter, StoreError};

const KEEP: &str = concat!(
    "INSERT INTO dead_letters (",
    letter_columns!(),
    ") SELECT l.*, 0, '', '', l.died_at FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::uuid[], \
     $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[], $14::bigint[]) \
     AS l(id, queue, message_id, epoch, attempt, job_id, kind, tenant, reason, error, headers, content_type, body, died_at) \
     ON CONFLICT DO NOTHING",
);

const LIST: &str = concat!(
    "SELECT ",
    letter_columns!(),
    " FROM dead_letters WHERE id < $1 AND ($2::text IS NULL OR tenant = $2) AND ($3::text IS NULL OR queue = $3) \
     AND ($4::text IS NULL OR kind = $4) AND ($5::text IS NULL OR reason = $5) AND ($6::smallint IS NULL OR state = $6) \
     ORDER BY id DESC LIMIT $7",
);

const ONE: &str = concat!("SELECT ", letter_columns!(), " FROM dead_letters WHERE id = $1");

const MOVE: &str = "UPDATE dead_letters SET state = $3, actor = $4, note = $5, updated_at = $6 WHERE id = $1 AND state = $2";

const RECORD: &str = "INSERT INTO audit (letter, at, actor, note, from_state, to_state) VALUES ($1, $2, $3, $4, $5, $6)";

const AUDIT: &str = "SELECT at, actor, note, from_state, to_state FROM audit WHERE letter = $1 ORDER BY number";

const COUNTS: &str = "SELECT queue, count(*) FROM dead_letters WHERE state = 0 GROUP BY queue";

const PURGE: &str =
    "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE id < $1 AND died_at < $2 ORDER BY id LIMIT $3)";

/// A dead letter must never be refused for what a stranger wrote into it: every text is made legible, the body stays as it is.
pub(super) async fn keep(conn: &mut PgConnection, letters: &[NewDeadLetter]) -> Result<(), Fault> {
    let mut sorted: Vec<&NewDeadLetter> = letters.iter().collect();
    sorted.sort_unstable_by_key(|letter| (&letter.queue, &letter.message_id, letter.epoch, letter.attempt));
    let rows = || sorted.iter();
    let query = sqlx::query(KEEP)
        .bind(rows().map(|letter| new_id_at(letter.died_at)).bind_iter())
        .bind(rows().map(|letter| legible(&letter.queue)).bind_iter())
        .bind(rows().map(|letter| legible(&letter.message_id)).bind_iter())
        .bind(rows().map(|letter| letter.epoch).bind_iter())
        .bind(rows().map(|letter| letter.attempt).bind_iter())
        .bind(rows().map(|letter| letter.job_id).bind_iter())
        .bind(rows().map(|letter| legible(&letter.kind)).bind_iter())
        .bind(rows().map(|letter| legible(&letter.tenant)).bind_iter())
        .bind(rows().map(|letter| legible(&letter.reason)).bind_iter())
        .bind(rows().map(|letter| legible(&letter.error)).bind_iter())
        .bind(rows().map(|letter| letter.headers.to_string()).bind_iter())
        .bind(rows().map(|letter| legible(&letter.content_type)).bind_iter())
        .bind(rows().map(|letter| &letter.body[..]).bind_iter())
        .bind(rows().map(|letter| letter.died_at).bind_iter());
    query.execute(conn).await?;
    Ok(())
}

fn letters(found: &[PgRow]) -> Result<Vec<DeadLetter>, Fault> {
    Ok(found.iter().map(rows::letter).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn list(conn: &mut PgConnection, filter: &DeadFilter) -> Result<Vec<DeadLetter>, Fault> {
    let query = sqlx::query(LIST)
        .bind(filter.before.unwrap_or(Uuid::max()))
        .bind(filter.tenant.as_deref())
        .bind(filter.queue.as_deref())
        .bind(filter.kind.as_deref())
        .bind(filter.reason.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(i64::from(filter.limit));
    letters(&query.fetch_all(conn).await?)
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid) -> Result<Option<DeadLetter>, Fault> {
    let found = sqlx::query(ONE).bind(id).fetch_optional(conn).await?;
    Ok(found.as_ref().map(rows::letter).transpose()?)
}

pub(super) async fn resolve(conn: &mut PgConnection, id: Uuid, job: Option<&Change>, entry: &AuditEntry) -> Result<bool, Fault> {
    let (actor, note) = (legible(&entry.actor), legible(&entry.note));
    // An open letter is nobody's.
    let (held_by, why) = if entry.to == DeadState::Open { ("", "") } else { (&*actor, &*note) };
    let mut tx = conn.begin().await?;
    let moved = sqlx::query(MOVE)
        .bind(id)
        .bind(entry.from.stored())
        .bind(entry.to.stored())
        .bind(held_by)
        .bind(why)
        .bind(entry.at)
        .execute(&mut *tx)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(change) = job
        && apply::apply(&mut tx, std::slice::from_ref(change)).await? != [true]
    {
        // Dropping the transaction rolls it back.
        return Ok(false);
    }
    let audit =
        sqlx::query(RECORD).bind(id).bind(entry.at).bind(&*actor).bind(&*note).bind(entry.from.stored()).bind(entry.to.stored());
    audit.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn audit(conn: &mut PgConnection, id: Uuid) -> Result<Vec<AuditEntry>, Fault> {
    let found = sqlx::query(AUDIT).bind(id).fetch_all(conn).await?;
    Ok(found.iter().map(rows::audit).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn counts(conn: &mut PgConnection) -> Result<Vec<(String, u64)>, Fault> {
    counts_of(&sqlx::query(COUNTS).fetch_all(conn).await?)
}

pub(super) async fn purge(conn: &mut PgConnection, before: Micros, limit: u32) -> Result<u64, Fault> {
    let newest = first_id_at(before.saturating_add(1000));
    let query = sqlx::query(PURGE).bind(newest).bind(before).bind(i64::from(limit));
    Ok(query.execute(conn).await?.rows_affected())
}

/// Pairs of a name and a count.
fn counts_of(found: &[PgRow]) -> Result<Vec<(String, u64)>, Fault> {
    let pairs = found.iter().map(|row| Ok((rows::get(row, 0)?, rows::count(row, 1)?)));
    Ok(pairs.collect::<Result<_, StoreError>>()?)
}
