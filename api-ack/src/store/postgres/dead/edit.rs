//! A new job in the place of a dead one.

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::error::Fault;
use super::super::{insert, rows};
use super::moved;
use crate::store::{DeadState, Edit, Edited, Move};

const LINK: &str = "INSERT INTO job_edits (job, origin, letter, request) VALUES ($1, $2, $3, $4)";

const EDITED: &str = "SELECT job, request FROM job_edits WHERE letter = $1";

pub(in super::super) async fn edit(conn: &mut PgConnection, edit: &Edit<'_>) -> Result<bool, Fault> {
    let mut tx = conn.begin().await?;
    let step = Move::new(edit.letter, DeadState::Open, DeadState::Redriven, edit.actor, edit.note, edit.at);
    // Dropping the transaction rolls it back.
    if !moved(&mut tx, &step).await? {
        return Ok(false);
    }
    insert::insert(&mut tx, std::slice::from_ref(edit.job)).await?;
    let link = sqlx::query(LINK).bind(edit.job.job.id).bind(edit.origin).bind(edit.letter).bind(edit.request);
    link.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

pub(in super::super) async fn edited(conn: &mut PgConnection, letter: Uuid) -> Result<Option<Edited>, Fault> {
    let Some(row) = sqlx::query(EDITED).bind(letter).fetch_optional(conn).await? else { return Ok(None) };
    Ok(Some(Edited { job: rows::get(&row, 0)?, request: rows::get(&row, 1)? }))
}
