//! Accepting: one statement and one fsync for a batch.
//!
//! The statement takes the idempotency keys first, in the order of their hashes, so that two processes with the same keys
//! wait for each other and never in a circle; then it stores the jobs that have no key or won theirs. Only when a key was lost
//! a second statement, with its own snapshot, asks who has it.

use std::collections::HashMap;

use sqlx::postgres::{PgBindIterExt, PgConnection};
use uuid::Uuid;

use super::apply::{bind_status, status_columns};
use super::error::Fault;
use super::rows;
use crate::store::stored::priority_number;
use crate::store::{Inserted, Key, NewJob, Priority, StoreError, Target};

/// How often a key is tried that was taken and is gone when asked for: retention took it in between.
const VANISHED: u32 = 3;

// Only a batch with a high job in it names the column `priority`: its numbers are in the array `$priority`; and only one with a
// callback in it the column `callback`.
macro_rules! store_jobs {
    ($which:expr) => {
        store_jobs!($which, "", "", "", "")
    };
    ($which:expr, $priority:literal) => {
        store_jobs!($which, ", priority", ", n.priority", $priority, ", priority")
    };
    ($which:expr, with callbacks, $arrays:literal) => {
        store_jobs!($which, ", priority, callback", ", n.priority, n.callback", $arrays, ", priority, callback")
    };
    ($which:expr, $into:literal, $from:literal, $array:literal, $name:literal) => {
        concat!(
            "stored AS (INSERT INTO jobs (version, id, kind, tenant, ",
            status_columns!(),
            $into,
            ") SELECT 1, n.id, n.kind, n.tenant, n.state, n.epoch, n.attempt, n.spent, n.starts, n.interrupted, n.lease, \
             n.owner, n.due_at, n.outlet, n.deadline, n.started_at, n.ended_at, n.updated_at, n.reason, n.error",
            $from,
            " FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::int[], $6::int[], $7::int[], $8::int[], \
             $9::int[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[], \
             $17::bigint[], $18::text[], $19::text[], $20::bool[]",
            $array,
            ") AS n(id, kind, tenant, ",
            status_columns!(),
            ", keyed",
            $name,
            ") ",
            $which,
            "), payloads AS (INSERT INTO job_payloads (id, subject, content_type, body, traceparent) \
             SELECT n.id, n.subject, n.content_type, n.body, n.traceparent \
             FROM UNNEST($1::uuid[], $21::text[], $22::text[], $23::bytea[], $24::text[], $20::bool[]) \
             AS n(id, subject, content_type, body, traceparent, keyed) ",
            $which,
            ")"
        )
    };
}

macro_rules! take_keys {
    () => {
        "WITH won AS (INSERT INTO idempotency_keys (hash, job_id, fingerprint, created_at) \
         SELECT * FROM UNNEST($25::bytea[], $26::uuid[], $27::bytea[], $28::bigint[]) ON CONFLICT (hash) DO NOTHING \
         RETURNING job_id), "
    };
}

/// The jobs that are stored: those without a key, and those that won theirs.
macro_rules! winners {
    () => {
        "WHERE NOT n.keyed OR n.id IN (SELECT job_id FROM won)"
    };
}

macro_rules! store_tags {
    ($values:literal, $which:expr) => {
        concat!(
            ", tags AS (INSERT INTO job_tags (tenant, tag, job_id) SELECT n.tenant, n.tag, n.id FROM UNNEST(",
            $values,
            ") AS n(tenant, tag, id, keyed) ",
            $which,
            ")"
        )
    };
}

macro_rules! store_callbacks {
    ($values:literal, $which:expr) => {
        concat!(
            ", called AS (INSERT INTO callbacks (job_id, tenant, url, host, state, epoch, calls, claim, history, updated_at) \
             SELECT n.id, n.tenant, n.url, n.host, 0, 0, 0, 0, '[]', n.at FROM UNNEST(",
            $values,
            ") AS n(id, tenant, url, host, at, keyed) ",
            $which,
            ")"
        )
    };
}

