//! Dead letters: kept, moved, counted.

mod edit;
mod search;

pub(super) use edit::{edit, edited};
pub(super) use search::{audit_records, floor, groups, ids, list};

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{apply, error, rows};
use crate::fingerprint::Fingerprint;
use crate::store::row::letter_columns;
use crate::store::stored::{first_id_at, legible, new_id_at};
use crate::store::{AuditEntry, DeadLetter, DeadState, Micros, Move, NewDeadLetter, Picked, StoreError};

const KEEP: &str = concat!(
    "INSERT INTO dead_letters (",
    letter_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, '', '', ?14, ?15, ?16, ?17) \
     ON CONFLICT DO NOTHING",
);

const ONE: &str = concat!("SELECT ", letter_columns!(), " FROM dead_letters WHERE id = ?1");

const MOVE: &str =
    "UPDATE dead_letters SET state = ?3, actor = ?4, note = ?5, updated_at = ?6, held_until = 0 WHERE id = ?1 AND state = ?2";

const PICKED: &str = "UPDATE selected_letters SET outcome = 1 WHERE selection = ?1 AND number = ?2 AND outcome = 0";

const RECORD: &str = "INSERT INTO audit (letter, at, actor, note, from_state, to_state, selection, tenant) \
     SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, tenant FROM dead_letters WHERE id = ?1";

const HOLD: &str = concat!(
    "UPDATE dead_letters SET held_until = ?2 WHERE state = 1 AND id IN (SELECT id FROM dead_letters \
     WHERE state = 1 AND held_until <= ?1 ORDER BY id LIMIT ?3) RETURNING ",
    letter_columns!(),
);

const UNPRINTED: &str = "SELECT id, kind, reason, error FROM dead_letters WHERE fingerprint = '' ORDER BY id LIMIT ?1";

const PRINT: &str = "UPDATE dead_letters SET fingerprint = ?2, code = ?3, title = ?4 WHERE id = ?1 AND fingerprint = ''";

const AUDIT: &str = "SELECT at, actor, note, from_state, to_state FROM audit WHERE letter = ?1 ORDER BY number";

const COUNTS: &str = "SELECT queue, count(*) FROM dead_letters INDEXED BY dead_letters_open WHERE state = 0 GROUP BY queue";

const PURGE: [&str; 2] = [
    "DELETE FROM job_edits WHERE job IN (SELECT id FROM dead_letters WHERE id < ?1 AND died_at < ?2 ORDER BY id LIMIT ?3)",
    "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE id < ?1 AND died_at < ?2 ORDER BY id LIMIT ?3)",
];

/// A dead letter must never be refused for what a stranger wrote into it: every text is made legible, the body stays as it is.
pub(super) async fn keep(conn: &mut SqliteConnection, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
    keep_as(conn, letters, |letter| new_id_at(letter.died_at)).await
}

async fn keep_as(
    conn: &mut SqliteConnection,
    letters: &[NewDeadLetter],
    id: impl Fn(&NewDeadLetter) -> Uuid,
) -> Result<(), StoreError> {
    for letter in letters {
        let print = Fingerprint::of(&letter.kind, &letter.reason, &legible(&letter.error));
        let query = sqlx::query(KEEP)
            .bind(id(letter))
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
            .bind(letter.died_at)
            .bind(&*print.hash)
            .bind(&*print.code)
            .bind(&*print.title);
        query.execute(&mut *conn).await.map_err(error::store)?;
    }
    Ok(())
}

fn letters(found: &[SqliteRow]) -> Result<Vec<DeadLetter>, StoreError> {
    found.iter().map(rows::letter).collect()
}

pub(super) async fn one(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
    let found = sqlx::query(ONE).bind(id).fetch_optional(conn).await.map_err(error::store)?;
    found.as_ref().map(rows::letter).transpose()
}

/// `false`: the caller rolls back.
pub(super) async fn resolve(conn: &mut SqliteConnection, step: &Move<'_>) -> Result<bool, StoreError> {
    if !moved(conn, step).await? {
        return Ok(false);
    }
    if let Some(change) = step.job
        && apply::apply(conn, std::slice::from_ref(change)).await? != [true]
    {
        return Ok(false);
    }
    if let Some(Picked { selection, number }) = step.picked {
        let query = sqlx::query(PICKED).bind(selection).bind(number);
        return Ok(query.execute(conn).await.map_err(error::store)?.rows_affected() > 0);
    }
    Ok(true)
}

/// Moves the letter itself, and records it.
async fn moved(conn: &mut SqliteConnection, step: &Move<'_>) -> Result<bool, StoreError> {
    let (actor, note) = (legible(step.actor), legible(step.note));
    // An open letter is nobody's.
    let (held_by, why) = if step.to == DeadState::Open { ("", "") } else { (&*actor, &*note) };
    let (from, to) = (step.from.stored(), step.to.stored());
    let query = sqlx::query(MOVE).bind(step.id).bind(from).bind(to).bind(held_by).bind(why).bind(step.at);
    if query.execute(&mut *conn).await.map_err(error::store)?.rows_affected() == 0 {
        return Ok(false);
    }
    let record = sqlx::query(RECORD).bind(step.id).bind(step.at).bind(&*actor).bind(&*note).bind(from).bind(to);
    record.bind(step.picked.map(|picked| picked.selection)).execute(conn).await.map_err(error::store)?;
    Ok(true)
}

pub(super) async fn hold(
    conn: &mut SqliteConnection,
    now: Micros,
    until: Micros,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    letters(&sqlx::query(HOLD).bind(now).bind(until).bind(limit).fetch_all(conn).await.map_err(error::store)?)
}

pub(super) async fn print_old(conn: &mut SqliteConnection, limit: u32) -> Result<u64, StoreError> {
    let found = sqlx::query(UNPRINTED).bind(limit).fetch_all(&mut *conn).await.map_err(error::store)?;
    for row in &found {
        let (id, print): (Uuid, _) =
            (rows::get(row, 0)?, Fingerprint::of(rows::get(row, 1)?, rows::get(row, 2)?, rows::get(row, 3)?));
        let query = sqlx::query(PRINT).bind(id).bind(&*print.hash).bind(&*print.code).bind(&*print.title);
        query.execute(&mut *conn).await.map_err(error::store)?;
    }
    Ok(found.len() as u64)
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
    let mut gone = 0;
    for part in PURGE {
        let query = sqlx::query(part).bind(newest).bind(before).bind(limit);
        gone = query.execute(&mut *conn).await.map_err(error::store)?.rows_affected();
    }
    Ok(gone)
}

/// Pairs of a name and a count.
fn counts_of(found: &[SqliteRow]) -> Result<Vec<(String, u64)>, StoreError> {
    found.iter().map(|row| Ok((rows::get(row, 0)?, rows::count(row, 1)?))).collect()
}
