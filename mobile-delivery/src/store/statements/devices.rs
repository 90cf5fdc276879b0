//! Registering and removing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::batch::{batch, count};
use super::ending::{End, end};
use super::groups::crowded;
use super::hold::Holding;
use super::sessions::{leave_lanes, session_of};
use super::turning::warm;
use super::{Conn, Fault};
use crate::store::{
    Audience, Invalid, MAIN, Micros, Number, Put, RECIPIENTS, Reason, Registration, Removed, StoreError, Temperature, Via,
};

const NUMBER: &str = concat!("SELECT number FROM devices WHERE tenant = $1 AND ", live_id!(), " = $2");

const FIND: &str = "SELECT user_id, groups, labels, tier, via FROM devices WHERE number = $1 AND removed_at IS NULL";

const OF_USER: &str = "SELECT count(*) FROM (SELECT 1 FROM device_tags WHERE tenant = $1 AND tag = $2 LIMIT $3) AS few";

const MAKE: &str = "INSERT INTO devices (tenant, id, user_id, groups, labels, tier, via, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT DO NOTHING RETURNING number";

const MAKE_STATE: &str = "INSERT INTO device_states (device, tenant, seq, backlog, backlog_bytes, load, fence, turn, missed, \
     missed_told, gap_reason, heard, floor, roster) SELECT $1, $2, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
     coalesce((SELECT head FROM device_log_heads WHERE tenant = $2), 0), 0, 0";

const CHANGE: &str = "UPDATE devices SET user_id = $2, groups = $3, labels = $4, tier = $5, updated_at = $6 WHERE number = $1";

// The head is looked up once: all tags of a statement are of one tenant.
const TAG: &str = concat!(
    "INSERT INTO device_tags (tenant, tag, device, since) SELECT n.value->>0, n.value->>1, ",
    int!("2"),
    ", coalesce((SELECT head FROM device_log_heads WHERE tenant = $2), 0) FROM ",
    each!("$1"),
    " WHERE true ON CONFLICT (tenant, tag, device) DO NOTHING"
);

const UNTAG: &str = concat!(
    "DELETE FROM device_tags WHERE (tenant, tag, device) IN (SELECT n.value->>0, n.value->>1, ",
    int!("2"),
    " FROM ",
    each!("$1"),
    ")"
);

const PLACES: &str = "SELECT device, seq FROM device_deliveries WHERE device = $1";

const REMOVE: &str = "UPDATE devices SET removed_at = $2 WHERE number = $1";

const FORGET: [&str; 4] = [
    "DELETE FROM device_states WHERE device = $1",
    "DELETE FROM device_sessions WHERE device = $1",
    "DELETE FROM device_credentials WHERE device = $1",
    "DELETE FROM device_tags WHERE device = $1",
];

const COOL: &str = "UPDATE device_lanes SET temperature = $2, turn = turn + 1, behind = 0, idle_since = coalesce(idle_since, $3) \
     WHERE device = $1";

/// How a registration is written.
struct Written {
    groups: String,
    labels: String,
    tags: BTreeSet<String>,
}

fn written(user: &str, groups: &BTreeSet<String>, labels: &BTreeMap<String, String>) -> Result<Written, Fault> {
    let tags = groups.iter().map(|group| group_tag(group)).chain(labels.iter().map(|(name, value)| label_tag(name, value)));
    let tags = tags.chain([EVERY_TAG.to_owned(), user_tag(user)]).collect();
    Ok(Written { groups: batch(groups)?, labels: text(labels)?, tags })
}

fn text(labels: &BTreeMap<String, String>) -> Result<String, Fault> {
    serde_json::to_string(labels).map_err(|error| StoreError::Refused(error.to_string()).into())
}

/// What every device of a tenant is found by.
pub(super) const EVERY_TAG: &str = "*";

/// What devices of a user are found by.
pub(super) fn user_tag(user: &str) -> String {
    format!("u:{user}")
}

/// Of which user a tag is, if of one.
pub(super) fn user_of(tag: &str) -> Option<&str> {
    tag.strip_prefix("u:")
}

