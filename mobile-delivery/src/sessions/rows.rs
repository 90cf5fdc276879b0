//! A row, and what a lane has brought, as a device is given it.

use database::clock;
use jiff::Timestamp;
use messaging::message::Message as Carried;

use crate::lane_message;
use crate::protocol::{self, Gap as ToldGap, Logged, Message};
use crate::store::{Audience, Author, Entry, Gap, Given, Micros, Priority};

/// What a device is given of what came down its lane; `None` of what its row must be read for: it is no message of a relay, its time is over,
/// or it was on its way since before `fresh`, and its row may have ended meanwhile.
pub(super) fn arrived(carried: Carried, seq: i64, redelivered: bool, now: Timestamp, fresh: Timestamp) -> Option<Message> {
    let message = lane_message::read(seq, carried)?;
    let over = message.expires.is_none_or(|expires| expires <= now);
    (!over && message.time >= fresh).then_some(Message { dup: redelivered, ..message })
}

/// What a device is told of what it missed.
pub(crate) fn told_gap(gap: Gap) -> ToldGap {
    ToldGap { number: gap.number.unsigned_abs(), reason: gap.reason.name().to_owned(), count: u64::try_from(gap.count).ok() }
}

/// What a device is given of a row.
pub(crate) fn given(row: Given) -> Message {
    Message { seq: row.seq.unsigned_abs(), ..as_given(row.message, row.expires_at) }
}

/// What a device is given of an entry of the log.
pub(crate) fn given_of_log(entry: &Entry) -> Message {
    let group = match Audience::of_tag(&entry.tag) {
        Some(Audience::Group(group)) => Some(group),
        _ => None,
    };
    let from = entry.author.as_ref().map(shown);
    let logged = Some(Box::new(Logged { entry: entry.entry.unsigned_abs(), group, from }));
    Message { logged, ..as_given(entry.message.clone(), entry.expires_at) }
}

/// A device, as others are shown it.
pub(crate) fn shown(author: &Author) -> protocol::Author {
    protocol::Author { device: author.device.clone(), user: author.user.clone() }
}

fn as_given(message: crate::store::Message, expires_at: Micros) -> Message {
    Message {
        seq: 0,
        logged: None,
        id: message.id,
        dup: false,
        kind: message.kind,
        time: clock::timestamp(message.created_at),
        expires: Some(clock::timestamp(expires_at)),
        collapse_key: message.collapse_key,
        high: message.priority == Priority::High,
        content_type: message.content_type,
        payload: message.body,
    }
}
