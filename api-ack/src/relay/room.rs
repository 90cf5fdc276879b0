//! How much the relay may hold in memory: rows and bytes in all, rows per lane; and a quarter as much again for high rows alone,
//! so that a memory full of normal ones holds none of them back.
//!
//! A row is owned by a process exactly while that process holds a ticket for it; what gets no ticket is stored without an owner,
//! for any process to claim. So memory is bounded, and no lane can fill it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::store::{Job, Lane, Micros, Payload, Portion, Priority, Waiting};

/// Limits on what is held in memory of normal rows. High rows have a quarter of each for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Rows in all, 8192 by default.
    pub rows: usize,
    /// Rows of one lane, 2048 by default.
    pub lane: usize,
    /// Payload bytes in all, 128 MiB by default.
    pub bytes: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self { rows: 8192, lane: 2048, bytes: 128 << 20 }
    }
}

impl RoomLimits {
    fn of(self, priority: Priority) -> Self {
        match priority {
            Priority::Normal => self,
            Priority::High => Self { rows: self.rows.div_ceil(4), lane: self.lane.div_ceil(4), bytes: self.bytes.div_ceil(4) },
        }
    }
}

/// Payload bytes read from the store in one statement, which must not take long.
const AT_ONCE: usize = 16 << 20;

/// The memory the relay may use. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Rooms([Room; 2]);

impl Rooms {
    pub(super) fn new(limits: RoomLimits) -> Self {
        Self(Priority::ALL.map(|priority| Room { limits: limits.of(priority), used: Arc::default() }))
    }

    /// A place in the room of a class, if there is one. A high row that came the way of the normal ones takes a place of theirs.
    pub(super) fn reserve(&self, room: Priority, job: &Job, payload: &Payload) -> Option<Ticket> {
        let lane = Lane { kind: job.kind.clone(), tenant: job.tenant.clone(), priority: room };
        self.0[room as usize].reserve(lane, job, payload)
    }

    /// Whether there is a ticket for a row.
    pub(super) fn holds(&self, id: Uuid) -> bool {
        self.0.iter().any(|room| room.lock().ids.contains_key(&id))
    }

    /// How many rows they take.
    pub(super) fn size(&self) -> usize {
        self.0.iter().map(|room| room.limits.rows).sum()
    }

    /// What is held, per tenant.
    pub(super) fn held(&self) -> Vec<Waiting> {
        self.0.iter().flat_map(Room::held).collect()
    }

    /// How many rows of a kind are held.
    pub(super) fn of_kind(&self, room: Priority, kind: &str) -> usize {
        let used = self.0[room as usize].lock();
        used.lanes.iter().filter(|(lane, _)| lane.kind == kind).map(|(_, count)| count).sum()
    }

    /// How much more of `lane` could be held when `lanes` lanes of its class share what is free; `None` if nothing.
    pub(super) fn share(&self, lane: &Lane, lanes: usize) -> Option<Portion> {
        self.0[lane.priority as usize].share(lane, lanes)
    }

    /// What is free for rows of any lane; `None` if nothing.
    pub(super) fn rest(&self) -> Option<Portion> {
        let nobody = Lane { kind: String::new(), tenant: String::new(), priority: Priority::Normal };
        self.share(&nobody, 1)
    }
}

/// That for rows of one class.
#[derive(Clone, Debug)]
struct Room {
    limits: RoomLimits,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    rows: usize,
    bytes: usize,
    lanes: HashMap<Lane, usize>,
    /// When each row was due, with the number of its ticket.
    due: BTreeSet<(Micros, u64)>,
    tickets: u64,
    /// Tickets by row: a next attempt may get its own while the mark of the one before is still on its way.
    ids: HashMap<Uuid, usize>,
}

/// A place in memory for one row; given up on drop.
#[derive(Debug)]
pub struct Ticket {
    id: Uuid,
    lane: Lane,
    bytes: usize,
    due: (Micros, u64),
    used: Arc<Mutex<Used>>,
}

impl Room {
    fn reserve(&self, lane: Lane, job: &Job, payload: &Payload) -> Option<Ticket> {
        let bytes = payload.body.len();
        let mut used = self.lock();
        let in_lane = used.lanes.get(&lane).copied().unwrap_or(0);
        // One row always fits, however large: the door has limited it.
        let fits = used.rows < self.limits.rows
            && in_lane < self.limits.lane
            && (used.bytes + bytes <= self.limits.bytes || used.rows == 0);
        if !fits {
            return None;
        }
        used.rows += 1;
        used.bytes += bytes;
        *used.lanes.entry(lane.clone()).or_default() += 1;
        used.tickets += 1;
        let due = (job.status.due_at, used.tickets);
        used.due.insert(due);
        *used.ids.entry(job.id).or_default() += 1;
        Some(Ticket { id: job.id, lane, bytes, due, used: self.used.clone() })
    }

    fn held(&self) -> Vec<Waiting> {
        let used = self.lock();
        let oldest = used.due.first().map_or(Micros::MAX, |(due, _)| *due);
        let lanes = used.lanes.iter();
        lanes.map(|(lane, count)| Waiting { lane: lane.clone(), rows: *count as u64, oldest }).collect()
    }

    fn share(&self, lane: &Lane, lanes: usize) -> Option<Portion> {
        let used = self.lock();
        let bytes = self.limits.bytes.saturating_sub(used.bytes).div_ceil(lanes.max(1)).min(AT_ONCE);
        let free = self.limits.rows.saturating_sub(used.rows);
        let in_lane = used.lanes.get(lane).copied().unwrap_or(0);
        let rows = free.div_ceil(lanes.max(1)).min(self.limits.lane.saturating_sub(in_lane));
        (rows > 0 && bytes > 0).then(|| Portion { rows: u32::try_from(rows).unwrap_or(u32::MAX), bytes: bytes as u64 })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.rows = used.rows.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(self.bytes);
        used.due.remove(&self.due);
        if let Some(count) = used.ids.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                used.ids.remove(&self.id);
            }
        }
        if let Some(count) = used.lanes.get_mut(&self.lane) {
            *count -= 1;
            if *count == 0 {
                used.lanes.remove(&self.lane);
            }
        }
    }
}
