//! What devices have to get, and what they ack of it.

use std::collections::HashMap;

use uuid::Uuid;

use super::batch::batch;
use super::ending::{End, end};
use super::hold::{Holding, gap_of};
use super::messages::{bodies, fitting};
use super::{Conn, Fault};
use crate::store::{Ack, Acked, Limit, Micros, Number, Outcome, Pending, Reason, Which};

/// Rows that one call ends at most, of acks up to a place.
const ROWS: usize = 4096;

const UP_TO: &str = concat!(
    "SELECT d.device, d.seq FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d WHERE d.device = ",
    int!("0"),
    " AND d.seq <= ",
    int!("1"),
    " LIMIT $2"
);

const BY_MESSAGE: &str = concat!(
    "SELECT d.device, d.seq, d.message FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d WHERE d.message = ",
    uuid!("1"),
    " AND d.device = ",
    int!("0")
);

// One statement, so that what is not there any more is in the gap that is read with it.
const NEXT: &str = "SELECT s.seq, s.missed, s.missed_told, s.gap_reason, d.seq, d.bytes FROM device_states AS s \
     LEFT JOIN (SELECT device, seq, CAST(bytes AS bigint) AS bytes FROM device_deliveries \
     WHERE device = $1 AND seq > $2 AND expires_at > $3 ORDER BY seq LIMIT $4) AS d ON d.device = s.device \
     WHERE s.device = $1 ORDER BY d.seq";

const BEHIND: &str = concat!(
    "SELECT ",
    int!("0"),
    " FROM ",
    each!("$1"),
    " WHERE EXISTS (SELECT 1 FROM device_deliveries AS d WHERE d.device = ",
    int!("0"),
    " AND d.seq > ",
    int!("1"),
    " AND d.expires_at > $2)"
);

pub(super) async fn pending(conn: &mut Conn, device: Number, after: i64, limit: Limit, now: Micros) -> Result<Pending, Fault> {
    let most = i64::from(limit.messages.max(1)) + 1;
    let found: Vec<Next> = sqlx::query_as(NEXT).bind(device.0).bind(after).bind(now).bind(most).fetch_all(&mut *conn).await?;
    // Nothing of a device that is gone.
    let Some(&(given, missed, told, reason, ..)) = found.first() else {
        return Ok(Pending { through: after, ..Pending::default() });
    };
    let gap = gap_of(missed, told, reason)?;
    let next: Vec<(i64, i64)> = found.into_iter().filter_map(|(.., seq, bytes)| Some((seq?, bytes?))).collect();
    let fits = fitting(next.iter().map(|(_, bytes)| *bytes), limit);
    let rows: Vec<(i64, i64)> = next[..fits].iter().map(|(seq, _)| (device.0, *seq)).collect();
    let messages = bodies(conn, &rows).await?.remove(&device.0).unwrap_or_default();
    // What ended between the two statements may have left a gap that was not read: the next page tells of it.
    let more = fits < next.len() || messages.len() < fits;
    let through = if more { messages.last().map_or(after, |last| last.seq) } else { given.max(after) };
    Ok(Pending { messages, gap, more, through })
}

pub(super) async fn behind(conn: &mut Conn, devices: &[(Number, i64)], now: Micros) -> Result<Vec<Number>, Fault> {
    let rows = batch(devices.iter().map(|(device, seq)| (device.0, *seq)))?;
    let found: Vec<(i64,)> = sqlx::query_as(BEHIND).bind(rows).bind(now).fetch_all(conn).await?;
    Ok(found.into_iter().map(|(device,)| Number(device)).collect())
}

/// A device's last `seq`, what it missed, and of one row that it has to get `seq` and size.
type Next = (i64, i64, i64, i16, Option<i64>, Option<i64>);

/// What rows become, and by which ack.
type Wanted = HashMap<(i64, i64), (usize, End)>;

