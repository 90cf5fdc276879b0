//! Paused kinds: a record that is only added to, whose latest line counts.

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::stored::legible;
use crate::store::{Pause, StoreError};

// Two that pause at once may both get a line: they say the same.
const PUT: &str = "INSERT INTO pauses (kind, at, paused, actor, note) SELECT $1, $2, $3, $4, $5 \
     WHERE coalesce((SELECT paused FROM pauses WHERE kind = $1 ORDER BY number DESC LIMIT 1), false) <> $3";

const LATEST: &str = "SELECT DISTINCT ON (kind) kind, at, paused, actor, note FROM pauses ORDER BY kind, number DESC";

const ONE: &str = "SELECT kind, at, paused, actor, note FROM pauses WHERE kind = $1 ORDER BY number DESC LIMIT 1";

pub(super) async fn put(conn: &mut PgConnection, pause: &Pause) -> Result<Pause, Fault> {
    let put = sqlx::query(PUT).bind(&pause.kind).bind(pause.at).bind(pause.paused);
    put.bind(legible(&pause.actor)).bind(legible(&pause.note)).execute(&mut *conn).await?;
    let found = sqlx::query(ONE).bind(&pause.kind).fetch_optional(conn).await?;
    // No line at all: it was never paused, and is not now.
    Ok(found.as_ref().map(rows::pause).transpose()?.unwrap_or_else(|| pause.clone()))
}

pub(super) async fn latest(conn: &mut PgConnection) -> Result<Vec<Pause>, Fault> {
    let found = sqlx::query(LATEST).fetch_all(conn).await?;
    Ok(found.iter().map(rows::pause).collect::<Result<_, StoreError>>()?)
}
