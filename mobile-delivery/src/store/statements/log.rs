//! The log of a tenant: appended to by who holds its head, read from any place, and heard by devices.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::batch::{batch, count};
use super::devices::{self, group_tag, number, parsed};
use super::groups::crowded;
use super::hold::Holding;
use super::messages::fitting;
use super::sessions::session_of;
use super::{Conn, Fault};
use crate::store::stored::priority_of;
use crate::store::{
    Audience, Author, COUNTED, Entry, GROUPS, GapReason, Giving, Heard, Hearing, Limit, Logged, Membership, Message, Micros,
    NewMessage, Number, Recalled, Spread, Standing, Tail, Target, Transport,
};

/// The states of entries: given still, expired, paused; all others were withdrawn. One that is paused keeps its time, and is forgotten when that is long over.
const GIVEN: i16 = 0;
const EXPIRED: i16 = 1;
const PAUSED: i16 = 3;

const HAS_DEVICES: &str = concat!(
    "SELECT ",
    int!("0"),
    ", coalesce((SELECT h.live FROM device_log_heads AS h WHERE h.tenant = n.value->>1), 0) FROM ",
    each!("$1"),
    " WHERE EXISTS (SELECT 1 FROM device_tags AS t WHERE t.tenant = n.value->>1 AND t.tag = n.value->>2)"
);

const HEAD: &str = "INSERT INTO device_log_heads (tenant, head, live) VALUES ($1, $2, $2) \
     ON CONFLICT (tenant) DO UPDATE SET head = device_log_heads.head + excluded.head, live = device_log_heads.live + excluded.live RETURNING head";

const LESS: &str =
    concat!("UPDATE device_log_heads SET live = live - ", int!("1"), " FROM ", each!("$1"), " WHERE tenant = n.value->>0");

const APPEND: &str = concat!(
    "INSERT INTO device_log (tenant, entry, tag, message, bytes, expires_at, state, author, author_user) SELECT n.value->>0, ",
    int!("1"),
    ", n.value->>2, ",
    uuid!("3"),
    ", ",
    int!("4"),
    ", ",
    int!("5"),
    ", 0, n.value->>6, n.value->>7 FROM ",
    each!("$1")
);

// `*` is every device's, so that each that is there has a row.
const STANDINGS: &str = concat!(
    "SELECT s.device, s.heard, s.floor, s.roster, t.tag, t.since, (SELECT max(l.entry) FROM device_log AS l WHERE l.tenant = t.tenant AND l.tag = t.tag), \
     (SELECT f.entry FROM device_log_floors AS f WHERE f.tenant = t.tenant AND f.tag = t.tag), \
     (SELECT g.publish FROM device_groups AS g WHERE g.tenant = t.tenant AND g.tag = t.tag) FROM ",
    each!("$1"),
    " CROSS JOIN device_states AS s JOIN device_tags AS t ON t.device = s.device WHERE s.device = CAST(n.value AS bigint)"
);

const ROSTERS: &str = concat!(
    "SELECT ",
    int!("0"),
    " FROM ",
    each!("$1"),
    " CROSS JOIN device_states AS s WHERE s.device = ",
    int!("0"),
    " AND s.roster <> ",
    int!("1")
);

