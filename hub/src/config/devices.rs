//! Mobile delivery.

use std::num::NonZeroU32;
use std::time::Duration;

use broker_topology::{Limits, TierLimits};
use serde::Serialize;

use super::section::Section;
use super::units::{dump_duration, dump_size};
use super::value::Size;
use super::{Config, Rate, Role};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const TEN: NonZeroU32 = NonZeroU32::new(10).expect("it is not 0");
const TWO_HUNDRED: NonZeroU32 = NonZeroU32::new(200).expect("it is not 0");

/// What devices may cost, and how long things wait for them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Devices {
    /// Whether devices are served, and what they need is part of the topology; default no. The same for all processes of a deployment, whatever
    /// their roles.
    pub enabled: bool,
    /// Whether the broker may ask this process about devices that connect to it, on the internal listener under `/auth/`; default no. Then devices can be registered
    /// whose messages the broker hands out.
    pub broker_auth: bool,
    /// Whether devices are let into a broker that lets anybody see how much is in whose queue, as RabbitMQ does before 4.2.10 and from 4.3.0 to 4.3.4; default no.
    pub trusted_network: bool,
    /// How long a device's token is good, 1 minute to 1 day; default 1 hour.
    #[serde(serialize_with = "dump_duration")]
    pub token_ttl: Duration,
    /// The largest body of a message in bytes, up to 256 KiB; default 64 KiB. Larger ones are answered 413.
    #[serde(serialize_with = "dump_size")]
    pub payload: u64,
    /// Messages that wait for one device at most; default 1000. The oldest is dropped for the newest, and the device is told.
    pub backlog_messages: u32,
    /// Bytes of them; default 16 MiB.
    #[serde(serialize_with = "dump_size")]
    pub backlog_bytes: u64,
    /// Messages that wait for all devices of one tenant; default 10,000,000. Beyond it: 503 with `Retry-After`.
    pub backlog_per_tenant: u32,
    /// How long a message that does not say waits for a device of the tier `standard`, up to 28 days, which is the default.
    #[serde(serialize_with = "dump_duration")]
    pub ttl_standard: Duration,
    /// The same for the tier `lite`; default 3 days.
    #[serde(serialize_with = "dump_duration")]
    pub ttl_lite: Duration,
    /// How long a device may be away before its queue goes and its messages wait in the store alone, from 1 minute; default 2 days.
    #[serde(serialize_with = "dump_duration")]
    pub cool_after: Duration,
    /// How long it is known what became of a message; default 7 days.
    #[serde(serialize_with = "dump_duration")]
    pub retention: Duration,
    /// How fast one device may publish to rooms, signals too, in each process; default `10/s`. Twice as many at once.
    pub publish_rate: Rate,
    /// How fast all devices together may publish to one room; default `200/s`. Twice as many at once.
    pub room_rate: Rate,
    /// Queues of devices that this process declares in a second at most, 1 to 2000; default 200.
    pub declares_per_second: u32,
    /// What the queue of a device of the tier `standard` holds; default 1000 messages, 4 MiB, 28 days.
    pub queue_standard: QueueLimits,
    /// The same for the tier `lite`; default 100 messages, 256 KiB, 3 days.
    pub queue_lite: QueueLimits,
}

/// What the queue of a device holds at most, as the policy of its tier says. What goes over stays in the store, as far as the backlog of the
/// device allows, and the device reads it there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QueueLimits {
    /// Messages, 1 to 100,000; those a session holds are not counted.
    pub messages: u32,
    /// Bytes of them, up to 1 GiB, and no less than `payload`.
    #[serde(serialize_with = "dump_size")]
    pub bytes: u64,
    /// How long a message stays there, 1 minute to 28 days.
    #[serde(serialize_with = "dump_duration")]
    pub ttl: Duration,
}

impl Config {
    /// Whether this process serves devices.
    pub(crate) fn serves_devices(&self) -> bool {
        self.devices.enabled && self.roles.contains(&Role::Devices)
    }
}

impl Devices {
    /// For the policies of the tiers.
    pub(crate) fn queue_limits(&self) -> TierLimits {
        let limits = |QueueLimits { messages, bytes, ttl }: QueueLimits| Limits {
            message_ttl: ttl,
            max_length: messages,
            max_length_bytes: bytes,
        };
        TierLimits { standard: limits(self.queue_standard), lite: limits(self.queue_lite) }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let (kib, longest) = (1 << 10, DAY * 28);
        let mut waits = |key, default| section.within(key, default, Duration::from_secs(1)..=longest, "from 1s to 28d");
        let (ttl_standard, ttl_lite) = (waits("ttl_standard", longest), waits("ttl_lite", DAY * 3));
        let size = |most| Size(1)..=Size(most);
        let queues = TierLimits::default();
        Self {
            enabled: section.get("enabled", false),
            broker_auth: section.get("broker_auth", false),
            trusted_network: section.get("trusted_network", false),
            token_ttl: section.within("token_ttl", HOUR, HOUR / 60..=DAY, "from 1m to 1d"),
            payload: section.within("payload", Size(64 * kib), size(256 * kib), "from 1B to 256KiB").0,
            backlog_messages: section.within("backlog_messages", 1000, 1..=100_000, "from 1 to 100000"),
            backlog_bytes: section.within("backlog_bytes", Size(16 << 20), size(1 << 30), "from 1B to 1GiB").0,
            backlog_per_tenant: section.within("backlog_per_tenant", 10_000_000, 1..=u32::MAX, "at least 1"),
            ttl_standard,
            ttl_lite,
            cool_after: section.within("cool_after", DAY * 2, HOUR / 60..=DAY * 365, "from 1m to 365d"),
            retention: section.within("retention", DAY * 7, HOUR / 60..=DAY * 365, "from 1m to 365d"),
            publish_rate: section.get("publish_rate", Rate::per_second(TEN)),
            room_rate: section.get("room_rate", Rate::per_second(TWO_HUNDRED)),
            declares_per_second: section.within("declares_per_second", 200, 1..=2000, "from 1 to 2000"),
            queue_standard: QueueLimits::read(&mut section.section("queue_standard"), queues.standard),
            queue_lite: QueueLimits::read(&mut section.section("queue_lite"), queues.lite),
        }
    }
}

impl QueueLimits {
    fn read(section: &mut Section<'_>, default: Limits) -> Self {
        let bytes = Size(1)..=Size(1 << 30);
        Self {
            messages: section.within("messages", default.max_length, 1..=100_000, "from 1 to 100000"),
            bytes: section.within("bytes", Size(default.max_length_bytes), bytes, "from 1B to 1GiB").0,
            ttl: section.within("ttl", default.message_ttl, HOUR / 60..=DAY * 28, "from 1m to 28d"),
        }
    }
}
