//! What lanes are to be filled with, and how far they are.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::batch::{batch, count};
use super::ending::{End, end};
use super::hold::Holding;
use super::messages::bodies;
use super::{Conn, Fault};
use crate::store::{Mark, Micros, Number, Reading, Relayed, Tier, Via, slot_of};

const WITH_WORK: &str = concat!(
    "SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    " WHERE (SELECT 1 FROM device_lanes AS l WHERE l.slot = CAST(n.value AS bigint) AND l.behind = 1 AND l.temperature = 1 LIMIT 1) = 1"
);

const LANES: &str = concat!(
    "SELECT l.device, d.tenant, d.id, l.tier, ",
    shard_of!("l.device"),
    ", d.via, l.turn, l.sent, s.seq FROM device_lanes AS l \
     JOIN devices AS d ON d.number = l.device JOIN device_states AS s ON s.device = l.device \
     WHERE l.slot = $1 AND l.behind = 1 AND l.temperature = 1 AND l.device > $2 AND ",
    at_one_of!("l.device", "$4"),
    " ORDER BY l.device LIMIT $3"
);

// By device alone: with what `device_lanes_behind` is about, a table without statistics would be walked by that index.
const LANES_OF: &str = concat!(
    "SELECT l.device, d.tenant, d.id, l.tier, ",
    shard_of!("l.device"),
    ", d.via, l.turn, l.sent, s.seq, l.behind = 1 AND l.temperature = 1 FROM ",
    each!("$1"),
    " CROSS JOIN device_lanes AS l JOIN devices AS d ON d.number = l.device JOIN device_states AS s ON s.device = l.device \
     WHERE l.device = CAST(n.value AS bigint) ORDER BY l.device"
);

const ROWS: &str = concat!(
    "SELECT ",
    int!("2"),
    ", d.seq, CAST(d.bytes AS bigint) FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d WHERE d.device = ",
    int!("0"),
    " AND d.seq > ",
    int!("1"),
    " AND d.expires_at > $2 ORDER BY 1, 2 LIMIT $3"
);

const FENCES: &str = concat!(
    "SELECT slot, fence FROM device_slots WHERE process IS NOT NULL AND slot IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const MARK: &str = concat!(
    "UPDATE device_lanes AS l SET sent = ",
    int!("2"),
    ", behind = ",
    int!("3"),
    " FROM ",
    each!("$1"),
    " WHERE l.device = ",
    int!("0"),
    " AND l.temperature = 1 AND l.turn = ",
    int!("1"),
    " AND l.sent <= ",
    int!("2"),
    " RETURNING device"
);

// No more than was relayed at once.
const HANDED: &str = concat!(
    "SELECT d.device, d.seq FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d WHERE d.device = ",
    int!("0"),
    " AND d.seq > ",
    int!("1"),
    " AND d.seq <= ",
    int!("2"),
    " AND d.expires_at > ",
    int!("3")
);

type Lane = (i64, String, String, i16, String, i16, i64, i64, i64);

/// Lanes of these slots that have something, slot by slot, from where the reading before left off.
async fn lanes(conn: &mut Conn, reading: &Reading<'_>) -> Result<Vec<Lane>, Fault> {
    let work: Vec<(i64,)> = sqlx::query_as(WITH_WORK).bind(batch(reading.slots)?).fetch_all(&mut *conn).await?;
    let from = slot_of(reading.after);
    let mut slots: Vec<i16> = work.into_iter().filter_map(|(slot,)| i16::try_from(slot).ok()).collect();
    slots.sort_unstable();
    let mut lanes: Vec<Lane> = Vec::new();
    for slot in slots.into_iter().filter(|slot| *slot >= from || reading.after.0 == 0) {
        let left = i64::from(reading.devices) - count(lanes.len());
        if left <= 0 {
            break;
        }
        let after = if slot == from { reading.after.0 } else { 0 };
        let found: Vec<Lane> =
            sqlx::query_as(LANES).bind(slot).bind(after).bind(left).bind(batch(reading.shards)?).fetch_all(&mut *conn).await?;
        lanes.extend(found);
    }
    Ok(lanes)
}

pub(super) async fn unsent(conn: &mut Conn, reading: &Reading<'_>, now: Micros) -> Result<Vec<Relayed>, Fault> {
    let lanes = lanes(conn, reading).await?;
    relayed(conn, lanes, reading, now).await
}

pub(super) async fn unsent_of(
    conn: &mut Conn,
    devices: &[Number],
    reading: &Reading<'_>,
    now: Micros,
) -> Result<Vec<Relayed>, Fault> {
    let most = usize::try_from(reading.devices).unwrap_or(usize::MAX);
    type Row = (i64, String, String, i16, String, i16, i64, i64, i64, bool);
    let found: Vec<Row> = sqlx::query_as(LANES_OF).bind(batch(devices)?).fetch_all(&mut *conn).await?;
    let has_work = |(device, tenant, id, tier, shard, via, turn, sent, seq, has_work): Row| {
        let has_work = has_work && reading.shards.contains(&shard.as_str());
        has_work.then_some((device, tenant, id, tier, shard, via, turn, sent, seq))
    };
    let lanes: Vec<Lane> = found.into_iter().filter_map(has_work).take(most).collect();
    relayed(conn, lanes, reading, now).await
}

