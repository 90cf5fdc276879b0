//! What is said of groups, who is in them, and what was sent to them.

use std::collections::BTreeMap;

use super::batch::{batch, count};
use super::devices::group_tag;
use super::log::{Found, entries};
use super::messages::fitting;
use super::{Conn, Fault};
use crate::store::{
    Audience, Author, COUNTED, Group, GroupRules, History, Limit, Member, Micros, NewMessage, Number, ROOM, Sent,
};

const SET: &str = "INSERT INTO device_groups (tenant, tag, publish, history, ttl, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (tenant, tag) DO UPDATE SET publish = excluded.publish, history = excluded.history, ttl = excluded.ttl, \
     updated_at = excluded.updated_at";

const RULES: &str = "SELECT publish, history, ttl FROM device_groups WHERE tenant = $1 AND tag = $2";

const COUNTS: &str = "SELECT count(*), count(s.device) FROM \
     (SELECT t.device FROM device_tags AS t WHERE t.tenant = $1 AND t.tag = $2 LIMIT $3) AS few \
     LEFT JOIN device_sessions AS s ON s.device = few.device";

// Of the groups a device is to come into. Members are counted of rooms alone.
const CROWDED: &str = concat!(
    "SELECT n.value->>0 FROM ",
    each!("$1"),
    " WHERE CASE WHEN (SELECT g.publish FROM device_groups AS g WHERE g.tenant = $2 AND g.tag = n.value->>0) = 1 THEN \
     (SELECT count(*) FROM (SELECT 1 FROM device_tags AS t WHERE t.tenant = $2 AND t.tag = n.value->>0 LIMIT $3) AS few) ELSE 0 END >= $3 LIMIT 1"
);

const OF: &str = "SELECT t.tag, g.publish, g.history, g.ttl FROM device_tags AS t \
     LEFT JOIN device_groups AS g ON g.tenant = t.tenant AND g.tag = t.tag WHERE t.device = $1 ORDER BY t.tag";

// Rooms alone, each with its members, or with none.
const PRESENT: &str = concat!(
    "SELECT ",
    int!("0"),
    ", d.number, d.id, d.user_id FROM ",
    each!("$1"),
    " CROSS JOIN device_groups AS g LEFT JOIN device_tags AS t ON t.tenant = g.tenant AND t.tag = g.tag \
     LEFT JOIN device_sessions AS s ON s.device = t.device LEFT JOIN devices AS d ON d.number = s.device \
     WHERE g.tenant = n.value->>1 AND g.tag = n.value->>2 AND g.publish = 1"
);

const MEMBERS: &str = "SELECT d.number, d.id, d.user_id, s.device FROM device_tags AS t JOIN devices AS d ON d.number = t.device \
     LEFT JOIN device_sessions AS s ON s.device = t.device WHERE t.tenant = $1 AND t.tag = $2 ORDER BY t.device LIMIT $3";

const MEMBER: &str = "SELECT t.tenant, g.publish, g.history FROM device_tags AS t \
     LEFT JOIN device_groups AS g ON g.tenant = t.tenant AND g.tag = t.tag WHERE t.device = $1 AND t.tag = $2";

// Of the newest, those that are given still: what has ended is not walked through to find more.
const HISTORY: &str = "SELECT l.entry, CAST(l.bytes AS bigint), l.tag, l.expires_at, l.message, l.author, l.author_user FROM \
     (SELECT entry, bytes, tag, expires_at, message, author, author_user, state FROM device_log WHERE tag = $2 AND tenant = $1 \
     ORDER BY entry DESC LIMIT $3) AS l WHERE l.state = 0 AND l.expires_at > $4 AND l.entry < $5 ORDER BY l.entry DESC LIMIT $6";

