//! Which processes live, and what those that are gone leave behind.

use std::collections::HashSet;

use super::batch::batch;
use super::devices::parsed;
use super::sessions::release;
use super::{Conn, Fault};
use crate::store::{LAPSE, Lost, Micros, ProcessId, SLOTS, Slot};

const BEAT: &str = concat!(
    "INSERT INTO device_processes (id, shards, beat_at) VALUES ($1, $2, ",
    clock!(),
    ") ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, shards = excluded.shards"
);

const LIVE: &str = concat!("SELECT id FROM device_processes WHERE beat_at >= ", clock!(), " - $1 ORDER BY id");

const LIVE_WITH_SHARDS: &str =
    concat!("SELECT id, shards FROM device_processes WHERE beat_at >= ", clock!(), " - $1 ORDER BY id");

const LEAVE: &str = "DELETE FROM device_processes WHERE id = $1";

const FORGET: &str = concat!("DELETE FROM device_processes WHERE beat_at < ", clock!(), " - $1");

// From each process's first session straight to the next process: the cost is per process.
const CONNECTED: &str = "WITH RECURSIVE p(process) AS (SELECT min(process) FROM device_sessions UNION ALL \
     SELECT (SELECT min(s.process) FROM device_sessions AS s WHERE s.process > p.process) FROM p WHERE p.process IS NOT NULL) \
     SELECT process FROM p WHERE process IS NOT NULL";

const SESSIONS: &str = "SELECT device, fence FROM device_sessions WHERE process = $1 ORDER BY device LIMIT $2";

// Taken one after the other: two that take at once would both count what is free.
const ALL: &str = concat!("SELECT s.slot, s.process, s.fence FROM device_slots AS s ORDER BY s.slot", for_update!("s"));

const TAKE: &str = concat!(
    "UPDATE device_slots SET process = $2, fence = fence + 1 WHERE slot IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const GIVE: &str = concat!(
    "UPDATE device_slots SET process = NULL WHERE (slot, fence) IN (SELECT ",
    int!("0"),
    ", ",
    int!("1"),
    " FROM ",
    each!("$1"),
    ")"
);

const FREE: &str = concat!(
    "UPDATE device_slots SET process = NULL WHERE process IS NOT NULL AND process NOT IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

async fn live(conn: &mut Conn) -> Result<Vec<i64>, Fault> {
    let live: Vec<(i64,)> = sqlx::query_as(LIVE).bind(LAPSE).fetch_all(conn).await?;
    Ok(live.into_iter().map(|(process,)| process).collect())
}

pub(super) async fn beat(conn: &mut Conn, me: ProcessId, shards: &[String]) -> Result<Vec<(ProcessId, Vec<String>)>, Fault> {
    sqlx::query(BEAT).bind(me.0).bind(batch(shards)?).execute(&mut *conn).await?;
    let live: Vec<(i64, String)> = sqlx::query_as(LIVE_WITH_SHARDS).bind(LAPSE).fetch_all(conn).await?;
    let told = |(id, shards): (i64, String)| Ok((ProcessId(id), parsed(&shards)?));
    live.into_iter().map(told).collect()
}

pub(super) async fn leave(conn: &mut Conn, me: ProcessId) -> Result<(), Fault> {
    sqlx::query(LEAVE).bind(me.0).execute(&mut *conn).await?;
    free_slots(conn).await?;
    Ok(())
}

/// Frees the slots of processes that live no more.
async fn free_slots(conn: &mut Conn) -> Result<u32, Fault> {
    let live = batch(live(conn).await?)?;
    let freed = sqlx::query(FREE).bind(live).execute(conn).await?.rows_affected();
    Ok(u32::try_from(freed).unwrap_or(u32::MAX))
}

pub(super) async fn release_lapsed(conn: &mut Conn, now: Micros, limit: u32) -> Result<Lost, Fault> {
    sqlx::query(FORGET).bind(LAPSE).execute(&mut *conn).await?;
    let live: HashSet<i64> = live(conn).await?.into_iter().collect();
    let connected: Vec<(i64,)> = sqlx::query_as(CONNECTED).fetch_all(&mut *conn).await?;
    let mut lost: Vec<(i64, i64)> = Vec::new();
    for (process,) in connected.into_iter().filter(|(process,)| !live.contains(process)) {
        let left = i64::from(limit) - super::batch::count(lost.len());
        let found: Vec<(i64, i64)> = sqlx::query_as(SESSIONS).bind(process).bind(left).fetch_all(&mut *conn).await?;
        lost.extend(found);
    }
    let ended = release(conn, &lost, now).await?.len();
    Ok(Lost { sessions: u32::try_from(ended).unwrap_or(u32::MAX), slots: free_slots(conn).await? })
}

pub(super) async fn take_slots(conn: &mut Conn, me: ProcessId, want: u32) -> Result<Vec<Slot>, Fault> {
    let slots: Vec<(i16, Option<i64>, i64)> = sqlx::query_as(ALL).fetch_all(&mut *conn).await?;
    let live: HashSet<i64> = live(conn).await?.into_iter().collect();
    let mine = |process: Option<i64>| process == Some(me.0);
    let has = slots.iter().filter(|(_, process, _)| mine(*process)).count();
    let want = usize::try_from(want.min(SLOTS)).unwrap_or_default().saturating_sub(has);
    let free = slots.iter().filter(|(_, process, _)| process.is_none_or(|process| !live.contains(&process) && process != me.0));
    let taken: HashSet<i16> = free.take(want).map(|(slot, ..)| *slot).collect();
    if !taken.is_empty() {
        sqlx::query(TAKE).bind(batch(&taken)?).bind(me.0).execute(conn).await?;
    }
    let has = |(slot, process, fence): &(i16, Option<i64>, i64)| match taken.contains(slot) {
        true => Some(Slot { slot: *slot, process: me, fence: fence + 1 }),
        false => mine(*process).then_some(Slot { slot: *slot, process: me, fence: *fence }),
    };
    Ok(slots.iter().filter_map(has).collect())
}

pub(super) async fn give_slots(conn: &mut Conn, slots: &[Slot]) -> Result<(), Fault> {
    sqlx::query(GIVE).bind(batch(slots.iter().map(|slot| (slot.slot, slot.fence)))?).execute(conn).await?;
    Ok(())
}
