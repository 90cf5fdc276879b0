//! The same over plain HTTP: what a long-poll answers, and what acks it. Shared with SSE, whose acks are the same body.

use serde_json::value::RawValue;
use uuid::Uuid;

use super::client::MAX_DEPTH;
use super::fields::Fields;
use super::message::{self, into_text, write_json};
use super::{Gap, MAX_FRAME, MAX_LIST, MAX_SEQ, Malformed, Message};

/// What a poll brings: `{"messages":[...],"more":false}`, with `gap` if something was lost before the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// In the order of `seq`; [`MAX_LIST`] at most.
    pub messages: Vec<Message>,
    /// There are more: ask again at once.
    pub more: bool,
    /// What was lost before the first of them.
    pub gap: Option<Gap>,
}

impl Polled {
    /// Writes the body of the answer. Each payload is copied once.
    pub fn encode(&self) -> String {
        let mut out = Vec::with_capacity(64 + self.messages.iter().map(|message| message.size() + 512).sum::<usize>());
        out.extend_from_slice(b"{\"messages\":[");
        for (at, message) in self.messages.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
            message.write(&mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"more\":");
        write_json(&mut out, &self.more);
        if let Some(gap) = &self.gap {
            out.extend_from_slice(b",\"gap\":");
            write_json(&mut out, &gap.wire());
        }
        out.push(b'}');
        into_text(out)
    }

    /// Reads an answer, as a client does.
    ///
    /// # Errors
    /// For what no server of this version answers.
    pub fn decode(text: &str) -> Result<Self, Malformed> {
        let deepest = message::MAX_DEPTH + 3;
        let fields = Fields::parse(text, deepest)?;
        let entries: Vec<&RawValue> = fields.list("messages", MAX_LIST)?;
        let read = |raw: &&RawValue| Message::read(&Fields::parse(raw.get(), deepest)?);
        let messages = entries.iter().map(read).collect::<Result<_, _>>()?;
        let gap = fields.object("gap", "gap.")?;
        Ok(Self { messages, more: fields.required("more")?, gap: gap.map(|gap| Gap::read(&gap)).transpose()? })
    }
}

/// The body of `POST /v1/device/acks`: one or more of `{"up_to": 12, "ids": ["..."], "gap": 3}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// All that the device was given up to this `seq`.
    pub up_to: Option<u64>,
    /// Messages by id; [`MAX_LIST`] at most.
    pub ids: Vec<Uuid>,
    /// All that the device was given of the log up to this entry.
    pub entry: Option<u64>,
    /// The gap of this number, and those before it.
    pub gap: Option<u64>,
}

impl Acks {
    /// Reads a body.
    ///
    /// # Errors
    /// With the field that is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_FRAME {
            return Err(Malformed::frame(format!("the body has {} bytes, {MAX_FRAME} at most are taken", body.len())));
        }
        let text = std::str::from_utf8(body).map_err(|error| Malformed::frame(format!("not UTF-8: {error}")))?;
        let fields = Fields::parse(text, MAX_DEPTH)?;
        let (up_to, gap) = (fields.number("up_to", 0..=MAX_SEQ)?, fields.number("gap", 0..=MAX_SEQ)?);
        let ids: Vec<Uuid> = fields.list("ids", MAX_LIST)?;
        let entry = fields.number("entry", 0..=MAX_SEQ)?;
        if up_to.is_none() && ids.is_empty() && entry.is_none() && gap.is_none() {
            return Err(fields.wrong("up_to", "this, `ids`, `entry` or `gap` must be there"));
        }
        Ok(Self { up_to, ids, entry, gap })
    }
}
