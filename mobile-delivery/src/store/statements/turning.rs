//! Making devices hot and cold.

use super::batch::batch;
use super::hold::Holding;
use super::leaving::{come, leave, stand};
use super::sessions::{has_listener, via_of};
use super::{Conn, Fault};
use crate::rules::{Turn, turn};
use crate::store::{Idle, Lane, MAIN, Micros, Number, StoreError, Temperature, Tier, Turned, slot_of};

const LANE: &str = concat!("SELECT temperature, turn, tier, ", shard_of!("$1"), " FROM device_lanes WHERE device = $1");

const TIER: &str = "SELECT tier FROM devices WHERE number = $1";

const WARM: &str = "INSERT INTO device_lanes (device, slot, tier, temperature, turn, sent, behind, idle_since) \
     VALUES ($1, $2, $3, 1, $4, $5, $7, $6) ON CONFLICT (device) DO UPDATE SET temperature = 1, turn = excluded.turn, \
     sent = excluded.sent, behind = excluded.behind, idle_since = excluded.idle_since";

const COOL: &str = "UPDATE device_lanes SET temperature = 2, turn = $2, idle_since = coalesce(idle_since, $3) WHERE device = $1";

const COLD: &str = "DELETE FROM device_lanes WHERE device = $1";

const IDLE: &str = concat!(
    "SELECT l.device, d.tenant, d.id, l.tier, ",
    shard_of!("l.device"),
    ", l.temperature, l.turn, l.idle_since FROM device_lanes AS l \
     JOIN devices AS d ON d.number = l.device WHERE l.idle_since < $1 AND ",
    at_one_of!("l.device", "$3"),
    " ORDER BY l.idle_since LIMIT $2"
);

const COOLING: &str = concat!(
    "SELECT l.device, d.tenant, d.id, l.tier, ",
    shard_of!("l.device"),
    ", l.temperature, l.turn, coalesce(l.idle_since, 0) FROM device_lanes AS l \
     JOIN devices AS d ON d.number = l.device WHERE l.temperature = 2 AND ",
    at_one_of!("l.device", "$2"),
    " ORDER BY l.device LIMIT $1"
);

/// A lane that is there.
struct There {
    temperature: Temperature,
    turn: i64,
    tier: Tier,
    shard: String,
}

/// The lane of a device that is not cold.
async fn lane_of(conn: &mut Conn, device: i64) -> Result<Option<There>, Fault> {
    let found: Option<(i16, i64, i16, String)> = sqlx::query_as(LANE).bind(device).fetch_optional(conn).await?;
    let lane = found.map(|(temperature, turn, tier, shard)| {
        let (temperature, tier) = (Temperature::of_stored(temperature)?, Tier::of_stored(tier)?);
        Ok::<_, StoreError>(There { temperature, turn, tier, shard })
    });
    Ok(lane.transpose()?)
}

