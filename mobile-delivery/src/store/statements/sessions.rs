//! Who is connected: claimed by the newest, under a fence that rises.

use std::collections::HashSet;

use super::batch::batch;
use super::hold::Holding;
use super::listing::{lanes, sessions};
use super::log;
use super::{Conn, Fault};
use crate::store::{Claim, Claimed, MAIN, Micros, Number, Over, Session, Temperature, Via};

const CLAIM: &str = concat!(
    "INSERT INTO device_sessions (device, tenant, process, session, fence, transport, roster, since) SELECT ",
    int!("0"),
    ", n.value->>1, ",
    int!("2"),
    ", ",
    uuid!("3"),
    ", ",
    int!("4"),
    ", ",
    int!("5"),
    ", ",
    int!("6"),
    ", $2 FROM ",
    each!("$1"),
    " WHERE true ON CONFLICT (device) DO UPDATE SET process = excluded.process, session = excluded.session, \
     fence = excluded.fence, transport = excluded.transport, roster = excluded.roster, since = excluded.since"
);

const TAKEN: &str = concat!(
    "UPDATE device_lanes SET idle_since = NULL WHERE idle_since IS NOT NULL AND device IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const LEFT: &str = concat!(
    "UPDATE device_lanes SET idle_since = $2 WHERE idle_since IS NULL AND device IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const RELEASE: &str = concat!(
    "DELETE FROM device_sessions WHERE (device, fence) IN (SELECT ",
    int!("0"),
    ", ",
    int!("1"),
    " FROM ",
    each!("$1"),
    ") RETURNING device"
);

const OVER: &str = concat!(
    "SELECT ",
    int!("0"),
    ", ",
    int!("1"),
    ", s.fence, s.revoked_at FROM ",
    each!("$1"),
    " LEFT JOIN device_states AS s ON s.device = ",
    int!("0"),
    " WHERE s.revoked_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM device_sessions AS d WHERE d.device = ",
    int!("0"),
    " AND d.fence = ",
    int!("1"),
    ")"
);

// A removed device has no queue any more that it could listen to.
const VIA: &str = "SELECT via FROM devices WHERE number = $1 AND removed_at IS NULL";

/// The session of a device.
pub(super) async fn session_of(conn: &mut Conn, device: i64) -> Result<Option<Session>, Fault> {
    Ok(sessions(conn, &[device]).await?.remove(&device))
}

/// Who hands the device its messages; the hub, if it is not there.
pub(super) async fn via_of(conn: &mut Conn, device: i64) -> Result<Via, Fault> {
    let found: Option<(i16,)> = sqlx::query_as(VIA).bind(device).fetch_optional(conn).await?;
    Ok(found.map_or(Ok(Via::Hub), |(via,)| Via::of_stored(via))?)
}

/// Whether somebody takes messages from the queue of the device: a session, or, for all that is known, the device itself.
pub(super) async fn has_listener(conn: &mut Conn, device: i64) -> Result<bool, Fault> {
    let listens = session_of(conn, device).await?.is_some_and(|session| session.transport.has_lane());
    Ok(listens || via_of(conn, device).await? == Via::Amqp)
}

/// Says that nobody listens to these lanes from now on.
pub(super) async fn leave_lanes(conn: &mut Conn, devices: &[i64], now: Micros) -> Result<(), Fault> {
    sqlx::query(LEFT).bind(batch(devices)?).bind(now).execute(conn).await?;
    Ok(())
}

pub(super) async fn claim(conn: &mut Conn, claims: &[Claim], now: Micros) -> Result<Vec<Claimed>, Fault> {
    let devices: Vec<i64> = claims.iter().map(|claim| claim.device.0).collect();
    let mut holding = Holding::of(conn, devices.iter().copied()).await?;
    let previous = sessions(conn, &devices).await?;
    let mut lanes = lanes(conn, &devices).await?;
    let mut standings = log::standings(conn, &devices).await?;
    let (mut claimed, mut rows) = (Vec::with_capacity(claims.len()), Vec::new());
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for claim in claims {
        let device = claim.device.0;
        let revoked = holding.get(device).is_some_and(|held| held.revoked_at.is_some());
        let (standing, floor) = standings.remove(&device).unwrap_or_default();
        if !revoked {
            log::tell_floor(&mut holding, device, floor);
        }
        let held = if revoked { None } else { holding.change(device) };
        let Some(held) = held else {
            claimed.push(if revoked { Claimed::Revoked } else { Claimed::Unknown });
            continue;
        };
        held.fence += 1;
        let (fence, roster) = (held.fence, held.roster);
        rows.push((device, held.tenant.clone(), claim.process.0, claim.session, fence, claim.transport.stored(), roster));
        if claim.transport.has_lane() {
            taken.push(device);
        } else {
            left.push(device);
        }
        let (temperature, shard) = match lanes.remove(&device) {
            Some((temperature, _, shard)) => (temperature, shard),
            None => (Temperature::Cold, MAIN.to_owned()),
        };
        claimed.push(Claimed::Yours {
            fence: held.fence,
            previous: previous.get(&device).copied(),
            seq: held.seq,
            backlog: held.backlog,
            gap: held.gap()?,
            temperature,
            shard,
            standing: Box::new(standing),
        });
    }
    if !rows.is_empty() {
        sqlx::query(CLAIM).bind(batch(rows)?).bind(now).execute(&mut *conn).await?;
        if !taken.is_empty() {
            sqlx::query(TAKEN).bind(batch(taken)?).execute(&mut *conn).await?;
        }
        if !left.is_empty() {
            leave_lanes(conn, &left, now).await?;
        }
    }
    holding.write(conn, 0).await?;
    Ok(claimed)
}

/// Ends sessions, as (device, fence); answers the devices of those that were there.
pub(super) async fn release(conn: &mut Conn, ending: &[(i64, i64)], now: Micros) -> Result<HashSet<i64>, Fault> {
    if ending.is_empty() {
        return Ok(HashSet::new());
    }
    Holding::of(conn, ending.iter().map(|(device, _)| *device)).await?;
    let gone: Vec<(i64,)> = sqlx::query_as(RELEASE).bind(batch(ending)?).fetch_all(&mut *conn).await?;
    let gone: Vec<i64> = gone.into_iter().map(|(device,)| device).collect();
    leave_lanes(conn, &gone, now).await?;
    Ok(gone.into_iter().collect())
}

/// Of sessions, as (device, fence), those that are over.
pub(super) async fn over(conn: &mut Conn, all: &[(Number, i64)]) -> Result<Vec<(Number, Over)>, Fault> {
    let rows = batch(all.iter().map(|(device, fence)| (device.0, *fence)))?;
    let found: Vec<(i64, i64, Option<i64>, Option<i64>)> = sqlx::query_as(OVER).bind(rows).fetch_all(conn).await?;
    let why = |fence: i64, now: Option<i64>, revoked: Option<i64>| match (now, revoked) {
        (None, _) => Over::Removed,
        (_, Some(_)) => Over::Revoked,
        (Some(now), None) if now != fence => Over::Displaced,
        _ => Over::Released,
    };
    Ok(found.into_iter().map(|(device, fence, now, revoked)| (Number(device), why(fence, now, revoked))).collect())
}

pub(super) async fn told(conn: &mut Conn, device: i64, fence: i64, number: i64) -> Result<bool, Fault> {
    let mut holding = Holding::of(conn, [device]).await?;
    let Some(held) = holding.change(device) else { return Ok(false) };
    let news = held.fence == fence && held.told(number);
    if news {
        holding.write(conn, 0).await?;
    }
    Ok(news)
}
