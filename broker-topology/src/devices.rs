//! Mobile delivery on the broker: the exchanges that every device shares, a queue for each, and the policies that bound those queues.
//!
//! A device is known here by its **number**, which the store gives it once and to no other, whichever tenant it belongs to: device ids
//! are unique within a tenant only, a tenant may have 200 bytes of any text, and neither belongs into names that operators see. So names
//! are short, need no escaping, and lead back to the row of the device.
//!
//! | | name |
//! |---|---|
//! | queue of a device | `device.<tier>.<number>` |
//! | its key on `warren.devices` | `device.<number>` |
//! | its key on `amq.topic`, where it is a client of the MQTT plugin | `device.<number>` |
//! | a user, on `warren.groups` | `user.<tenant>.<user>`, each 32 hex digits |
//! | a group, on `warren.groups` | `group.<tenant>.<path>`, the tenant as 32 hex digits |
//!
//! What delivery rests on is an argument of the queue: its type, and the single active consumer. What may be tuned is a policy, one for
//! each tier ([`unfit_policies`] says whether it holds). A queue of a device never expires: it would take its messages with it, silently.

mod policies;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::argument::{Arguments, SINGLE_ACTIVE_CONSUMER};
use crate::binding::Binding;
use crate::exchange::{Exchange, ExchangeKind};
use crate::fragments::{HUB, terminal};
use crate::names::Names;
use crate::policy::{ApplyTo, Policy};
use crate::queue::{Queue, QueueKind};
use crate::topology::Topology;

pub use policies::unfit_policies;

/// The owner of the queues of devices. Not the hub's own mark, by which `--prune` goes.
pub const DEVICES: &str = "devices";

/// The exchange that RabbitMQ's MQTT plugin binds subscriptions to, unless its `mqtt.exchange` says another.
pub const MQTT_EXCHANGE: &str = "amq.topic";

/// How their names begin.
const BEGINNING: &str = "device.";

/// The longest path of a group, in bytes.
pub const MAX_GROUP: usize = 200;

/// Before policies that somebody has put on everything, and behind those that are meant to go first.
const PRIORITY: i64 = 10;

/// How much the broker keeps for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Devices of people.
    Standard,
    /// Large fleets of which each needs little.
    Lite,
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Lite];

    /// As it stands in names.
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

/// A device, as the broker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// Given by the store, over all tenants, from 1, to one device ever.
    pub number: u64,
    /// Which limits its queue has. Another tier is another queue.
    pub tier: Tier,
}

/// What the queue of a device holds at most. What goes over dies, oldest first, and is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a message waits.
    pub message_ttl: Duration,
    /// Messages that are ready; those a session holds are not counted.
    pub max_length: u32,
    /// Bytes of their bodies.
    pub max_length_bytes: u64,
}

/// The limits of each tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierLimits {
    /// 28 days, 1000 messages, 4 MiB by default.
    pub standard: Limits,
    /// 3 days, 100 messages, 256 KiB by default.
    pub lite: Limits,
}

impl Default for TierLimits {
    fn default() -> Self {
        let limits = |days: u64, max_length, max_length_bytes| Limits {
            message_ttl: Duration::from_secs(days * 24 * 3600),
            max_length,
            max_length_bytes,
        };
        Self { standard: limits(28, 1000, 4 << 20), lite: limits(3, 100, 256 << 10) }
    }
}

impl TierLimits {
    /// Those of `tier`.
    pub fn of(&self, tier: Tier) -> Limits {
        match tier {
            Tier::Standard => self.standard,
            Tier::Lite => self.lite,
        }
    }
}

impl Names {
    /// Direct exchange; key = [`Names::device_key`]. It has no alternate: what comes back says that the device is cold.
    pub fn devices(&self) -> String {
        self.on_broker("warren.devices")
    }

    /// Topic exchange; key = [`Names::user_key`] or [`Names::group_key`].
    pub fn groups(&self) -> String {
        self.on_broker("warren.groups")
    }

    /// Fanout exchange to every device that has a queue.
    pub fn broadcast(&self) -> String {
        self.on_broker("warren.broadcast")
    }

    /// Fanout exchange: what went over a limit in the queue of a device. It keeps its key.
    pub fn devices_dead(&self) -> String {
        self.on_broker("warren.devices.dead")
    }

    /// The queue behind [`Names::devices_dead`].
    pub fn devices_dropped(&self) -> String {
        self.on_broker("warren.devices.dropped")
    }

    /// The queue of a device.
    pub fn device_queue(&self, device: Device) -> String {
        self.on_broker(&format!("{BEGINNING}{}.{}", device.tier.name(), device.number))
    }

    /// The key of a device on [`Names::devices`], whatever its tier.
    pub fn device_key(number: u64) -> String {
        format!("{BEGINNING}{number}")
    }

    /// The key of a device on [`MQTT_EXCHANGE`]: its topic, with dots for slashes. With the prefix, since that exchange is everybody's.
    pub fn mqtt_key(&self, number: u64) -> String {
        self.on_broker(&Self::device_key(number))
    }

    /// The number in a key of [`Names::devices`].
    pub fn device_of_key(key: &str) -> Option<u64> {
        number(key.strip_prefix(BEGINNING)?)
    }

