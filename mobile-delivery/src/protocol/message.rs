//! One message as a device sees it, and its payload in JSON.
//!
//! | content type | payload | on the wire |
//! |---|---|---|
//! | `application/json`, `*/*+json` | one JSON value, [`MAX_DEPTH`] levels deep at most | `data`: the value as it was written |
//! | `text/*` | UTF-8 | `data`: a text |
//! | any | any | `data_base64`: standard alphabet, padded |
//!
//! The last row is for what the first two do not fit, so that no payload is ever changed or lost, and none can break out of its frame.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::fields::{Fields, is_deeper};
use super::{Author, MAX_SEQ, Malformed};

/// Levels that the JSON of a payload may have to go out as JSON: deeper ones break readers in other languages.
pub const MAX_DEPTH: usize = 127;

/// The place of a message that goes to many: in the log of the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The number of the entry: rising, with holes. From 1 to [`MAX_SEQ`].
    pub entry: u64,
    /// The group that it was sent to; `None` of a broadcast.
    pub group: Option<String>,
    /// The device that published it; `None`: a back end sent it.
    pub from: Option<Author>,
}

/// A message of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The device's own sequence number of it: given when it was accepted, rising, with holes. From 1 to [`MAX_SEQ`]; 0 of one that is [`Logged`].
    pub seq: u64,
    /// Where it stands instead, of one that goes to many.
    pub logged: Option<Box<Logged>>,
    /// The same however often it comes, and for everybody it was sent to.
    pub id: Uuid,
    /// It may have been given before.
    pub dup: bool,
    /// What sort of message it is; the sender's word.
    pub kind: String,
    /// When it was accepted.
    pub time: Timestamp,
    /// When it is of no more use.
    pub expires: Option<Timestamp>,
    /// A later message with the same key takes its place.
    pub collapse_key: Option<String>,
    /// Its sender asked for priority `high`.
    pub high: bool,
    /// What the payload is.
    pub content_type: String,
    /// The payload, as it was sent.
    pub payload: Bytes,
}

/// How a payload goes into JSON; it borrows.
enum Data<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Data<'a> {
    fn of(content_type: &str, payload: &'a [u8]) -> Self {
        let text = || std::str::from_utf8(payload).ok();
        let data = match Media::of(content_type) {
            Media::Json if !is_deeper(payload, MAX_DEPTH) => {
                text().and_then(|text| serde_json::from_str(text).ok()).map(Self::Json)
            }
            Media::Text => text().map(Self::Text),
            _ => None,
        };
        data.unwrap_or(Self::Binary(payload))
    }

    /// Bytes that it will need, about.
    fn room(&self) -> usize {
        match self {
            Self::Json(raw) => raw.get().len(),
            // Quotes and line ends are escaped.
            Self::Text(text) => text.len() + text.len() / 8,
            Self::Binary(bytes) => bytes.len().div_ceil(3) * 4,
        }
    }
}

enum Media {
    Json,
    Text,
    Other,
}

impl Media {
    fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence == "application/json" || essence.ends_with("+json") {
            Self::Json
        } else if essence.starts_with("text/") {
            Self::Text
        } else {
            Self::Other
        }
    }
}

/// All but the payload, in the order of the wire.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a Author>,
    id: Uuid,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dup: bool,
    #[serde(rename = "type")]
    kind: &'a str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
    content_type: &'a str,
}

impl Message {
    /// Bytes of it that count against a window.
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// Its fields, written behind `before` (`{` and what else is to come first); the object is not closed.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(320 + self.kind.len() + self.content_type.len() + self.collapse_key.as_ref().map_or(0, String::len));
        let head = Head {
            seq: self.logged.is_none().then_some(self.seq),
            entry: self.logged.as_ref().map(|logged| logged.entry),
            group: self.logged.as_ref().and_then(|logged| logged.group.as_deref()),
            from: self.logged.as_ref().and_then(|logged| logged.from.as_ref()),
            id: self.id,
            dup: self.dup,
            kind: &self.kind,
            time: self.time,
            expires: self.expires,
            collapse_key: self.collapse_key.as_deref(),
            priority: self.high.then_some("high"),
            content_type: &self.content_type,
        };
        let start = out.len();
        write_json(out, &head);
        // The braces of the head are the caller's.
        out.remove(start);
        out.pop();
        write_data(out, &self.content_type, &self.payload);
    }

    /// From the fields of a `deliver`, or of an entry of a poll.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Malformed> {
        let content_type: String = fields.required("content_type")?;
        let payload = payload(fields, &content_type)?;
        let logged = fields.number("entry", 1..=MAX_SEQ)?;
        Ok(Self {
            seq: if logged.is_some() { 0 } else { seq(fields, "seq")? },
            logged: logged
                .map(|entry| {
                    let (group, from) = (fields.optional("group")?, fields.optional("from")?);
                    Ok::<_, Malformed>(Box::new(Logged { entry, group, from }))
                })
                .transpose()?,
            id: fields.required("id")?,
            dup: fields.optional("dup")?.unwrap_or_default(),
            kind: fields.required("type")?,
            time: fields.required("time")?,
            expires: fields.optional("expires")?,
            collapse_key: fields.optional("collapse_key")?,
            high: fields.optional::<String>("priority")?.is_some_and(|priority| priority == "high"),
            content_type,
            payload,
        })
    }
}

/// Writes a payload as the last field of an object.
pub(super) fn write_data(out: &mut Vec<u8>, content_type: &str, payload: &[u8]) {
    let data = Data::of(content_type, payload);
    out.reserve(32 + data.room());
    match data {
        Data::Json(raw) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(raw.get().as_bytes());
        }
        Data::Text(text) => {
            out.extend_from_slice(b",\"data\":");
            write_json(out, text);
        }
        Data::Binary(bytes) => {
            out.extend_from_slice(b",\"data_base64\":\"");
            // Written to memory, where nothing fails.
            let _ = write!(out, "{}", base64::display::Base64Display::new(bytes, &STANDARD));
            out.push(b'"');
        }
    }
}

/// The payload in the fields of an object.
pub(super) fn payload(fields: &Fields<'_>, content_type: &str) -> Result<Bytes, Malformed> {
    match (fields.raw_or_null("data"), fields.optional::<&str>("data_base64")?) {
        (Some(raw), None) => Ok(match Media::of(content_type) {
            Media::Text => Bytes::from(fields.required::<String>("data")?),
            _ => Bytes::copy_from_slice(raw.get().as_bytes()),
        }),
        (None, Some(base64)) => Ok(Bytes::from(STANDARD.decode(base64).map_err(|error| fields.wrong("data_base64", error))?)),
        _ => Err(fields.wrong("data", "either this or `data_base64` must be there")),
    }
}

/// A sequence number that must be there.
pub(super) fn seq(fields: &Fields<'_>, name: &'static str) -> Result<u64, Malformed> {
    fields.number(name, 1..=MAX_SEQ)?.ok_or_else(|| fields.wrong(name, "it is missing"))
}

/// Writes what serializes without fail: texts, numbers, lists of them.
pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "{written:?}");
}

/// What was written is UTF-8: every writer here writes texts.
pub(super) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
