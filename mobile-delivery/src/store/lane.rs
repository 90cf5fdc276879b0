//! Which devices have a queue, and which process fills it.

use super::{Given, Micros, Number, ProcessId, Tier, Via};

/// Parts that devices fall into by their hash: each is relayed by one process.
pub const SLOTS: u32 = 64;

/// A slot and the right to relay its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// 0 to 63.
    pub slot: i16,
    /// Who has it.
    pub process: ProcessId,
    /// Rises with every taking, for ever.
    pub fence: i64,
}

/// Whether a device has a queue. The numbers are those in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temperature {
    /// It has none: its rows wait in the store.
    Cold = 0,
    /// It has one, which is filled.
    Hot = 1,
    /// It has one that is about to go, and is not filled.
    Cooling = 2,
}

impl Temperature {
    /// All.
    pub const ALL: [Self; 3] = [Self::Cold, Self::Hot, Self::Cooling];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Hot => "hot",
            Self::Cooling => "cooling",
        }
    }
}

/// A hot lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Rises with every change of temperature of the device, for ever.
    pub turn: i64,
    /// What it was before.
    pub was: Temperature,
    /// The tier its queue is named by, which the device may have left since.
    pub tier: Tier,
    /// The broker its queue is at.
    pub shard: String,
}

/// A queue that is nobody's lane: that of its device is at another broker, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The broker it is at.
    pub shard: String,
    /// Whose it was.
    pub device: Number,
    /// The tier it is named by.
    pub tier: Tier,
    /// Since when it is left, or is about to be made.
    pub since: Micros,
}

/// What an attempt to change the temperature came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It is done; the lane's turn from now on.
    Done {
        /// The new turn.
        turn: i64,
    },
    /// It is not (any more) as the caller thinks, or somebody is connected: nothing was changed.
    No,
}

/// A lane that nobody listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Of which device.
    pub device: Number,
    /// Its tenant.
    pub tenant: String,
    /// Its id.
    pub id: String,
    /// The tier its queue is named by.
    pub tier: Tier,
    /// The broker its queue is at.
    pub shard: String,
    /// Hot or cooling.
    pub temperature: Temperature,
    /// Its turn.
    pub turn: i64,
    /// Since when.
    pub since: Micros,
}

/// What to read for a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<'a> {
    /// Of these slots.
    pub slots: &'a [i16],
    /// At these brokers; what is for others stays behind.
    pub shards: &'a [&'a str],
    /// Devices after this one, by number: all get their turn.
    pub after: Number,
    /// Devices at most.
    pub devices: u32,
    /// Messages of one device at most.
    pub each: u32,
    /// Messages at most.
    pub messages: u32,
    /// Bytes of their bodies at most; one message is read whatever its size.
    pub bytes: i64,
}

/// What is to be published to one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Of which device.
    pub device: Number,
    /// Its tenant.
    pub tenant: String,
    /// Its id.
    pub id: String,
    /// The tier its queue is named by.
    pub tier: Tier,
    /// The broker its queue is at.
    pub shard: String,
    /// Who hands the device what is published.
    pub via: Via,
    /// The lane's turn: what is read on one turn is published on no other.
    pub turn: i64,
    /// The `seq` that was published before the first of these.
    pub after: i64,
    /// In the order of `seq`; may be empty, when all after `after` is gone: mark it up to `upto`.
    pub messages: Vec<Given>,
    /// What to mark once these are confirmed: the last of them, or the last the device has.
    pub upto: i64,
}

/// Up to where a lane was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of which device.
    pub device: Number,
    /// The fence of its slot.
    pub fence: i64,
    /// The lane's turn.
    pub turn: i64,
    /// [`Relayed::upto`].
    pub upto: i64,
    /// What the broker has and will hand to the device itself.
    pub handed: Option<Handed>,
}

/// Messages that the broker has confirmed, of a device that it serves: nobody will hear of them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// From after this `seq`.
    pub after: i64,
    /// Up to this one.
    pub upto: i64,
    /// When. What had expired by then was not published, and goes on to expire.
    pub at: Micros,
}