// Of those that are held: who leaves, is revoked, or is another's from now on waits for the commit, or was waited for.
const MAY_PUBLISH: &str = concat!(
    "SELECT ",
    int!("0"),
    ", (SELECT d.id FROM devices AS d WHERE d.number = ",
    int!("3"),
    " AND d.removed_at IS NULL), (SELECT d.user_id FROM devices AS d WHERE d.number = ",
    int!("3"),
    "), (SELECT s.revoked_at FROM device_states AS s WHERE s.device = ",
    int!("3"),
    "), (SELECT t.device FROM device_tags AS t WHERE t.tenant = n.value->>1 AND t.tag = n.value->>2 AND t.device = ",
    int!("3"),
    "), (SELECT g.publish FROM device_groups AS g WHERE g.tenant = n.value->>1 AND g.tag = n.value->>2), \
     (SELECT g.ttl FROM device_groups AS g WHERE g.tenant = n.value->>1 AND g.tag = n.value->>2) FROM ",
    each!("$1")
);

type Rules = (Option<i16>, Option<i32>, Option<Micros>);

fn rules((publish, history, ttl): Rules) -> GroupRules {
    GroupRules { publish: publish == Some(1), history: history.and_then(|many| u16::try_from(many).ok()).unwrap_or(0), ttl }
}

/// Whether it was set: a group of more than [`ROOM`] is no room.
pub(super) async fn set(conn: &mut Conn, tenant: &str, group: &str, rules: &GroupRules, now: Micros) -> Result<bool, Fault> {
    let tag = group_tag(group);
    if rules.publish {
        let (members, _) = counts(conn, tenant, &tag, ROOM + 1).await?;
        if members > ROOM {
            return Ok(false);
        }
    }
    let query = sqlx::query(SET).bind(tenant).bind(tag).bind(i16::from(rules.publish)).bind(i32::from(rules.history));
    query.bind(rules.ttl).bind(now).execute(conn).await?;
    Ok(true)
}

async fn counts(conn: &mut Conn, tenant: &str, tag: &str, most: i64) -> Result<(i64, i64), Fault> {
    Ok(sqlx::query_as(COUNTS).bind(tenant).bind(tag).bind(most).fetch_one(conn).await?)
}

pub(super) async fn get(conn: &mut Conn, tenant: &str, group: &str) -> Result<Group, Fault> {
    let tag = group_tag(group);
    let found: Option<Rules> = sqlx::query_as(RULES).bind(tenant).bind(&tag).fetch_optional(&mut *conn).await?;
    let (members, present) = counts(conn, tenant, &tag, COUNTED).await?;
    Ok(Group { rules: rules(found.unwrap_or_default()), members, present })
}

/// The room among these tags that has no place for one more, if there is one.
pub(super) async fn crowded(conn: &mut Conn, tenant: &str, tags: &[&str]) -> Result<Option<String>, Fault> {
    let groups: Vec<[&str; 1]> = tags.iter().filter(|tag| group_of(tag).is_some()).map(|tag| [*tag]).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let found: Option<(String,)> =
        sqlx::query_as(CROWDED).bind(batch(groups)?).bind(tenant).bind(ROOM).fetch_optional(conn).await?;
    Ok(found.and_then(|(tag,)| group_of(&tag)))
}

fn group_of(tag: &str) -> Option<String> {
    match Audience::of_tag(tag) {
        Some(Audience::Group(group)) => Some(group),
        _ => None,
    }
}

pub(super) async fn of(conn: &mut Conn, device: Number) -> Result<Vec<(String, GroupRules)>, Fault> {
    type Row = (String, Option<i16>, Option<i32>, Option<Micros>);
    let found: Vec<Row> = sqlx::query_as(OF).bind(device.0).fetch_all(conn).await?;
    let group = |(tag, publish, history, ttl): Row| Some((group_of(&tag)?, rules((publish, history, ttl))));
    Ok(found.into_iter().filter_map(group).collect())
}

pub(super) async fn present(conn: &mut Conn, rooms: &[(String, String)]) -> Result<Vec<Option<Vec<Member>>>, Fault> {
    type Row = (i64, Option<i64>, Option<String>, Option<String>);
    let rows = batch(rooms.iter().enumerate().map(|(at, (tenant, group))| (at, tenant, group_tag(group))))?;
    let found: Vec<Row> = sqlx::query_as(PRESENT).bind(rows).fetch_all(conn).await?;
    let mut there: BTreeMap<i64, Vec<Member>> = BTreeMap::new();
    for (at, number, id, user) in found {
        let room = there.entry(at).or_default();
        if let (Some(number), Some(device), Some(user)) = (number, id, user) {
            room.push(Member { number: Number(number), author: Author { device, user }, present: true });
        }
    }
    Ok((0..rooms.len()).map(|at| there.remove(&count(at))).collect())
}

