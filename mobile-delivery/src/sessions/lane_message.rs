//! A message as it travels down a lane, and back into what a device is given; and the same from a row.

use database::clock;
use jiff::Timestamp;
use messaging::message::Message as Carried;
use uuid::Uuid;

use crate::protocol::Message;
use crate::store::{Given, Priority};

/// Header: until when it may be given, RFC 3339.
pub const EXPIRES: &str = "warren-expires";
/// Header: see [`crate::store::Message::collapse_key`].
pub const COLLAPSE_KEY: &str = "warren-collapse-key";
/// Header: `high`, or absent.
pub const PRIORITY: &str = "warren-priority";

/// What a lane carries for a row. Its `seq` goes beside it ([`messaging::devices::DeviceMessage`]).
pub fn carried(tenant: &str, given: &Given) -> Carried {
    let message = &given.message;
    let mut headers = std::collections::BTreeMap::from([(EXPIRES.to_owned(), clock::timestamp(given.expires_at).to_string())]);
    headers.extend(message.collapse_key.clone().map(|key| (COLLAPSE_KEY.to_owned(), key)));
    if message.priority == Priority::High {
        headers.insert(PRIORITY.to_owned(), "high".to_owned());
    }
    Carried {
        id: message.id.to_string(),
        kind: message.kind.clone(),
        source: "/warren/devices".to_owned(),
        time: clock::timestamp(message.created_at),
        content_type: message.content_type.clone(),
        traceparent: message.traceparent.clone(),
        run: None,
        tenant: tenant.to_owned(),
        headers,
        body: message.body.clone(),
    }
}

/// What a device is given of what came down its lane; `None` of what a row must be read for: it is no message of ours, its time is over, or
/// it was on its way since before `fresh`, and its row may have ended meanwhile.
pub(super) fn arrived(carried: Carried, seq: u64, redelivered: bool, now: Timestamp, fresh: Timestamp) -> Option<Message> {
    let id: Uuid = carried.id.parse().ok()?;
    let header = |name: &str| carried.headers.get(name);
    let expires: Timestamp = header(EXPIRES)?.parse().ok()?;
    if expires <= now || carried.time < fresh {
        return None;
    }
    let (collapse_key, high) = (header(COLLAPSE_KEY).cloned(), header(PRIORITY).is_some_and(|priority| priority == "high"));
    Some(Message {
        seq,
        id,
        dup: redelivered,
        kind: carried.kind,
        time: carried.time,
        expires: Some(expires),
        collapse_key,
        high,
        content_type: carried.content_type,
        payload: carried.body,
    })
}

/// What a device is given of a row.
pub(crate) fn given(row: Given) -> Message {
    let message = row.message;
    Message {
        seq: row.seq.unsigned_abs(),
        id: message.id,
        dup: false,
        kind: message.kind,
        time: clock::timestamp(message.created_at),
        expires: Some(clock::timestamp(row.expires_at)),
        collapse_key: message.collapse_key,
        high: message.priority == Priority::High,
        content_type: message.content_type,
        payload: message.body,
    }
}