/// What devices of a group are found by.
pub(super) fn group_tag(group: &str) -> String {
    Audience::Group(group.to_owned()).tag()
}

/// What devices with a label are found by.
pub(super) fn label_tag(name: &str, value: &str) -> String {
    format!("l:{name}={value}")
}

fn refused(invalid: Invalid) -> StoreError {
    StoreError::Refused(invalid.to_string())
}

/// Which device this is, unless it was removed.
pub(super) async fn number(conn: &mut Conn, tenant: &str, id: &str) -> Result<Option<i64>, Fault> {
    let found: Option<(i64,)> = sqlx::query_as(NUMBER).bind(tenant).bind(id).fetch_optional(conn).await?;
    Ok(found.map(|(number,)| number))
}

pub(super) async fn put(conn: &mut Conn, registration: &Registration, keeps_groups: bool, now: Micros) -> Result<Put, Fault> {
    registration.check().map_err(refused)?;
    let Registration { tenant, id, .. } = registration;
    // Twice: somebody else may have made it in between, and is waited for by the insert.
    for _ in 0..2 {
        let put = match number(conn, tenant, id).await? {
            Some(device) => change(conn, device, registration, keeps_groups, now).await?,
            None => make(conn, registration, now).await?,
        };
        if let Some(put) = put {
            return Ok(put);
        }
    }
    Err(StoreError::Undecided(format!("device {id} is made and removed by turns")).into())
}

async fn is_full(conn: &mut Conn, registration: &Registration) -> Result<bool, Fault> {
    let full = count(RECIPIENTS);
    let (tenant, tag) = (&registration.tenant, user_tag(&registration.user));
    let (found,): (i64,) = sqlx::query_as(OF_USER).bind(tenant).bind(tag).bind(full).fetch_one(conn).await?;
    Ok(found >= full)
}

/// `None`: somebody else has made it.
async fn make(conn: &mut Conn, registration: &Registration, now: Micros) -> Result<Option<Put>, Fault> {
    if is_full(conn, registration).await? {
        return Ok(Some(Put::Full));
    }
    let Registration { tenant, id, user, groups, labels, tier, via } = registration;
    let Written { groups, labels, tags } = written(user, groups, labels)?;
    let all: Vec<&str> = tags.iter().map(String::as_str).collect();
    if let Some(group) = crowded(conn, tenant, &all).await? {
        return Ok(Some(Put::Crowded(group)));
    }
    let made: Option<(i64,)> = sqlx::query_as(MAKE)
        .bind(tenant)
        .bind(id)
        .bind(user)
        .bind(groups)
        .bind(labels)
        .bind(tier.stored())
        .bind(via.stored())
        .bind(now)
        .fetch_optional(&mut *conn)
        .await?;
    let Some((device,)) = made else { return Ok(None) };
    sqlx::query(MAKE_STATE).bind(device).bind(tenant).execute(&mut *conn).await?;
    retag(conn, tenant, device, &BTreeSet::new(), &tags).await?;
    // Its queue is made when the first message comes back from where it should be, or when the device comes.
    if *via == Via::Amqp {
        warm(conn, Number(device), MAIN, None, now).await?;
    }
    Ok(Some(Put::Done { device: Number(device), made: true }))
}

