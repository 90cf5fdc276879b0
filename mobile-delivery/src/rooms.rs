//! Rooms: what devices publish to groups that they are in, and read back of them.
//!
//! ```text
//! frame `publish` ---.
//!                     >--- rates --> Sender --> the log of the tenant, if the device is in the group and it is a room --> members
//! POST by a device --'
//! ```
//!
//! Owns how fast a device may publish, and what a device asks of its groups by requests. Refuses to own the order of messages and who gets them (the store, by the
//! log), and who is told at once ([`crate::sessions`]).
//!
//! Guarantees: what was answered is on disk, at its place in the order that all members get. With the same name (`ref`, `Idempotency-Key`) it is stored once, also at another
//! process. Whether a device may publish is looked up by the commit itself.
//!
//! Limits: [`RoomOptions`]. Each process counts for itself.

mod publishing;
pub(crate) mod requests;

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use door::rates::{Counts, Rate};

pub(crate) use publishing::{Publisher, Said, decided};

use crate::sending::Sender;

/// How much is taken.
#[derive(Clone, Copy, Debug)]
pub struct RoomOptions {
    /// What one device may publish, signals and what it asks of its groups too; 10 in a second by default, and 20 at once.
    pub device: Rate,
    /// What may be published to one room; 200 in a second by default, and 400 at once.
    pub room: Rate,
    /// The largest payload, in bytes; 64 KiB by default. Over a socket its frame has no more, either.
    pub payload: usize,
}

impl Default for RoomOptions {
    fn default() -> Self {
        let a_second = |count: u32| {
            let number = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
            Rate { count: number(count), per: Duration::from_secs(1), burst: number(count * 2) }
        };
        Self { device: a_second(10), room: a_second(200), payload: 64 << 10 }
    }
}

/// What this process takes of devices.
pub(crate) struct Rooms {
    device: Counts,
    room: Counts,
    payload: usize,
    /// From when there is one to when the process leaves: it has hold of everybody who follows what it stores, and so of this.
    sender: Mutex<Option<Sender>>,
}

impl Rooms {
    pub(crate) fn new(options: RoomOptions) -> Self {
        let RoomOptions { device, room, payload } = options;
        Self { device: Counts::new("device", device), room: Counts::new("room", room), payload, sender: Mutex::default() }
    }

    /// From now on, or until somebody says `None`, what devices publish is sent by this.
    pub(crate) fn sends_by(&self, sender: Option<Sender>) {
        // What was there is dropped outside.
        let _before = std::mem::replace(&mut *self.sender.lock().unwrap_or_else(PoisonError::into_inner), sender);
    }

    fn sender(&self) -> Option<Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
