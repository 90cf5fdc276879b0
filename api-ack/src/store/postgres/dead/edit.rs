//! What takes the place of a dead letter.

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::error::Fault;
use super::super::{insert, rows};
use super::{keep_as, moved};
use crate::store::{DeadState, Edit, Edited, Made, Move};

const LINK: &str = "INSERT INTO job_edits (job, origin, letter, request) VALUES ($1, $2, $3, $4)";

const EDITED: &str = "SELECT job, request FROM job_edits WHERE letter = $1";

pub(in super::super) async fn edit(conn: &mut PgConnection, edit: &Edit<'_>) -> Result<bool, Fault> {
    let mut tx = conn.begin().await?;
    let step = Move::new(edit.letter, DeadState::Open, DeadState::Redriven, edit.actor, edit.note, edit.at);
    // Dropping the transaction rolls it back.
    if !moved(&mut tx, &step).await? {
        return Ok(false);
    }
    let (made, origin) = match edit.made {
        Made::Job { origin, job } => {
            insert::insert(&mut tx, std::slice::from_ref(job)).await?;
            (job.job.id, origin)
        }
        Made::Letter { id, letter, note } => {
            keep_as(&mut tx, std::slice::from_ref(letter), |_| id).await?;
            let step = Move::new(id, DeadState::Open, DeadState::Redriving, edit.actor, note, edit.at);
            if !moved(&mut tx, &step).await? {
                return Ok(false);
            }
            (id, edit.letter)
        }
    };
    let link = sqlx::query(LINK).bind(made).bind(origin).bind(edit.letter).bind(edit.request);
    link.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

pub(in super::super) async fn edited(conn: &mut PgConnection, letter: Uuid) -> Result<Option<Edited>, Fault> {
    let Some(row) = sqlx::query(EDITED).bind(letter).fetch_optional(conn).await? else { return Ok(None) };
    Ok(Some(Edited { made: rows::get(&row, 0)?, request: rows::get(&row, 1)? }))
}
