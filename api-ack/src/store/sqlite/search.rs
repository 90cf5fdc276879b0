//! Looking for jobs: down the primary key from the newest, a bounded way.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{error, read, rows, tags};
use crate::store::row::job_columns;
use crate::store::{Found, JobSearch, StoreError};

// Where this page ends however little matches: by the primary key.
const FLOOR: &str = "SELECT id FROM jobs WHERE id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3";

// The subject is in another table, and asked for last: once per row that matches in all else.
const SEARCH: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    " FROM jobs AS j WHERE j.id < ?1 AND j.id >= ?2 AND (?3 IS NULL OR j.tenant = ?3) AND (?4 IS NULL OR j.kind = ?4) \
     AND (?5 IS NULL OR j.state = ?5) \
     AND (?6 IS NULL OR (SELECT p.subject FROM job_payloads AS p WHERE p.id = j.id) = ?6) ORDER BY j.id DESC LIMIT ?7",
);

pub(super) async fn search(conn: &mut SqliteConnection, search: &JobSearch) -> Result<Found, StoreError> {
    if let Some(by) = search.by_tag()? {
        return tags::search(conn, search, by).await;
    }
    let (from, to) = search.bounds();
    let filter = &search.filter;
    let floor = sqlx::query(FLOOR).bind(from).bind(to).bind(i64::from(search.scan.max(1)) - 1);
    let floor = floor.fetch_optional(&mut *conn).await.map_err(error::store)?;
    let floor: Option<Uuid> = floor.map(|row| rows::get(&row, 0)).transpose()?;
    let query = sqlx::query(SEARCH)
        .bind(from)
        .bind(floor.unwrap_or(to))
        .bind(filter.tenant.as_deref())
        .bind(filter.kind.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(search.subject.as_deref())
        .bind(filter.limit);
    let jobs = read::jobs(&query.fetch_all(conn).await.map_err(error::store)?)?;
    Ok(search.found(jobs, floor))
}
