//! Frames that a client sends.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::fields::{Fields, shown};
use super::message::{into_text, seq, write_json};
use super::room::{MAX_WATCHED, Publish, Signal};
use super::{Close, MAX_FRAME, MAX_LIST, MAX_SEQ, Malformed, VERSION};

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The longest reason of a `nack`, and name of an agent, in bytes.
pub const MAX_REASON: usize = 256;

/// The longest delay of a message that is put off.
pub const MAX_DELAY: Duration = Duration::from_hours(1);

/// Levels of arrays and objects that a frame may have.
pub(super) const MAX_DEPTH: usize = 16;

const FRAMES: &str = "hello, ack, nack, read, publish, signal, watch, ping, auth, bye";

/// A credential; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What may be with the device, given and not acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Messages; 1 to 256.
    pub messages: u16,
    /// Bytes of payloads; 4 KiB to 1 MiB. A larger message is given when there is nothing else.
    pub bytes: u32,
}

impl Window {
    /// The smallest one that may be asked for.
    pub const MIN: Self = Self { messages: 1, bytes: 4 * 1024 };
    /// The largest.
    pub const MAX: Self = Self { messages: 256, bytes: 1024 * 1024 };

    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Malformed> {
        let (least, most) = (Self::MIN, Self::MAX);
        let messages = fields.number("messages", least.messages.into()..=most.messages.into())?;
        let bytes = fields.number("bytes", least.bytes.into()..=most.bytes.into())?;
        let both = Self::default();
        Ok(Self {
            messages: messages.and_then(|messages| messages.try_into().ok()).unwrap_or(both.messages),
            bytes: bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or(both.bytes),
        })
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { messages: 16, bytes: 256 * 1024 }
    }
}

/// The first frame of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The device that it is.
    pub device: String,
    /// For those that cannot set a header: browsers.
    pub token: Option<Token>,
    /// Asked for; the `welcome` says what it is.
    pub window: Window,
    /// How often something will be heard from the client, 5 s to 10 min; asked for.
    pub heartbeat: Option<Duration>,
    /// Ids that were handled and perhaps not acked; [`MAX_LIST`] at most.
    pub seen: Vec<Uuid>,
    /// Name and version of the program, for logs.
    pub agent: Option<String>,
    /// Nothing more comes this way: no sign of life is waited for, and acks come by requests. Never so over a socket; not on the wire.
    pub one_way: bool,
}

/// What becomes of a message that the client does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It is offered again, not before this.
    Later(Duration),
    /// It never will be taken: it is dropped, and the sender told.
    Reject,
}

/// A frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Who it is. The first frame, and only that.
    Hello(Box<Hello>),
    /// Messages are done with.
    Ack {
        /// All that this session gave up to this one, but those that are put off.
        up_to: Option<u64>,
        /// These as well; [`MAX_LIST`] at most.
        seqs: Vec<u64>,
        /// All that this session gave of the log up to this entry.
        entry: Option<u64>,
        /// The gap of this number, and those before it.
        gap: Option<u64>,
    },
    /// A message is not taken.
    Nack {
        /// Which one.
        seq: u64,
        /// What becomes of it.
        how: How,
        /// Why, for the sender; [`MAX_REASON`] bytes at most.
        reason: Option<String>,
    },
    /// Somebody has read these; [`MAX_LIST`] at most.
    Read {
        /// Ids of messages.
        ids: Vec<Uuid>,
    },
    /// A message for a room.
    Publish(Box<Publish>),
    /// Something for those who watch a room, of use now or never.
    Signal(Box<Signal>),
    /// The rooms of which it wants to know who is there, in place of those before; [`MAX_WATCHED`] at most.
    Watch {
        /// Their names.
        groups: Vec<String>,
    },
    /// Are you there?
    Ping,
    /// A token that lasts longer.
    Auth {
        /// The new one.
        token: Token,
    },
    /// The client leaves, and knows it.
    Bye,
}

