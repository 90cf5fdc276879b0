//! The inbox: an effect and the note that it happened, in one transaction.
//!
//! A handler calls [`Inbox::record`] in the transaction of its effect. A message that comes again, because the process died
//! before the ack or because two processes ran it, finds the entry and makes no second effect.
//!
//! Guarantee: one effect per (consumer, message id), for as long as the entry is kept ([`RETENTION`] by default) and for
//! effects that live in the same database. An effect elsewhere, such as a call to another system, is at least once.
//!
//! A success settles the message for every later run, redrives included. A failure or rejection that is recorded settles only
//! the run it ended and those before it, so that a redrive may try again.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row};

use crate::handler::{Context, Outcome};
use crate::message::Run;
use crate::results::JobResult;

/// How long entries are kept unless told otherwise: 7 days.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Rows that are deleted in one transaction.
const PURGE_BATCH: i64 = 1000;

/// What [`Inbox::record`] found.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "on `Already` the transaction must be rolled back"]
pub enum Entry {
    /// The entry is made: commit.
    New,
    /// Another run has had its effect, and this was its outcome: roll back and return it.
    Already(Outcome),
}

/// A failure of the inbox.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The database is away or refuses.
    #[error("use the inbox: {0}")]
    Database(#[from] sqlx::Error),
    /// A stored outcome does not read: it was written by something else.
    #[error("read the outcome of message `{id}` in the inbox: {why}")]
    Unreadable {
        /// Which message.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// Entries of one service's database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inbox;

impl Inbox {
    /// Notes in the transaction of the effect that the message of `cx` ended with `outcome`.
    ///
    /// Waits for a transaction that has the same message in hand. Call it before the effect where the outcome is known by
    /// then: then two runs of one message go one after the other.
    ///
    /// # Errors
    /// As [`InboxError`]; the transaction is of no more use then.
    pub async fn record(tx: &mut PgConnection, cx: &Context, outcome: &Outcome) -> Result<Entry, InboxError> {
        let settled = matches!(outcome, Outcome::Done(_));
        let run = Run { epoch: cx.epoch, attempt: cx.attempt };
        let recorded = sqlx::query(
            "INSERT INTO warren_inbox AS i (consumer, message_id, epoch, attempt, settled, outcome) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (consumer, message_id) DO UPDATE
             SET epoch = excluded.epoch, attempt = excluded.attempt, settled = excluded.settled, outcome = excluded.outcome,
                 recorded_at = now()
             WHERE NOT i.settled AND (i.epoch, i.attempt) < (excluded.epoch, excluded.attempt)",
        )
        .bind(&cx.queue)
        .bind(&cx.id)
        .bind(run.epoch)
        .bind(run.attempt)
        .bind(settled)
        .bind(encode(&cx.id, run, outcome)?)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if recorded == 1 {
            return Ok(Entry::New);
        }
        let row = sqlx::query("SELECT outcome FROM warren_inbox WHERE consumer = $1 AND message_id = $2")
            .bind(&cx.queue)
            .bind(&cx.id)
            .fetch_one(&mut *tx)
            .await?;
        Ok(Entry::Already(decode(&cx.id, row.try_get(0)?)?))
    }

    /// Which of `runs` of messages at `consumer` are settled, as positions.
    ///
    /// # Errors
    /// As [`InboxError`].
    pub async fn settled(pool: &PgPool, consumer: &str, runs: &[(&str, Run)]) -> Result<Vec<usize>, InboxError> {
        let ids: Vec<&str> = runs.iter().map(|(id, _)| *id).collect();
        let epochs: Vec<i32> = runs.iter().map(|(_, run)| run.epoch).collect();
        let attempts: Vec<i32> = runs.iter().map(|(_, run)| run.attempt).collect();
        let rows = sqlx::query(
            "SELECT a.position FROM unnest($2::text[], $3::int[], $4::int[]) WITH ORDINALITY AS a(message_id, epoch, attempt, position)
             JOIN warren_inbox i ON i.consumer = $1 AND i.message_id = a.message_id
             WHERE i.settled OR (i.epoch, i.attempt) >= (a.epoch, a.attempt)",
        )
        .bind(consumer)
        .bind(ids)
        .bind(epochs)
        .bind(attempts)
        .fetch_all(pool)
        .await?;
        rows.iter().map(|row| Ok(usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(0))).collect()
    }

    /// Deletes entries older than `keep`, in small transactions. Gives the number.
    ///
    /// # Errors
    /// When the database is away; what was deleted until then stays deleted.
    pub async fn purge(pool: &PgPool, keep: Duration) -> Result<u64, InboxError> {
        let mut deleted = 0;
        loop {
            let batch = sqlx::query(
                "DELETE FROM warren_inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM warren_inbox
                 WHERE recorded_at < now() - make_interval(secs => $1) ORDER BY recorded_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
            )
            .bind(keep.as_secs_f64())
            .bind(PURGE_BATCH)
            .execute(pool)
            .await?
            .rows_affected();
            deleted += batch;
            if batch < PURGE_BATCH.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }
}

/// An outcome is kept in the form it is reported in.
fn encode(id: &str, run: Run, outcome: &Outcome) -> Result<String, InboxError> {
    let unreadable = |why: serde_json::Error| InboxError::Unreadable { id: id.to_owned(), why: why.to_string() };
    serde_json::to_string(&JobResult::from_outcome(id, run, outcome, "")).map_err(unreadable)
}

pub(crate) fn decode(id: &str, outcome: &str) -> Result<Outcome, InboxError> {
    let unreadable = |why: crate::results::NotAResult| InboxError::Unreadable { id: id.to_owned(), why: why.to_string() };
    Ok(JobResult::decode(outcome.as_bytes()).map_err(unreadable)?.outcome())
}
