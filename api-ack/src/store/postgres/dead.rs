//! Dead letters: kept, moved, counted.

mod edit;
mod search;

pub(super) use edit::{edit, edited};
pub(super) use search::{audit_records, floor, groups, ids, list};

use sqlx::Connection;
use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};
use uuid::Uuid;

use super::error::Fault;
use super::{apply, rows};
use crate::fingerprint::Fingerprint;
use crate::store::row::letter_columns;
use crate::store::stored::{first_id_at, legible, new_id_at};
use crate::store::{AuditEntry, DeadLetter, DeadState, Micros, Move, NewDeadLetter, Picked, StoreError};

const KEEP: &str = concat!(
    "INSERT INTO dead_letters (",
    letter_columns!(),
    ") SELECT l.id, l.queue, l.message_id, l.epoch, l.attempt, l.job_id, l.kind, l.tenant, l.reason, l.error, l.headers, \
     l.content_type, l.body, l.died_at, 0, '', '', l.died_at, l.fingerprint, l.code, l.title \
     FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::uuid[], \
     $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[], $14::bigint[], $15::text[], \
     $16::text[], $17::text[]) AS l(id, queue, message_id, epoch, attempt, job_id, kind, tenant, reason, error, headers, \
     content_type, body, died_at, fingerprint, code, title) ON CONFLICT DO NOTHING",
);

const ONE: &str = concat!("SELECT ", letter_columns!(), " FROM dead_letters WHERE id = $1");

const MOVE: &str =
    "UPDATE dead_letters SET state = $3, actor = $4, note = $5, updated_at = $6, held_until = 0 WHERE id = $1 AND state = $2";

const PICKED: &str = "UPDATE selected_letters SET outcome = 1 WHERE selection = $1 AND number = $2 AND outcome = 0";

const RECORD: &str = "INSERT INTO audit (letter, at, actor, note, from_state, to_state, selection, tenant) \
     SELECT id, $2, $3, $4, $5, $6, $7, tenant FROM dead_letters WHERE id = $1";

const HOLD: &str = concat!(
    "UPDATE dead_letters SET held_until = $2 WHERE id = ANY(ARRAY(SELECT id FROM dead_letters \
     WHERE state = 1 AND held_until <= $1 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING ",
    letter_columns!(),
);

const UNPRINTED: &str = "SELECT id, kind, reason, error FROM dead_letters WHERE fingerprint = '' ORDER BY id LIMIT $1";

const PRINT: &str = "UPDATE dead_letters AS d SET fingerprint = p.fingerprint, code = p.code, title = p.title \
     FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[]) AS p(id, fingerprint, code, title) \
     WHERE d.id = p.id AND d.fingerprint = ''";

const AUDIT: &str = "SELECT at, actor, note, from_state, to_state FROM audit WHERE letter = $1 ORDER BY number";

const COUNTS: &str = "SELECT queue, count(*) FROM dead_letters WHERE state = 0 GROUP BY queue";

const PURGE: &str = "WITH old AS (SELECT id FROM dead_letters WHERE id < $1 AND died_at < $2 ORDER BY id LIMIT $3), \
     edits AS (DELETE FROM job_edits WHERE job IN (SELECT id FROM old)) \
     DELETE FROM dead_letters WHERE id IN (SELECT id FROM old)";

/// A dead letter must never be refused for what a stranger wrote into it: every text is made legible, the body stays as it is.
pub(super) async fn keep(conn: &mut PgConnection, letters: &[NewDeadLetter]) -> Result<(), Fault> {
    keep_as(conn, letters, |letter| new_id_at(letter.died_at)).await
}

