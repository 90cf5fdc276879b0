//! What devices say to each other in a room: messages, which are stored, and signals, which are not; and who is there.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Malformed;
use super::fields::Fields;
use super::message::{payload, write_data, write_json};

/// The longest name that a client gives a message of its own.
pub const MAX_REF: usize = 64;

/// The longest payload of a signal, in bytes of JSON.
pub const MAX_SIGNAL: usize = 1024;

/// Rooms that a session watches at most.
pub const MAX_WATCHED: usize = 16;

/// The longest type of a message or a signal, in bytes.
pub const MAX_KIND: usize = 128;

const JSON: &str = "application/json";

/// A device, as others in a room are shown it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Author {
    /// Its id.
    pub device: String,
    /// Whose it is.
    pub user: String,
}

/// A message that a device has for a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// What the client calls it: with the same one it is stored once. `[A-Za-z0-9_-]{1,64}`.
    pub reference: String,
    /// To whom.
    pub group: String,
    /// What it is, by the device's own names; empty for nothing.
    pub kind: String,
    /// Of the payload.
    pub content_type: String,
    /// The payload.
    pub payload: Bytes,
}

impl Publish {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Malformed> {
        let reference: String = fields.required("ref")?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=MAX_REF).contains(&reference.len()) || !reference.bytes().all(good) {
            return Err(fields.wrong("ref", format_args!("it must be 1 to {MAX_REF} of A-Z, a-z, 0-9, _ and -")));
        }
        let content_type = fields.optional("content_type")?.unwrap_or_else(|| JSON.to_owned());
        Ok(Self {
            reference,
            group: fields.word("group")?,
            kind: fields.text("type", MAX_KIND)?.unwrap_or_default(),
            payload: payload(fields, &content_type)?,
            content_type,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Head<'a> {
            #[serde(rename = "ref")]
            reference: &'a str,
            group: &'a str,
            #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
            kind: &'a str,
            content_type: &'a str,
        }
        let Self { reference, group, kind, content_type, payload } = self;
        write_json(out, &Head { reference, group, kind, content_type });
        // Its payload stands in the same object.
        out.pop();
        write_data(out, content_type, payload);
        out.push(b'}');
    }
}

/// Something that is of use now or never: somebody is typing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Where.
    pub group: String,
    /// Who says it; a client does not say.
    pub from: Option<Author>,
    /// What it is, by the devices' own names.
    pub kind: String,
    /// JSON, as it was written; [`MAX_SIGNAL`] bytes at most.
    pub data: Option<String>,
}

impl Signal {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Malformed> {
        let data = fields.raw("data").map(|raw| raw.get().to_owned());
        if let Some(data) = data.as_ref().filter(|data| data.len() > MAX_SIGNAL) {
            return Err(fields.wrong("data", format_args!("it has {} bytes, {MAX_SIGNAL} at most are taken", data.len())));
        }
        // Unlike a message it is no client's to decode when it likes: it must be what every reader reads.
        if let Some(Err(error)) = data.as_deref().map(serde_json::from_str::<serde_json::Value>) {
            return Err(fields.wrong("data", error));
        }
        let kind = fields.text("type", MAX_KIND)?.ok_or_else(|| fields.wrong("type", "it is missing"))?;
        Ok(Self { group: fields.word("group")?, from: fields.optional("from")?, kind, data })
    }
}

/// A signal as serde writes it.
#[derive(Serialize)]
pub(super) struct WireSignal<'a> {
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a Author>,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Signal {
    pub(super) fn wire(&self) -> WireSignal<'_> {
        let data = self.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
        WireSignal { group: &self.group, from: self.from.as_ref(), kind: &self.kind, data }
    }
}

/// Who is connected in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// Which room.
    pub group: String,
    /// `here` is everybody; what was told before counts no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// These are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub here: Vec<Author>,
    /// These have gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<Author>,
}

/// A message is stored, or was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// What the client calls it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The id that all members get it by.
    pub id: Uuid,
}

/// Something that a client said is not done. The session goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Of which message, if it was one.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why: a word. Whoever decodes keeps what it does not know.
    pub code: String,
    /// The same for people, with what to do.
    pub detail: String,
    /// It may be done then; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
