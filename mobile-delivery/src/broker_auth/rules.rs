//! What a device may do at the broker. No I/O: a name, a device and a question, and an answer.

use broker_topology::{MQTT_EXCHANGE, Names};
use door::auth::well_formed;

use crate::lane::{mqtt_queue, queue_of};
use crate::store::{Device, Number, Via, check_id};

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("the question cannot be read: is auth_http.http_method = post?")]
    Form,
    #[error("the user name is not `<tenant>/<id of the device>`")]
    Name,
    #[error("the password is not a token of this device that counts")]
    Token,
    #[error("there is no such device that is let in")]
    Unknown,
    #[error("the device was revoked")]
    Revoked,
    #[error("the device was registered with another `via` than it comes by")]
    Via,
    #[error("the id of the MQTT client is not the user name")]
    Client,
    #[error("it is another virtual host than the hub's")]
    Vhost,
    #[error("it is neither the device's own queue nor what its subscription needs")]
    Resource,
    #[error("it is not the device's own topic")]
    Topic,
    #[error("the broker is not fit for devices")]
    Broker,
    #[error("the store does not answer")]
    Store,
}

impl Why {
    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Name => "name",
            Self::Token => "token",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Via => "via",
            Self::Client => "client",
            Self::Vhost => "vhost",
            Self::Resource => "resource",
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Store => "store",
        }
    }
}

/// Tenant and id of the device that a user name means. A tenant may hold any sign, an id holds no slash.
pub(super) fn named(name: &str) -> Result<(&str, &str), Why> {
    let (tenant, id) = name.rsplit_once('/').ok_or(Why::Name)?;
    match well_formed(tenant) && check_id(id).is_ok() {
        true => Ok((tenant, id)),
        false => Err(Why::Name),
    }
}

/// What is to be known of a device for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) number: Number,
    pub(super) via: Via,
    /// What it reads from: of a device that the hub serves, nothing.
    pub(super) queue: Option<String>,
    /// Its topic, as the exchange of MQTT knows it.
    key: String,
}

impl Known {
    pub(super) fn of(device: &Device, names: &Names) -> Self {
        let registration = &device.registration;
        let queue = match registration.via {
            Via::Hub => None,
            Via::Amqp => Some(names.device_queue(queue_of(device.number, device.queue_tier))),
            Via::Mqtt => Some(mqtt_queue(&registration.tenant, &registration.id)),
        };
        let key = names.mqtt_key(device.number.0.unsigned_abs());
        Self { number: device.number, via: registration.via, queue, key }
    }
}

/// What a device wants to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    Vhost { vhost: &'a str },
    Resource { vhost: &'a str, kind: &'a str, name: &'a str, permission: &'a str },
    Topic { vhost: &'a str, exchange: &'a str, permission: &'a str, key: &'a str },
}

/// What follows from what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nothing.
    Else,
    /// Its MQTT session is about to get what is sent to its topic, or does already.
    Subscription,
}

/// Whether a device may.
pub(super) fn asked(own: &str, known: &Known, ask: Ask<'_>) -> Result<Wants, Why> {
    let (Ask::Vhost { vhost } | Ask::Resource { vhost, .. } | Ask::Topic { vhost, .. }) = ask;
    if known.via == Via::Hub {
        return Err(Why::Via);
    }
    if vhost != own {
        return Err(Why::Vhost);
    }
    match ask {
        Ask::Vhost { .. } => Ok(Wants::Else),
        Ask::Resource { kind, name, permission, .. } => {
            let is_own = known.queue.as_deref() == Some(name);
            match (known.via, kind, permission) {
                (Via::Amqp, "queue", "read") if is_own => Ok(Wants::Else),
                // A session that goes on is read from, and nothing more is asked.
                (Via::Mqtt, "queue", "read") if is_own => Ok(Wants::Subscription),
                (Via::Mqtt, "queue", "configure" | "write") if is_own => Ok(Wants::Else),
                // To bind takes `write` of the queue, `read` of the exchange, and the topic below.
                (Via::Mqtt, "exchange", "read") if name == MQTT_EXCHANGE => Ok(Wants::Else),
                _ => Err(Why::Resource),
            }
        }
        Ask::Topic { exchange, permission, key, .. } => match (known.via, exchange, permission) {
            (Via::Mqtt, MQTT_EXCHANGE, "read") if key == known.key => Ok(Wants::Subscription),
            _ => Err(Why::Topic),
        },
    }
}

#[cfg(test)]
mod tests;
