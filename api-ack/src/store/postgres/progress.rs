//! How far jobs are.

use sqlx::postgres::{PgBindIterExt, PgConnection};
use uuid::Uuid;

use super::error::Fault;
use super::rows;
use crate::store::row::progress_columns;
use crate::store::stored::legible;
use crate::store::{Progress, StoreError};

// Of a job that retention has taken nothing is put down: nothing would ever take it away.
const PUT: &str = concat!(
    "INSERT INTO job_progress AS known (job_id, ",
    progress_columns!(""),
    ") SELECT * FROM UNNEST($1::uuid[], $2::int[], $3::int[], $4::bigint[], $5::smallint[], $6::text[], $7::bigint[]) AS said(job_id, ",
    progress_columns!(""),
    ") WHERE EXISTS (SELECT FROM jobs WHERE id = said.job_id) \
     ON CONFLICT (job_id) DO UPDATE SET epoch = excluded.epoch, attempt = excluded.attempt, lease = excluded.lease, \
     percent = excluded.percent, note = excluded.note, at = excluded.at \
     WHERE (known.epoch, known.attempt, known.lease, known.at) < (excluded.epoch, excluded.attempt, excluded.lease, excluded.at) \
     RETURNING job_id",
);

const OF: &str = concat!("SELECT ", progress_columns!("p."), ", p.job_id FROM job_progress p WHERE p.job_id = ANY($1)");

pub(super) async fn put(conn: &mut PgConnection, said: &[(Uuid, Progress)]) -> Result<Vec<Uuid>, Fault> {
    let mut sorted: Vec<_> = said.iter().collect();
    sorted.sort_unstable_by_key(|(id, _)| *id);
    let rows = || sorted.iter();
    let query = sqlx::query(PUT)
        .bind(rows().map(|(id, _)| *id).bind_iter())
        .bind(rows().map(|(_, progress)| progress.epoch).bind_iter())
        .bind(rows().map(|(_, progress)| progress.attempt).bind_iter())
        .bind(rows().map(|(_, progress)| progress.lease).bind_iter())
        .bind(rows().map(|(_, progress)| progress.percent).bind_iter())
        .bind(rows().map(|(_, progress)| legible(&progress.note)).bind_iter())
        .bind(rows().map(|(_, progress)| progress.at).bind_iter());
    let put = query.fetch_all(conn).await?;
    Ok(put.iter().map(|row| rows::get(row, 0)).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn of(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, Progress)>, Fault> {
    let found = sqlx::query(OF).bind(ids).fetch_all(conn).await?;
    Ok(found.iter().map(|row| Ok((rows::get(row, 6)?, rows::progress(row, 0)?))).collect::<Result<_, StoreError>>()?)
}
