//! What became of messages, what users have seen, and what is to be told outside.

use std::collections::HashMap;

use uuid::Uuid;

use super::batch::batch;
use super::due::{take, withdrawn};
use super::ending::{self, End, end, put_down, tell};
use super::hold::Holding;
use super::log;
use super::{Conn, Fault};
use crate::store::stored::priority_of;
use crate::store::{Cancelled, Fate, Micros, Reason, Receipt, Record, State, StoreError};

const MESSAGE: &str = "SELECT sender, kind, content_type, CAST(octet_length(body) AS bigint), collapse_key, priority, created_at, \
     not_before FROM device_messages WHERE id = $1 AND tenant = $2";

// Sent is what a hot lane was filled with.
const LIVE: &str = "SELECT d.id, l.seq, CASE WHEN w.temperature = 1 AND w.sent >= l.seq THEN 1 ELSE 0 END \
     FROM device_deliveries AS l JOIN devices AS d ON d.number = l.device \
     LEFT JOIN device_lanes AS w ON w.device = l.device WHERE l.message = $1";

const ENDED: &str = "SELECT d.id, e.seq, e.state, e.reason, e.detail, e.ended_at, e.read_at FROM device_ended AS e \
     JOIN devices AS d ON d.number = e.device WHERE e.message = $1";

const SCHEDULED: &str = "SELECT d.id FROM device_scheduled AS s JOIN devices AS d ON d.number = s.device WHERE s.message = $1";

const IS_THERE: &str = "SELECT id FROM device_messages WHERE id = $1 AND tenant = $2";

const PLACES: &str = "SELECT device, seq FROM device_deliveries WHERE message = $1";

const WAITING: &str = "SELECT message, device FROM device_scheduled WHERE message = $1";

const READ: &str = concat!(
    "UPDATE device_ended SET state = 4, read_at = $2 WHERE state = 3 AND (message, device) IN (SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    " FROM ",
    each!("$1"),
    ") RETURNING message, receipt"
);

const RECEIPTS: &str = "SELECT r.number, coalesce(d.tenant, ''), r.message, coalesce(d.id, ''), coalesce(d.user_id, ''), r.state, \
     r.reason, r.detail, r.at FROM device_receipts AS r LEFT JOIN devices AS d ON d.number = r.device WHERE r.number > $1 \
     ORDER BY r.number LIMIT $2";

const FORGET: &str =
    concat!("DELETE FROM device_receipts WHERE number IN (SELECT CAST(n.value AS bigint) FROM ", each!("$1"), ")");

fn reason(number: Option<i16>) -> Result<Option<Reason>, StoreError> {
    number.map(Reason::of_stored).transpose()
}

pub(super) async fn record(conn: &mut Conn, tenant: &str, message: Uuid) -> Result<Option<Record>, Fault> {
    type Row = (String, String, String, i64, Option<String>, i16, i64, Option<i64>);
    type End = (String, Option<i64>, i16, Option<i16>, Option<String>, i64, Option<i64>);
    // What is live is read before what has ended: one that ends in between is told twice rather than not at all.
    let found: Option<Row> = sqlx::query_as(MESSAGE).bind(message).bind(tenant).fetch_optional(&mut *conn).await?;
    let Some((sender, kind, content_type, size, collapse_key, priority, created_at, not_before)) = found else {
        return Ok(None);
    };
    let scheduled: Vec<(String,)> = sqlx::query_as(SCHEDULED).bind(message).fetch_all(&mut *conn).await?;
    let live: Vec<(String, i64, i32)> = sqlx::query_as(LIVE).bind(message).fetch_all(&mut *conn).await?;
    let ended: Vec<End> = sqlx::query_as(ENDED).bind(message).fetch_all(&mut *conn).await?;
    let spread = log::spread(conn, message).await?;
    let waits = |device, seq, state| Fate { device, seq, state, reason: None, detail: None, ended_at: None, read_at: None };
    let mut fates: HashMap<String, Fate> = HashMap::new();
    for (device,) in scheduled {
        fates.insert(device.clone(), waits(device, None, State::Scheduled));
    }
    for (device, seq, sent) in live {
        let state = if sent == 1 { State::Sent } else { State::Queued };
        fates.insert(device.clone(), waits(device, Some(seq), state));
    }
    for (device, seq, state, why, detail, ended_at, read_at) in ended {
        let (state, reason, ended_at) = (State::of_stored(state)?, reason(why)?, Some(ended_at));
        fates.insert(device.clone(), Fate { device, seq, state, reason, detail, ended_at, read_at });
    }
    let mut fates: Vec<Fate> = fates.into_values().collect();
    fates.sort_unstable_by(|one, other| one.device.cmp(&other.device));
    let priority = priority_of(priority);
    let id = message;
    Ok(Some(Record { id, sender, kind, content_type, size, collapse_key, priority, created_at, not_before, fates, spread }))
}

