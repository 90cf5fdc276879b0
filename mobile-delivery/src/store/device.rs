//! Who a device is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use uuid::Uuid;

use super::{Micros, Session};

/// Groups a device can be in at most.
pub const GROUPS: usize = 64;

/// Labels a device can have at most.
pub const LABELS: usize = 16;

/// Bytes of a user's or a group's name at most, and of a label's value.
const NAME: usize = 128;

/// Bytes of a device's id and of a label's name at most.
const ID: usize = 63;

/// The key by which rows refer to a device. Rising, and never given again: the same id registered after a removal has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Number(pub i64);

/// Which of the [`SLOTS`](super::SLOTS) the device is in.
pub fn slot_of(device: Number) -> i16 {
    // Fibonacci hashing: neighbours lie apart, and the top bits are the good ones.
    let mixed = device.0.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    i16::try_from(mixed >> 58).unwrap_or_default()
}

/// What a device's backlog and lane may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Messages are kept for 28 days unless they say otherwise.
    Standard = 0,
    /// Messages are kept for 3 days unless they say otherwise.
    Lite = 1,
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Lite];

    /// The word for it, also in the names of queues: `standard` or `lite`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Lite => "lite",
        }
    }

    /// The tier of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// Who hands a device its messages. The numbers are those in the database. A device has one for as long as it is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Via {
    /// The hub, over whichever transport the device comes by.
    #[default]
    Hub = 0,
    /// The broker: the device consumes from its queue over AMQP.
    Amqp = 1,
    /// The broker: the device is a client of its MQTT plugin.
    Mqtt = 2,
}

impl Via {
    /// All.
    pub const ALL: [Self; 3] = [Self::Hub, Self::Amqp, Self::Mqtt];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Amqp => "amqp",
            Self::Mqtt => "mqtt",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|via| via.name() == name)
    }

    /// Whether what the broker has confirmed is out of the hub's hands: nothing more is heard of it, and nothing can be done about it.
    pub fn is_broker(self) -> bool {
        self != Self::Hub
    }
}

/// What is said about a device, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whose it is.
    pub tenant: String,
    /// `[a-z0-9][a-z0-9_-]{0,62}`, one of its tenant.
    pub id: String,
    /// Who uses it: 1 to 128 bytes without control characters. A user has 100 devices at most ([`RECIPIENTS`](super::RECIPIENTS)).
    pub user: String,
    /// Groups it is in, up to [`GROUPS`], each `[a-z0-9][a-z0-9_-]{0,62}`.
    pub groups: BTreeSet<String>,
    /// Labels, up to [`LABELS`]: names of 1 to 63 bytes, values of up to 128, no control characters in either and no `=` in names.
    pub labels: BTreeMap<String, String>,
    /// Its tier.
    pub tier: Tier,
    /// Who hands it its messages.
    pub via: Via,
}

/// What is wrong about what a caller named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Invalid {
    /// The field.
    pub field: &'static str,
    /// What it must be.
    pub why: String,
}

fn invalid(field: &'static str, why: impl Into<String>) -> Invalid {
    Invalid { field, why: why.into() }
}

/// A name that people give: no grammar, but bounded and printable.
fn check_name(field: &'static str, name: &str, most: usize) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > most {
        return Err(invalid(field, format!("must have 1 to {most} bytes, not {}", name.len())));
    }
    match name.chars().any(char::is_control) {
        true => Err(invalid(field, "must have no control characters")),
        false => Ok(()),
    }
}

impl Registration {
    /// Checks all that is said about the fields.
    ///
    /// # Errors
    /// [`Invalid`] with the first field that is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        check_name("tenant", &self.tenant, NAME)?;
        check_id(&self.id)?;
        check_name("user", &self.user, NAME)?;
        if self.groups.len() > GROUPS {
            return Err(invalid("groups", format!("must be {GROUPS} at most, not {}", self.groups.len())));
        }
        self.groups.iter().try_for_each(|group| check_word("groups", group))?;
        if self.labels.len() > LABELS {
            return Err(invalid("labels", format!("must be {LABELS} at most, not {}", self.labels.len())));
        }
        for (name, value) in &self.labels {
            check_name("labels", name, ID)?;
            if name.contains('=') {
                return Err(invalid("labels", "must have no `=` in their names"));
            }
            if value.len() > NAME || value.chars().any(char::is_control) {
                return Err(invalid("labels", format!("must have values of up to {NAME} bytes without control characters")));
            }
        }
        Ok(())
    }
}

/// Checks a device's id.
///
/// # Errors
/// [`Invalid`] with the rule.
pub fn check_id(id: &str) -> Result<(), Invalid> {
    check_word("id", id)
}

/// Checks the name of a group.
///
/// # Errors
/// [`Invalid`] with the rule.
pub fn check_group(group: &str) -> Result<(), Invalid> {
    check_word("group", group)
}

/// What may stand in a routing key, as one word of it, and in an address: nothing in it is ever a pattern.
fn check_word(field: &'static str, word: &str) -> Result<(), Invalid> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = word.as_bytes();
    let first = bytes.first().copied().is_some_and(good);
    match first && bytes.len() <= ID && bytes.iter().all(|&byte| good(byte) || matches!(byte, b'_' | b'-')) {
        true => Ok(()),
        false => Err(invalid(field, "must be `[a-z0-9][a-z0-9_-]{0,62}`")),
    }
}

