//! Emptying a device's backlog, a step at a time.

use super::ending::{End, end};
use super::hold::Holding;
use super::{Conn, Fault};
use crate::store::{Micros, Number, Reason};

const OLDEST: &str = "SELECT device, seq FROM device_deliveries WHERE device = $1 AND seq <= $2 ORDER BY seq LIMIT $3";

pub(super) async fn empty(conn: &mut Conn, shard: i16, device: Number, upto: i64, now: Micros, limit: u32) -> Result<u32, Fault> {
    let mut holding = Holding::of(conn, [device.0]).await?;
    let oldest: Vec<(i64, i64)> =
        sqlx::query_as(OLDEST).bind(device.0).bind(upto).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    let endings = oldest.into_iter().map(|row| (row, End::dropped(Reason::Purged))).collect();
    let ended = end(conn, &mut holding, &endings, now).await?;
    holding.write(conn, shard).await?;
    Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
}