pub(super) async fn settle(conn: &mut Conn, shard: i16, acks: &[Ack], now: Micros) -> Result<Vec<Acked>, Fault> {
    let mut holding = Holding::of(conn, acks.iter().map(|ack| ack.device.0)).await?;
    let mut answers: Vec<Acked> = acks
        .iter()
        .map(|ack| match holding.get(ack.device.0) {
            None => Acked::Unknown,
            Some(held) if held.fence != ack.fence => Acked::Fenced { fence: held.fence },
            Some(_) => Acked::Ended { count: 0, more: false },
        })
        .collect();
    let counts = |at: &usize| matches!(answers[*at], Acked::Ended { .. });
    let counting: Vec<usize> = (0..acks.len()).filter(counts).collect();
    let (wanted, cut) = wanted(conn, acks, &counting).await?;
    let endings = wanted.iter().map(|(row, (_, end))| (*row, end.clone())).collect();
    for ended in end(conn, &mut holding, &endings, now).await? {
        let ack = ended.seq.and_then(|seq| wanted.get(&(ended.device, seq)));
        if let Some(Acked::Ended { count, .. }) = ack.and_then(|(at, _)| answers.get_mut(*at)) {
            *count += 1;
        }
    }
    holding.write(conn, shard).await?;
    for at in counting {
        if let (Acked::Ended { more, .. }, Which::UpTo { .. }) = (&mut answers[at], &acks[at].which) {
            *more = cut;
        }
    }
    Ok(answers)
}

/// The rows that acks are about, and whether there are more than one call ends.
async fn wanted(conn: &mut Conn, acks: &[Ack], counting: &[usize]) -> Result<(Wanted, bool), Fault> {
    let (mut up_to, mut by_message) = (Vec::new(), Vec::new());
    let mut wanted = Wanted::new();
    let mut of_device: HashMap<(i64, Option<Uuid>), usize> = HashMap::new();
    for &at in counting {
        let (device, end) = (acks[at].device.0, end_of(&acks[at]));
        match &acks[at].which {
            Which::UpTo { seq, given } => {
                up_to.push((device, seq.min(given)));
                of_device.entry((device, None)).or_insert(at);
            }
            Which::Seqs(seqs) => wanted.extend(seqs.iter().map(|seq| ((device, *seq), (at, end.clone())))),
            Which::Messages(messages) => {
                by_message.extend(messages.iter().map(|message| (device, *message)));
                let asked = messages.iter().map(|message| ((device, Some(*message)), at));
                of_device.extend(asked);
            }
        }
    }
    if !by_message.is_empty() {
        for (device, seq, message) in by_id(conn, &by_message).await? {
            if let Some(at) = of_device.get(&(device, Some(message))) {
                wanted.insert((device, seq), (*at, end_of(&acks[*at])));
            }
        }
    }
    let mut cut = false;
    if !up_to.is_empty() {
        let most = super::batch::count(ROWS);
        let found: Vec<(i64, i64)> = sqlx::query_as(UP_TO).bind(batch(up_to)?).bind(most).fetch_all(conn).await?;
        cut = found.len() == ROWS;
        for (device, seq) in found {
            if let Some(at) = of_device.get(&(device, None)) {
                // A message that was refused by name is not delivered for being before another.
                wanted.entry((device, seq)).or_insert((*at, end_of(&acks[*at])));
            }
        }
    }
    Ok((wanted, cut))
}

async fn by_id(conn: &mut Conn, asked: &[(i64, Uuid)]) -> Result<Vec<(i64, i64, Uuid)>, Fault> {
    Ok(sqlx::query_as(BY_MESSAGE).bind(batch(asked)?).fetch_all(conn).await?)
}

fn end_of(ack: &Ack) -> End {
    match &ack.outcome {
        Outcome::Delivered => End::DELIVERED,
        Outcome::Rejected { detail } => End { detail: detail.clone(), ..End::dropped(Reason::Rejected) },
    }
}
