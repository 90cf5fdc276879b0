//! How far jobs are.

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::json::{self, Hex};
use super::{error, rows};
use crate::store::row::progress_columns;
use crate::store::stored::legible;
use crate::store::{Progress, StoreError};

// Of a job that retention has taken nothing is put down: nothing would ever take it away.
const PUT: &str = concat!(
    "INSERT INTO job_progress AS known (job_id, ",
    progress_columns!(""),
    ") SELECT unhex(value->>0), value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(?1) \
     WHERE EXISTS (SELECT 1 FROM jobs WHERE id = unhex(value->>0)) \
     ON CONFLICT (job_id) DO UPDATE SET epoch = excluded.epoch, attempt = excluded.attempt, lease = excluded.lease, \
     percent = excluded.percent, note = excluded.note, at = excluded.at \
     WHERE (known.epoch, known.attempt, known.lease, known.at) < (excluded.epoch, excluded.attempt, excluded.lease, excluded.at) \
     RETURNING job_id",
);

const OF: &str = concat!(
    "SELECT ",
    progress_columns!("p."),
    ", p.job_id FROM job_progress AS p WHERE p.job_id IN (SELECT unhex(value) FROM json_each(?1))",
);

pub(super) async fn put(conn: &mut SqliteConnection, said: &[(Uuid, Progress)]) -> Result<Vec<Uuid>, StoreError> {
    let batch = json::rows(said.iter().map(|(id, progress)| {
        let Progress { epoch, attempt, lease, percent, note, at } = progress;
        (Hex(id.as_bytes()), epoch, attempt, lease, percent, legible(note), at)
    }))?;
    let put = sqlx::query(PUT).bind(batch).fetch_all(conn).await.map_err(error::store)?;
    put.iter().map(|row| rows::get(row, 0)).collect()
}

pub(super) async fn of(conn: &mut SqliteConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, Progress)>, StoreError> {
    let asked = json::rows(ids.iter().map(|id| Hex(id.as_bytes())))?;
    let found = sqlx::query(OF).bind(asked).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok((rows::get(row, 6)?, rows::progress(row, 0)?))).collect()
}
