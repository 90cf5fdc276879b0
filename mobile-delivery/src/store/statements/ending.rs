//! How a delivery ends: its row goes, what became of it is put down, and who asked for a receipt gets one, by one commit.

use std::collections::HashMap;

use uuid::Uuid;

use super::batch::batch;
use super::hold::Holding;
use super::listing::sessions;
use super::{Conn, Fault};
use crate::store::{Ending, GapReason, Micros, Number, Reason, State, StoreError, Withdrawn};

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
    "INSERT INTO device_ended (message, device, seq, state, reason, receipt, detail, ended_at) SELECT ",
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
    ", n.value->>6, $2 FROM ",
    each!("$1"),
    " WHERE true ON CONFLICT (message, device) DO NOTHING"
);

const TELL: &str = concat!(
    "INSERT INTO device_receipts (message, device, state, reason, detail, at) SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    ", ",
    int!("2"),
    ", ",
    int!("3"),
    ", n.value->>4, $2 FROM ",
    each!("$1")
);

const WITHOUT_ACK: &str = concat!(
    "SELECT e.device, e.seq, e.state, e.reason FROM ",
    each!("$1"),
    " CROSS JOIN device_ended AS e WHERE e.message = ",
    uuid!("1"),
    " AND e.device = ",
    int!("0"),
    " AND e.seq IS NOT NULL AND e.state IN (5, 6)"
);

const BECAME: &str = concat!(
    "SELECT ",
    int!("0"),
    ", ",
    int!("1"),
    ", e.state, e.reason FROM ",
    each!("$1"),
    " LEFT JOIN device_ended AS e ON e.message = ",
    uuid!("2"),
    " AND e.device = ",
    int!("0"),
    " WHERE NOT EXISTS (SELECT 1 FROM device_deliveries AS d WHERE d.device = ",
    int!("0"),
    " AND d.seq = ",
    int!("1"),
    ")"
);

/// What a delivery becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) state: State,
    pub(super) reason: Option<Reason>,
    pub(super) detail: Option<String>,
}

impl End {
    pub(super) const DELIVERED: Self = Self { state: State::Delivered, reason: None, detail: None };
    pub(super) const INFERRED: Self = Self { state: State::Delivered, reason: Some(Reason::Inferred), detail: None };
    pub(super) const EXPIRED: Self = Self { state: State::Expired, reason: None, detail: None };

    pub(super) const fn dropped(reason: Reason) -> Self {
        Self { state: State::Dropped, reason: Some(reason), detail: None }
    }

    /// What its device is to be told that it missed.
    fn gap(&self) -> Option<GapReason> {
        match (self.state, self.reason) {
            (State::Expired, _) => Some(GapReason::Expired),
            (State::Dropped, Some(Reason::Overflow)) => Some(GapReason::Overflow),
            (State::Dropped, Some(Reason::Purged)) => Some(GapReason::Purged),
            _ => None,
        }
    }
}

/// A delivery that has ended.
#[derive(Clone, Debug)]
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
        let Some(end) = endings.get(&(device, seq)) else { continue };
        holding.pop(device, i64::from(bytes));
        if let Some(reason) = end.gap() {
            holding.missed(device, reason);
        }
        ended.push(Ended { message, device, seq: Some(seq), end: end.clone(), receipt: receipt == 1 });
    }
    put_down(conn, &ended, now).await?;
    Ok(ended)
}

/// Puts down what became of deliveries that have no row (any more).
pub(super) async fn put_down(conn: &mut Conn, ended: &[Ended], now: Micros) -> Result<(), Fault> {
    if ended.is_empty() {
        return Ok(());
    }
    let rows = ended.iter().map(|ended| {
        let End { state, reason, detail } = &ended.end;
        let (state, reason, receipt) = (state.stored(), reason.map(Reason::stored), i16::from(ended.receipt));
        (ended.message, ended.device, ended.seq, state, reason, receipt, detail)
    });
    sqlx::query(PUT_DOWN).bind(batch(rows)?).bind(now).execute(&mut *conn).await?;
    tell(conn, ended.iter().filter(|ended| ended.receipt).map(|ended| (ended.message, ended.device, ended.end.clone())), now)
        .await
}

/// Puts receipts into their outbox.
pub(super) async fn tell(conn: &mut Conn, told: impl Iterator<Item = (Uuid, i64, End)>, now: Micros) -> Result<(), Fault> {
    let rows: Vec<_> = told
        .map(|(message, device, end)| (message, device, end.state.stored(), end.reason.map(Reason::stored), end.detail))
        .collect();
    if !rows.is_empty() {
        sqlx::query(TELL).bind(batch(rows)?).bind(now).execute(conn).await?;
    }
    Ok(())
}

/// Those that ended for devices that are held, and as which somebody is connected: who connects later finds them ended.
pub(super) async fn withdrawn(conn: &mut Conn, ended: &[Ended]) -> Result<Vec<Withdrawn>, Fault> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let devices: Vec<i64> = ended.iter().map(|ended| ended.device).collect();
    let sessions = sessions(conn, &devices).await?;
    let of = |ended: &Ended| {
        let process = sessions.get(&ended.device)?.process;
        Some(Withdrawn { device: Number(ended.device), message: ended.message, process })
    };
    Ok(ended.iter().filter_map(of).collect())
}

/// How those deliveries ended that were not acked.
pub(super) async fn without_ack(conn: &mut Conn, deliveries: &[(Number, Uuid)]) -> Result<Vec<Ending>, Fault> {
    let rows = batch(deliveries.iter().map(|(device, message)| (device.0, *message)))?;
    let found: Vec<(i64, i64, i16, Option<i16>)> = sqlx::query_as(WITHOUT_ACK).bind(rows).fetch_all(conn).await?;
    let ending = |(device, seq, state, reason): (i64, i64, i16, Option<i16>)| {
        let (state, reason) = (State::of_stored(state)?, reason.map(Reason::of_stored).transpose()?);
        Ok(Ending { device: Number(device), seq, state, reason })
    };
    Ok(found.into_iter().map(ending).collect::<Result<_, StoreError>>()?)
}

/// How those deliveries ended that have. What is not even remembered was delivered: nothing else ends under a session without a word for so long.
pub(super) async fn became(conn: &mut Conn, deliveries: &[(Number, i64, Uuid)]) -> Result<Vec<Ending>, Fault> {
    let rows = batch(deliveries.iter().map(|(device, seq, message)| (device.0, *seq, *message)))?;
    let found: Vec<(i64, i64, Option<i16>, Option<i16>)> = sqlx::query_as(BECAME).bind(rows).fetch_all(conn).await?;
    let ending = |(device, seq, state, reason): (i64, i64, Option<i16>, Option<i16>)| {
        let state = state.map_or(Ok(State::Delivered), State::of_stored)?;
        Ok(Ending { device: Number(device), seq, state, reason: reason.map(Reason::of_stored).transpose()? })
    };
    Ok(found.into_iter().map(ending).collect::<Result<_, StoreError>>()?)
}
