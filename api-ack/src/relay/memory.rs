//! What the relay holds in memory: rows that may go out, in bounded room. One way in, for what is handed over and for what is
//! claimed.

use super::room::{RoomLimits, Rooms, Ticket};
use super::window::Windows;
use crate::store::{Job, Outlet, Payload, Priority};

/// Room and leave to use it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Memory {
    /// How much fits.
    pub(super) rooms: Rooms,
    /// What may come in.
    pub(super) windows: Windows,
}

impl Memory {
    pub(super) fn new(limits: RoomLimits, windows: Windows) -> Self {
        Self { rooms: Rooms::new(limits), windows }
    }

    /// A place in the room of a class for a row that waits to be published, if it may go out and there is one.
    pub(super) fn admit(&self, room: Priority, job: &Job, payload: &Payload) -> Option<Ticket> {
        let work = is_work(job.status.outlet);
        if work && !self.windows.take(&job.kind, job.priority) {
            return None;
        }
        let ticket = self.rooms.reserve(room, job, payload);
        if ticket.is_none() && work {
            self.windows.put_back(&job.kind, job.priority);
        }
        ticket
    }
}

/// The outlets whose messages become work, and so count into a window.
pub(super) fn is_work(outlet: Option<Outlet>) -> bool {
    outlet.is_some_and(|outlet| outlet != Outlet::Dead)
}
