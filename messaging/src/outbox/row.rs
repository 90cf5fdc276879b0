//! The rows of `warren_outbox`: insert, claim, and what becomes of each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};

use super::{OutboxError, Unrouted};
use crate::message::{Message, Route, Run};

/// A message without its id and body, as it is stored. Fields may be added with a default, never renamed.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    kind: String,
    source: String,
    time: Timestamp,
    content_type: String,
    #[serde(default)]
    traceparent: Option<String>,
    #[serde(default)]
    run: Option<(i32, i32)>,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// A row on its way out.
pub(super) struct Claimed {
    pub(super) id: i64,
    pub(super) route: Route,
    /// Or why the row does not read.
    pub(super) message: Result<Message, String>,
    pub(super) unrouted: Unrouted,
    pub(super) failures: i32,
}

pub(super) async fn insert(
    tx: &mut PgConnection,
    route: &Route,
    message: &Message,
    unrouted: Unrouted,
) -> Result<(), OutboxError> {
    let head = Head {
        kind: message.kind.clone(),
        source: message.source.clone(),
        time: message.time,
        content_type: message.content_type.clone(),
        traceparent: message.traceparent.clone(),
        run: message.run.map(|run| (run.epoch, run.attempt)),
        tenant: message.tenant.clone(),
        headers: message.headers.clone(),
    };
    sqlx::query(
        "INSERT INTO warren_outbox (exchange, routing_key, message_id, head, body, mandatory) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&route.exchange)
    .bind(&route.key)
    .bind(&message.id)
    .bind(serde_json::to_string(&head)?)
    .bind(&message.body[..])
    .bind(unrouted == Unrouted::IsAFailure)
    .execute(tx)
    .await?;
    Ok(())
}

/// Locks up to `limit` rows that are due, until the transaction ends. Rows another process has locked are passed over.
pub(super) async fn claim(tx: &mut PgConnection, limit: i64) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, exchange, routing_key, message_id, head, body, mandatory, failures FROM warren_outbox
         WHERE parked IS NULL AND due_at <= now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let message = read(row.try_get("message_id")?, row.try_get("head")?, row.try_get("body")?);
            let unrouted = if row.try_get("mandatory")? { Unrouted::IsAFailure } else { Unrouted::IsFine };
            let route = Route::new(row.try_get::<String, _>("exchange")?, row.try_get::<String, _>("routing_key")?);
            Ok(Claimed { id: row.try_get("id")?, route, message, unrouted, failures: row.try_get("failures")? })
        })
        .collect()
}

fn read(id: String, head: &str, body: Vec<u8>) -> Result<Message, String> {
    let head: Head = serde_json::from_str(head).map_err(|why| format!("the column `head` does not read: {why}"))?;
    Ok(Message {
        id,
        kind: head.kind,
        source: head.source,
        time: head.time,
        content_type: head.content_type,
        traceparent: head.traceparent,
        run: head.run.map(|(epoch, attempt)| Run { epoch, attempt }),
        tenant: head.tenant,
        headers: head.headers,
        body: body.into(),
    })
}

/// Deletes rows that are done.
pub(super) async fn delete(tx: &mut PgConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        sqlx::query("DELETE FROM warren_outbox WHERE id = ANY ($1)").bind(ids).execute(tx).await?;
    }
    Ok(())
}

/// Puts rows off.
pub(super) async fn put_off(tx: &mut PgConnection, rows: &[(i64, Duration)]) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        let waits: Vec<f64> = rows.iter().map(|(_, wait)| wait.as_secs_f64()).collect();
        sqlx::query(
            "UPDATE warren_outbox o SET failures = o.failures + 1, due_at = clock_timestamp() + make_interval(secs => a.wait)
             FROM unnest($1::bigint[], $2::float8[]) AS a(id, wait) WHERE o.id = a.id",
        )
        .bind(ids)
        .bind(waits)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Takes rows out of the way for good, with a reason each.
pub(super) async fn park(tx: &mut PgConnection, rows: &[(i64, String)]) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        // Postgres keeps no NUL in a text, and a reason may quote what it was given.
        let reasons: Vec<String> = rows.iter().map(|(_, reason)| reason.replace('\0', "\\0")).collect();
        sqlx::query(
            "UPDATE warren_outbox o SET parked = a.reason FROM unnest($1::bigint[], $2::text[]) AS a(id, reason) WHERE o.id = a.id",
        )
        .bind(ids)
        .bind(reasons)
        .execute(tx)
        .await?;
    }
    Ok(())
}