impl ClientFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// For everything that is not a frame of this version, with the field and the close code.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_FRAME {
            let what = format!("the frame has {} bytes, {MAX_FRAME} at most are taken", bytes.len());
            return Err(Malformed { close: Close::FrameTooLarge, ..Malformed::frame(what) });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| Malformed::frame(format!("not UTF-8: {error}")))?;
        let fields = Fields::parse(text, MAX_DEPTH)?;
        let name: String = fields.required("frame")?;
        match name.as_str() {
            "hello" => hello(&fields).map(|hello| Self::Hello(Box::new(hello))),
            "ack" => {
                let (up_to, gap) = (fields.number("up_to", 0..=MAX_SEQ)?, fields.number("gap", 0..=MAX_SEQ)?);
                let seqs: Vec<u64> = fields.list("seqs", MAX_LIST)?;
                let entry = fields.number("entry", 0..=MAX_SEQ)?;
                if up_to.is_none() && seqs.is_empty() && entry.is_none() && gap.is_none() {
                    return Err(fields.wrong("up_to", "this, `seqs`, `entry` or `gap` must be there"));
                }
                Ok(Self::Ack { up_to, seqs, entry, gap })
            }
            "nack" => nack(&fields),
            "read" => Ok(Self::Read { ids: fields.list("ids", MAX_LIST)? }),
            "publish" => Publish::read(&fields).map(|publish| Self::Publish(Box::new(publish))),
            "signal" => {
                let signal = Signal { from: None, ..Signal::read(&fields)? };
                Ok(Self::Signal(Box::new(signal)))
            }
            "watch" => Ok(Self::Watch { groups: fields.words("groups", MAX_WATCHED)? }),
            "ping" => Ok(Self::Ping),
            "auth" => token(&fields)?.map(|token| Self::Auth { token }).ok_or_else(|| fields.wrong("token", "it is missing")),
            "bye" => Ok(Self::Bye),
            unknown => Err(fields.wrong("frame", format_args!("`{}` is none of {FRAMES}", shown(unknown)))),
        }
    }

    /// Writes a frame, as a client does.
    pub fn encode(&self) -> String {
        let value = match self {
            Self::Hello(hello) => {
                let window = json!({"messages": hello.window.messages, "bytes": hello.window.bytes});
                let mut value = json!({"frame": "hello", "version": VERSION, "device": hello.device, "window": window});
                let fields = [
                    ("token", hello.token.as_ref().map(|token| json!(token.0))),
                    ("heartbeat_ms", hello.heartbeat.map(|every| json!(millis(every)))),
                    ("seen", (!hello.seen.is_empty()).then(|| json!(hello.seen))),
                    ("agent", hello.agent.as_ref().map(|agent| json!(agent))),
                ];
                add(&mut value, fields);
                value
            }
            Self::Ack { up_to, seqs, entry, gap } => {
                let mut value = json!({"frame": "ack"});
                let seqs = (!seqs.is_empty()).then(|| json!(seqs));
                let number = |number: &Option<u64>| number.map(Value::from);
                add(&mut value, [("up_to", number(up_to)), ("seqs", seqs), ("entry", number(entry)), ("gap", number(gap))]);
                value
            }
            Self::Nack { seq, how, reason } => {
                let (how, delay) = match how {
                    How::Later(delay) => ("later", Some(json!(millis(*delay)))),
                    How::Reject => ("reject", None),
                };
                let mut value = json!({"frame": "nack", "seq": seq, "how": how});
                add(&mut value, [("delay_ms", delay), ("reason", reason.as_ref().map(|reason| json!(reason)))]);
                value
            }
            Self::Read { ids } => json!({"frame": "read", "ids": ids}),
            Self::Publish(publish) => {
                let mut out = Vec::new();
                publish.write(&mut out);
                return tagged("publish", &out);
            }
            Self::Signal(signal) => {
                let mut out = Vec::new();
                write_json(&mut out, &signal.wire());
                return tagged("signal", &out);
            }
            Self::Watch { groups } => json!({"frame": "watch", "groups": groups}),
            Self::Ping => json!({"frame": "ping"}),
            Self::Auth { token } => json!({"frame": "auth", "token": token.0}),
            Self::Bye => json!({"frame": "bye"}),
        };
        value.to_string()
    }
}

fn add<const N: usize>(value: &mut Value, fields: [(&str, Option<Value>); N]) {
    let Value::Object(map): &mut Value = value else { return };
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    map.extend(there.collect::<Map<_, _>>());
}

/// An object that has a field, as a frame of this name.
fn tagged(name: &str, object: &[u8]) -> String {
    let mut out = format!("{{\"frame\":\"{name}\",").into_bytes();
    out.extend_from_slice(object.strip_prefix(b"{").unwrap_or(object));
    into_text(out)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hello(fields: &Fields<'_>) -> Result<Hello, Malformed> {
    let version = fields.optional::<u64>("version")?.unwrap_or(VERSION);
    if version != VERSION {
        let wrong = fields.wrong("version", format_args!("it is {version}, and {VERSION} is spoken here"));
        return Err(Malformed { close: Close::VersionUnsupported, ..wrong });
    }
    let device = fields.word("device")?;
    let window = fields.object("window", "window.")?;
    Ok(Hello {
        device,
        token: token(fields)?,
        window: window.map(|window| Window::read(&window)).transpose()?.unwrap_or_default(),
        heartbeat: fields.number("heartbeat_ms", 5_000..=600_000)?.map(Duration::from_millis),
        seen: fields.list("seen", MAX_LIST)?,
        agent: fields.text("agent", MAX_REASON)?,
        one_way: false,
    })
}

fn nack(fields: &Fields<'_>) -> Result<ClientFrame, Malformed> {
    let how: String = fields.required("how")?;
    let delay = fields.number("delay_ms", 0..=millis(MAX_DELAY))?;
    let how = match (how.as_str(), delay) {
        ("later", delay) => How::Later(Duration::from_millis(delay.unwrap_or_default())),
        ("reject", None) => How::Reject,
        ("reject", Some(_)) => return Err(fields.wrong("delay_ms", "what is rejected does not come again")),
        (unknown, _) => return Err(fields.wrong("how", format_args!("`{}` is neither later nor reject", shown(unknown)))),
    };
    Ok(ClientFrame::Nack { seq: seq(fields, "seq")?, how, reason: fields.text("reason", MAX_REASON)? })
}

fn token(fields: &Fields<'_>) -> Result<Option<Token>, Malformed> {
    Ok(fields.text("token", MAX_TOKEN)?.map(Token))
}