async fn keep_as(conn: &mut PgConnection, letters: &[NewDeadLetter], id: impl Fn(&NewDeadLetter) -> Uuid) -> Result<(), Fault> {
    let mut sorted: Vec<&NewDeadLetter> = letters.iter().collect();
    sorted.sort_unstable_by_key(|letter| (&letter.queue, &letter.message_id, letter.epoch, letter.attempt));
    let prints: Vec<Fingerprint> =
        sorted.iter().map(|letter| Fingerprint::of(&letter.kind, &letter.reason, &legible(&letter.error))).collect();
    let rows = || sorted.iter();
    let query = sqlx::query(KEEP)
        .bind(rows().map(|letter| id(letter)).bind_iter())
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
        .bind(rows().map(|letter| letter.died_at).bind_iter())
        .bind(prints.iter().map(|print| print.hash.as_str()).bind_iter())
        .bind(prints.iter().map(|print| print.code.as_str()).bind_iter())
        .bind(prints.iter().map(|print| print.title.as_str()).bind_iter());
    query.execute(conn).await?;
    Ok(())
}

fn letters(found: &[PgRow]) -> Result<Vec<DeadLetter>, Fault> {
    Ok(found.iter().map(rows::letter).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid) -> Result<Option<DeadLetter>, Fault> {
    let found = sqlx::query(ONE).bind(id).fetch_optional(conn).await?;
    Ok(found.as_ref().map(rows::letter).transpose()?)
}

pub(super) async fn resolve(conn: &mut PgConnection, step: &Move<'_>) -> Result<bool, Fault> {
    let mut tx = conn.begin().await?;
    // Dropping the transaction rolls it back.
    if !moved(&mut tx, step).await? {
        return Ok(false);
    }
    if let Some(change) = step.job
        && apply::apply(&mut tx, std::slice::from_ref(change)).await? != [true]
    {
        return Ok(false);
    }
    if let Some(Picked { selection, number }) = step.picked
        && sqlx::query(PICKED).bind(selection).bind(number).execute(&mut *tx).await?.rows_affected() == 0
    {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// Moves the letter itself, and records it.
async fn moved(conn: &mut PgConnection, step: &Move<'_>) -> Result<bool, Fault> {
    let (actor, note) = (legible(step.actor), legible(step.note));
    // An open letter is nobody's.
    let (held_by, why) = if step.to == DeadState::Open { ("", "") } else { (&*actor, &*note) };
    let (from, to) = (step.from.stored(), step.to.stored());
    let query = sqlx::query(MOVE).bind(step.id).bind(from).bind(to).bind(held_by).bind(why).bind(step.at);
    if query.execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let record = sqlx::query(RECORD).bind(step.id).bind(step.at).bind(&*actor).bind(&*note).bind(from).bind(to);
    record.bind(step.picked.map(|picked| picked.selection)).execute(conn).await?;
    Ok(true)
}

pub(super) async fn hold(conn: &mut PgConnection, now: Micros, until: Micros, limit: u32) -> Result<Vec<DeadLetter>, Fault> {
    letters(&sqlx::query(HOLD).bind(now).bind(until).bind(i64::from(limit)).fetch_all(conn).await?)
}

pub(super) async fn print_old(conn: &mut PgConnection, limit: u32) -> Result<u64, Fault> {
    let found = sqlx::query(UNPRINTED).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let print = |row: &PgRow| {
        let print = Fingerprint::of(rows::get(row, 1)?, rows::get(row, 2)?, rows::get(row, 3)?);
        Ok::<(Uuid, Fingerprint), StoreError>((rows::get(row, 0)?, print))
    };
    let prints: Vec<_> = found.iter().map(print).collect::<Result<_, _>>()?;
    let query = sqlx::query(PRINT)
        .bind(prints.iter().map(|(id, _)| *id).bind_iter())
        .bind(prints.iter().map(|(_, print)| print.hash.as_str()).bind_iter())
        .bind(prints.iter().map(|(_, print)| print.code.as_str()).bind_iter())
        .bind(prints.iter().map(|(_, print)| print.title.as_str()).bind_iter());
    query.execute(conn).await?;
    Ok(found.len() as u64)
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
