//! Secrets that all processes share.

use sqlx::postgres::PgConnection;

use super::error::Fault;
use super::rows;
use crate::store::Secret;
use crate::store::secret::read;

// Waits for another process that is putting it, and then leaves that one's.
const PUT: &str = "INSERT INTO secrets (name, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const GET: &str = "SELECT secret FROM secrets WHERE name = $1";

pub(super) async fn get_or_put(conn: &mut PgConnection, name: &str, fresh: &Secret) -> Result<Secret, Fault> {
    sqlx::query(PUT).bind(name).bind(&fresh[..]).execute(&mut *conn).await?;
    let row = sqlx::query(GET).bind(name).fetch_one(conn).await?;
    let stored: Vec<u8> = rows::get(&row, 0)?;
    Ok(read(name, &stored)?)
}