/// Of a device: its tenant, whether the group is a room, and how much can be read back; `None`: it is not in it.
async fn member(conn: &mut Conn, device: Number, group: &str) -> Result<Option<(String, bool, i32)>, Fault> {
    let query = sqlx::query_as(MEMBER).bind(device.0).bind(group_tag(group));
    let found: Option<(String, Option<i16>, Option<i32>)> = query.fetch_optional(conn).await?;
    Ok(found.map(|(tenant, publish, history)| (tenant, publish == Some(1), history.unwrap_or(0))))
}

pub(super) async fn members(conn: &mut Conn, device: Number, group: &str) -> Result<Option<Vec<Member>>, Fault> {
    let Some((tenant, is_room, _)) = member(conn, device, group).await? else { return Ok(None) };
    if !is_room {
        return Ok(Some(Vec::new()));
    }
    let query = sqlx::query_as(MEMBERS).bind(tenant).bind(group_tag(group)).bind(ROOM);
    let found: Vec<(i64, String, String, Option<i64>)> = query.fetch_all(conn).await?;
    let member = |(number, device, user, session): (i64, String, String, Option<i64>)| Member {
        number: Number(number),
        author: Author { device, user },
        present: session.is_some(),
    };
    Ok(Some(found.into_iter().map(member).collect()))
}

pub(super) async fn history(
    conn: &mut Conn,
    device: Number,
    group: &str,
    before: i64,
    limit: Limit,
    now: Micros,
) -> Result<Option<History>, Fault> {
    let Some((tenant, _, many)) = member(conn, device, group).await? else { return Ok(None) };
    let most = i64::from(limit.messages.max(1)) + 1;
    let query = sqlx::query_as(HISTORY).bind(tenant).bind(group_tag(group)).bind(many).bind(now).bind(before).bind(most);
    let mut found: Vec<Found> = query.fetch_all(&mut *conn).await?;
    let fits = fitting(found.iter().map(|(_, bytes, ..)| *bytes), limit);
    let more = fits < found.len();
    found.truncate(fits);
    found.reverse();
    Ok(Some(History { entries: entries(conn, found).await?, more }))
}

/// How long what a device publishes is kept, and whose it is; or why it is refused.
pub(super) type MayPublish = Result<(Option<Micros>, Author), Sent>;

/// Of those of `asked` that a device publishes, whether it may. Call it once their devices are held.
pub(super) async fn may_publish(
    conn: &mut Conn,
    sends: &[NewMessage],
    asked: &[usize],
) -> Result<BTreeMap<usize, MayPublish>, Fault> {
    let published = asked.iter().filter_map(|&at| {
        let send = sends.get(at)?;
        Some((at, &send.tenant, super::log::audience(send)?.tag(), send.publisher?.0))
    });
    let rows: Vec<_> = published.collect();
    if rows.is_empty() {
        return Ok(BTreeMap::new());
    }
    type Row = (i64, Option<String>, Option<String>, Option<Micros>, Option<i64>, Option<i16>, Option<Micros>);
    let found: Vec<Row> = sqlx::query_as(MAY_PUBLISH).bind(batch(rows)?).fetch_all(conn).await?;
    let answer = |(at, device, user, revoked_at, member, publish, ttl): Row| {
        let may = match (device.zip(user), revoked_at, member, publish) {
            (None, ..) | (_, None, None, _) => Err(Sent::NotAMember),
            (Some((device, _)), Some(_), ..) => Err(Sent::Revoked { device }),
            (Some((device, user)), _, _, Some(1)) => Ok((ttl, Author { device, user })),
            _ => Err(Sent::NotARoom),
        };
        Some((usize::try_from(at).ok()?, may))
    };
    Ok(found.into_iter().filter_map(answer).collect())
}
