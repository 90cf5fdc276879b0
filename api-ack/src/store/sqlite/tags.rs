//! Tags of jobs: shown, and walked down.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::json::{self, Hex};
use super::{error, read, rows};
use crate::store::row::job_columns;
use crate::store::search::ByTag;
use crate::store::{Found, JobSearch, StoreError};
use crate::tags::Tags;

const OF: &str = "SELECT job_id, tag FROM job_tags WHERE job_id IN (SELECT unhex(value) FROM json_each(?1))";

// Where this page ends however little matches: by the key.
const FLOOR: &str = "SELECT job_id FROM job_tags WHERE tenant = ?4 AND tag = ?5 AND job_id < ?1 AND job_id >= ?2 \
     ORDER BY job_id DESC LIMIT 1 OFFSET ?3";

const SEARCH: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    " FROM job_tags AS t CROSS JOIN jobs AS j ON j.id = t.job_id \
     WHERE t.tenant = ?3 AND t.tag = ?8 AND t.job_id < ?1 AND t.job_id >= ?2 \
     AND NOT EXISTS (SELECT 1 FROM json_each(?9) AS also WHERE NOT EXISTS \
     (SELECT 1 FROM job_tags AS o WHERE o.tenant = ?3 AND o.tag = also.value AND o.job_id = t.job_id)) \
     AND (?4 IS NULL OR j.kind = ?4) AND (?5 IS NULL OR j.state = ?5) \
     AND (?6 IS NULL OR (SELECT p.subject FROM job_payloads AS p WHERE p.id = t.job_id) = ?6) \
     ORDER BY t.job_id DESC LIMIT ?7",
);

pub(super) async fn of(conn: &mut SqliteConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Tags>, StoreError> {
    let asked = json::rows(ids.iter().map(|id| Hex(id.as_bytes())))?;
    let mut words: HashMap<Uuid, Vec<String>> = HashMap::new();
    for row in sqlx::query(OF).bind(asked).fetch_all(conn).await.map_err(error::store)? {
        words.entry(rows::get(&row, 0)?).or_default().push(rows::get(&row, 1)?);
    }
    Ok(words.into_iter().map(|(id, words)| (id, Tags::stored(words))).collect())
}

/// As [`super::search`], down a tag.
pub(super) async fn search(
    conn: &mut SqliteConnection,
    search: &JobSearch,
    ByTag { tenant, first, others }: ByTag<'_>,
) -> Result<Found, StoreError> {
    let (from, to) = search.bounds();
    let filter = &search.filter;
    let floor = sqlx::query(FLOOR).bind(from).bind(to).bind(i64::from(search.scan.max(1)) - 1).bind(tenant).bind(first);
    let floor = floor.fetch_optional(&mut *conn).await.map_err(error::store)?;
    let floor: Option<Uuid> = floor.map(|row| rows::get(&row, 0)).transpose()?;
    let query = sqlx::query(SEARCH)
        .bind(from)
        .bind(floor.unwrap_or(to))
        .bind(tenant)
        .bind(filter.kind.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(search.subject.as_deref())
        .bind(filter.limit)
        .bind(first)
        .bind(json::rows(others.into_iter())?);
    let jobs = read::jobs(&query.fetch_all(conn).await.map_err(error::store)?)?;
    Ok(search.found(jobs, floor))
}
