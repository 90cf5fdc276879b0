//! Tags of jobs: shown, and walked down.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::{read, rows};
use crate::store::row::job_columns;
use crate::store::search::ByTag;
use crate::store::{Found, JobSearch, StoreError};
use crate::tags::Tags;

const OF: &str = "SELECT job_id, array_agg(tag) FROM job_tags WHERE job_id = ANY($1) GROUP BY job_id";

// Where this page ends however little matches: the key alone is read.
const FLOOR: &str = "SELECT job_id FROM job_tags WHERE tenant = $4 AND tag = $5 AND job_id < $1 AND job_id >= $2 \
     ORDER BY job_id DESC OFFSET $3 LIMIT 1";

const SEARCH: &str = concat!(
    "SELECT ",
    job_columns!("j"),
    " FROM job_tags t JOIN jobs j ON j.id = t.job_id \
     WHERE t.tenant = $3 AND t.tag = $8 AND t.job_id < $1 AND t.job_id >= $2 \
     AND NOT EXISTS (SELECT FROM UNNEST($9::text[]) AS also(tag) WHERE NOT EXISTS \
     (SELECT FROM job_tags o WHERE o.tenant = $3 AND o.tag = also.tag AND o.job_id = t.job_id)) \
     AND ($4::text IS NULL OR j.kind = $4) AND ($5::smallint IS NULL OR j.state = $5) \
     AND ($6::text IS NULL OR (SELECT p.subject FROM job_payloads p WHERE p.id = t.job_id) = $6) \
     ORDER BY t.job_id DESC LIMIT $7",
);

pub(super) async fn of(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Tags>, Fault> {
    let found = sqlx::query(OF).bind(ids).fetch_all(conn).await?;
    let tags = found.iter().map(|row| Ok((rows::get(row, 0)?, Tags::stored(rows::get(row, 1)?))));
    Ok(tags.collect::<Result<_, StoreError>>()?)
}

/// As [`super::search`], down a tag.
pub(super) async fn search(
    conn: &mut PgConnection,
    search: &JobSearch,
    ByTag { tenant, first, others }: ByTag<'_>,
) -> Result<Found, Fault> {
    let (from, to) = search.bounds();
    let filter = &search.filter;
    let floor = sqlx::query(FLOOR).bind(from).bind(to).bind(i64::from(search.scan.max(1)) - 1).bind(tenant).bind(first);
    let floor: Option<Uuid> = floor.fetch_optional(&mut *conn).await?.map(|row| rows::get(&row, 0)).transpose()?;
    let query = sqlx::query(SEARCH)
        .bind(from)
        .bind(floor.unwrap_or(to))
        .bind(tenant)
        .bind(filter.kind.as_deref())
        .bind(filter.state.map(|state| state.stored()))
        .bind(search.subject.as_deref())
        .bind(i64::from(filter.limit))
        .bind(first)
        .bind(others);
    let jobs = read::jobs(&query.fetch_all(conn).await?)?;
    Ok(search.found(jobs, floor))
}