/// Whether a tenant has this message.
pub(super) async fn is_there(conn: &mut Conn, tenant: &str, message: Uuid) -> Result<bool, Fault> {
    let known: Option<(Uuid,)> = sqlx::query_as(IS_THERE).bind(message).bind(tenant).fetch_optional(conn).await?;
    Ok(known.is_some())
}

pub(super) async fn cancel(conn: &mut Conn, shard: i16, tenant: &str, message: Uuid, now: Micros) -> Result<Cancelled, Fault> {
    if !is_there(conn, tenant, message).await? {
        return Ok(Cancelled::default());
    }
    let waiting: Vec<(Uuid, i64)> = sqlx::query_as(WAITING).bind(message).fetch_all(&mut *conn).await?;
    let places: Vec<(i64, i64)> = sqlx::query_as(PLACES).bind(message).fetch_all(&mut *conn).await?;
    let devices = places.iter().map(|(device, _)| *device).chain(waiting.iter().map(|(_, device)| *device));
    let mut holding = Holding::of(conn, devices).await?;
    let taken = take(conn, &waiting).await?;
    holding.count(tenant.to_owned(), -super::batch::count(taken.len()));
    let withdrawn: Vec<_> = taken.iter().map(|scheduled| withdrawn(scheduled, Reason::Cancelled)).collect();
    put_down(conn, &withdrawn, now).await?;
    // What became due while this looked has a place now.
    let places: Vec<(i64, i64)> = sqlx::query_as(PLACES).bind(message).fetch_all(&mut *conn).await?;
    let endings = places.into_iter().map(|row| (row, End::dropped(Reason::Cancelled))).collect();
    let ended = end(conn, &mut holding, &endings, now).await?;
    let count = u32::try_from(ended.len() + withdrawn.len()).unwrap_or(u32::MAX);
    let withdrawn = ending::withdrawn(conn, &ended).await?;
    holding.write(conn, shard).await?;
    let recalled = log::recall(conn, message, now).await?;
    let spread = if recalled.is_some() { log::spread(conn, message).await? } else { None };
    let count =
        count.saturating_add(spread.map_or(0, |spread| u32::try_from(spread.devices - spread.delivered).unwrap_or(u32::MAX)));
    Ok(Cancelled { known: true, count, withdrawn, recalled })
}

pub(super) async fn read(conn: &mut Conn, device: i64, messages: &[Uuid], now: Micros) -> Result<u32, Fault> {
    let asked = batch(messages.iter().map(|message| (message, device)))?;
    let news: Vec<(Uuid, i16)> = sqlx::query_as(READ).bind(asked).bind(now).fetch_all(&mut *conn).await?;
    let told = news.iter().filter(|(_, receipt)| *receipt == 1);
    tell(conn, told.map(|(message, _)| (*message, device, End { state: State::Read, reason: None, detail: None })), now).await?;
    Ok(u32::try_from(news.len()).unwrap_or(u32::MAX))
}

pub(super) async fn receipts(conn: &mut Conn, after: i64, limit: u32) -> Result<Vec<Receipt>, Fault> {
    type Row = (i64, String, Uuid, String, String, i16, Option<i16>, Option<String>, i64);
    let found: Vec<Row> = sqlx::query_as(RECEIPTS).bind(after).bind(i64::from(limit)).fetch_all(conn).await?;
    let receipt = |(number, tenant, message, device, user, state, why, detail, at): Row| {
        let (state, reason) = (State::of_stored(state)?, reason(why)?);
        Ok(Receipt { number, tenant, message, device, user, state, reason, detail, at })
    };
    Ok(found.into_iter().map(receipt).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn forget_receipts(conn: &mut Conn, numbers: &[i64]) -> Result<(), Fault> {
    sqlx::query(FORGET).bind(batch(numbers)?).execute(conn).await?;
    Ok(())
}
