//! Making devices hot and cold.

use super::hold::Holding;
use super::sessions::{has_listener, via_of};
use super::{Conn, Fault};
use crate::rules::{Turn, turn};
use crate::store::{Idle, Lane, Micros, Number, StoreError, Temperature, Tier, Turned, slot_of};

const LANE: &str = "SELECT temperature, turn, tier FROM device_lanes WHERE device = $1";

const TIER: &str = "SELECT tier FROM devices WHERE number = $1";

const WARM: &str = "INSERT INTO device_lanes (device, slot, tier, temperature, turn, sent, behind, idle_since) \
     VALUES ($1, $2, $3, 1, $4, $5, $7, $6) ON CONFLICT (device) DO UPDATE SET temperature = 1, turn = excluded.turn, \
     sent = excluded.sent, behind = excluded.behind, idle_since = excluded.idle_since";

const COOL: &str = "UPDATE device_lanes SET temperature = 2, turn = $2, idle_since = coalesce(idle_since, $3) WHERE device = $1";

const COLD: &str = "DELETE FROM device_lanes WHERE device = $1";

const IDLE: &str = "SELECT l.device, d.tenant, d.id, l.tier, l.temperature, l.turn, l.idle_since FROM device_lanes AS l \
     JOIN devices AS d ON d.number = l.device WHERE l.idle_since < $1 ORDER BY l.idle_since LIMIT $2";

const COOLING: &str = "SELECT l.device, d.tenant, d.id, l.tier, l.temperature, l.turn, coalesce(l.idle_since, 0) FROM device_lanes AS l \
     JOIN devices AS d ON d.number = l.device WHERE l.temperature = 2 ORDER BY l.device LIMIT $1";

/// The lane of a device that is not cold: temperature, turn and tier.
async fn lane_of(conn: &mut Conn, device: i64) -> Result<Option<(Temperature, i64, Tier)>, Fault> {
    let found: Option<(i16, i64, i16)> = sqlx::query_as(LANE).bind(device).fetch_optional(conn).await?;
    let lane = found.map(|(temperature, turn, tier)| {
        Ok::<_, StoreError>((Temperature::of_stored(temperature)?, turn, Tier::of_stored(tier)?))
    });
    Ok(lane.transpose()?)
}

pub(super) async fn warm(conn: &mut Conn, device: Number, now: Micros) -> Result<Option<Lane>, Fault> {
    let mut holding = Holding::of(conn, [device.0]).await?;
    let Some(held) = holding.change(device.0) else { return Ok(None) };
    let lane = lane_of(conn, device.0).await?;
    let (was, at) = lane.map_or((Temperature::Cold, held.turn), |(temperature, turn, _)| (temperature, turn));
    let tier = match lane {
        Some((.., tier)) => tier,
        None => {
            let (tier,): (i16,) = sqlx::query_as(TIER).bind(device.0).fetch_one(&mut *conn).await?;
            Tier::of_stored(tier)?
        }
    };
    let listened = has_listener(conn, device.0).await?;
    let Some((_, next)) = turn((was, at), listened, Turn::Warm) else {
        return Ok(Some(Lane { turn: at, was, tier }));
    };
    held.turn = next;
    // Where the broker serves the device, no session reads what there is: all of it is relayed. And nobody sees the device go.
    let by_broker = via_of(conn, device.0).await?.is_broker();
    let (sent, behind) = if by_broker { (0, i16::from(held.backlog > 0)) } else { (held.seq, 0) };
    let idle_since = if listened || by_broker { None } else { Some(now) };
    let query = sqlx::query(WARM).bind(device.0).bind(slot_of(device)).bind(tier.stored()).bind(next);
    query.bind(sent).bind(idle_since).bind(behind).execute(&mut *conn).await?;
    holding.write(conn, 0).await?;
    Ok(Some(Lane { turn: next, was, tier }))
}

/// Takes a turn that somebody asked for by number.
async fn take(conn: &mut Conn, device: Number, asked: Turn, now: Micros) -> Result<Turned, Fault> {
    // A removed device has no row to hold; its lane has nobody left but those who cool it.
    let mut holding = Holding::of(conn, [device.0]).await?;
    let Some((temperature, at, _)) = lane_of(conn, device.0).await? else { return Ok(Turned::No) };
    let taken = has_listener(conn, device.0).await?;
    let Some((next, at)) = turn((temperature, at), taken, asked) else { return Ok(Turned::No) };
    match next {
        Temperature::Cold => sqlx::query(COLD).bind(device.0).execute(&mut *conn).await?,
        _ => sqlx::query(COOL).bind(device.0).bind(at).bind(now).execute(&mut *conn).await?,
    };
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

type Nobody = (i64, String, String, i16, i16, i64, Micros);

/// Lanes that nobody listens to, as they were found.
fn told(found: Vec<Nobody>) -> Result<Vec<Idle>, Fault> {
    let idle = |(device, tenant, id, tier, temperature, turn, since): Nobody| {
        let (tier, temperature) = (Tier::of_stored(tier)?, Temperature::of_stored(temperature)?);
        Ok(Idle { device: Number(device), tenant, id, tier, temperature, turn, since })
    };
    Ok(found.into_iter().map(idle).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn idle(conn: &mut Conn, before: Micros, limit: u32) -> Result<Vec<Idle>, Fault> {
    told(sqlx::query_as(IDLE).bind(before).bind(i64::from(limit)).fetch_all(conn).await?)
}

pub(super) async fn cooling(conn: &mut Conn, limit: u32) -> Result<Vec<Idle>, Fault> {
    told(sqlx::query_as(COOLING).bind(i64::from(limit)).fetch_all(conn).await?)
}
