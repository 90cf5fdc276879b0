//! How a delivery ends: its row goes, what became of it is put down, and who asked for a receipt gets one, by one commit.

use std::collections::HashMap;

use uuid::Uuid;

use super::batch::batch;
use super::hold::Holding;
use super::{Conn, Fault};
use crate::store::{GapReason, Micros, Reason, State};

const TAKE: &str = concat!(
    "DELETE FROM device_deliveries WHERE (device, seq) IN (SELECT ",
    int!("0"),
    ", ",
    int!("1"),
    " FROM ",
    each!("$1"),
    ") RETURNING device, seq, message, bytes, receipt"
);

const PUT_DOWN: &str = concat!(
    "INSERT INTO device_ended (message, device, seq, state, reason, receipt, ended_at) SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    ", ",
    int!("2"),
    ", ",
    int!("3"),
    ", ",
    int!("4"),
    ", ",
    int!("5"),
    ", $2 FROM ",
    each!("$1"),
    " WHERE true ON CONFLICT (message, device) DO NOTHING"
);

const TELL: &str = concat!(
    "INSERT INTO device_receipts (message, device, state, reason, at) SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    ", ",
    int!("2"),
    ", ",
    int!("3"),
    ", $2 FROM ",
    each!("$1")
);

/// What a delivery becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
}

impl End {
    pub(super) const DELIVERED: Self = Self { state: State::Delivered, reason: None };
    pub(super) const EXPIRED: Self = Self { state: State::Expired, reason: None };

    pub(super) const fn dropped(reason: Reason) -> Self {
        Self { state: State::Dropped, reason: Some(reason) }
    }

    /// What its device is to be told that it missed.
    fn gap(self) -> Option<GapReason> {
        match (self.state, self.reason) {
            (State::Expired, _) => Some(GapReason::Expired),
            (State::Dropped, Some(Reason::Overflow)) => Some(GapReason::Overflow),
            (State::Dropped, Some(Reason::Purged)) => Some(GapReason::Purged),
            _ => None,
        }
    }
}

/// A delivery that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) message: Uuid,
    pub(super) device: i64,
    pub(super) seq: Option<i64>,
    pub(super) end: End,
    pub(super) receipt: bool,
}

/// Ends those of `endings`, by device and place, that have not; answers which. Their devices are held.
pub(super) async fn end(
    conn: &mut Conn,
    holding: &mut Holding,
    endings: &HashMap<(i64, i64), End>,
    now: Micros,
) -> Result<Vec<Ended>, Fault> {
    if endings.is_empty() {
        return Ok(Vec::new());
    }
    let taken: Vec<(i64, i64, Uuid, i32, i16)> = sqlx::query_as(TAKE).bind(batch(endings.keys())?).fetch_all(&mut *conn).await?;
    let mut ended = Vec::with_capacity(taken.len());
    for (device, seq, message, bytes, receipt) in taken {
        let Some(&end) = endings.get(&(device, seq)) else { continue };
        holding.pop(device, i64::from(bytes));
        if let Some(reason) = end.gap() {
            holding.missed(device, reason);
        }
        ended.push(Ended { message, device, seq: Some(seq), end, receipt: receipt == 1 });
    }
    put_down(conn, &ended, now).await?;
    Ok(ended)
}

/// Puts down what became of deliveries that have no row (any more).
pub(super) async fn put_down(conn: &mut Conn, ended: &[Ended], now: Micros) -> Result<(), Fault> {
    if ended.is_empty() {
        return Ok(());
    }
    let row = |ended: &Ended| {
        let (state, reason) = (ended.end.state.stored(), ended.end.reason.map(Reason::stored));
        (ended.message, ended.device, ended.seq, state, reason, i16::from(ended.receipt))
    };
    sqlx::query(PUT_DOWN).bind(batch(ended.iter().map(row))?).bind(now).execute(&mut *conn).await?;
    tell(conn, ended.iter().filter(|ended| ended.receipt).map(|ended| (ended.message, ended.device, ended.end)), now).await
}

/// Puts receipts into their outbox.
pub(super) async fn tell(conn: &mut Conn, told: impl Iterator<Item = (Uuid, i64, End)>, now: Micros) -> Result<(), Fault> {
    let rows: Vec<_> =
        told.map(|(message, device, end)| (message, device, end.state.stored(), end.reason.map(Reason::stored))).collect();
    if !rows.is_empty() {
        sqlx::query(TELL).bind(batch(rows)?).bind(now).execute(conn).await?;
    }
    Ok(())
}