/// What a registration came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is as it was said.
    Done {
        /// The device.
        device: Number,
        /// Whether it was not there before.
        made: bool,
    },
    /// The user has [`RECIPIENTS`](super::RECIPIENTS) devices already; nothing was changed.
    Full,
    /// It gets its messages this way, and not the one that was said; nothing was changed.
    Via(Via),
    /// This group is a room, and has [`ROOM`](super::ROOM) members already; nothing was changed.
    Crowded(String),
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What rows know it by.
    pub number: Number,
    /// What was said about it last.
    pub registration: Registration,
    /// When it was first registered.
    pub created_at: Micros,
    /// When that was last changed.
    pub updated_at: Micros,
    /// Since when it is not let in, if it is not.
    pub revoked_at: Option<Micros>,
    /// Tokens that were made before this count no more, if it was ever revoked and let in again.
    pub tokens_since: Option<Micros>,
    /// The `seq` that was given last; 0 before the first.
    pub seq: i64,
    /// Messages it has still to get, without scheduled ones.
    pub backlog: i64,
    /// Their bytes.
    pub backlog_bytes: i64,
    /// Who is connected as it.
    pub session: Option<Session>,
    /// That of the session, or of the last one that it had; 0 before the first.
    pub fence: i64,
    /// Whether it has a queue.
    pub temperature: super::Temperature,
    /// The tier its queue is named by: that of its lane while it has one, whatever it was registered as since.
    pub queue_tier: Tier,
    /// The broker its queue is at; [`MAIN`](super::MAIN) while it has none.
    pub queue_shard: String,
}

/// Whether somebody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A session is there.
    Online,
    /// None is.
    Offline,
}

/// In which order devices are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they were registered first.
    #[default]
    Registered,
    /// Those with the most messages to get first; of these only devices that have any are listed, as by the two below.
    Messages,
    /// Those with the most bytes to get first.
    Bytes,
    /// Those first whose longest waiting message was sent first.
    Age,
}

/// Where a list goes on. Text outside, and good for the order that gave it.
///
/// Whoever has much to get is found by an index, in exact order, and so is all that waits by age. The others are looked at [`Filter::scan`] at a time, and are in order among these: with more
/// devices than that, small backlogs are in order roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// After this device, by its number.
    Device(Number),
    /// Among those that have much to get: after this device, which had so much.
    Loaded {
        /// Messages or bytes.
        amount: i64,
        /// Whose.
        device: Number,
    },
    /// Among the others: of those that come after `window`, after this device, which had so much.
    Window {
        /// The last device of the window before.
        window: Number,
        /// Messages, bytes, or how old.
        amount: i64,
        /// Whose.
        device: Number,
    },
    /// After this message, which is the longest waiting one of a device.
    Message {
        /// The message.
        message: Uuid,
        /// The device.
        device: Number,
    },
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(f, "{}", device.0),
            Self::Loaded { amount, device } => write!(f, "l.{amount}.{}", device.0),
            Self::Window { window, amount, device } => write!(f, "w.{}.{amount}.{}", window.0, device.0),
            Self::Message { message, device } => write!(f, "m.{message}.{}", device.0),
        }
    }
}

impl Order {
    /// Where a list in this order goes on, as [`After`] was written; `None` of what is none, or of another order.
    pub fn after(self, text: &str) -> Option<After> {
        let mut parts = text.split('.');
        let first = parts.next()?;
        let mut number = || parts.next()?.parse::<i64>().ok();
        let after = match (self, first) {
            (Self::Registered, first) => After::Device(Number(first.parse().ok()?)),
            (Self::Messages | Self::Bytes, "l") => After::Loaded { amount: number()?, device: Number(number()?) },
            (_, "w") => After::Window { window: Number(number()?), amount: number()?, device: Number(number()?) },
            (Self::Age, "m") => {
                After::Message { message: parts.next()?.parse().ok()?, device: Number(parts.next()?.parse().ok()?) }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(after)
    }
}

/// Which devices to list; what is `None` lets all through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Whose; `None` for those of all tenants.
    pub tenant: Option<String>,
    /// Of this user. Users, groups and labels are a tenant's own: without `tenant` they find nothing.
    pub user: Option<String>,
    /// In this group.
    pub group: Option<String>,
    /// With this label: its name and value.
    pub label: Option<(String, String)>,
    /// Connected or not.
    pub presence: Option<Presence>,
    /// With at least so many messages to get.
    pub backlog: Option<i64>,
    /// In this order.
    pub order: Order,
    /// [`Page::next`] of the page before, in the same order.
    pub after: Option<After>,
    /// Devices on a page at most.
    pub limit: u32,
    /// Devices to look at, at most.
    pub scan: u32,
}

impl Filter {
    /// All devices of a tenant: pages of 100, a look at 1000.
    pub fn of(tenant: &str) -> Self {
        Self {
            tenant: Some(tenant.to_owned()),
            user: None,
            group: None,
            label: None,
            presence: None,
            backlog: None,
            order: Order::Registered,
            after: None,
            limit: 100,
            scan: 1000,
        }
    }
}

/// Some devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that match.
    pub devices: Vec<Device>,
    /// Where to go on; `None` at the end.
    pub next: Option<After>,
}

/// A device that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What rows knew it by.
    pub device: Number,
    /// The session to close.
    pub session: Option<Session>,
    /// Messages that were dropped.
    pub dropped: Vec<Uuid>,
}
