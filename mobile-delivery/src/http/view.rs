//! What devices and messages look like outside.

use std::collections::{BTreeMap, BTreeSet};

use database::clock;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::lane::{broker_name, queue_of};
use crate::store::{Audience, Device, Fate, Giving, Micros, Number, Reason, Record, Registration, Spread, State, Tier, Via};

/// Devices that are told one by one of a message; of more only the counts are.
const TOLD: usize = 20;

/// Addresses that belong to a device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DeviceLinks {
    /// The device.
    #[serde(rename = "self")]
    #[schema(example = "/v1/devices/pixel-7")]
    this: String,
    /// Where messages are sent to it.
    #[schema(example = "/v1/devices/pixel-7/messages")]
    messages: String,
}

impl DeviceLinks {
    pub(super) fn of(id: &str) -> Self {
        Self { this: format!("/v1/devices/{id}"), messages: format!("/v1/devices/{id}/messages") }
    }
}

/// What was said about a device last.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Said {
    /// Its id.
    #[schema(example = "pixel-7")]
    id: String,
    /// Who uses it.
    #[schema(example = "ada")]
    user: String,
    /// Groups it is in.
    #[schema(example = json!(["beta"]))]
    groups: BTreeSet<String>,
    /// Its labels.
    #[schema(example = json!({"os": "android"}))]
    labels: BTreeMap<String, String>,
    /// `standard` or `lite`: how long messages wait unless they say.
    #[schema(example = "standard")]
    tier: &'static str,
    /// Who hands it its messages: `hub`, or the broker over `amqp` or `mqtt`.
    #[schema(example = "hub")]
    via: &'static str,
}

impl Said {
    pub(super) fn of(registration: Registration) -> Self {
        let Registration { id, user, groups, labels, tier, via, .. } = registration;
        Self { id, user, groups, labels, tier: tier.name(), via: via.name() }
    }
}

/// How a device finds its messages at the broker, whose address the hub does not tell. Its password is its token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct AtBroker {
    /// The virtual host.
    #[schema(example = "/")]
    vhost: String,
    /// The user to log in as; over MQTT the id of the client, too.
    #[schema(example = "acme/pixel-7")]
    username: String,
    /// Over AMQP: the queue to consume from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "device.standard.4711")]
    queue: Option<String>,
    /// Over MQTT: the topic to subscribe to, with QoS 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "device/4711")]
    topic: Option<String>,
    /// What the hub can do for no message of the device any more once the broker has it.
    #[schema(example = json!(["cancel", "collapse"]))]
    unsupported: [&'static str; 2],
}

impl AtBroker {
    /// `None` of a device that the hub serves, and where it lets none into the broker. `tier` is that of its queue.
    pub(super) fn of(broker: Option<&super::AtBroker>, device: Number, tier: Tier, registration: &Registration) -> Option<Self> {
        let (broker, via) = (broker?, registration.via);
        let number = device.0.unsigned_abs();
        via.is_broker().then(|| Self {
            vhost: broker.vhost.clone(),
            username: broker_name(&registration.tenant, &registration.id),
            queue: (via == Via::Amqp).then(|| broker.names.device_queue(queue_of(device, tier))),
            topic: (via == Via::Mqtt).then(|| broker.names.mqtt_key(number).replace('.', "/")),
            unsupported: ["cancel", "collapse"],
        })
    }
}

/// A device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Device)]
pub(super) struct DeviceView {
    #[serde(flatten)]
    said: Said,
    /// `online` while it is connected, `offline` else.
    #[schema(example = "offline")]
    presence: &'static str,
    /// How it is connected: `socket`, `stream`, `poll`, `mqtt` or `amqp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "socket")]
    transport: Option<&'static str>,
    /// Since when it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    connected_at: Option<Timestamp>,
    /// Messages it has still to get, without those that wait for their time.
    backlog: i64,
    /// Their bytes.
    backlog_bytes: i64,
    /// When it was first registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When what was said about it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Since when it is not let in, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Where its messages are, if the broker hands them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<AtBroker>,
    /// Addresses.
    links: DeviceLinks,
}

impl DeviceView {
    pub(super) fn of(device: Device, broker: Option<&super::AtBroker>) -> Self {
        let links = DeviceLinks::of(&device.registration.id);
        Self {
            broker: AtBroker::of(broker, device.number, device.queue_tier, &device.registration),
            said: Said::of(device.registration),
            presence: if device.session.is_some() { "online" } else { "offline" },
            transport: device.session.map(|session| session.transport.name()),
            connected_at: device.session.map(|session| clock::timestamp(session.since)),
            backlog: device.backlog,
            backlog_bytes: device.backlog_bytes,
            created_at: clock::timestamp(device.created_at),
            updated_at: clock::timestamp(device.updated_at),
            revoked_at: device.revoked_at.map(clock::timestamp),
            links,
        }
    }
}

