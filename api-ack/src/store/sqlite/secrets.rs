//! Secrets, of the one process there is and those after it.

use sqlx::SqliteConnection;

use super::{error, rows};
use crate::store::secret::read;
use crate::store::{Secret, StoreError};

const PUT: &str = "INSERT INTO secrets (name, secret) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

const GET: &str = "SELECT secret FROM secrets WHERE name = ?1";

pub(super) async fn get_or_put(conn: &mut SqliteConnection, name: &str, fresh: &Secret) -> Result<Secret, StoreError> {
    sqlx::query(PUT).bind(name).bind(&fresh[..]).execute(&mut *conn).await.map_err(error::store)?;
    let row = sqlx::query(GET).bind(name).fetch_one(conn).await.map_err(error::store)?;
    let stored: Vec<u8> = rows::get(&row, 0)?;
    read(name, &stored)
}
