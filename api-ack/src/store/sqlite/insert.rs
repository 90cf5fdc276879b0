//! Accepting: one transaction and one fsync for a batch.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::json::{self, Bodies, Hex, status_values};
use super::{error, rows};
use crate::store::{Inserted, NewJob, StoreError};

const KEYS: &str = "INSERT INTO idempotency_keys (hash, job_id, fingerprint, created_at) \
     SELECT unhex(value->>0), unhex(value->>1), unhex(value->>2), value->>3 FROM json_each(?1) WHERE true \
     ON CONFLICT (hash) DO NOTHING";

const LOST: &str = "SELECT k.hash, k.job_id, k.fingerprint FROM json_each(?1) AS n \
     JOIN idempotency_keys AS k ON k.hash = unhex(n.value->>0) WHERE k.job_id <> unhex(n.value->>1)";

const JOBS: &str = concat!(
    "INSERT INTO jobs (id, kind, tenant, version, state, epoch, attempt, spent, starts, interrupted, lease, owner, due_at, \
     outlet, deadline, started_at, ended_at, updated_at, reason, error) \
     SELECT unhex(value->>1), value->>2, value->>3, 1, ",
    status_values!(),
    " FROM json_each(?1)",
);

const PAYLOADS: &str = "INSERT INTO job_payloads (id, subject, content_type, traceparent, body) \
     SELECT unhex(value->>0), value->>1, value->>2, value->>3, substr(?2, value->>'$[4][0]', value->>'$[4][1]') FROM json_each(?1)";

/// SQLite would take a NUL in a text; the same job must be good or bad on both databases.
pub(super) fn refuse_what_postgres_refuses(jobs: &[NewJob]) -> Result<(), StoreError> {
    let has_nul = |new: &&NewJob| {
        let texts = [&new.job.kind, &new.job.tenant, &new.payload.subject, &new.payload.content_type];
        texts.into_iter().chain(&new.payload.traceparent).any(|text| text.contains('\0'))
    };
    match jobs.iter().find(has_nul) {
        Some(new) => Err(StoreError::Refused(format!("job {} has a NUL in its text", new.job.id))),
        None => Ok(()),
    }
}

pub(super) async fn insert(conn: &mut SqliteConnection, jobs: &[NewJob]) -> Result<Vec<Inserted>, StoreError> {
    let lost = take_keys(conn, jobs).await?;
    let inserted = jobs.iter().map(|new| match new.key.and_then(|key| lost.get(&key.hash)) {
        Some(&(id, fingerprint)) => Inserted::Existing { id, fingerprint },
        None => Inserted::New,
    });
    let inserted: Vec<Inserted> = inserted.collect();
    let fresh = || jobs.iter().zip(&inserted).filter(|(_, became)| **became == Inserted::New).map(|(new, _)| new);

    let batch = json::rows(
        fresh().map(|new| (json::status(&new.job.status), Hex(new.job.id.as_bytes()), &new.job.kind, &new.job.tenant)),
    )?;
    sqlx::query(JOBS).bind(batch).execute(&mut *conn).await.map_err(error::store)?;

    let mut bodies = Bodies::new();
    let batch = json::rows(fresh().map(|NewJob { job, payload, .. }| {
        (Hex(job.id.as_bytes()), &payload.subject, &payload.content_type, &payload.traceparent, bodies.push(&payload.body))
    }))?;
    sqlx::query(PAYLOADS).bind(batch).bind(bodies.joined()).execute(conn).await.map_err(error::store)?;
    Ok(inserted)
}

type Holders = HashMap<[u8; 32], (Uuid, [u8; 32])>;

/// Takes the keys that are free; answers who has the others.
async fn take_keys(conn: &mut SqliteConnection, jobs: &[NewJob]) -> Result<Holders, StoreError> {
    let keyed: Vec<_> = jobs.iter().filter_map(|new| Some((new.key.as_ref()?, &new.job))).collect();
    if keyed.is_empty() {
        return Ok(Holders::new());
    }
    let batch = json::rows(
        keyed.iter().map(|(key, job)| (Hex(&key.hash), Hex(job.id.as_bytes()), Hex(&key.fingerprint), job.status.updated_at)),
    )?;
    let won = sqlx::query(KEYS).bind(&batch).execute(&mut *conn).await.map_err(error::store)?;
    if won.rows_affected() == keyed.len() as u64 {
        return Ok(Holders::new());
    }
    let found = sqlx::query(LOST).bind(&batch).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok((rows::hash(row, 0)?, (rows::get(row, 1)?, rows::hash(row, 2)?)))).collect()
}
