//! Lanes that are to go from one broker to another, and the queues that they left.

use super::batch::batch;
use super::turning::{Nobody, told};
use super::{Conn, Fault};
use crate::store::{Idle, Left, MAIN, Micros, Number, StoreError, Tier};

const STAND: &str =
    "INSERT INTO device_lane_shards (device, shard) VALUES ($1, $2) ON CONFLICT (device) DO UPDATE SET shard = excluded.shard";

const STAND_AT_MAIN: &str = "DELETE FROM device_lane_shards WHERE device = $1";

const LEAVE: &str = "INSERT INTO device_lanes_left (shard, device, tier, since) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (shard, device, tier) DO UPDATE SET since = excluded.since";

const FORGET: &str = "DELETE FROM device_lanes_left WHERE shard = $1 AND device = $2 AND tier = $3";

// Unless somebody was about to make it again meanwhile.
const GONE: &str = "DELETE FROM device_lanes_left WHERE shard = $1 AND device = $2 AND tier = $3 AND since = $4";

const LEFT: &str = concat!(
    "SELECT shard, device, tier, since FROM device_lanes_left WHERE since < $3 AND ",
    one_of!("shard", "$1"),
    " ORDER BY shard, device LIMIT $2"
);

// Of the first that are there: those among them that are no matter of ours leave by themselves. The conditions are looked at after the lookup by device: no index
// that is about temperatures would do.
const VACANT: &str = "SELECT l.device, d.tenant, d.id, l.tier, h.shard, l.temperature, l.turn, l.idle_since FROM \
     (SELECT shard, device FROM device_lane_shards WHERE shard = $1 ORDER BY shard, device LIMIT $2) AS h \
     JOIN device_lanes AS l ON l.device = h.device JOIN devices AS d ON d.number = h.device \
     WHERE l.temperature + 0 = 1 AND l.idle_since + 0 > 0 ORDER BY h.device";

// From the first of each to the next: the cost is per broker.
const OCCUPIED: &str = "WITH RECURSIVE s(shard) AS (SELECT min(shard) FROM device_lane_shards UNION ALL \
     SELECT (SELECT min(h.shard) FROM device_lane_shards AS h WHERE h.shard > s.shard) FROM s WHERE s.shard IS NOT NULL), \
     t(shard) AS (SELECT min(shard) FROM device_lanes_left UNION ALL \
     SELECT (SELECT min(g.shard) FROM device_lanes_left AS g WHERE g.shard > t.shard) FROM t WHERE t.shard IS NOT NULL) \
     SELECT b.shard, \
     (SELECT count(*) FROM (SELECT 1 FROM device_lane_shards AS h WHERE h.shard = b.shard LIMIT $1) AS few) + \
     (SELECT count(*) FROM (SELECT 1 FROM device_lanes_left AS g WHERE g.shard = b.shard LIMIT $1) AS few) \
     FROM (SELECT shard FROM s WHERE shard IS NOT NULL UNION SELECT shard FROM t WHERE shard IS NOT NULL AND shard <> 'main') AS b \
     ORDER BY b.shard";

/// The lane of a device is at `shard`, or is no more.
pub(super) async fn stand(conn: &mut Conn, device: Number, shard: &str) -> Result<(), Fault> {
    match shard {
        MAIN => sqlx::query(STAND_AT_MAIN).bind(device.0).execute(conn).await?,
        shard => sqlx::query(STAND).bind(device.0).bind(shard).execute(conn).await?,
    };
    Ok(())
}

/// The queue of a device at `shard` is not that of its lane.
pub(super) async fn leave(conn: &mut Conn, device: Number, shard: &str, tier: Tier, now: Micros) -> Result<(), Fault> {
    sqlx::query(LEAVE).bind(shard).bind(device.0).bind(tier.stored()).bind(now).execute(conn).await?;
    Ok(())
}

/// The queue of a device at `shard` is that of its lane: nobody is to take it away. Answers whether somebody was to.
pub(super) async fn come(conn: &mut Conn, device: Number, shard: &str, tier: Tier) -> Result<bool, Fault> {
    let forgotten = sqlx::query(FORGET).bind(shard).bind(device.0).bind(tier.stored()).execute(conn).await?;
    Ok(forgotten.rows_affected() > 0)
}

pub(super) async fn vacant(conn: &mut Conn, shard: &str, limit: u32) -> Result<Vec<Idle>, Fault> {
    let found: Vec<Nobody> = sqlx::query_as(VACANT).bind(shard).bind(i64::from(limit)).fetch_all(conn).await?;
    told(found)
}

pub(super) async fn left(conn: &mut Conn, shards: &[&str], before: Micros, limit: u32) -> Result<Vec<Left>, Fault> {
    let found: Vec<(String, i64, i16, Micros)> =
        sqlx::query_as(LEFT).bind(batch(shards)?).bind(i64::from(limit)).bind(before).fetch_all(conn).await?;
    let left = |(shard, device, tier, since)| Ok(Left { shard, device: Number(device), tier: Tier::of_stored(tier)?, since });
    Ok(found.into_iter().map(left).collect::<Result<_, StoreError>>()?)
}

pub(super) async fn gone(conn: &mut Conn, left: &Left) -> Result<bool, Fault> {
    let query = sqlx::query(GONE).bind(&left.shard).bind(left.device.0).bind(left.tier.stored()).bind(left.since);
    Ok(query.execute(conn).await?.rows_affected() > 0)
}

pub(super) async fn occupied(conn: &mut Conn, most: u32) -> Result<Vec<(String, u32)>, Fault> {
    let found: Vec<(String, i64)> = sqlx::query_as(OCCUPIED).bind(i64::from(most)).fetch_all(conn).await?;
    let count = |(shard, count): (String, i64)| (shard, u32::try_from(count).unwrap_or(u32::MAX).min(most));
    Ok(found.into_iter().map(count).collect())
}
