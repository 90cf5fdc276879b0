//! The frames of the server as Server-Sent Events (WHATWG HTML, 9.2): the name of a frame is the event's, its other fields are the data.
//!
//! | event | id | data |
//! |---|---|---|
//! | as a frame's name | of a `deliver`: a [`Mark`] | the frame without `frame` |
//! | `close`, the last one | | `{"code":4201,"word":"draining"}`, with `detail` if there is something to say |
//!
//! The `error` frame is none of these: an `EventSource` has events of its own by that name, so what it says is the `detail` of the `close`.
//!
//! What a message holds cannot become an event. JSON has line ends inside of texts only as escapes; between its tokens, as a sender may have
//! written them, each begins another `data` line, which readers put together again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::millis;
use super::message::write_json;
use super::{Close, MAX_SEQ, Malformed, Message, ServerFrame};

/// What is written when there is nothing to say.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// How long an `EventSource` may take to come back by itself.
fn retry(within: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("retry: {}\n", millis(within)).as_bytes());
}

/// Up to where a stream has given: `7`, or `7.12` once there was something for many. It is the `id` of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The `seq` of the device's own message that was given last; 0 for none.
    pub seq: u64,
    /// The entry of the log that was given last; 0 for none.
    pub entry: u64,
}

impl Mark {
    /// The mark that a client says.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number <= MAX_SEQ);
        Some(match text.split_once('.') {
            None => Self { seq: number(text)?, entry: 0 },
            Some((seq, entry)) => Self { seq: number(seq)?, entry: number(entry).filter(|entry| *entry > 0)? },
        })
    }

    fn gave(&mut self, message: &Message) {
        match &message.logged {
            Some(logged) => self.entry = self.entry.max(logged.entry),
            None => self.seq = message.seq,
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.entry {
            0 => write!(f, "{}", self.seq),
            entry => write!(f, "{}.{entry}", self.seq),
        }
    }
}

/// Writes a frame as an event, with when to come back after this if that is to change; `mark` is that of its stream. An `error` is not written: see [`write_close`].
pub fn write(frame: &ServerFrame, back: Option<Duration>, mark: &mut Mark, out: &mut Vec<u8>) {
    if let Some(back) = back {
        retry(back, out);
    }
    match frame {
        ServerFrame::Error { .. } => {}
        ServerFrame::Deliver(message) => {
            mark.gave(message);
            out.extend_from_slice(format!("event: deliver\nid: {mark}\n").as_bytes());
            data(out, |out| {
                out.push(b'{');
                message.write(out);
                out.push(b'}');
            });
        }
        frame => {
            let (name, text) = (frame.name(), frame.encode());
            out.extend_from_slice(format!("event: {name}\n").as_bytes());
            let rest = text.strip_prefix(&format!("{{\"frame\":\"{name}\"")).unwrap_or(&text);
            data(out, |out| {
                out.push(b'{');
                out.extend_from_slice(rest.strip_prefix(',').unwrap_or(rest).as_bytes());
            });
        }
    }
}

/// Writes the last event: how the session ends, and what there is to say of it.
pub fn write_close(close: Close, detail: Option<&str>, back: Option<Duration>, out: &mut Vec<u8>) {
    if let Some(back) = back {
        retry(back, out);
    }
    out.extend_from_slice(b"event: close\n");
    let closed = Closed { code: close.code(), word: close.as_str().into(), detail: detail.map(Into::into) };
    data(out, |out| write_json(out, &closed));
}

/// Writes the data of an event, and its end.
fn data(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    write(out);
    if out[start..].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        let text = out.split_off(start);
        for (at, line) in lines(&text).enumerate() {
            if at > 0 {
                out.extend_from_slice(b"\ndata: ");
            }
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// Lines as readers of events take them apart: at CRLF, LF and CR.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            return rest.take();
        };
        let skip = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + skip..]);
        Some(&text[..end])
    })
}

/// What the data of a `close` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// As a WebSocket would close with.
    pub code: u16,
    /// As [`Close::as_str`].
    pub word: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An event, as a reader of any stream of events has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` where there is none.
    pub name: String,
    /// The last `id` that there was, also of an earlier event.
    pub last_id: String,
    /// Its lines, put together.
    pub data: String,
}

impl Event {
    /// The frame that it is; `None` of one that is not known, and of a `close`.
    ///
    /// # Errors
    /// For what no server of this version sends.
    pub fn frame(&self) -> Result<Option<ServerFrame>, Malformed> {
        let fields = self.data.trim_start().strip_prefix('{').unwrap_or_default();
        let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
        ServerFrame::decode(&format!("{{\"frame\":{}{comma}{fields}", serde_json::Value::from(self.name.as_str())))
    }

    /// How the session has ended, if this says so.
    pub fn closed(&self) -> Option<Closed> {
        (self.name == "close").then(|| serde_json::from_str(&self.data).ok()).flatten()
    }
}

/// Reads a stream of events as it comes, as clients do.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// What came of a line that is not whole.
    line: Vec<u8>,
    /// A CR was read: an LF after it belongs to it.
    carriage: bool,
    event: Event,
    has_data: bool,
    /// When to come back, as it was said last.
    pub retry: Option<Duration>,
    /// Comments that came.
    pub comments: u64,
}

impl Reader {
    /// Takes what came; answers the events that are whole by now.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_carriage = std::mem::replace(&mut self.carriage, byte == b'\r');
            match byte {
                b'\n' if after_carriage => {}
                b'\n' | b'\r' => events.extend(self.line()),
                byte => self.line.push(byte),
            }
        }
        events
    }

    fn line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let last_id = self.event.last_id.clone();
            let event = std::mem::replace(&mut self.event, Event { last_id, ..Event::default() });
            let whole = std::mem::take(&mut self.has_data);
            return whole.then(|| match event.name.is_empty() {
                true => Event { name: "message".to_owned(), ..event },
                false => event,
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => self.event.name = value.to_owned(),
            "id" if !value.contains('\0') => self.event.last_id = value.to_owned(),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}