const PLAIN: &str = concat!("WITH ", store_jobs!(""), " SELECT 0::bigint");

const KEYED: &str = concat!(take_keys!(), store_jobs!(winners!()), " SELECT count(*) FROM won");

// The same where some job is high or has tags.
const PLAIN_MORE: &str = concat!(
    "WITH ",
    store_jobs!("", ", $25::smallint[]"),
    store_tags!("$26::text[], $27::text[], $28::uuid[], $29::bool[]", ""),
    " SELECT 0::bigint"
);

const KEYED_MORE: &str = concat!(
    take_keys!(),
    store_jobs!(winners!(), ", $29::smallint[]"),
    store_tags!("$30::text[], $31::text[], $32::uuid[], $33::bool[]", winners!()),
    " SELECT count(*) FROM won"
);

// The same where some job has a callback.
const PLAIN_CALLED: &str = concat!(
    "WITH ",
    store_jobs!("", with callbacks, ", $25::smallint[], $30::int[]"),
    store_tags!("$26::text[], $27::text[], $28::uuid[], $29::bool[]", ""),
    store_callbacks!("$31::uuid[], $32::text[], $33::text[], $34::text[], $35::bigint[], $36::bool[]", ""),
    " SELECT 0::bigint"
);

const KEYED_CALLED: &str = concat!(
    take_keys!(),
    store_jobs!(winners!(), with callbacks, ", $29::smallint[], $34::int[]"),
    store_tags!("$30::text[], $31::text[], $32::uuid[], $33::bool[]", winners!()),
    store_callbacks!("$35::uuid[], $36::text[], $37::text[], $38::text[], $39::bigint[], $40::bool[]", winners!()),
    " SELECT count(*) FROM won"
);

const HOLDERS: &str = "SELECT hash, job_id, fingerprint FROM idempotency_keys WHERE hash = ANY($1)";

