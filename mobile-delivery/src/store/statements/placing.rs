//! Giving deliveries their places among those of their devices, and making way for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::batch::batch;
use super::ending::{End, Ended, end, put_down};
use super::hold::Holding;
use super::{Conn, Fault, put_messages};
use crate::rules;
use crate::store::{Limits, Micros, NewMessage, Number, Placed, Reason};

const OLDER: &str = concat!(
    "SELECT d.device, d.seq FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d WHERE d.device = ",
    int!("0"),
    " AND d.collapse_key = n.value->>1"
);

const OLDEST: &str = "SELECT seq, CAST(bytes AS bigint) FROM device_deliveries WHERE device = $1 ORDER BY seq LIMIT $2";

/// Rows that make way in one device by one call at most; with more over its limits, the rest goes by the next send.
const WAY: i64 = 1024;

/// A delivery without a place.
#[derive(Clone, Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) device: i64,
    pub(super) message: Uuid,
    pub(super) bytes: i64,
    pub(super) expires_at: Micros,
    pub(super) receipt: bool,
    pub(super) collapse_key: Option<&'a str>,
}

/// Places `newcomers`, in their order, and stores `messages`, those that nothing is stored of yet. Their devices are held, and there. Answers in order.
pub(super) async fn place(
    conn: &mut Conn,
    holding: &mut Holding,
    messages: &[&NewMessage],
    newcomers: &[Newcomer<'_>],
    limits: &Limits,
    now: Micros,
) -> Result<(Vec<Placed>, Vec<Ended>), Fault> {
    let keys: Vec<_> = newcomers.iter().map(|newcomer| (newcomer.device, newcomer.collapse_key)).collect();
    let mut ended = collapse_older(conn, holding, &keys, now).await?;
    let (mut placed, mut stay, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for (newcomer, collapsed) in newcomers.iter().zip(rules::collapsed(&keys)) {
        let Some(seq) = holding.push(newcomer.device, newcomer.bytes) else { continue };
        let Newcomer { device, message, bytes, expires_at, receipt, .. } = *newcomer;
        placed.push(Placed { device: Number(device), seq, expires_at: Some(expires_at) });
        if collapsed {
            holding.pop(device, bytes);
            gone.push(Ended { message, device, seq: Some(seq), end: End::dropped(Reason::Collapsed), receipt });
        } else {
            stay.push((device, seq, message, bytes, expires_at, i16::from(receipt), newcomer.collapse_key));
        }
    }
    let devices: BTreeSet<i64> = stay.iter().map(|row| row.0).collect();
    if !messages.is_empty() || !stay.is_empty() {
        put_messages(conn, messages, batch(&stay)?, batch(&devices)?).await?;
    }
    put_down(conn, &gone, now).await?;
    ended.extend(make_way(conn, holding, &devices, limits, now).await?);
    let over: HashSet<(i64, i64)> = gone.iter().chain(&ended).filter_map(|ended| Some((ended.device, ended.seq?))).collect();
    placed.iter_mut().filter(|placed| over.contains(&(placed.device.0, placed.seq))).for_each(|placed| placed.expires_at = None);
    Ok((placed, ended))
}

/// Ends what the newcomers with keys take the place of.
async fn collapse_older(
    conn: &mut Conn,
    holding: &mut Holding,
    keys: &[(i64, Option<&str>)],
    now: Micros,
) -> Result<Vec<Ended>, Fault> {
    let keyed: BTreeSet<(i64, &str)> = keys.iter().filter_map(|(device, key)| Some((*device, (*key)?))).collect();
    if keyed.is_empty() {
        return Ok(Vec::new());
    }
    let older: Vec<(i64, i64)> = sqlx::query_as(OLDER).bind(batch(keyed)?).fetch_all(&mut *conn).await?;
    let endings: HashMap<_, _> = older.into_iter().map(|row| (row, End::dropped(Reason::Collapsed))).collect();
    end(conn, holding, &endings, now).await
}

/// Drops the oldest of those devices that are over their limits.
async fn make_way(
    conn: &mut Conn,
    holding: &mut Holding,
    devices: &BTreeSet<i64>,
    limits: &Limits,
    now: Micros,
) -> Result<Vec<Ended>, Fault> {
    let sizes = devices.iter().filter_map(|device| holding.get(*device).map(|held| (*device, (held.backlog, held.bytes))));
    let full: BTreeMap<i64, (i64, i64)> =
        sizes.filter(|(_, (messages, bytes))| *messages > limits.device_messages || *bytes > limits.device_bytes).collect();
    let mut endings = HashMap::new();
    for (device, (messages, bytes)) in full {
        let most = if bytes > limits.device_bytes { WAY } else { (messages - limits.device_messages).min(WAY) };
        let oldest: Vec<(i64, i64)> = sqlx::query_as(OLDEST).bind(device).bind(most).fetch_all(&mut *conn).await?;
        let sizes: Vec<i64> = oldest.iter().map(|(_, bytes)| *bytes).collect();
        let gone = rules::overflow(messages, bytes, &sizes, limits);
        endings.extend(oldest[..gone].iter().map(|(seq, _)| ((device, *seq), End::dropped(Reason::Overflow))));
    }
    end(conn, holding, &endings, now).await
}
