//! A device's message as it lies in its queue: CloudEvents in AMQP binary mode, with what a session needs to give it without a look at
//! the store. [`write()`] makes it and [`read()`] takes it apart.

use std::collections::BTreeMap;

use database::clock::timestamp;
use messaging::message::{Message as Wire, header};
use uuid::Uuid;

use crate::protocol::Message;
use crate::store::{Given, Priority};

/// CloudEvents `source` of everything that mobile delivery publishes.
pub const SOURCE: &str = "/warren/devices";

const HIGH: &str = "high";

/// `given`, for a device of `tenant`. Its places are told beside it ([`messaging::devices::DeviceMessage`]).
pub fn write(given: &Given, tenant: &str) -> Wire {
    let message = &given.message;
    let mut headers = BTreeMap::from([(header::EXPIRES.to_owned(), timestamp(given.expires_at).to_string())]);
    headers.extend(message.collapse_key.clone().map(|key| (header::COLLAPSE_KEY.to_owned(), key)));
    if message.priority == Priority::High {
        headers.insert(header::PRIORITY.to_owned(), HIGH.to_owned());
    }
    Wire {
        id: message.id.to_string(),
        kind: message.kind.clone(),
        source: SOURCE.to_owned(),
        time: timestamp(message.created_at),
        content_type: message.content_type.clone(),
        traceparent: message.traceparent.clone(),
        run: None,
        tenant: tenant.to_owned(),
        headers,
        body: message.body.clone(),
    }
}

/// What came by the queue under `seq`, as the device sees it; `None` of what a relay never wrote: then its row says what it is.
pub fn read(seq: i64, wire: Wire) -> Option<Message> {
    let Wire { id, kind, time, content_type, mut headers, body, .. } = wire;
    let expires = match headers.remove(header::EXPIRES) {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    Some(Message {
        logged: None,
        seq: u64::try_from(seq).ok()?,
        id: Uuid::try_parse(&id).ok()?,
        dup: false,
        kind,
        time,
        expires,
        collapse_key: headers.remove(header::COLLAPSE_KEY),
        high: headers.get(header::PRIORITY).is_some_and(|priority| priority == HIGH),
        content_type,
        payload: body,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store;

    #[test]
    fn what_was_sent_comes_out_as_it_went_in() {
        let (body, id) = (Bytes::from_static(b"\0\xff"), Uuid::now_v7());
        let message = store::Message {
            id,
            sender: "shop".into(),
            kind: "order.shipped".into(),
            content_type: "application/octet-stream".into(),
            body: body.clone(),
            traceparent: None,
            collapse_key: Some("orders".into()),
            priority: Priority::High,
            created_at: 1_700_000_000_123_456,
        };
        let given = Given { seq: 7, expires_at: 1_700_000_100_000_001, message };
        let read = read(7, write(&given, "acme")).unwrap();
        assert_eq!((read.seq, read.id, read.high, &read.payload), (7, id, true, &body));
        assert_eq!(read.time.as_microsecond(), given.message.created_at);
        assert_eq!(read.expires.unwrap().as_microsecond(), given.expires_at);
        assert_eq!(read.collapse_key.as_deref(), Some("orders"));
    }

    #[test]
    fn what_a_stranger_wrote_is_left_to_the_row() {
        let given = Given {
            seq: 1,
            expires_at: 0,
            message: store::Message {
                id: Uuid::now_v7(),
                sender: String::new(),
                kind: "note".into(),
                content_type: "text/plain".into(),
                body: Bytes::new(),
                traceparent: None,
                collapse_key: None,
                priority: Priority::Normal,
                created_at: 0,
            },
        };
        let wire = write(&given, "acme");
        assert!(read(1, Wire { id: "not-a-uuid".into(), ..wire.clone() }).is_none());
        let headers = BTreeMap::from([(header::EXPIRES.to_owned(), "soon".to_owned())]);
        assert!(read(1, Wire { headers, ..wire.clone() }).is_none());
        assert!(read(-1, wire).is_none());
    }
}