pub(super) async fn insert(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Inserted>, Fault> {
    let mut inserted = vec![Inserted::New; jobs.len()];
    let mut pending: Vec<usize> = (0..jobs.len()).collect();
    for _ in 0..=VANISHED {
        if pending.is_empty() {
            return Ok(inserted);
        }
        let batch: Vec<&NewJob> = pending.iter().map(|&at| &jobs[at]).collect();
        let mut keys: Vec<(&Key, &NewJob)> = batch.iter().filter_map(|job| Some((job.key.as_ref()?, *job))).collect();
        keys.sort_unstable_by_key(|(key, _)| key.hash);
        if store(conn, &batch, &keys).await? == keys.len() as u64 {
            return Ok(inserted);
        }
        let holders = holders(conn, &keys).await?;
        pending.retain(|&at| {
            let Some(key) = &jobs[at].key else { return false };
            match holders.get(&key.hash) {
                None => return true,
                Some((id, fingerprint)) if *id != jobs[at].job.id => {
                    inserted[at] = Inserted::Existing { id: *id, fingerprint: *fingerprint };
                }
                Some(_) => {}
            }
            false
        });
    }
    Err(Fault::Store(StoreError::Undecided("it is taken and given back by turns".into())))
}

/// Stores what can be stored; answers how many keys were won.
async fn store(conn: &mut PgConnection, jobs: &[&NewJob], keys: &[(&Key, &NewJob)]) -> Result<u64, Fault> {
    let rows = || jobs.iter();
    let tags: Vec<(&NewJob, &str)> = rows().flat_map(|new| new.tags.iter().map(|tag| (*new, tag))).collect();
    let called: Vec<(&NewJob, &Target)> = rows().filter_map(|new| Some((*new, new.callback.as_ref()?))).collect();
    let more = !called.is_empty() || !tags.is_empty() || rows().any(|new| new.job.priority == Priority::High);
    let statement = match (keys.is_empty(), more, called.is_empty()) {
        (true, false, _) => PLAIN,
        (true, true, true) => PLAIN_MORE,
        (true, true, false) => PLAIN_CALLED,
        (false, false, _) => KEYED,
        (false, true, true) => KEYED_MORE,
        (false, true, false) => KEYED_CALLED,
    };
    let query = sqlx::query(statement)
        .bind(rows().map(|new| new.job.id).bind_iter())
        .bind(rows().map(|new| new.job.kind.as_str()).bind_iter())
        .bind(rows().map(|new| new.job.tenant.as_str()).bind_iter());
    let mut query = bind_status(query, rows().map(|new| &new.job.status))
        .bind(rows().map(|new| new.key.is_some()).bind_iter())
        .bind(rows().map(|new| new.payload.subject.as_str()).bind_iter())
        .bind(rows().map(|new| new.payload.content_type.as_str()).bind_iter())
        .bind(rows().map(|new| &new.payload.body[..]).bind_iter())
        .bind(rows().map(|new| new.payload.traceparent.as_deref()).bind_iter());
    if !keys.is_empty() {
        query = query
            .bind(keys.iter().map(|(key, _)| &key.hash[..]).bind_iter())
            .bind(keys.iter().map(|(_, new)| new.job.id).bind_iter())
            .bind(keys.iter().map(|(key, _)| &key.fingerprint[..]).bind_iter())
            .bind(keys.iter().map(|(_, new)| new.job.status.updated_at).bind_iter());
    }
    if more {
        query = query
            .bind(rows().map(|new| priority_number(new.job.priority)).bind_iter())
            .bind(tags.iter().map(|(new, _)| new.job.tenant.as_str()).bind_iter())
            .bind(tags.iter().map(|(_, tag)| *tag).bind_iter())
            .bind(tags.iter().map(|(new, _)| new.job.id).bind_iter())
            .bind(tags.iter().map(|(new, _)| new.key.is_some()).bind_iter());
    }
    if !called.is_empty() {
        query = query
            .bind(rows().map(|new| new.callback.as_ref().map(|_| 0_i32)).bind_iter())
            .bind(called.iter().map(|(new, _)| new.job.id).bind_iter())
            .bind(called.iter().map(|(new, _)| new.job.tenant.as_str()).bind_iter())
            .bind(called.iter().map(|(_, target)| target.url.as_str()).bind_iter())
            .bind(called.iter().map(|(_, target)| target.host.as_str()).bind_iter())
            .bind(called.iter().map(|(new, _)| new.job.status.updated_at).bind_iter())
            .bind(called.iter().map(|(new, _)| new.key.is_some()).bind_iter());
    }
    Ok(rows::count(&query.fetch_one(conn).await?, 0)?)
}

type Holders = HashMap<[u8; 32], (Uuid, [u8; 32])>;

async fn holders(conn: &mut PgConnection, keys: &[(&Key, &NewJob)]) -> Result<Holders, Fault> {
    let query = sqlx::query(HOLDERS).bind(keys.iter().map(|(key, _)| &key.hash[..]).bind_iter());
    let mut holders = Holders::new();
    for row in query.fetch_all(conn).await? {
        holders.insert(rows::hash(&row, 0)?, (rows::get(&row, 1)?, rows::hash(&row, 2)?));
    }
    Ok(holders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_nothing_that_none_of_its_jobs_has() {
        assert!(![PLAIN, KEYED].iter().any(|statement| statement.contains("priority") || statement.contains("tag")));
        assert!([PLAIN_MORE, KEYED_MORE].iter().all(|statement| statement.contains("n.error, n.priority FROM")));
        assert!(![PLAIN, KEYED, PLAIN_MORE, KEYED_MORE].iter().any(|statement| statement.contains("callback")));
        assert!([PLAIN_CALLED, KEYED_CALLED].iter().all(|statement| statement.contains("n.priority, n.callback FROM")));
    }
}
