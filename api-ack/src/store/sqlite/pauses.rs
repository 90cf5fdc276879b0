//! Paused kinds: a record that is only added to, whose latest line counts.

use sqlx::SqliteConnection;

use super::{error, rows};
use crate::store::stored::legible;
use crate::store::{Pause, StoreError};

const PUT: &str = "INSERT INTO pauses (kind, at, paused, actor, note) SELECT ?1, ?2, ?3, ?4, ?5 \
     WHERE coalesce((SELECT paused FROM pauses WHERE kind = ?1 ORDER BY number DESC LIMIT 1), 0) <> ?3";

const LATEST: &str = "SELECT kind, at, paused, actor, note FROM pauses \
     WHERE number IN (SELECT max(number) FROM pauses GROUP BY kind) ORDER BY kind";

const ONE: &str = "SELECT kind, at, paused, actor, note FROM pauses WHERE kind = ?1 ORDER BY number DESC LIMIT 1";

pub(super) async fn put(conn: &mut SqliteConnection, pause: &Pause) -> Result<Pause, StoreError> {
    let put = sqlx::query(PUT).bind(&pause.kind).bind(pause.at).bind(pause.paused);
    let put = put.bind(legible(&pause.actor)).bind(legible(&pause.note));
    put.execute(&mut *conn).await.map_err(error::store)?;
    let found = sqlx::query(ONE).bind(&pause.kind).fetch_optional(conn).await.map_err(error::store)?;
    // No line at all: it was never paused, and is not now.
    Ok(found.as_ref().map(rows::pause).transpose()?.unwrap_or_else(|| pause.clone()))
}

pub(super) async fn latest(conn: &mut SqliteConnection) -> Result<Vec<Pause>, StoreError> {
    let found = sqlx::query(LATEST).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(rows::pause).collect()
}
