//! Selections of dead letters.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::json::{self, Hex};
use super::{error, rows};
use crate::store::row::selection_columns;
use crate::store::stored::legible;
use crate::store::{Acting, Micros, Picked, Refusal, Selection, StoreError, Tally};

const FREEZE: &str = concat!(
    "INSERT INTO selections (",
    selection_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, FALSE, 0, '', '', NULL, NULL)",
);

const PICK: &str = "INSERT INTO selected_letters (selection, number, letter, outcome, why) \
     SELECT ?1, key + 1, unhex(value), 0, '' FROM json_each(?2)";

const ONE: &str = concat!("SELECT ", selection_columns!(), " FROM selections WHERE id = ?1");

const TALLY: &str = "SELECT outcome, count(*) FROM selected_letters WHERE selection = ?1 GROUP BY outcome";

const ACT: &str = "UPDATE selections SET action = ?2, forced = ?3, rate = ?4, actor = ?5, note = ?6, acted_at = ?7 \
     WHERE id = ?1 AND action IS NULL AND expires_at > ?7";

const ACTING: &str = concat!(
    "SELECT ",
    selection_columns!(),
    " FROM selections WHERE action IS NOT NULL AND finished_at IS NULL AND id > ?1 ORDER BY id LIMIT ?2",
);

const PICKED: &str = "SELECT number, letter FROM selected_letters WHERE selection = ?1 AND outcome = 0 ORDER BY number LIMIT ?2";

const REFUSE: &str = "UPDATE selected_letters SET outcome = 2, why = ?3 WHERE selection = ?1 AND number = ?2 AND outcome = 0";

const REFUSALS: &str = "SELECT number, letter, why FROM selected_letters \
     WHERE selection = ?1 AND outcome = 2 AND number > ?2 ORDER BY number LIMIT ?3";

const FINISH: &str = "UPDATE selections SET finished_at = ?2 WHERE id = ?1 AND action IS NOT NULL AND finished_at IS NULL \
     AND NOT EXISTS (SELECT 1 FROM selected_letters WHERE selection = ?1 AND outcome = 0)";

macro_rules! old {
    () => {
        "SELECT id FROM selections WHERE (action IS NULL AND expires_at < ?1) OR finished_at < ?2"
    };
}

const PURGE_LETTERS: &str = concat!(
    "DELETE FROM selected_letters WHERE (selection, number) IN (SELECT selection, number FROM selected_letters \
     WHERE selection IN (",
    old!(),
    ") LIMIT ?3)",
);

const PURGE: &str = concat!(
    "DELETE FROM selections WHERE id IN (",
    old!(),
    ") AND NOT EXISTS (SELECT 1 FROM selected_letters WHERE selection = selections.id)",
);

pub(super) async fn freeze(conn: &mut SqliteConnection, selection: &Selection, letters: &[Uuid]) -> Result<(), StoreError> {
    let query = sqlx::query(FREEZE)
        .bind(selection.id)
        .bind(selection.tenant.as_deref())
        .bind(selection.filter.to_string())
        .bind(&*legible(&selection.created_by))
        .bind(selection.created_at)
        .bind(selection.expires_at);
    query.execute(&mut *conn).await.map_err(error::store)?;
    let batch = json::rows(letters.iter().map(|letter| Hex(letter.as_bytes())))?;
    sqlx::query(PICK).bind(selection.id).bind(batch).execute(conn).await.map_err(error::store)?;
    Ok(())
}

pub(super) async fn one(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<(Selection, Tally)>, StoreError> {
    let Some(row) = sqlx::query(ONE).bind(id).fetch_optional(&mut *conn).await.map_err(error::store)? else { return Ok(None) };
    let tally = sqlx::query(TALLY).bind(id).fetch_all(conn).await.map_err(error::store)?;
    Ok(Some((rows::selection(&row)?, rows::tally(&tally)?)))
}

pub(super) async fn act(conn: &mut SqliteConnection, id: Uuid, acting: &Acting) -> Result<bool, StoreError> {
    let query = sqlx::query(ACT)
        .bind(id)
        .bind(acting.action.stored())
        .bind(acting.force)
        .bind(i32::try_from(acting.rate).unwrap_or(i32::MAX))
        .bind(&*legible(&acting.actor))
        .bind(&*legible(&acting.note))
        .bind(acting.at);
    Ok(query.execute(conn).await.map_err(error::store)?.rows_affected() > 0)
}

pub(super) async fn acting(conn: &mut SqliteConnection, after: Uuid, limit: u32) -> Result<Vec<Selection>, StoreError> {
    let found = sqlx::query(ACTING).bind(after).bind(i64::from(limit)).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::selection).collect()
}

pub(super) async fn picked(conn: &mut SqliteConnection, selection: Uuid, limit: u32) -> Result<Vec<(Picked, Uuid)>, StoreError> {
    let found = sqlx::query(PICKED).bind(selection).bind(i64::from(limit)).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| rows::picked(selection, row)).collect()
}

pub(super) async fn refuse(conn: &mut SqliteConnection, picked: Picked, why: &str) -> Result<(), StoreError> {
    let query = sqlx::query(REFUSE).bind(picked.selection).bind(picked.number).bind(&*legible(why));
    query.execute(conn).await.map_err(error::store)?;
    Ok(())
}

pub(super) async fn refusals(
    conn: &mut SqliteConnection,
    selection: Uuid,
    after: i32,
    limit: u32,
) -> Result<Vec<Refusal>, StoreError> {
    let found =
        sqlx::query(REFUSALS).bind(selection).bind(after).bind(i64::from(limit)).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::refusal).collect()
}

pub(super) async fn finish(conn: &mut SqliteConnection, selection: Uuid, now: Micros) -> Result<bool, StoreError> {
    Ok(sqlx::query(FINISH).bind(selection).bind(now).execute(conn).await.map_err(error::store)?.rows_affected() > 0)
}

pub(super) async fn purge(
    conn: &mut SqliteConnection,
    expired_before: Micros,
    finished_before: Micros,
    limit: u32,
) -> Result<u64, StoreError> {
    let letters = sqlx::query(PURGE_LETTERS).bind(expired_before).bind(finished_before).bind(i64::from(limit));
    let letters = letters.execute(&mut *conn).await.map_err(error::store)?.rows_affected();
    let query = sqlx::query(PURGE).bind(expired_before).bind(finished_before);
    Ok(letters + query.execute(conn).await.map_err(error::store)?.rows_affected())
}
