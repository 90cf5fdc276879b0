//! What outsiders are told of deliveries and devices, as events on `warren.events`.

use std::collections::BTreeMap;

use database::clock::timestamp;
use jiff::Timestamp;
use messaging::message::Message;
use serde::Serialize;
use uuid::Uuid;

use crate::lane_message::SOURCE;
use crate::store::{Micros, Reason, Receipt, Transport};

/// The events of deliveries: what a message has become for a device.
pub const DELIVERY: [&str; 4] = ["delivery.delivered", "delivery.read", "delivery.expired", "delivery.dropped"];

/// The events of devices.
pub const ONLINE: &str = "devices.online";
/// As [`ONLINE`].
pub const OFFLINE: &str = "devices.offline";

/// The body of an event of [`DELIVERY`].
#[derive(Serialize)]
struct Delivery<'a> {
    message: Uuid,
    device: &'a str,
    user: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inferred: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    at: Timestamp,
}

/// That somebody is connected as a device, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether he is.
    pub online: bool,
    /// Whose device it is.
    pub tenant: String,
    /// Its id.
    pub device: String,
    /// Its user.
    pub user: String,
    /// The session that began or ended.
    pub session: Uuid,
    /// How it goes, or went.
    pub transport: Transport,
    /// When.
    pub at: Micros,
}

#[derive(Serialize)]
struct Connection<'a> {
    device: &'a str,
    user: &'a str,
    session: Uuid,
    transport: &'a str,
    at: Timestamp,
}

/// A receipt as an event; the same receipt is the same event, id included.
pub fn of_receipt(receipt: &Receipt) -> Message {
    let Receipt { message, device, user, at, .. } = receipt;
    let (state, at) = (receipt.state.name(), timestamp(*at));
    let inferred = receipt.reason == Some(Reason::Inferred);
    let reason = receipt.reason.filter(|_| !inferred).map(Reason::name);
    let detail = receipt.detail.as_deref();
    let body = Delivery { message: *message, device, user, state, reason, inferred, detail, at };
    event(format!("{message}/{device}/{state}"), format!("delivery.{state}"), at, &receipt.tenant, &body)
}

/// A presence as an event.
pub fn of_presence(presence: &Presence) -> Message {
    let Presence { online, tenant, device, user, session, transport, at } = presence;
    let (kind, at) = (if *online { ONLINE } else { OFFLINE }, timestamp(*at));
    let body = Connection { device, user, session: *session, transport: transport.name(), at };
    event(format!("{session}/{kind}"), kind.to_owned(), at, tenant, &body)
}

fn event(id: String, kind: String, time: Timestamp, tenant: &str, body: &impl Serialize) -> Message {
    Message {
        id,
        kind,
        source: SOURCE.to_owned(),
        time,
        content_type: "application/json".to_owned(),
        traceparent: None,
        run: None,
        tenant: tenant.to_owned(),
        headers: BTreeMap::new(),
        // Texts and times only: there is nothing in them that JSON does not have.
        body: serde_json::to_vec(body).unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::State;

    #[test]
    fn a_receipt_says_what_became_of_a_message_under_an_id_of_its_own() {
        let receipt = Receipt {
            number: 1,
            tenant: "acme".into(),
            message: Uuid::nil(),
            device: "phone".into(),
            user: "ann".into(),
            state: State::Dropped,
            reason: Some(Reason::Rejected),
            detail: Some("no such screen".into()),
            at: 1_700_000_000_000_000,
        };
        let event = of_receipt(&receipt);
        assert_eq!(event.id, format!("{}/phone/dropped", Uuid::nil()));
        assert_eq!((event.kind.as_str(), event.tenant.as_str()), (DELIVERY[3], "acme"));
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        let said = json!({"message": Uuid::nil(), "device": "phone", "user": "ann", "state": "dropped", "reason": "rejected",
            "detail": "no such screen", "at": "2023-11-14T22:13:20Z"});
        assert_eq!(body, said);
        let inferred = Receipt { state: State::Delivered, reason: Some(Reason::Inferred), detail: None, ..receipt.clone() };
        let body: Value = serde_json::from_slice(&of_receipt(&inferred).body).unwrap();
        assert_eq!((&body["inferred"], body.get("reason")), (&json!(true), None));
        assert_ne!(event.id, of_receipt(&Receipt { state: State::Read, reason: None, detail: None, ..receipt }).id);
    }

    #[test]
    fn a_session_begins_and_ends_under_two_ids() {
        let online = Presence {
            online: true,
            tenant: "acme".into(),
            device: "phone".into(),
            user: "ann".into(),
            session: Uuid::nil(),
            transport: Transport::Socket,
            at: 0,
        };
        let (began, ended) = (of_presence(&online), of_presence(&Presence { online: false, ..online.clone() }));
        assert_eq!((began.kind.as_str(), ended.kind.as_str()), (ONLINE, OFFLINE));
        assert_ne!(began.id, ended.id);
        let body: Value = serde_json::from_slice(&began.body).unwrap();
        assert_eq!(body["transport"], "socket");
    }
}
