//! Devices, as the admin API shows them.

use std::collections::{BTreeMap, BTreeSet};

use database::clock::timestamp;
use jiff::Timestamp;
use mobile_delivery::store::{Device, Given, Micros};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A device in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceLine {
    /// Whose it is.
    pub tenant: String,
    /// Its id, one of its tenant's.
    pub id: String,
    /// What its queue is named by.
    pub number: i64,
    /// Who uses it.
    pub user: String,
    /// `standard` or `lite`.
    pub tier: String,
    /// Who hands it its messages: `hub`, or the broker over `amqp` or `mqtt`.
    #[serde(default)]
    pub via: String,
    /// How it is connected: `socket`, `stream`, `poll`, `mqtt` or `amqp`; absent while it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transport: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connected_at: Option<Timestamp>,
    /// `hot` while it has a queue, `cooling` while that is taken away, else `cold`.
    pub temperature: String,
    /// Messages it has to get, without those that wait for their time.
    pub backlog: i64,
    /// Their bytes.
    pub backlog_bytes: i64,
    /// When the longest waiting of them was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting_since: Option<Timestamp>,
    /// Since when it is not let in, if it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<Timestamp>,
}

impl DeviceLine {
    /// A device, and since when something waits for it.
    pub fn of(device: Device, waiting_since: Option<Micros>) -> Self {
        let said = device.registration;
        Self {
            tenant: said.tenant,
            id: said.id,
            number: device.number.0,
            user: said.user,
            tier: said.tier.name().to_owned(),
            via: said.via.name().to_owned(),
            transport: device.session.map(|session| session.transport.name().to_owned()),
            connected_at: device.session.map(|session| timestamp(session.since)),
            temperature: device.temperature.name().to_owned(),
            backlog: device.backlog,
            backlog_bytes: device.backlog_bytes,
            waiting_since: waiting_since.map(timestamp),
            revoked_at: device.revoked_at.map(timestamp),
        }
    }
}

/// One page of devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DevicePage {
    /// In the order that was asked for.
    pub items: Vec<DeviceLine>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// All about one device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceDetail {
    /// As in a list.
    #[serde(flatten)]
    pub device: DeviceLine,
    /// Its queue in the broker, while it is not cold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    /// The shard that its queue is at; absent: the main broker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shard: Option<String>,
    /// Groups it is in.
    pub groups: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The `seq` that was given last.
    pub seq: i64,
    /// Its session, as logs name it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<Uuid>,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When what was said about it last changed.
    pub updated_at: Timestamp,
    /// What it is to be told that it missed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gap: Option<GapLine>,
    /// What has waited longest for it, some of it.
    pub waiting: Vec<WaitingLine>,
}

/// What a device missed, and does not know yet that it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GapLine {
    /// Its number.
    pub number: i64,
    /// Why the latest message was dropped: `expired`, `overflow` or `purged`.
    pub reason: String,
    /// How many were.
    pub count: i64,
}

/// A message that a device has to get.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WaitingLine {
    /// Its place among the device's messages.
    pub seq: i64,
    /// Which.
    pub id: Uuid,
    /// What it is, by the sender's own names; may be empty.
    pub r#type: String,
    /// Bytes of its body.
    pub size: usize,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When it is of no more use.
    pub expires_at: Timestamp,
}

impl From<Given> for WaitingLine {
    fn from(given: Given) -> Self {
        let message = given.message;
        Self {
            seq: given.seq,
            id: message.id,
            r#type: message.kind,
            size: message.body.len(),
            created_at: timestamp(message.created_at),
            expires_at: timestamp(given.expires_at),
        }
    }
}

/// A device whose backlog was emptied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Purged {
    /// Messages that were dropped; with `dry_run`, that would be.
    pub messages: i64,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// How the device stands now.
    #[serde(flatten)]
    pub device: DeviceLine,
}

/// A device whose session was ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kicked {
    /// The session that was ended; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<Uuid>,
    /// How the device stands now.
    #[serde(flatten)]
    pub device: DeviceLine,
}

/// What a device shows to be let in.
#[derive(Clone, Serialize, Deserialize)]
pub struct DeviceCredentials {
    /// Its token.
    pub token: String,
    /// Seconds for which that is good.
    pub token_expires_in: u64,
    /// What it gets the next token with: only if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refresh_token: Option<String>,
}
