//! Retention, in small steps.

use uuid::Uuid;

use super::batch::batch;
use super::log;
use super::{Conn, Fault};
use crate::store::Micros;

const OLD: &str = "SELECT message, device FROM device_ended WHERE ended_at < $1 ORDER BY ended_at LIMIT $2";

const FORGET: &str = concat!(
    "DELETE FROM device_ended WHERE (message, device) IN (SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    " FROM ",
    each!("$1"),
    ")"
);

// Two that forget the last deliveries of a message at once: the second looks after the first has committed.
const LOOK: &str = concat!(
    "SELECT s.id FROM device_messages AS s WHERE s.id IN (SELECT ",
    uuid!("0"),
    " FROM ",
    each!("$1"),
    ") ORDER BY s.id",
    for_update!("s")
);

const FORGET_MESSAGES: &str = concat!(
    "DELETE FROM device_messages WHERE id IN (SELECT ",
    uuid!("0"),
    " FROM ",
    each!("$1"),
    ") AND NOT EXISTS (SELECT 1 FROM device_ended AS e WHERE e.message = device_messages.id) \
     AND NOT EXISTS (SELECT 1 FROM device_deliveries AS d WHERE d.message = device_messages.id) \
     AND NOT EXISTS (SELECT 1 FROM device_scheduled AS w WHERE w.message = device_messages.id) \
     AND NOT EXISTS (SELECT 1 FROM device_log AS l WHERE l.message = device_messages.id)"
);

const FORGET_DEVICES: &str = "DELETE FROM devices WHERE number IN (SELECT number FROM devices WHERE removed_at < $1 \
     AND NOT EXISTS (SELECT 1 FROM device_scheduled AS w WHERE w.device = devices.number) \
     AND NOT EXISTS (SELECT 1 FROM device_lanes AS l WHERE l.device = devices.number) ORDER BY removed_at LIMIT $2)";

const FORGET_KEYS: &str =
    "DELETE FROM device_keys WHERE hash IN (SELECT hash FROM device_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)";

pub(super) async fn purge(conn: &mut Conn, before: Micros, limit: u32) -> Result<u32, Fault> {
    let old: Vec<(Uuid, i64)> = sqlx::query_as(OLD).bind(before).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    let mut gone = 0;
    if !old.is_empty() {
        let messages = batch(old.iter().map(|(message, _)| [message]))?;
        sqlx::query(LOOK).bind(messages.clone()).execute(&mut *conn).await?;
        gone += sqlx::query(FORGET).bind(batch(&old)?).execute(&mut *conn).await?.rows_affected();
        gone += sqlx::query(FORGET_MESSAGES).bind(messages).execute(&mut *conn).await?.rows_affected();
    }
    let forgotten = log::forget(conn, before, limit).await?;
    if !forgotten.is_empty() {
        let messages = batch(forgotten.iter().map(|message| [message]))?;
        gone += u64::try_from(forgotten.len()).unwrap_or(u64::MAX);
        gone += sqlx::query(FORGET_MESSAGES).bind(messages).execute(&mut *conn).await?.rows_affected();
    }
    // A removed device is named by what it left: that goes first.
    if old.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        let devices = sqlx::query(FORGET_DEVICES).bind(before).bind(i64::from(limit));
        gone += devices.execute(conn).await?.rows_affected();
    }
    Ok(u32::try_from(gone).unwrap_or(u32::MAX))
}

pub(super) async fn purge_keys(conn: &mut Conn, before: Micros, limit: u32) -> Result<u32, Fault> {
    let gone = sqlx::query(FORGET_KEYS).bind(before).bind(i64::from(limit)).execute(conn).await?.rows_affected();
    Ok(u32::try_from(gone).unwrap_or(u32::MAX))
}
