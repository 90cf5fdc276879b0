//! Devices as they are: one, or a page.
//!
//! A page is picked in the order that is asked for ([`ranking`](super::ranking)); what does not match is left out, of as many as the caller allows.

use std::collections::HashMap;

use uuid::Uuid;

use super::batch::batch;
use super::devices::{number, parsed};
use super::ranking::Walk;
use super::{Conn, Fault};
use crate::store::{
    Device, Filter, MAIN, Micros, Number, Page, Presence, ProcessId, Registration, Session, StoreError, Temperature, Tier,
    Transport, Via,
};

// One that was removed has no row in `device_states`.
const DEVICES: &str = concat!(
    "SELECT d.number, d.tenant, d.id, d.user_id, d.groups, d.labels, d.tier, d.via, d.created_at, d.updated_at, s.revoked_at, s.tokens_since, s.seq, \
     s.backlog, s.backlog_bytes, s.fence FROM devices AS d JOIN device_states AS s ON s.device = d.number \
     WHERE d.number IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ") ORDER BY d.number"
);

const SESSIONS: &str = concat!(
    "SELECT device, session, process, fence, transport, since FROM device_sessions WHERE device IN \
     (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const LANES: &str = concat!(
    "SELECT l.device, l.temperature, l.tier, ",
    shard_of!("l.device"),
    " FROM device_lanes AS l WHERE l.device IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

/// The sessions of devices, by number.
pub(super) async fn sessions(conn: &mut Conn, devices: &[i64]) -> Result<HashMap<i64, Session>, Fault> {
    let found: Vec<(i64, Uuid, i64, i64, i16, i64)> = sqlx::query_as(SESSIONS).bind(batch(devices)?).fetch_all(conn).await?;
    let session = |(device, id, process, fence, transport, since)| {
        let transport = Transport::of_stored(transport)?;
        Ok((device, Session { id, process: ProcessId(process), fence, transport, since }))
    };
    Ok(found.into_iter().map(session).collect::<Result<_, StoreError>>()?)
}

/// Temperatures, tiers and brokers of those devices that are not cold, by number.
pub(super) async fn lanes(conn: &mut Conn, devices: &[i64]) -> Result<HashMap<i64, (Temperature, Tier, String)>, Fault> {
    let found: Vec<(i64, i16, i16, String)> = sqlx::query_as(LANES).bind(batch(devices)?).fetch_all(conn).await?;
    let lane =
        |(device, temperature, tier, shard)| Ok((device, (Temperature::of_stored(temperature)?, Tier::of_stored(tier)?, shard)));
    Ok(found.into_iter().map(lane).collect::<Result<_, StoreError>>()?)
}

async fn load(conn: &mut Conn, numbers: &[i64]) -> Result<Vec<Device>, Fault> {
    type Row = (
        i64,
        String,
        String,
        String,
        String,
        String,
        i16,
        i16,
        Micros,
        Micros,
        Option<Micros>,
        Option<Micros>,
        i64,
        i64,
        i64,
        i64,
    );
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sqlx::query_as(DEVICES).bind(batch(numbers)?).fetch_all(&mut *conn).await?;
    let mut sessions = sessions(conn, numbers).await?;
    let mut lanes = lanes(conn, numbers).await?;
    let mut devices = Vec::with_capacity(rows.len());
    for row in rows {
        let (number, tenant, id, user, groups, labels, tier, via, created_at, updated_at, revoked_at, tokens_since, seq, ..) =
            row;
        let (.., backlog, backlog_bytes, fence) = row;
        let (tier, via) = (Tier::of_stored(tier)?, Via::of_stored(via)?);
        let cold = || (Temperature::Cold, tier, MAIN.to_owned());
        let (temperature, queue_tier, queue_shard) = lanes.remove(&number).unwrap_or_else(cold);
        let (groups, labels) = (parsed(&groups)?, parsed(&labels)?);
        devices.push(Device {
            number: Number(number),
            registration: Registration { tenant, id, user, groups, labels, tier, via },
            created_at,
            updated_at,
            revoked_at,
            tokens_since,
            seq,
            backlog,
            backlog_bytes,
            session: sessions.remove(&number),
            fence,
            temperature,
            queue_tier,
            queue_shard,
        });
    }
    Ok(devices)
}

pub(super) async fn get(conn: &mut Conn, tenant: &str, id: &str) -> Result<Option<Device>, Fault> {
    match number(conn, tenant, id).await? {
        None => Ok(None),
        Some(number) => Ok(load(conn, &[number]).await?.pop()),
    }
}

pub(super) async fn numbered(conn: &mut Conn, device: Number) -> Result<Option<Device>, Fault> {
    Ok(load(conn, &[device.0]).await?.pop())
}

pub(super) async fn list(conn: &mut Conn, filter: &Filter) -> Result<Page, Fault> {
    let limit = usize::try_from(filter.limit.max(1)).unwrap_or(usize::MAX);
    let mut walk = Walk::of(filter);
    let mut page = Page::default();
    let mut looked = 0;
    // A page of all devices reads no more rows than it shows.
    loop {
        let portion = walk.next(conn, limit).await?;
        if portion.is_empty() {
            page.next = None;
            return Ok(page);
        }
        if page.devices.len() == limit || looked >= filter.scan.max(1) {
            return Ok(page);
        }
        for some in portion.chunks(limit) {
            if page.devices.len() == limit {
                return Ok(page);
            }
            let numbers: Vec<i64> = some.iter().filter_map(|step| step.device).collect();
            let loaded = load(conn, &numbers).await?.into_iter().map(|device| (device.number.0, device));
            let mut loaded: HashMap<i64, Device> = loaded.collect();
            for step in some {
                if page.devices.len() == limit {
                    return Ok(page);
                }
                looked += 1;
                page.next = Some(step.after);
                let device = step.device.and_then(|device| loaded.remove(&device));
                page.devices.extend(device.filter(|device| matches(filter, device)));
            }
        }
    }
}

fn matches(filter: &Filter, device: &Device) -> bool {
    let Registration { user, groups, labels, .. } = &device.registration;
    let has_label = |(name, value): &(String, String)| labels.get(name) == Some(value);
    let presence = match device.session {
        Some(_) => Presence::Online,
        None => Presence::Offline,
    };
    filter.tenant.as_ref().is_none_or(|wanted| *wanted == device.registration.tenant)
        && filter.user.as_ref().is_none_or(|wanted| wanted == user)
        && filter.group.as_ref().is_none_or(|wanted| groups.contains(wanted))
        && filter.label.as_ref().is_none_or(has_label)
        && filter.presence.is_none_or(|wanted| wanted == presence)
        && filter.backlog.is_none_or(|least| device.backlog >= least)
}