/// What these lanes are to be filled with.
async fn relayed(conn: &mut Conn, lanes: Vec<Lane>, reading: &Reading<'_>, now: Micros) -> Result<Vec<Relayed>, Fault> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let asked = batch(lanes.iter().enumerate().map(|(at, lane)| (lane.0, lane.7, at)))?;
    let most = i64::from(reading.messages.max(1));
    let found: Vec<(i64, i64, i64)> = sqlx::query_as(ROWS).bind(asked).bind(now).bind(most).fetch_all(&mut *conn).await?;
    let (rows, whole) = portioned(&found, lanes.len(), reading);
    let wanted: Vec<(i64, i64)> = rows.iter().flat_map(|(at, seqs)| seqs.iter().map(|seq| (lanes[*at].0, *seq))).collect();
    let mut bodies = bodies(conn, &wanted).await?;
    let mut relayed = Vec::with_capacity(whole);
    for (at, (device, tenant, id, tier, shard, via, turn, after, last)) in lanes.into_iter().enumerate().take(whole) {
        let messages = bodies.remove(&device).unwrap_or_default();
        // With rows it goes up to the last of them; with none, nothing is left of what the device was given by then.
        let upto = rows.get(&at).and_then(|seqs| seqs.last().copied()).unwrap_or(last);
        let (device, tier, via) = (Number(device), Tier::of_stored(tier)?, Via::of_stored(via)?);
        relayed.push(Relayed { device, tenant, id, tier, shard, via, turn, after, messages, upto });
    }
    Ok(relayed)
}

/// The places to read of each lane, by its position, and how many lanes were looked at: all but those behind where a limit was met.
fn portioned(found: &[(i64, i64, i64)], lanes: usize, reading: &Reading<'_>) -> (BTreeMap<usize, Vec<i64>>, usize) {
    let each = usize::try_from(reading.each.max(1)).unwrap_or(usize::MAX);
    let (mut rows, mut bytes) = (BTreeMap::<usize, Vec<i64>>::new(), 0);
    for (at, seq, size) in found {
        let at = usize::try_from(*at).unwrap_or(usize::MAX);
        bytes += size;
        if bytes > reading.bytes && !rows.is_empty() {
            // This lane may have been begun: then it is cut here, and else comes next time.
            let looked_at = at + usize::from(rows.contains_key(&at));
            return (rows, looked_at);
        }
        let seqs = rows.entry(at).or_default();
        if seqs.len() < each {
            seqs.push(*seq);
        }
    }
    let cut = count(found.len()) >= i64::from(reading.messages.max(1));
    let last = found.last().and_then(|(at, ..)| usize::try_from(*at).ok());
    match last {
        Some(last) if cut => (rows, last + 1),
        _ => (rows, lanes),
    }
}

pub(super) async fn mark_sent(conn: &mut Conn, shard: i16, marks: &[Mark]) -> Result<Vec<bool>, Fault> {
    let mut holding = Holding::of(conn, marks.iter().map(|mark| mark.device.0)).await?;
    let slots: BTreeSet<i16> = marks.iter().map(|mark| slot_of(mark.device)).collect();
    let fences: Vec<(i16, i64)> = sqlx::query_as(FENCES).bind(batch(slots)?).fetch_all(&mut *conn).await?;
    let fences: HashMap<i16, i64> = fences.into_iter().collect();
    let row = |mark: &Mark| {
        let seq = holding.get(mark.device.0)?.seq;
        let upto = mark.upto.min(seq);
        let held = fences.get(&slot_of(mark.device)) == Some(&mark.fence);
        held.then_some((mark.device.0, mark.turn, upto, i16::from(upto < seq)))
    };
    let rows: Vec<_> = marks.iter().filter_map(row).collect();
    if rows.is_empty() {
        return Ok(vec![false; marks.len()]);
    }
    let done: Vec<(i64,)> = sqlx::query_as(MARK).bind(batch(rows)?).fetch_all(&mut *conn).await?;
    let done: HashSet<i64> = done.into_iter().map(|(device,)| device).collect();
    let handed = marks.iter().filter(|mark| done.contains(&mark.device.0));
    let handed: Vec<_> = handed.filter_map(|mark| mark.handed.map(|handed| (mark.device.0, handed))).collect();
    // All of them are of one moment: that of the call.
    if let Some(at) = handed.iter().map(|(_, handed)| handed.at).max() {
        let asked = batch(handed.iter().map(|(device, handed)| (*device, handed.after, handed.upto, handed.at)))?;
        let found: Vec<(i64, i64)> = sqlx::query_as(HANDED).bind(asked).fetch_all(&mut *conn).await?;
        let endings = found.into_iter().map(|row| (row, End::INFERRED)).collect();
        end(conn, &mut holding, &endings, at).await?;
        holding.write(conn, shard).await?;
    }
    Ok(marks.iter().map(|mark| done.contains(&mark.device.0)).collect())
}
