//! The messages, one after another. docs/worker-contract.md says the same at length.

use api_ack::kinds::KindSpec;
use messaging::message::Message;
use mobile_delivery::receipts::{self, Presence};
use mobile_delivery::store::{Reason, Receipt, State, Transport};
use mobile_delivery::submissions::{DEVICE_HEADER, USER_HEADER};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{BINDING, payloads, reference};

/// What a client publishes to have a job of this kind.
pub(super) fn submission(spec: &KindSpec, schema: Option<&Value>) -> Value {
    let words = [
        ("warren-tenant", "Whose job it is, 200 bytes at most"),
        ("warren-run-at", "RFC 3339: not before"),
        ("warren-delay", "As in `30s`: not before"),
        ("warren-deadline", "RFC 3339: when the job is given up"),
        ("warren-priority", "`normal` or `high`, of a kind with two queues"),
        ("warren-tags", "Words to find it by, separated by commas"),
        ("warren-callback", "Who is told of its end"),
        ("traceparent", "W3C trace context"),
        ("cloudEvents_source", "Who submits, 200 bytes at most"),
    ];
    let headers: Map<String, Value> = words.into_iter().map(|(name, says)| (name.to_owned(), text(says))).collect();
    let mut message = of_kind(spec, schema);
    message["title"] = format!("a job of the kind {}, submitted", spec.kind).into();
    message["summary"] = "AMQP `type` is the kind, `message_id` the idempotency key, the body the payload".into();
    message["headers"] = json!({ "type": "object", "properties": headers });
    message
}

/// What a client publishes to send to devices.
pub(super) fn to_devices() -> Value {
    let words = [
        (DEVICE_HEADER, "The device it is for, or several separated by commas"),
        (USER_HEADER, "Instead: the user whose devices it is for"),
        ("warren-except", "With a user: but not to this device"),
        ("warren-tenant", "Whose devices, 200 bytes at most"),
        ("warren-ttl", "As in `1h`: how long it may wait for a device"),
        ("warren-collapse-key", "Of two undelivered messages with the same key the older is dropped"),
        ("warren-priority", "`normal` or `high`: whether it is worth waking the device for"),
        ("warren-run-at", "RFC 3339: not before"),
        ("warren-delay", "As in `30s`: not before"),
        ("warren-receipt", "The text `true`: its end is told by receipts"),
        ("traceparent", "W3C trace context"),
        ("cloudEvents_source", "Who sends, 128 bytes at most"),
    ];
    let headers: Map<String, Value> = words.into_iter().map(|(name, says)| (name.to_owned(), text(says))).collect();
    let one_of = [DEVICE_HEADER, USER_HEADER].map(|name| json!({ "required": [name] }));
    json!({
        "name": "device-message",
        "title": "a message for devices, submitted",
        "summary": "AMQP `type` is what the message is, `message_id` the idempotency key, the body the payload, of any type",
        "headers": { "type": "object", "properties": headers, "oneOf": one_of },
    })
}

/// What a worker of this kind gets.
pub(super) fn job(spec: &KindSpec, schema: Option<&Value>, raw: bool) -> Value {
    let mut message = of_kind(spec, schema);
    message["title"] = format!("a job of the kind {}", spec.kind).into();
    if raw {
        message["summary"] = "The payload as it was submitted, without headers; `message_id` is the job's id".into();
    } else {
        message["summary"] = "The payload as it was submitted; `message_id` is the job's id, the same on every attempt".into();
        message["headers"] = reference("components/schemas", "job-headers");
    }
    message
}

fn of_kind(spec: &KindSpec, schema: Option<&Value>) -> Value {
    let mut message = json!({
        "name": spec.kind.as_str(),
        "contentType": spec.content_types[0],
        "bindings": { "amqp": { "messageType": spec.kind.as_str(), "bindingVersion": BINDING } },
    });
    let others = spec.content_types[1..].join(", ");
    let others = if others.is_empty() { others } else { format!("Also taken: {others}.") };
    let unsaid = spec.schema.is_some() && schema.is_none();
    let unsaid = if unsaid { "Its JSON Schema cannot be shown here: see `GET /v1/kinds/{kind}`." } else { "" };
    let words = [spec.description.as_str(), &others, unsaid].into_iter().filter(|words| !words.is_empty());
    let description = words.collect::<Vec<_>>().join(" ");
    if !description.is_empty() {
        message["description"] = description.into();
    }
    if let Some(schema) = schema {
        message["payload"] = schema.clone();
    }
    message
}

