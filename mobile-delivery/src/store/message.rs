//! What is sent.

use bytes::Bytes;
use uuid::Uuid;

use super::{Audience, Fate, Logged, Micros, Number, Priority, Recalled, Spread, Tier, Withdrawn};

/// Messages in one call at most.
pub const SENDS: usize = 512;

/// Devices that one message goes to at most, and devices of a user.
pub const RECIPIENTS: usize = 100;

/// A message, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// UUIDv7, of the sender's side; the same for every device.
    pub id: Uuid,
    /// Who sent it: up to 128 bytes.
    pub sender: String,
    /// What it is, by the sender's own names: up to 128 bytes.
    pub kind: String,
    /// Of the body.
    pub content_type: String,
    /// As it came.
    pub body: Bytes,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// Of two undelivered ones with the same key the older is dropped: up to 128 bytes.
    pub collapse_key: Option<String>,
    /// Whether it is worth waking the device for. Order is that of `seq` for both.
    pub priority: Priority,
    /// When it was accepted.
    pub created_at: Micros,
}

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Of whose devices.
    pub tenant: String,
    /// To which.
    pub target: Target,
    /// What. Its id is new: one that is there already is refused.
    pub message: Message,
    /// The device that publishes it, to a group; `None`: a back end sends it.
    pub publisher: Option<Number>,
    /// How long it may wait from `created_at` (or from `not_before`) on, at most [`Limits::ttl`]; `None` is that of the device's tier.
    pub ttl: Option<Micros>,
    /// Not to be given before. Until then it has no `seq`.
    pub not_before: Option<Micros>,
    /// Whether to tell of its end by receipts.
    pub receipt: bool,
    /// By which it is sent once.
    pub key: Option<Key>,
}

/// To whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To these, by id, 1 to [`RECIPIENTS`]; twice is once.
    Devices(Vec<String>),
    /// To all that the user has now.
    User {
        /// Who.
        user: String,
        /// But not to this one, by id: the one it comes from.
        except: Option<String>,
    },
    /// To all of an audience, by the tenant's log: one entry, however many they are. It has no time to wait for, no receipts and no collapse key.
    Log(Audience),
}

/// An idempotency key: what makes a send the same send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Of tenant, sender and key.
    pub hash: [u8; 32],
    /// Of everything that was asked for.
    pub fingerprint: [u8; 32],
}

/// What sending has to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages a device may have to get; 1000 unless configured. The oldest is dropped for the newest.
    pub device_messages: i64,
    /// Bytes of them; 16 MiB unless configured. Also the largest body.
    pub device_bytes: i64,
    /// Deliveries all devices of a tenant may have to get, scheduled ones too, and entries of its log; of each 10,000,000 unless configured. More are refused. Counted by commits: what goes on at the same time can pass it.
    pub tenant_messages: i64,
    /// How long messages wait at most: 28 days.
    pub ttl: Micros,
    /// How long they wait for a device of tier `standard` unless they say: 28 days.
    pub ttl_standard: Micros,
    /// And for one of tier `lite`: 3 days.
    pub ttl_lite: Micros,
}

const DAY: Micros = 24 * 3600 * 1_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            device_messages: 1000,
            device_bytes: 16 << 20,
            tenant_messages: 10_000_000,
            ttl: 28 * DAY,
            ttl_standard: 28 * DAY,
            ttl_lite: 3 * DAY,
        }
    }
}

impl Limits {
    /// How long a message that asks for `ttl` waits for a device of `tier`: never longer than [`Limits::ttl`], never less than nothing.
    pub fn ttl_of(&self, ttl: Option<Micros>, tier: Tier) -> Micros {
        let usual = match tier {
            Tier::Standard => self.ttl_standard,
            Tier::Lite => self.ttl_lite,
        };
        ttl.unwrap_or(usual).clamp(0, self.ttl)
    }
}

/// What a send came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is stored.
    Accepted {
        /// Its id.
        message: Uuid,
        /// Its deliveries; none yet of a scheduled one.
        placed: Vec<Placed>,
        /// What made way for messages of this call, of devices that are connected; all of it is told with the last that is accepted.
        withdrawn: Vec<Withdrawn>,
        /// Its entry, of one that went to the log.
        logged: Option<Box<Logged>>,
    },
    /// It was sent under this key before.
    Existing {
        /// The id of that one.
        message: Uuid,
    },
    /// Another one was sent under this key.
    Conflict {
        /// The id of that one.
        message: Uuid,
    },
    /// There is no such device: nothing was sent to the others either.
    UnknownDevice {
        /// Its id.
        device: String,
    },
    /// A device that it names was revoked: nothing was sent to the others either. Those of a user are not asked.
    Revoked {
        /// Its id.
        device: String,
    },
    /// There is no device in the audience; or the user has none, or none but the one it comes from.
    NoDevices,
    /// There are more than [`RECIPIENTS`]: nothing was sent.
    TooMany,
    /// The device that publishes it is not in the group.
    NotAMember,
    /// The group is no room: its devices may not publish to it.
    NotARoom,
    /// The tenant has [`Limits::tenant_messages`] to get already.
    BacklogFull,
    /// The call has stored as many deliveries as it may (4096): send again.
    Deferred,
}

/// A delivery that has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// To which device. [`slot_of`](super::slot_of) it tells whose relay it is for.
    pub device: Number,
    /// Its place.
    pub seq: i64,
    /// Not to be given after this time. `None`: it has ended in the same commit, and is not to be given at all.
    pub expires_at: Option<Micros>,
}

/// What became due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Deliveries that have their places now. Fewer than asked for: there are no more.
    pub placed: Vec<Placed>,
    /// What made way for them, of devices that are connected.
    pub withdrawn: Vec<Withdrawn>,
}

/// A message without its body, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: Uuid,
    /// Who sent it.
    pub sender: String,
    /// What it is.
    pub kind: String,
    /// Of the body.
    pub content_type: String,
    /// Bytes of the body.
    pub size: i64,
    /// Its collapse key.
    pub collapse_key: Option<String>,
    /// Its priority.
    pub priority: Priority,
    /// When it was accepted.
    pub created_at: Micros,
    /// Not before this time, if it is scheduled.
    pub not_before: Option<Micros>,
    /// For each device, by its id.
    pub fates: Vec<Fate>,
    /// Of one that went to the log: how far it has got.
    pub spread: Option<Spread>,
}

/// What a cancel came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Whether there is such a message.
    pub known: bool,
    /// Deliveries that were withdrawn.
    pub count: u32,
    /// Those of devices that are connected.
    pub withdrawn: Vec<Withdrawn>,
    /// The entry that was withdrawn, of one that went to the log.
    pub recalled: Option<Recalled>,
}
