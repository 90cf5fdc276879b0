//! Dead letters and the audit.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{apply, error, rows};
use crate::store::row::letter_columns;
use crate::store::stored::{first_id_at, legible, new_id_at};
use crate::store::{AuditEntry, Change, DeadFilter, DeadLetter, DeadState, Micros, NewDeadLetter, StoreError};

const KEEP: &str = concat!(
    "INSERT INTO dead_letters (",
    letter_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, '', '', ?14) ON CONFLICT DO NOTHING",
);

const LIST: &str = concat!(
    "SELECT ",
    letter_columns!(),
    " FROM dead_letters WHERE id < ?1 AND (?2 IS NULL OR tenant = ?2) AND (?3 IS NULL OR queue = ?3) \
     AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR reason = ?5) AND (?6 IS NULL OR state = ?6) ORDER BY id DESC LIMIT ?7",
);

const ONE: &str = concat!("SELECT ", letter_columns!(), " FROM dead_letters WHERE id = ?1");

const MOVE: &str = "UPDATE dead_letters SET state = ?3, actor = ?4, note = ?5, updated_at = ?6 WHERE id = ?1 AND state = ?2";

const RECORD: &str = "INSERT INTO audit (letter, at, actor, note, from_state, to_state) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const AUDIT: &str = "SELECT at, actor, note, from_state, to_state FROM audit WHERE letter = ?1 ORDER BY number";

const COUNTS: &str = "SELECT queue, count(*) FROM dead_letters INDEXED BY dead_letters_open WHERE state = 0 GROUP BY queue";

const PURGE: &str =
    "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE id < ?1 AND died_at < ?2 ORDER BY id LIMIT ?3)";

/// A dead letter must never be refused for what a stranger wrote into it: every text is made legible, the body stays as it is.
pub(super) async fn keep(conn: &mut SqliteConnection, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
    for letter in letters {
        let query = sqlx::query(KEEP)
            .bind(new_id_at(letter.died_at))
            .bind(&*legible(&letter.queue))
            .bind(&*legible(&letter.message_id))
            .bind(letter.epoch)
            .bind(letter.attempt)
            .bind(letter.job_id)
            .bind(&*legible(&letter.kind))
            .bind(&*legible(&letter.tenant))
            .bind(&*legible(&letter.reason))
            .bind(&*legible(&letter.error))
            .bind(letter.headers.to_string())
            .bind(&*legible(&letter.content_type))
            .bind(&letter.body[..])
            .bind(letter.died_at);
        query.execute(&mut *conn).await.map_err(error::store)?;
    }
    Ok(())
}

fn letters(found: &[SqliteRow]) -> Result<Vec<DeadLetter>, StoreError> {
    found.iter().map(rows::letter).collect()
}

pub(super) async fn list(conn: &mut SqliteConnection, filter: &DeadFilter) -> Result<Vec<DeadLetter>, StoreError> {
    let query = sqlx::query(LIST)
        .bind(filter.before.unwrap_or(Uuid::max()))
        .bind(filter.tenant.as_deref())
        .bind(filter.queue.as_deref())
        .bind(filter.kind.as_deref())
        .bind(filter.reason.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(filter.limit);
    letters(&query.fetch_all(conn).await.map_err(error::store)?)
}

pub(super) async fn one(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
    let found = sqlx::query(ONE).bind(id).fetch_optional(conn).await.map_err(error::store)?;
    found.as_ref().map(rows::letter).transpose()
}

/// `false`: the caller rolls back.
pub(super) async fn resolve(
    conn: &mut SqliteConnection,
    id: Uuid,
    job: Option<&Change>,
    entry: &AuditEntry,
) -> Result<bool, StoreError> {
    let (actor, note) = (legible(&entry.actor), legible(&entry.note));
    // An open letter is nobody's.
    let (held_by, why) = if entry.to == DeadState::Open { ("", "") } else { (&*actor, &*note) };
    let moved = sqlx::query(MOVE)
        .bind(id)
        .bind(entry.from.stored())
        .bind(entry.to.stored())
        .bind(held_by)
        .bind(why)
        .bind(entry.at)
        .execute(&mut *conn)
        .await
        .map_err(error::store)?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(change) = job
        && apply::apply(conn, std::slice::from_ref(change)).await? != [true]
    {
        return Ok(false);
    }
    let audit =
        sqlx::query(RECORD).bind(id).bind(entry.at).bind(&*actor).bind(&*note).bind(entry.from.stored()).bind(entry.to.stored());
    audit.execute(conn).await.map_err(error::store)?;
    Ok(true)
}

pub(super) async fn audit(conn: &mut SqliteConnection, id: Uuid) -> Result<Vec<AuditEntry>, StoreError> {
    let found = sqlx::query(AUDIT).bind(id).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::audit).collect()
}

pub(super) async fn counts(conn: &mut SqliteConnection) -> Result<Vec<(String, u64)>, StoreError> {
    counts_of(&sqlx::query(COUNTS).fetch_all(conn).await.map_err(error::store)?)
}

pub(super) async fn purge(conn: &mut SqliteConnection, before: Micros, limit: u32) -> Result<u64, StoreError> {
    let newest = first_id_at(before.saturating_add(1000));
    let query = sqlx::query(PURGE).bind(newest).bind(before).bind(limit);
    Ok(query.execute(conn).await.map_err(error::store)?.rows_affected())
}

/// Pairs of a name and a count.
fn counts_of(found: &[SqliteRow]) -> Result<Vec<(String, u64)>, StoreError> {
    found.iter().map(|row| Ok((rows::get(row, 0)?, rows::count(row, 1)?))).collect()
}