// What polls give, the store has found by the tags of that moment.
const GOING_BY: &str = concat!(
    "SELECT device, roster FROM device_sessions WHERE transport <> $2 AND device IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

// One that was said later may come first.
const GOES_BY: &str = "UPDATE device_sessions SET roster = $3 WHERE device = $1 AND fence = $2 AND roster < $3";

const HEADS: &str =
    concat!("SELECT tenant, head FROM device_log_heads WHERE tenant IN (SELECT n.value->>0 FROM ", each!("$1"), ")");

// The head is that of the same moment: up to it nothing is missing.
const TAIL: &str = "SELECT h.head, l.entry, l.bytes, l.tag, l.expires_at, l.message, l.author, l.author_user FROM device_log_heads AS h LEFT JOIN \
     (SELECT tenant, entry, CAST(bytes AS bigint) AS bytes, tag, expires_at, message, author, author_user FROM device_log \
     WHERE (tenant, entry) > ($1, $2) AND tenant <= $1 AND state = 0 ORDER BY tenant, entry LIMIT $3) AS l \
     ON l.tenant = h.tenant WHERE h.tenant = $1 ORDER BY l.entry";

const UNHEARD: &str = "SELECT h.head, l.entry, l.bytes, l.tag, l.expires_at, l.message, l.author, l.author_user FROM device_states AS s \
     JOIN device_log_heads AS h ON h.tenant = s.tenant LEFT JOIN \
     (SELECT t.device, l.entry, CAST(l.bytes AS bigint) AS bytes, l.tag, l.expires_at, l.message, l.author, l.author_user FROM device_tags AS t \
     JOIN device_log AS l ON l.tenant = t.tenant AND l.tag = t.tag \
     WHERE t.device = $1 AND l.entry > $2 AND l.entry > t.since AND l.state = 0 AND l.expires_at > $3 ORDER BY l.entry LIMIT $4) AS l \
     ON l.device = s.device WHERE s.device = $1 ORDER BY l.entry";

const BODIES: &str = concat!(
    "SELECT m.id, m.sender, m.kind, m.content_type, m.body, m.traceparent, m.collapse_key, m.priority, m.created_at FROM ",
    each!("$1"),
    " CROSS JOIN device_messages AS m WHERE m.id = ",
    uuid!("0")
);

const GROUPS_OF: &str = "SELECT groups FROM devices WHERE number = $1 AND removed_at IS NULL";

const SET_GROUPS: &str = "UPDATE devices SET groups = $2, updated_at = $3 WHERE number = $1";

// One that was paused and goes on has two: the later one counts.
const SPREAD: &str =
    "SELECT tenant, entry, tag, expires_at, state FROM device_log WHERE message = $1 ORDER BY entry DESC LIMIT 1";

const REACHED: &str = "SELECT count(*), coalesce(CAST(sum(CASE WHEN s.heard >= $3 THEN 1 ELSE 0 END) AS bigint), 0) FROM \
     (SELECT t.device FROM device_tags AS t WHERE t.tenant = $1 AND t.tag = $2 AND t.since < $3 LIMIT $4) AS few \
     JOIN device_states AS s ON s.device = few.device";

const RECALL: &str = "UPDATE device_log SET state = 2, expires_at = $2 WHERE message = $1 AND state = 0 RETURNING tenant, entry";

const RECALL_PAUSED: &str =
    "UPDATE device_log SET state = 2, expires_at = $2 WHERE message = $1 AND state = 3 RETURNING tenant, entry";

const PAUSE: &str =
    "UPDATE device_log SET state = 3 WHERE message = $1 AND state = 0 AND expires_at > $2 RETURNING tenant, entry";

const RESUME: &str = "UPDATE device_log SET state = 2 WHERE message = $1 AND state = 3 AND expires_at > $2 \
     RETURNING tenant, tag, bytes, expires_at, author, author_user";

const EXPIRE: &str = concat!(
    "UPDATE device_log SET state = 1 WHERE state = 0 AND (tenant, entry) IN (SELECT tenant, entry FROM device_log WHERE ",
    live_until!(),
    " <= $1 ORDER BY ",
    live_until!(),
    " LIMIT $2) RETURNING tenant, tag, entry"
);

const RAISE: &str = concat!(
    "INSERT INTO device_log_floors (tenant, tag, entry) SELECT n.value->>0, n.value->>1, ",
    int!("2"),
    " FROM ",
    each!("$1"),
    " WHERE true ON CONFLICT (tenant, tag) DO UPDATE SET entry = CASE WHEN excluded.entry > device_log_floors.entry THEN excluded.entry \
     ELSE device_log_floors.entry END"
);

const FORGET: &str = concat!(
    "DELETE FROM device_log WHERE (tenant, entry) IN (SELECT tenant, entry FROM device_log WHERE ",
    over_since!(),
    " < $1 ORDER BY ",
    over_since!(),
    " LIMIT $2) RETURNING message"
);

/// Of what goes to the log, that for which there is a device; and how many entries its tenant has that are given still.
pub(super) async fn with_devices(conn: &mut Conn, sends: &[NewMessage], asked: &[usize]) -> Result<Vec<(usize, i64)>, Fault> {
    let rows: Vec<_> = asked.iter().filter_map(|&at| Some((at, &sends[at].tenant, audience(&sends[at])?.tag()))).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<(i64, i64)> = sqlx::query_as(HAS_DEVICES).bind(batch(rows)?).fetch_all(conn).await?;
    Ok(found.into_iter().filter_map(|(at, live)| Some((usize::try_from(at).ok()?, live))).collect())
}

/// For whom a message is that goes to the log.
pub(super) fn audience(send: &NewMessage) -> Option<&Audience> {
    match &send.target {
        Target::Log(audience) => Some(audience),
        Target::Devices(_) | Target::User { .. } => None,
    }
}

/// What is appended: a message, for whom, until when, and whose it is.
pub(super) type NewEntry<'a> = (&'a NewMessage, &'a Audience, Micros, Option<Author>);

/// Appends messages that are stored, in this order. Answers in order. The heads are held from here to the commit: the last thing but counters.
pub(super) async fn append(conn: &mut Conn, sends: &[NewEntry<'_>]) -> Result<Vec<Logged>, Fault> {
    let mut next: BTreeMap<&str, i64> = BTreeMap::new();
    for (send, ..) in sends {
        *next.entry(&send.tenant).or_default() += 1;
    }
    for (tenant, many) in &mut next {
        let (head,): (i64,) = sqlx::query_as(HEAD).bind(*tenant).bind(*many).fetch_one(&mut *conn).await?;
        *many = head - *many;
    }
    let (mut logged, mut rows) = (Vec::with_capacity(sends.len()), Vec::with_capacity(sends.len()));
    for (send, audience, expires_at, author) in sends {
        let Some(last) = next.get_mut(send.tenant.as_str()) else { continue };
        *last += 1;
        let message = &send.message;
        let (device, user) = (author.as_ref().map(|author| &author.device), author.as_ref().map(|author| &author.user));
        rows.push((&send.tenant, *last, audience.tag(), message.id, count(message.body.len()), *expires_at, device, user));
        logged.push(Logged { entry: *last, tag: audience.tag(), expires_at: *expires_at, author: author.clone() });
    }
    if !rows.is_empty() {
        sqlx::query(APPEND).bind(batch(rows)?).execute(conn).await?;
    }
    Ok(logged)
}

/// Where devices stand, by number, and up to which floor each has missed something it was not told of.
pub(super) async fn standings(conn: &mut Conn, devices: &[i64]) -> Result<HashMap<i64, (Standing, i64)>, Fault> {
    type Row = (i64, i64, i64, i64, String, i64, Option<i64>, Option<i64>, Option<i16>);
    let rows: Vec<Row> = sqlx::query_as(STANDINGS).bind(batch(devices)?).fetch_all(conn).await?;
    let mut standings: HashMap<i64, (Standing, i64)> = HashMap::new();
    for (device, heard, told, roster, tag, since, last, floor, publish) in rows {
        let (standing, floors) = standings.entry(device).or_default();
        (standing.heard, standing.roster) = (heard, roster);
        let from = heard.max(since);
        standing.last = last.filter(|last| *last > from).max(standing.last);
        *floors = floor.filter(|floor| *floor > from.max(told)).unwrap_or_default().max(*floors);
        if let Some(user) = devices::user_of(&tag) {
            user.clone_into(&mut standing.user);
        }
        let audience = Audience::of_tag(&tag);
        if audience.is_some() {
            standing.tags.push((tag, since));
        }
        if let (Some(Audience::Group(group)), Some(1)) = (audience, publish) {
            standing.rooms.push(group);
        }
    }
    Ok(standings)
}

/// Of devices that claim and are held, those that have missed what has expired are told.
pub(super) fn tell_floor(holding: &mut Holding, device: i64, floor: i64) {
    if floor > 0 {
        holding.missed(device, GapReason::Expired);
        if let Some(held) = holding.change(device) {
            held.floor = floor;
        }
    }
}

pub(super) async fn stale(conn: &mut Conn, rosters: &[(Number, i64)]) -> Result<Vec<Number>, Fault> {
    let rows = batch(rosters.iter().map(|(device, roster)| (device.0, *roster)))?;
    let found: Vec<(i64,)> = sqlx::query_as(ROSTERS).bind(rows).fetch_all(conn).await?;
    Ok(found.into_iter().map(|(device,)| Number(device)).collect())
}

pub(super) async fn heads(conn: &mut Conn, tenants: &[String]) -> Result<Vec<(String, i64)>, Fault> {
    Ok(sqlx::query_as(HEADS).bind(batch(tenants.iter().map(|tenant| [tenant]))?).fetch_all(conn).await?)
}

/// The head; and of one entry its number, its size, for whom it is, until when it is given, its message, and the device that published it with its user.
type Next = (i64, Option<i64>, Option<i64>, Option<String>, Option<Micros>, Option<Uuid>, Option<String>, Option<String>);

/// The same of an entry that is there.
pub(super) type Found = (i64, i64, String, Micros, Uuid, Option<String>, Option<String>);

pub(super) async fn tail(conn: &mut Conn, tenant: &str, after: i64, limit: Limit) -> Result<Tail, Fault> {
    let most = i64::from(limit.messages.max(1)) + 1;
    let found: Vec<Next> = sqlx::query_as(TAIL).bind(tenant).bind(after).bind(most).fetch_all(&mut *conn).await?;
    page(conn, after, found, limit).await
}

pub(super) async fn unheard(conn: &mut Conn, device: i64, after: i64, limit: Limit, now: Micros) -> Result<Tail, Fault> {
    let most = i64::from(limit.messages.max(1)) + 1;
    let query = sqlx::query_as(UNHEARD).bind(device).bind(after).bind(now).bind(most);
    let found: Vec<Next> = query.fetch_all(&mut *conn).await?;
    page(conn, after, found, limit).await
}

async fn page(conn: &mut Conn, after: i64, found: Vec<Next>, limit: Limit) -> Result<Tail, Fault> {
    // Nothing was ever appended, or the device is gone.
    let Some(&(head, ..)) = found.first() else { return Ok(Tail { through: after, ..Tail::default() }) };
    let mut next: Vec<Found> = found
        .into_iter()
        .filter_map(|(_, entry, bytes, tag, expires_at, message, author, user)| {
            Some((entry?, bytes?, tag?, expires_at?, message?, author, user))
        })
        .collect();
    let fits = fitting(next.iter().map(|(_, bytes, ..)| *bytes), limit);
    let more = fits < next.len();
    next.truncate(fits);
    let through = if more { next.last().map_or(after, |last| last.0) } else { head.max(after) };
    Ok(Tail { entries: entries(conn, next).await?, through, more })
}

/// These with their messages.
pub(super) async fn entries(conn: &mut Conn, found: Vec<Found>) -> Result<Vec<Entry>, Fault> {
    let mut messages = bodies(conn, found.iter().map(|(.., message, _, _)| *message)).await?;
    let entry = |(entry, _, tag, expires_at, message, author, user): Found| {
        let author = author.zip(user).map(|(device, user)| Author { device, user });
        Some(Entry { entry, tag, expires_at, author, message: messages.remove(&message)? })
    };
    Ok(found.into_iter().filter_map(entry).collect())
}

async fn bodies(conn: &mut Conn, ids: impl Iterator<Item = Uuid>) -> Result<HashMap<Uuid, Message>, Fault> {
    type Row = (Uuid, String, String, String, Vec<u8>, Option<String>, Option<String>, i16, Micros);
    let ids: Vec<[Uuid; 1]> = ids.map(|id| [id]).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Row> = sqlx::query_as(BODIES).bind(batch(ids)?).fetch_all(conn).await?;
    let message = |(id, sender, kind, content_type, body, traceparent, collapse_key, priority, created_at): Row| {
        let (body, priority) = (body.into(), priority_of(priority));
        (id, Message { id, sender, kind, content_type, body, traceparent, collapse_key, priority, created_at })
    };
    Ok(rows.into_iter().map(message).collect())
}

pub(super) async fn hear(conn: &mut Conn, heard: &[Hearing]) -> Result<Vec<Heard>, Fault> {
    let mut holding = Holding::of(conn, heard.iter().map(|one| one.device.0)).await?;
    let by_request: Vec<i64> = heard.iter().filter(|one| one.roster.is_none()).map(|one| one.device.0).collect();
    let going_by: HashMap<i64, i64> = match by_request.is_empty() {
        true => HashMap::new(),
        false => {
            let query = sqlx::query_as(GOING_BY).bind(batch(by_request)?).bind(Transport::Poll.stored());
            let found: Vec<(i64, i64)> = query.fetch_all(&mut *conn).await?;
            found.into_iter().collect()
        }
    };
    let mut answers = Vec::with_capacity(heard.len());
    for one in heard {
        let Some(held) = holding.get(one.device.0) else {
            answers.push(Heard::Unknown);
            continue;
        };
        let roster = one.roster.or_else(|| going_by.get(&one.device.0).copied());
        answers.push(match (held.fence == one.fence, roster.is_none_or(|roster| roster == held.roster)) {
            (false, _) => Heard::Fenced,
            (_, false) => Heard::Stale,
            _ => Heard::Done,
        });
        if answers.last() == Some(&Heard::Done)
            && held.heard < one.entry
            && let Some(held) = holding.change(one.device.0)
        {
            held.heard = one.entry;
        }
    }
    holding.write(conn, 0).await?;
    Ok(answers)
}

pub(super) async fn goes_by(conn: &mut Conn, device: Number, fence: i64, roster: i64) -> Result<(), Fault> {
    sqlx::query(GOES_BY).bind(device.0).bind(fence).bind(roster).execute(conn).await?;
    Ok(())
}

pub(super) async fn member(
    conn: &mut Conn,
    tenant: &str,
    group: &str,
    id: &str,
    is_in: bool,
    now: Micros,
) -> Result<Membership, Fault> {
    let Some(device) = number(conn, tenant, id).await? else { return Ok(Membership::Unknown) };
    let mut holding = Holding::of(conn, [device]).await?;
    let found: Option<(String,)> = sqlx::query_as(GROUPS_OF).bind(device).fetch_optional(&mut *conn).await?;
    let Some((groups,)) = found.filter(|_| holding.get(device).is_some()) else { return Ok(Membership::Unknown) };
    let mut groups: BTreeSet<String> = parsed(&groups)?;
    if is_in && !groups.contains(group) {
        if groups.len() >= GROUPS {
            return Ok(Membership::Full);
        }
        if crowded(conn, tenant, &[&group_tag(group)]).await?.is_some() {
            return Ok(Membership::Crowded);
        }
    }
    let changed = if is_in { groups.insert(group.to_owned()) } else { groups.remove(group) };
    if changed {
        sqlx::query(SET_GROUPS).bind(device).bind(batch(&groups)?).bind(now).execute(&mut *conn).await?;
        let tag = group_tag(group);
        match is_in {
            true => devices::tag(conn, tenant, device, &[&tag]).await?,
            false => devices::untag(conn, tenant, device, &[&tag]).await?,
        }
        holding.retagged(device);
        holding.write(conn, 0).await?;
    }
    Ok(Membership::Done { changed, device: Number(device), session: session_of(conn, device).await? })
}

pub(super) async fn spread(conn: &mut Conn, message: Uuid) -> Result<Option<Spread>, Fault> {
    let found: Option<(String, i64, String, Micros, i16)> =
        sqlx::query_as(SPREAD).bind(message).fetch_optional(&mut *conn).await?;
    let Some((tenant, entry, tag, expires_at, state)) = found else { return Ok(None) };
    let Some(audience) = Audience::of_tag(&tag) else { return Ok(None) };
    let query = sqlx::query_as(REACHED).bind(tenant).bind(tag).bind(entry).bind(COUNTED);
    let (devices, delivered): (i64, i64) = query.fetch_one(conn).await?;
    let giving = match state {
        GIVEN | EXPIRED => Giving::On,
        PAUSED => Giving::Paused,
        _ => Giving::Off,
    };
    Ok(Some(Spread { audience, entry, expires_at, giving, devices, delivered }))
}

/// Withdraws the entry of a message, if it has one that is given still, or paused.
pub(super) async fn recall(conn: &mut Conn, message: Uuid, now: Micros) -> Result<Option<Recalled>, Fault> {
    let given: Option<(String, i64)> = sqlx::query_as(RECALL).bind(message).bind(now).fetch_optional(&mut *conn).await?;
    let found = match given {
        Some((tenant, entry)) => {
            fewer(conn, [tenant.as_str()].into_iter()).await?;
            Some((tenant, entry))
        }
        None => sqlx::query_as(RECALL_PAUSED).bind(message).bind(now).fetch_optional(conn).await?,
    };
    Ok(found.map(|(tenant, entry)| Recalled { tenant, entry, message }))
}

/// Has an entry given to nobody for now.
pub(super) async fn pause(conn: &mut Conn, message: Uuid, now: Micros) -> Result<Option<Recalled>, Fault> {
    let found: Option<(String, i64)> = sqlx::query_as(PAUSE).bind(message).bind(now).fetch_optional(&mut *conn).await?;
    if let Some((tenant, _)) = &found {
        fewer(conn, [tenant.as_str()].into_iter()).await?;
    }
    Ok(found.map(|(tenant, entry)| Recalled { tenant, entry, message }))
}

/// Appends what was paused once more. Who had it before is behind the first one, and others before: a later one is for both.
pub(super) async fn resume(conn: &mut Conn, message: Uuid, now: Micros) -> Result<Option<Entry>, Fault> {
    type Row = (String, String, i32, Micros, Option<String>, Option<String>);
    let found: Option<Row> = sqlx::query_as(RESUME).bind(message).bind(now).fetch_optional(&mut *conn).await?;
    let Some((tenant, tag, bytes, expires_at, author, user)) = found else { return Ok(None) };
    let (entry,): (i64,) = sqlx::query_as(HEAD).bind(&tenant).bind(1_i64).fetch_one(&mut *conn).await?;
    let row = (&tenant, entry, &tag, message, bytes, expires_at, &author, &user);
    sqlx::query(APPEND).bind(batch([row])?).execute(&mut *conn).await?;
    let found = (entry, i64::from(bytes), tag, expires_at, message, author, user);
    Ok(entries(conn, vec![found]).await?.pop())
}

/// Whether a message has an entry, and whether that is given.
pub(super) async fn giving(conn: &mut Conn, message: Uuid, now: Micros) -> Result<Option<Giving>, Fault> {
    let found: Option<(String, i64, String, Micros, i16)> = sqlx::query_as(SPREAD).bind(message).fetch_optional(conn).await?;
    Ok(found.map(|(.., expires_at, state)| match state {
        GIVEN if expires_at > now => Giving::On,
        PAUSED if expires_at > now => Giving::Paused,
        _ => Giving::Off,
    }))
}

/// One entry less for each of these tenants, which may be named several times.
async fn fewer(conn: &mut Conn, tenants: impl Iterator<Item = &str>) -> Result<(), Fault> {
    let mut less: BTreeMap<&str, i64> = BTreeMap::new();
    tenants.for_each(|tenant| *less.entry(tenant).or_default() += 1);
    sqlx::query(LESS).bind(batch(less)?).execute(conn).await?;
    Ok(())
}

pub(super) async fn expire(conn: &mut Conn, now: Micros, limit: u32) -> Result<u32, Fault> {
    let over: Vec<(String, String, i64)> = sqlx::query_as(EXPIRE).bind(now).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    if over.is_empty() {
        return Ok(0);
    }
    let mut floors: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (tenant, tag, entry) in &over {
        let floor = floors.entry((tenant, tag)).or_default();
        *floor = (*floor).max(*entry);
    }
    sqlx::query(RAISE).bind(batch(floors.iter().map(|((tenant, tag), floor)| (tenant, tag, floor)))?).execute(&mut *conn).await?;
    fewer(conn, over.iter().map(|(tenant, ..)| tenant.as_str())).await?;
    Ok(u32::try_from(over.len()).unwrap_or(u32::MAX))
}

/// Forgets entries that ended before `before`; answers their messages.
pub(super) async fn forget(conn: &mut Conn, before: Micros, limit: u32) -> Result<Vec<Uuid>, Fault> {
    let gone: Vec<(Uuid,)> = sqlx::query_as(FORGET).bind(before).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(gone.into_iter().map(|(message,)| message).collect())
}