/// `None`: somebody else has removed it.
async fn change(
    conn: &mut Conn,
    device: i64,
    registration: &Registration,
    keeps_groups: bool,
    now: Micros,
) -> Result<Option<Put>, Fault> {
    let Registration { tenant, user, groups, labels, tier, via, .. } = registration;
    let done = Some(Put::Done { device: Number(device), made: false });
    let mut holding = Holding::of(conn, [device]).await?;
    if holding.get(device).is_none() {
        return Ok(None);
    }
    let found: Option<(String, String, String, i16, i16)> = sqlx::query_as(FIND).bind(device).fetch_optional(&mut *conn).await?;
    let Some((had_user, had_groups, had_labels, had_tier, had_via)) = found else { return Ok(None) };
    // What the one way has in its hands, the other knows nothing of.
    if had_via != via.stored() {
        return Ok(Some(Put::Via(Via::of_stored(had_via)?)));
    }
    let fresh = match keeps_groups {
        true => written(user, &parsed(&had_groups)?, labels)?,
        false => written(user, groups, labels)?,
    };
    if (had_user.as_str(), &had_groups, &had_labels, had_tier) == (user, &fresh.groups, &fresh.labels, tier.stored()) {
        return Ok(done);
    }
    if had_user != *user && is_full(conn, registration).await? {
        return Ok(Some(Put::Full));
    }
    let had = written(&had_user, &parsed(&had_groups)?, &parsed(&had_labels)?)?;
    if had.tags != fresh.tags {
        let new: Vec<&str> = fresh.tags.difference(&had.tags).map(String::as_str).collect();
        if let Some(group) = crowded(conn, tenant, &new).await? {
            return Ok(Some(Put::Crowded(group)));
        }
        retag(conn, tenant, device, &had.tags, &fresh.tags).await?;
        holding.retagged(device);
        holding.write(conn, 0).await?;
    }
    let query = sqlx::query(CHANGE).bind(device).bind(user).bind(fresh.groups).bind(fresh.labels);
    query.bind(tier.stored()).bind(now).execute(conn).await?;
    Ok(done)
}

/// What was written as JSON.
pub(super) fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(database::damaged)
}

async fn retag(
    conn: &mut Conn,
    tenant: &str,
    device: i64,
    had: &BTreeSet<String>,
    fresh: &BTreeSet<String>,
) -> Result<(), Fault> {
    let gone: Vec<&str> = had.difference(fresh).map(String::as_str).collect();
    untag(conn, tenant, device, &gone).await?;
    let new: Vec<&str> = fresh.difference(had).map(String::as_str).collect();
    tag(conn, tenant, device, &new).await?;
    Ok(())
}

/// Gives the device tags: it gets what is logged for them from now on.
pub(super) async fn tag(conn: &mut Conn, tenant: &str, device: i64, tags: &[&str]) -> Result<(), Fault> {
    if !tags.is_empty() {
        let rows = batch(tags.iter().map(|tag| (tenant, tag, device)))?;
        sqlx::query(TAG).bind(rows).bind(tenant).execute(conn).await?;
    }
    Ok(())
}

/// Takes tags away.
pub(super) async fn untag(conn: &mut Conn, tenant: &str, device: i64, tags: &[&str]) -> Result<(), Fault> {
    if !tags.is_empty() {
        sqlx::query(UNTAG).bind(batch(tags.iter().map(|tag| (tenant, tag, device)))?).execute(conn).await?;
    }
    Ok(())
}

pub(super) async fn remove(conn: &mut Conn, shard: i16, tenant: &str, id: &str, now: Micros) -> Result<Option<Removed>, Fault> {
    let Some(device) = number(conn, tenant, id).await? else { return Ok(None) };
    let mut holding = Holding::of(conn, [device]).await?;
    if holding.get(device).is_none() {
        return Ok(None);
    }
    let session = session_of(conn, device).await?;
    let places: Vec<(i64, i64)> = sqlx::query_as(PLACES).bind(device).fetch_all(&mut *conn).await?;
    let endings: HashMap<_, _> = places.into_iter().map(|row| (row, End::dropped(Reason::Removed))).collect();
    let ended = end(conn, &mut holding, &endings, now).await?;
    holding.write(conn, shard).await?;
    leave_lanes(conn, &[device], now).await?;
    sqlx::query(COOL).bind(device).bind(Temperature::Cooling.stored()).bind(now).execute(&mut *conn).await?;
    sqlx::query(REMOVE).bind(device).bind(now).execute(&mut *conn).await?;
    for statement in FORGET {
        sqlx::query(statement).bind(device).execute(&mut *conn).await?;
    }
    Ok(Some(Removed { device: Number(device), session, dropped: ended.into_iter().map(|ended| ended.message).collect() }))
}
