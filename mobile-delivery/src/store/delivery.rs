//! A message on its way to one device.

use uuid::Uuid;

use super::{Message, Micros, Number, ProcessId};

/// Where a message is, for one device. The numbers are those in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It waits for its time.
    Scheduled = 0,
    /// It waits in the store.
    Queued = 1,
    /// It is in the device's lane, or went to a session.
    Sent = 2,
    /// The device has acked it.
    Delivered = 3,
    /// Its user has seen it.
    Read = 4,
    /// Its time was over first.
    Expired = 5,
    /// It will not get there: see [`Reason`].
    Dropped = 6,
}

impl State {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Scheduled, Self::Queued, Self::Sent, Self::Delivered, Self::Read, Self::Expired, Self::Dropped];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }
}

/// Why a message was dropped, or what is to be known of its delivery. The numbers are those in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The device's backlog was full, and it was the oldest.
    Overflow = 1,
    /// The sender withdrew it.
    Cancelled = 2,
    /// A newer one of the same collapse key took its place.
    Collapsed = 3,
    /// The device refused it.
    Rejected = 4,
    /// The device was removed.
    Removed = 5,
    /// An operator emptied the device's backlog.
    Purged = 6,
    /// Not dropped but delivered, as far as is known: the broker has it for the device, which it does not tell of.
    Inferred = 7,
}

impl Reason {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Overflow, Self::Cancelled, Self::Collapsed, Self::Rejected, Self::Removed, Self::Purged, Self::Inferred];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Cancelled => "cancelled",
            Self::Collapsed => "collapsed",
            Self::Rejected => "rejected",
            Self::Removed => "removed",
            Self::Purged => "purged",
            Self::Inferred => "inferred",
        }
    }
}

/// What became of a message for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The device's id.
    pub device: String,
    /// Its place among the device's messages; `None` for one that has none yet, or was withdrawn before.
    pub seq: Option<i64>,
    /// Where it is.
    pub state: State,
    /// Why it was dropped, if it was; [`Reason::Inferred`] of one that counts as delivered because the broker has it.
    pub reason: Option<Reason>,
    /// What the device said when it refused it, if it did.
    pub detail: Option<String>,
    /// When it ended; `None` for one that has not.
    pub ended_at: Option<Micros>,
    /// When it was read, if it was.
    pub read_at: Option<Micros>,
}

/// How much to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Messages.
    pub messages: u32,
    /// Bytes of their bodies; one message is given whatever its size.
    pub bytes: i64,
}

/// What a device has to get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// In the order of `seq`.
    pub messages: Vec<Given>,
    /// What it is to be told that it missed.
    pub gap: Option<Gap>,
    /// Whether there is more after the last of these.
    pub more: bool,
    /// Up to this `seq` the device has nothing to get but what is here. With `more` it is that of the last of these; else the one that
    /// was given last.
    pub through: i64,
}

/// A message with its place among those of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Rises; what is missing between two is nothing (any more).
    pub seq: i64,
    /// Not to be given after this time.
    pub expires_at: Micros,
    /// What was sent.
    pub message: Message,
}

/// What a device missed since it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many messages of the device were dropped ever: it rises with each, and names what the device is told of.
    pub number: i64,
    /// Why the latest was.
    pub reason: GapReason,
    /// How many were, since the last that the device knows of.
    pub count: i64,
}

/// Why something is missing. The numbers are those in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Its time was over.
    Expired = 1,
    /// The backlog was full.
    Overflow = 2,
    /// An operator emptied the backlog.
    Purged = 3,
}

impl GapReason {
    /// All.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Overflow, Self::Purged];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Overflow => "overflow",
            Self::Purged => "purged",
        }
    }
}

/// What a device says about messages that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which device.
    pub device: Number,
    /// Of the session that gave them.
    pub fence: i64,
    /// Which messages.
    pub which: Which,
    /// What about them.
    pub outcome: Outcome,
}

/// Which messages an ack is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All up to `seq`, but not those after `given`, which is what the session has given so far: a device acks nothing that it was not given.
    UpTo {
        /// What the device says.
        seq: i64,
        /// What the session says.
        given: i64,
    },
    /// These, up to 1024.
    Seqs(Vec<i64>),
    /// These, by id, up to 1024.
    Messages(Vec<Uuid>),
}

/// What the device did with a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has it.
    Delivered,
    /// It never wants it.
    Rejected {
        /// What it says of that, for the sender: any text without NUL.
        detail: Option<String>,
    },
}

/// A delivery that ended without its device, as which somebody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// Which device.
    pub device: Number,
    /// Which message.
    pub message: Uuid,
    /// Where the session of the device is.
    pub process: ProcessId,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Which device.
    pub device: Number,
    /// Its place.
    pub seq: i64,
    /// An end; of those that were not acked [`State::Expired`] or [`State::Dropped`].
    pub state: State,
    /// Why it was dropped, if it was.
    pub reason: Option<Reason>,
}

/// What a look for deliveries whose time is over came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many were found; 0: there are none.
    pub count: u32,
    /// Those of devices that are connected.
    pub withdrawn: Vec<Withdrawn>,
}

/// What an ack came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// It counts.
    Ended {
        /// How many messages ended by it; those that had ended before are not among them.
        count: u32,
        /// The call came to its limit (4096 rows) first: ack again.
        more: bool,
    },
    /// Another session has claimed the device: nothing was changed.
    Fenced {
        /// The fence that counts.
        fence: i64,
    },
    /// There is no such device.
    Unknown,
}
