//! What takes the place of a dead letter.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::super::{error, insert, rows};
use super::{keep_as, moved};
use crate::store::{DeadState, Edit, Edited, Made, Move, StoreError};

const LINK: &str = "INSERT INTO job_edits (job, origin, letter, request) VALUES (?1, ?2, ?3, ?4)";

const EDITED: &str = "SELECT job, request FROM job_edits WHERE letter = ?1";

/// `false`: the caller rolls back.
pub(in super::super) async fn edit(conn: &mut SqliteConnection, edit: &Edit<'_>) -> Result<bool, StoreError> {
    let step = Move::new(edit.letter, DeadState::Open, DeadState::Redriven, edit.actor, edit.note, edit.at);
    if !moved(conn, &step).await? {
        return Ok(false);
    }
    let (made, origin) = match edit.made {
        Made::Job { origin, job } => {
            insert::insert(conn, std::slice::from_ref(job)).await?;
            (job.job.id, origin)
        }
        Made::Letter { id, letter, note } => {
            keep_as(conn, std::slice::from_ref(letter), |_| id).await?;
            let step = Move::new(id, DeadState::Open, DeadState::Redriving, edit.actor, note, edit.at);
            if !moved(conn, &step).await? {
                return Ok(false);
            }
            (id, edit.letter)
        }
    };
    let link = sqlx::query(LINK).bind(made).bind(origin).bind(edit.letter).bind(edit.request);
    link.execute(conn).await.map_err(error::store)?;
    Ok(true)
}

pub(in super::super) async fn edited(conn: &mut SqliteConnection, letter: Uuid) -> Result<Option<Edited>, StoreError> {
    let Some(row) = sqlx::query(EDITED).bind(letter).fetch_optional(conn).await.map_err(error::store)? else { return Ok(None) };
    Ok(Some(Edited { made: rows::get(&row, 0)?, request: rows::get(&row, 1)? }))
}
