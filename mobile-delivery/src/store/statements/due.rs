//! What time does to deliveries: some become due, some expire.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::batch::batch;
use super::ending::{self, End, Ended, end, put_down};
use super::hold::Holding;
use super::placing::{Newcomer, place};
use super::{Conn, Fault};
use crate::store::{Due, Expired, Limits, Micros, Reason};

const DUE: &str = "SELECT message, device FROM device_scheduled WHERE due_at <= $1 ORDER BY due_at LIMIT $2";

const TAKE: &str = concat!(
    "DELETE FROM device_scheduled WHERE (message, device) IN (SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    " FROM ",
    each!("$1"),
    ") RETURNING message, device, due_at, ttl, bytes, receipt, collapse_key"
);

// What is told of a removed device later than its removal must find its id.
const TOUCH: &str = concat!(
    "UPDATE devices SET removed_at = $2 WHERE removed_at IS NOT NULL AND number IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const WHOSE: &str =
    concat!("SELECT number, tenant FROM devices WHERE number IN (SELECT CAST(n.value AS bigint) FROM ", each!("$1"), ")");

const OVER: &str = "SELECT device, seq FROM device_deliveries WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2";

/// A delivery that waits for its time.
pub(super) struct Scheduled {
    pub(super) message: Uuid,
    pub(super) device: i64,
    due_at: Micros,
    ttl: Micros,
    bytes: i64,
    pub(super) receipt: bool,
    collapse_key: Option<String>,
}

/// Takes those of `wanted`, by message and device, that are scheduled still; in the order they are due.
pub(super) async fn take(conn: &mut Conn, wanted: &[(Uuid, i64)]) -> Result<Vec<Scheduled>, Fault> {
    type Row = (Uuid, i64, i64, i64, i32, i16, Option<String>);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let taken: Vec<Row> = sqlx::query_as(TAKE).bind(batch(wanted)?).fetch_all(conn).await?;
    let scheduled = |(message, device, due_at, ttl, bytes, receipt, collapse_key): Row| Scheduled {
        message,
        device,
        due_at,
        ttl,
        bytes: i64::from(bytes),
        receipt: receipt == 1,
        collapse_key,
    };
    let mut taken: Vec<Scheduled> = taken.into_iter().map(scheduled).collect();
    taken.sort_by_key(|taken| (taken.due_at, taken.message, taken.device));
    Ok(taken)
}

pub(super) async fn place_due(conn: &mut Conn, shard: i16, limits: &Limits, now: Micros, limit: u32) -> Result<Due, Fault> {
    let due: Vec<(Uuid, i64)> = sqlx::query_as(DUE).bind(now).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    let mut holding = Holding::of(conn, due.iter().map(|(_, device)| *device)).await?;
    let taken = take(conn, &due).await?;
    let (here, gone): (Vec<&Scheduled>, Vec<&Scheduled>) =
        taken.iter().partition(|scheduled| holding.get(scheduled.device).is_some());
    let newcomer = |scheduled: &&'_ Scheduled| Newcomer {
        device: scheduled.device,
        message: scheduled.message,
        bytes: scheduled.bytes,
        expires_at: scheduled.due_at.saturating_add(scheduled.ttl),
        receipt: scheduled.receipt,
        collapse_key: None,
    };
    let newcomers: Vec<Newcomer<'_>> = here
        .iter()
        .map(|scheduled| Newcomer { collapse_key: scheduled.collapse_key.as_deref(), ..newcomer(scheduled) })
        .collect();
    let (placed, ended) = place(conn, &mut holding, &[], &newcomers, limits, now).await?;
    let withdrawn = ending::withdrawn(conn, &ended).await?;
    drop_removed(conn, &mut holding, &gone, now).await?;
    holding.write(conn, shard).await?;
    Ok(Due { placed, withdrawn })
}

/// Ends what was scheduled for devices that are gone.
async fn drop_removed(conn: &mut Conn, holding: &mut Holding, gone: &[&Scheduled], now: Micros) -> Result<(), Fault> {
    if gone.is_empty() {
        return Ok(());
    }
    let devices: HashSet<i64> = gone.iter().map(|scheduled| scheduled.device).collect();
    let devices = batch(devices)?;
    let whose: Vec<(i64, String)> = sqlx::query_as(WHOSE).bind(devices.clone()).fetch_all(&mut *conn).await?;
    let whose: HashMap<i64, String> = whose.into_iter().collect();
    for scheduled in gone {
        if let Some(tenant) = whose.get(&scheduled.device) {
            holding.count(tenant.clone(), -1);
        }
    }
    sqlx::query(TOUCH).bind(devices).bind(now).execute(&mut *conn).await?;
    let ended: Vec<Ended> = gone.iter().map(|scheduled| withdrawn(scheduled, Reason::Removed)).collect();
    put_down(conn, &ended, now).await
}

/// How a delivery ends that never had a place.
pub(super) fn withdrawn(scheduled: &Scheduled, reason: Reason) -> Ended {
    let Scheduled { message, device, receipt, .. } = *scheduled;
    Ended { message, device, seq: None, end: End::dropped(reason), receipt }
}

pub(super) async fn expire(conn: &mut Conn, shard: i16, now: Micros, limit: u32) -> Result<Expired, Fault> {
    let over: Vec<(i64, i64)> = sqlx::query_as(OVER).bind(now).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    let mut holding = Holding::of(conn, over.iter().map(|(device, _)| *device)).await?;
    let found = over.len();
    let endings = over.into_iter().map(|row| (row, End::EXPIRED)).collect();
    let ended = end(conn, &mut holding, &endings, now).await?;
    let withdrawn = ending::withdrawn(conn, &ended).await?;
    holding.write(conn, shard).await?;
    Ok(Expired { count: u32::try_from(found).unwrap_or(u32::MAX), withdrawn })
}
