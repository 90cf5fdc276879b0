//! Accepting: one transaction and one fsync for a batch.

use std::collections::HashMap;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};
use uuid::Uuid;

use super::json::{self, Hex};
use super::values::Insert;
use super::{error, rows};
use crate::store::stored::{legible, priority_number};
use crate::store::{Inserted, Key, NewJob, Priority, StoreError, Target};

static KEYS: Insert =
    Insert::new("INSERT INTO idempotency_keys (hash, job_id, fingerprint, created_at)", 4, "ON CONFLICT (hash) DO NOTHING");

macro_rules! into_jobs {
    ($more:literal) => {
        concat!(
            "INSERT INTO jobs (id, kind, tenant, version, state, epoch, attempt, spent, starts, interrupted, lease, owner, due_at, \
             outlet, deadline, started_at, ended_at, updated_at, reason, error",
            $more,
            ")"
        )
    };
}

static JOBS: Insert = Insert::new(into_jobs!(""), 20, "");

/// For a batch with a high job in it.
static JOBS_WITH_HIGH: Insert = Insert::new(into_jobs!(", priority"), 21, "");

/// For a batch with a callback in it.
static JOBS_WITH_CALLBACK: Insert = Insert::new(into_jobs!(", priority, callback"), 22, "");

static CALLBACKS: Insert =
    Insert::new("INSERT INTO callbacks (job_id, tenant, url, host, updated_at, state, epoch, calls, claim, history)", 10, "");

static PAYLOADS: Insert = Insert::new("INSERT INTO job_payloads (id, subject, content_type, traceparent, body)", 5, "");

static TAGS: Insert = Insert::new("INSERT INTO job_tags (tenant, tag, job_id)", 3, "");

const LOST: &str = "SELECT k.hash, k.job_id, k.fingerprint FROM json_each(?1) AS n \
     JOIN idempotency_keys AS k ON k.hash = unhex(n.value->>0) WHERE k.job_id <> unhex(n.value->>1)";

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
    let fresh: Vec<&NewJob> =
        jobs.iter().zip(&inserted).filter(|(_, became)| **became == Inserted::New).map(|(new, _)| new).collect();
    let called: Vec<(&NewJob, &Target)> = fresh.iter().filter_map(|new| Some((*new, new.callback.as_ref()?))).collect();
    if !called.is_empty() {
        JOBS_WITH_CALLBACK.execute(conn, &fresh, bind_called).await?;
        CALLBACKS.execute(conn, &called, bind_callback).await?;
    } else if fresh.iter().any(|new| new.job.priority == Priority::High) {
        let bind = |query, new| bind_job(query, new).bind(priority_number(new.job.priority));
        JOBS_WITH_HIGH.execute(conn, &fresh, bind).await?;
    } else {
        JOBS.execute(conn, &fresh, bind_job).await?;
    }
    PAYLOADS.execute(conn, &fresh, bind_payload).await?;
    let tags: Vec<(&NewJob, &str)> = fresh.iter().flat_map(|new| new.tags.iter().map(|tag| (*new, tag))).collect();
    TAGS.execute(conn, &tags, bind_tag).await?;
    Ok(inserted)
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn bind_job<'q>(query: Query<'q>, new: &&'q NewJob) -> Query<'q> {
    let NewJob { job, .. } = *new;
    let status = &job.status;
    query
        .bind(&job.id.as_bytes()[..])
        .bind(job.kind.as_str())
        .bind(job.tenant.as_str())
        .bind(1)
        .bind(status.state.stored())
        .bind(status.epoch)
        .bind(status.attempt)
        .bind(status.spent)
        .bind(status.starts)
        .bind(status.interrupted)
        .bind(status.lease)
        .bind(status.owner.map(|process| process.0))
        .bind(status.due_at)
        .bind(status.outlet.map(|outlet| outlet.stored()))
        .bind(status.deadline)
        .bind(status.started_at)
        .bind(status.ended_at)
        .bind(status.updated_at)
        .bind(status.reason.as_deref().map(legible))
        .bind(status.error.as_deref().map(legible))
}

/// As [`bind_job`], of a batch with a callback in it.
fn bind_called<'q>(query: Query<'q>, new: &&'q NewJob) -> Query<'q> {
    bind_job(query, new).bind(priority_number(new.job.priority)).bind(new.callback.as_ref().map(|_| 0))
}

fn bind_payload<'q>(query: Query<'q>, new: &&'q NewJob) -> Query<'q> {
    let NewJob { job, payload, .. } = *new;
    query
        .bind(&job.id.as_bytes()[..])
        .bind(payload.subject.as_str())
        .bind(payload.content_type.as_str())
        .bind(payload.traceparent.as_deref())
        .bind(&payload.body[..])
}

fn bind_tag<'q>(query: Query<'q>, (new, tag): &(&'q NewJob, &'q str)) -> Query<'q> {
    query.bind(new.job.tenant.as_str()).bind(*tag).bind(&new.job.id.as_bytes()[..])
}

fn bind_callback<'q>(query: Query<'q>, (new, target): &(&'q NewJob, &'q Target)) -> Query<'q> {
    let query = query.bind(&new.job.id.as_bytes()[..]).bind(new.job.tenant.as_str()).bind(target.url.as_str());
    query.bind(target.host.as_str()).bind(new.job.status.updated_at).bind(0).bind(0).bind(0).bind(0).bind("[]")
}

fn bind_key<'q>(query: Query<'q>, (key, new): &(&'q Key, &'q NewJob)) -> Query<'q> {
    query.bind(&key.hash[..]).bind(&new.job.id.as_bytes()[..]).bind(&key.fingerprint[..]).bind(new.job.status.updated_at)
}

type Holders = HashMap<[u8; 32], (Uuid, [u8; 32])>;

/// Takes the keys that are free; answers who has the others.
async fn take_keys(conn: &mut SqliteConnection, jobs: &[NewJob]) -> Result<Holders, StoreError> {
    let keyed: Vec<(&Key, &NewJob)> = jobs.iter().filter_map(|new| Some((new.key.as_ref()?, new))).collect();
    if KEYS.execute(conn, &keyed, bind_key).await? == keyed.len() as u64 {
        return Ok(Holders::new());
    }
    let asked = json::rows(keyed.iter().map(|(key, new)| (Hex(&key.hash), Hex(new.job.id.as_bytes()))))?;
    let found = sqlx::query(LOST).bind(asked).fetch_all(conn).await.map_err(error::store)?;
    found.iter().map(|row| Ok((rows::hash(row, 0)?, (rows::get(row, 1)?, rows::hash(row, 2)?)))).collect()
}