/// Addresses that belong to a message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct MessageLinks {
    /// The message.
    #[serde(rename = "self")]
    #[schema(example = "/v1/messages/01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    this: String,
}

impl MessageLinks {
    pub(super) fn of(id: Uuid) -> Self {
        Self { this: format!("/v1/messages/{id}") }
    }
}

/// What became of a message for one device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Delivery)]
pub(super) struct FateView {
    /// The device.
    #[schema(example = "pixel-7")]
    device: String,
    /// Its place among the device's messages; absent for one that has none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    /// `scheduled`, `queued`, `sent`, `delivered`, `read`, `expired` or `dropped`.
    #[schema(example = "delivered")]
    state: &'static str,
    /// Why it was dropped: `overflow`, `cancelled`, `collapsed`, `rejected`, `removed` or `purged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// `true`: it counts as delivered because the broker has it for the device, which acks to the broker alone. Nothing can be done about it any more: neither
    /// withdrawn nor collapsed. Absent where the device itself has acked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inferred: bool,
    /// What the device said when it rejected it, if it did; 256 bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "no such screen")]
    detail: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// When its user saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
}

impl FateView {
    fn of(fate: Fate) -> Self {
        Self {
            device: fate.device,
            seq: fate.seq,
            state: fate.state.name(),
            reason: fate.reason.filter(|reason| *reason != Reason::Inferred).map(Reason::name),
            inferred: fate.reason == Some(Reason::Inferred),
            detail: fate.detail,
            ended_at: fate.ended_at.map(clock::timestamp),
            read_at: fate.read_at.map(clock::timestamp),
        }
    }
}

/// A message, without its body.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
pub(super) struct MessageView {
    /// UUIDv7.
    #[schema(example = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    id: String,
    /// Who sent it.
    sender: String,
    /// What it is, by the sender's own names; absent if it was not said.
    #[serde(skip_serializing_if = "String::is_empty")]
    r#type: String,
    /// Of the body.
    content_type: String,
    /// Bytes of the body.
    size: i64,
    /// Of two undelivered messages with the same key the older is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<String>,
    /// `normal` or `high`.
    #[schema(example = "normal")]
    priority: &'static str,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Not given before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// How many devices it is in which state for; states that it is in for none are left out.
    #[schema(value_type = BTreeMap<String, u32>, example = json!({"delivered": 2, "queued": 1}))]
    counts: BTreeMap<&'static str, u32>,
    /// For whom it is, if it is one entry for many: `all`, `group:<group>` or `label:<name>=<value>`. Then devices are counted, 100,000 at most: those that have acked it or a later one,
    /// and those that have not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "group:room-7")]
    audience: Option<String>,
    /// What became of it for each device, if there are 20 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<FateView>>,
    /// Addresses.
    links: MessageLinks,
}

fn audience(audience: &Audience) -> String {
    match audience {
        Audience::Everyone => "all".to_owned(),
        Audience::Group(group) => format!("group:{group}"),
        Audience::Label { name, value } => format!("label:{name}={value}"),
    }
}

/// How it is counted that devices have not got an entry, and do not for now.
pub(super) const PAUSED: &str = "paused";

/// In which state an entry is for how many devices.
fn counts_of(spread: &Spread, now: Micros) -> BTreeMap<&'static str, u32> {
    let others = match spread.giving {
        Giving::Off => State::Dropped.name(),
        Giving::On | Giving::Paused if spread.expires_at <= now => State::Expired.name(),
        Giving::Paused => PAUSED,
        Giving::On => State::Queued.name(),
    };
    let many = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    let counts = [(State::Delivered.name(), spread.delivered), (others, spread.devices - spread.delivered)];
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(state, count)| (state, many(count))).collect()
}

impl MessageView {
    pub(super) fn of(record: Record) -> Self {
        let mut counts = BTreeMap::new();
        for fate in &record.fates {
            *counts.entry(State::name(fate.state)).or_default() += 1;
        }
        let spread = record.spread.as_ref();
        if let Some(spread) = spread {
            counts = counts_of(spread, clock::now());
        }
        let told = record.fates.len() <= TOLD && spread.is_none();
        Self {
            id: record.id.to_string(),
            sender: record.sender,
            r#type: record.kind,
            content_type: record.content_type,
            size: record.size,
            collapse_key: record.collapse_key,
            priority: record.priority.name(),
            created_at: clock::timestamp(record.created_at),
            run_at: record.not_before.map(clock::timestamp),
            counts,
            audience: spread.map(|spread| audience(&spread.audience)),
            devices: told.then(|| record.fates.into_iter().map(FateView::of).collect()),
            links: MessageLinks::of(record.id),
        }
    }
}
