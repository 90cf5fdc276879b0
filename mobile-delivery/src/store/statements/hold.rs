//! The narrow rows of devices, held by this transaction.
//!
//! Whoever changes anything of a device holds its row: rows are taken in the order of their numbers, and what is read after that is as the
//! holder before left it.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::batch;
use super::{Conn, Fault, write_states};
use crate::rules;
use crate::store::{Gap, GapReason, StoreError};

const HOLD: &str = concat!(
    "SELECT s.device, s.tenant, s.seq, s.backlog, s.backlog_bytes, s.fence, s.turn, s.missed, s.missed_told, s.gap_reason, \
     s.revoked_at, s.tokens_since, s.heard, s.floor, s.roster FROM device_states AS s WHERE s.device IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ") ORDER BY s.device",
    for_update!("s")
);

type Row = (i64, String, i64, i64, i64, i64, i64, i64, i64, i16, Option<i64>, Option<i64>, i64, i64, i64);

/// The narrow row of a device.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) tenant: String,
    pub(super) seq: i64,
    pub(super) backlog: i64,
    pub(super) bytes: i64,
    pub(super) fence: i64,
    pub(super) turn: i64,
    /// Messages that were dropped ever, how many of these the device knows of, and why the latest was.
    missed: i64,
    missed_told: i64,
    reason: i16,
    pub(super) revoked_at: Option<i64>,
    pub(super) tokens_since: Option<i64>,
    /// Up to which entry of the log it has acked, up to which floor it is told, and how often its tags have changed.
    pub(super) heard: i64,
    pub(super) floor: i64,
    pub(super) roster: i64,
}

impl Held {
    /// What the device is to be told that it missed.
    pub(super) fn gap(&self) -> Result<Option<Gap>, StoreError> {
        gap_of(self.missed, self.missed_told, self.reason)
    }

    /// The device knows of what was dropped up to this number; whether that is news.
    pub(super) fn told(&mut self, number: i64) -> bool {
        let news = number > self.missed_told && number <= self.missed;
        if news {
            self.missed_told = number;
        }
        news
    }
}

/// The gap of a device, as its row says it: it is named by how many messages were dropped ever.
pub(super) fn gap_of(missed: i64, told: i64, reason: i16) -> Result<Option<Gap>, StoreError> {
    match missed - told {
        0 => Ok(None),
        count => Ok(Some(Gap { number: missed, reason: GapReason::of_stored(reason)?, count })),
    }
}

/// Devices that this transaction holds, and what it makes of them.
#[derive(Debug, Default)]
pub(super) struct Holding {
    rows: BTreeMap<i64, Held>,
    changed: BTreeSet<i64>,
    counted: BTreeMap<String, i64>,
}

impl Holding {
    /// Takes the rows of those `devices` that are there.
    pub(super) async fn of(conn: &mut Conn, devices: impl IntoIterator<Item = i64>) -> Result<Self, Fault> {
        let wanted: BTreeSet<i64> = devices.into_iter().collect();
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let found: Vec<Row> = sqlx::query_as(HOLD).bind(batch(wanted)?).fetch_all(conn).await?;
        let mut holding = Self::default();
        for row in found {
            let (device, tenant, seq, backlog, bytes, fence, turn, missed, missed_told, reason, revoked_at, ..) = row;
            let (.., tokens_since, heard, floor, roster) = row;
            let held = Held {
                tenant,
                seq,
                backlog,
                bytes,
                fence,
                turn,
                missed,
                missed_told,
                reason,
                revoked_at,
                tokens_since,
                heard,
                floor,
                roster,
            };
            holding.rows.insert(device, held);
        }
        Ok(holding)
    }

    /// The row of a device, unless it is gone.
    pub(super) fn get(&self, device: i64) -> Option<&Held> {
        self.rows.get(&device)
    }

    /// The same, to be changed.
    pub(super) fn change(&mut self, device: i64) -> Option<&mut Held> {
        self.changed.insert(device);
        self.rows.get_mut(&device)
    }

    /// A delivery more, for the device's next place, which is answered.
    pub(super) fn push(&mut self, device: i64, bytes: i64) -> Option<i64> {
        let held = self.change(device)?;
        held.seq += 1;
        held.backlog += 1;
        held.bytes += bytes;
        Some(held.seq)
    }

    /// A delivery less.
    pub(super) fn pop(&mut self, device: i64, bytes: i64) {
        if let Some(held) = self.change(device) {
            held.backlog -= 1;
            held.bytes -= bytes;
            let tenant = held.tenant.clone();
            self.count(tenant, -1);
        }
    }

    /// So many deliveries more, or less, that a tenant has to get.
    pub(super) fn count(&mut self, tenant: String, messages: i64) {
        *self.counted.entry(tenant).or_default() += messages;
    }

    /// That the tags of the device have changed.
    pub(super) fn retagged(&mut self, device: i64) {
        if let Some(held) = self.change(device) {
            held.roster += 1;
        }
    }

    /// That the device misses one message more.
    pub(super) fn missed(&mut self, device: i64, reason: GapReason) {
        if let Some(held) = self.change(device) {
            (held.missed, held.reason) = (held.missed + 1, reason.stored());
        }
    }

    /// Writes what was changed. The counters of tenants come last: everybody wants them.
    pub(super) async fn write(self, conn: &mut Conn, shard: i16) -> Result<(), Fault> {
        let changed = self.changed.iter().filter_map(|device| Some((device, self.rows.get(device)?)));
        let rows: Vec<_> = changed
            .map(|(device, held)| {
                let Held { seq, backlog, bytes, fence, turn, missed, missed_told, reason, .. } = held;
                let Held { revoked_at, tokens_since, heard, floor, roster, .. } = held;
                let load = rules::load(*backlog, *bytes);
                (
                    device,
                    seq,
                    backlog,
                    bytes,
                    fence,
                    turn,
                    missed,
                    missed_told,
                    reason,
                    revoked_at,
                    tokens_since,
                    load,
                    heard,
                    floor,
                    roster,
                )
            })
            .collect();
        let counted: Vec<_> = self.counted.iter().filter(|(_, messages)| **messages != 0).collect();
        if !rows.is_empty() || !counted.is_empty() {
            write_states(conn, batch(rows)?, batch(counted)?, shard).await?;
        }
        Ok(())
    }
}