/// One of the three reports of a worker.
pub(super) fn report(name: &str, says: &str) -> Value {
    json!({
        "name": name,
        "title": says,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": { "traceparent": text("W3C trace context, as it came with the job") },
        },
        "payload": reference("components/schemas", name),
        "bindings": { "amqp": { "messageType": name, "bindingVersion": BINDING } },
    })
}

/// An event of a service; its payload is between that service and its subscribers.
pub(super) fn event() -> Value {
    json!({
        "name": "event",
        "title": "an event of a service",
        "summary": "AMQP `type` and the routing key are the event's name, `<domain>.<event>`",
        "headers": reference("components/schemas", "cloud-event-headers"),
    })
}

/// What Warren tells of devices, with an example of each: the event's name and the schema of its payload.
pub(super) fn of_devices() -> Vec<(String, Value)> {
    let (message, session) =
        (Uuid::from_u128(0x0192_f3c4_5b6a_7c8d_9e0f_1122_3344_5566), Uuid::from_u128(0x0192_f3c4_5b6a_7c8d_9e0f_1122_3344_5577));
    let (tenant, device, user, at) = ("acme".to_owned(), "phone-1".to_owned(), "olga".to_owned(), 1_795_346_100_000_000);
    let receipt = |state, reason| {
        let (tenant, device, user) = (tenant.clone(), device.clone(), user.clone());
        let detail = (reason == Some(Reason::Rejected)).then(|| "no such screen".to_owned());
        receipts::of_receipt(&Receipt { number: 1, tenant, message, device, user, state, reason, detail, at })
    };
    let presence = |online| {
        let (tenant, device, user) = (tenant.clone(), device.clone(), user.clone());
        receipts::of_presence(&Presence { online, tenant, device, user, session, transport: Transport::Socket, at })
    };
    let delivery = "At least once, and only if the sender asked with `Warren-Receipt`; the same event has the same id";
    let connection = "As far as there is room: some may be missing when thousands come at once";
    let told = [
        (receipt(State::Delivered, None), payloads::DELIVERY, "a device has acked a message", delivery),
        (receipt(State::Read, None), payloads::DELIVERY, "a person has seen a message", delivery),
        (receipt(State::Expired, None), payloads::DELIVERY, "a message's time was over first", delivery),
        (receipt(State::Dropped, Some(Reason::Overflow)), payloads::DELIVERY, "a message will not get there", delivery),
        (presence(true), payloads::PRESENCE, "a device is connected", connection),
        (presence(false), payloads::PRESENCE, "a device is connected no more", connection),
    ];
    let message = |(event, schema, title, summary): (Message, &str, &str, &str)| {
        let body: Value = serde_json::from_slice(&event.body).unwrap_or_default();
        let message = json!({
            "name": event.kind,
            "title": title,
            "summary": summary,
            "contentType": event.content_type,
            "headers": reference("components/schemas", "cloud-event-headers"),
            "payload": reference("components/schemas", schema),
            "examples": [{ "payload": body }],
            "bindings": { "amqp": { "messageType": event.kind, "bindingVersion": BINDING } },
        });
        (event.kind, message)
    };
    told.into_iter().map(message).collect()
}

/// What was given up.
pub(super) fn dead_letter() -> Value {
    json!({
        "name": "dead-letter",
        "title": "a message that was given up",
        "summary": "The bytes as they came; one that the broker gave up carries `x-death` instead of a reason",
        "headers": reference("components/schemas", payloads::DEAD_LETTER),
    })
}

fn text(says: &str) -> Value {
    json!({ "type": "string", "description": says })
}