pub(super) async fn warm(
    conn: &mut Conn,
    device: Number,
    shard: &str,
    by: Option<i64>,
    now: Micros,
) -> Result<Option<Lane>, Fault> {
    let mut holding = Holding::of(conn, [device.0]).await?;
    let Some(held) = holding.change(device.0) else { return Ok(None) };
    let lane = lane_of(conn, device.0).await?;
    let tier = match &lane {
        Some(there) => there.tier,
        None => {
            let (tier,): (i16,) = sqlx::query_as(TIER).bind(device.0).fetch_one(&mut *conn).await?;
            Tier::of_stored(tier)?
        }
    };
    let elsewhere = lane.as_ref().filter(|there| there.shard != shard);
    let may_move = |there: &There| there.temperature == Temperature::Cooling || by == Some(held.fence);
    if let Some(there) = elsewhere.filter(|there| !may_move(there)) {
        return Ok(Some(Lane { turn: there.turn, was: there.temperature, tier, shard: there.shard.clone() }));
    }
    // One that moves is made anew: what the queue before was filled with says nothing of this one.
    let (was, at) = match &lane {
        None => (Temperature::Cold, held.turn),
        Some(there) if elsewhere.is_some() => (Temperature::Cold, there.turn),
        Some(there) => (there.temperature, there.turn),
    };
    let listened = has_listener(conn, device.0).await?;
    let Some((_, next)) = turn((was, at), listened, Turn::Warm) else {
        return Ok(Some(Lane { turn: at, was, tier, shard: shard.to_owned() }));
    };
    held.turn = next;
    // Where the broker serves the device, no session reads what there is: all of it is relayed. And nobody sees the device go.
    let by_broker = via_of(conn, device.0).await?.is_broker();
    let (sent, behind) = if by_broker { (0, i16::from(held.backlog > 0)) } else { (held.seq, 0) };
    let idle_since = if listened || by_broker { None } else { Some(now) };
    let query = sqlx::query(WARM).bind(device.0).bind(slot_of(device)).bind(tier.stored()).bind(next);
    query.bind(sent).bind(idle_since).bind(behind).execute(&mut *conn).await?;
    stand(conn, device, shard).await?;
    if let Some(there) = elsewhere {
        leave(conn, device, &there.shard, tier, now).await?;
    }
    come(conn, device, shard, tier).await?;
    holding.write(conn, 0).await?;
    Ok(Some(Lane { turn: next, was, tier, shard: shard.to_owned() }))
}

/// Takes a turn that somebody asked for by number.
async fn take(conn: &mut Conn, device: Number, asked: Turn, now: Micros) -> Result<Turned, Fault> {
    // A removed device has no row to hold; its lane has nobody left but those who cool it.
    let mut holding = Holding::of(conn, [device.0]).await?;
    let Some(there) = lane_of(conn, device.0).await? else { return Ok(Turned::No) };
    let taken = has_listener(conn, device.0).await?;
    let Some((next, at)) = turn((there.temperature, there.turn), taken, asked) else { return Ok(Turned::No) };
    match next {
        Temperature::Cold => {
            sqlx::query(COLD).bind(device.0).execute(&mut *conn).await?;
            stand(conn, device, MAIN).await?;
        }
        _ => {
            sqlx::query(COOL).bind(device.0).bind(at).bind(now).execute(&mut *conn).await?;
        }
    }
    if let Some(held) = holding.change(device.0) {
        held.turn = at;
    }
    holding.write(conn, 0).await?;
    Ok(Turned::Done { turn: at })
}

pub(super) async fn cool(conn: &mut Conn, device: Number, turn: i64, now: Micros) -> Result<Turned, Fault> {
    take(conn, device, Turn::Cool(turn), now).await
}

pub(super) async fn cooled(conn: &mut Conn, device: Number, turn: i64) -> Result<Turned, Fault> {
    take(conn, device, Turn::Cooled(turn), 0).await
}

pub(super) type Nobody = (i64, String, String, i16, String, i16, i64, Micros);

/// Lanes that nobody listens to, as they were found.
pub(super) fn told(found: Vec<Nobody>) -> Result<Vec<Idle>, Fault> {
    let idle = |(device, tenant, id, tier, shard, temperature, turn, since): Nobody| {
        let (tier, temperature) = (Tier::of_stored(tier)?, Temperature::of_stored(temperature)?);
        Ok(Idle { device: Number(device), tenant, id, tier, shard, temperature, turn, since })
    };
    Ok(found.into_iter().map(idle).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn idle(conn: &mut Conn, shards: &[&str], before: Micros, limit: u32) -> Result<Vec<Idle>, Fault> {
    told(sqlx::query_as(IDLE).bind(before).bind(i64::from(limit)).bind(batch(shards)?).fetch_all(conn).await?)
}

pub(super) async fn cooling(conn: &mut Conn, shards: &[&str], limit: u32) -> Result<Vec<Idle>, Fault> {
    told(sqlx::query_as(COOLING).bind(i64::from(limit)).bind(batch(shards)?).fetch_all(conn).await?)
}