    /// A regular expression, in the syntax of PCRE, that matches the queues of devices of this tier, or of all tiers, and no other queue.
    pub fn device_queues(&self, tier: Option<Tier>) -> String {
        let tiers = tier.map_or_else(|| format!("({})", Tier::ALL.map(Tier::name).join("|")), |tier| tier.name().to_owned());
        format!(r"^{}device\.{tiers}\.[0-9]+$", fancy_regex::escape(self.prefix()))
    }

    /// As [`Names::device_queues`], of every other queue.
    pub fn queues_but_of_devices(&self) -> String {
        self.device_queues(None).replacen('^', "^(?!", 1) + ")"
    }

    /// The device whose queue `queue` is.
    pub fn device_of_queue(&self, queue: &str) -> Option<Device> {
        let (tier, rest) = queue.strip_prefix(self.prefix())?.strip_prefix(BEGINNING)?.split_once('.')?;
        Some(Device { number: number(rest)?, tier: Tier::named(tier)? })
    }

    /// The key of all devices of a user.
    pub fn user_key(tenant: &str, user: &str) -> String {
        format!("user.{}.{}", word(tenant), word(user))
    }

    /// The key of a group, whose path is words of lower-case letters, digits, `_` and `-` joined by dots, at most [`MAX_GROUP`] bytes;
    /// `None` of another path.
    pub fn group_key(tenant: &str, path: &str) -> Option<String> {
        let word_of_path =
            |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        let is_path = path.len() <= MAX_GROUP && path.split('.').all(word_of_path);
        is_path.then(|| format!("group.{}.{path}", word(tenant)))
    }
}

/// As it is written, and in no second way: names that differ are different devices.
fn number(text: &str) -> Option<u64> {
    let found = text.parse().ok()?;
    (format!("{found}") == text && found > 0).then_some(found)
}

/// Any text as one word of a key.
fn word(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What all devices share: the four exchanges, the queue of what was dropped, and a policy for each tier. Queues of devices are declared
/// one by one, as [`device_queue`] and [`device_bindings`] say, and are no part of a topology.
pub fn devices(names: &Names, limits: &TierLimits) -> Topology {
    let exchange = |name, kind, description| Exchange::new(name, kind, HUB, description);
    let (dead, dropped) = (names.devices_dead(), names.devices_dropped());
    let shared = Topology::default()
        .exchange(exchange(names.devices(), ExchangeKind::Direct, "messages for one device, by its number"))
        .exchange(exchange(names.groups(), ExchangeKind::Topic, "messages for groups, and for all devices of a user"))
        .exchange(exchange(names.broadcast(), ExchangeKind::Fanout, "messages for every device"))
        .exchange(exchange(dead.clone(), ExchangeKind::Fanout, "what went over a limit in the queue of a device"))
        .queue(terminal(&dropped, HUB, "messages that devices will not get by their queues"))
        .binding(Binding::to_queue(dead, dropped, ""));
    Tier::ALL.into_iter().map(|tier| policy(names, tier, limits.of(tier))).fold(shared, Topology::policy)
}

fn policy(names: &Names, tier: Tier, limits: Limits) -> Policy {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let millis = u64::try_from(limits.message_ttl.as_millis()).unwrap_or(u64::MAX);
    Policy {
        name: names.on_broker(&format!("warren.devices.{}", tier.name())),
        pattern: names.device_queues(Some(tier)),
        apply_to: ApplyTo::Queues,
        priority: PRIORITY,
        definition: Arguments::from([
            ("message-ttl".to_owned(), count(millis).into()),
            ("max-length".to_owned(), i64::from(limits.max_length).into()),
            ("max-length-bytes".to_owned(), count(limits.max_length_bytes).into()),
            ("overflow".to_owned(), DROP_HEAD.into()),
            ("dead-letter-exchange".to_owned(), names.devices_dead().into()),
        ]),
    }
}

/// The oldest go: a publisher is never refused because of one device.
const DROP_HEAD: &str = "drop-head";

/// The queue of one device: classic, durable, with a single active consumer, so that an old and a new session do not share out its
/// messages.
pub fn device_queue(names: &Names, device: Device) -> Queue {
    Queue::new(names.device_queue(device), QueueKind::Classic, DEVICES, "messages of one device")
        .with(SINGLE_ACTIVE_CONSUMER, true)
}

/// The bindings of that queue: by its own key, by each of `keys` on [`Names::groups`], and to broadcasts if it takes them.
pub fn device_bindings<'a>(
    names: &Names,
    device: Device,
    keys: impl IntoIterator<Item = &'a str>,
    broadcast: bool,
) -> Vec<Binding> {
    let queue = names.device_queue(device);
    let own = Binding::to_queue(names.devices(), &queue, Names::device_key(device.number));
    let joined = keys.into_iter().map(|key| Binding::to_queue(names.groups(), &queue, key));
    let all = broadcast.then(|| Binding::to_queue(names.broadcast(), &queue, ""));
    std::iter::once(own).chain(joined).chain(all).collect()
}

#[cfg(test)]
mod tests;
