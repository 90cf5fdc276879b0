//! Frames that the server sends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::millis;
use super::fields::Fields;
use super::message::{into_text, seq, write_json};
use super::room::{Present, Published, Refused, Signal, WireSignal};
use super::{Close, MAX_SEQ, Malformed, Message, Window, message};

/// The answer to a `hello` that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Which session this is, for logs on both sides.
    pub session: Uuid,
    /// What may be unacked.
    pub window: Window,
    /// The server must hear something as often as this.
    pub heartbeat: Duration,
    /// The server's clock.
    pub time: Timestamp,
}

/// Messages were dropped before the device had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Rises with whatever is dropped; an ack names it.
    pub number: u64,
    /// `expired`, `overflow`, `purged`, or a word to come.
    pub reason: String,
    /// How many since the last gap that was acked, if it is known.
    pub count: Option<u64>,
}

/// Why given messages are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Withdrawal {
    /// The sender took it back.
    Cancelled,
    /// A newer one with its key came.
    Collapsed,
    /// Its time is over.
    Expired,
    /// The device's messages were thrown away by an operator, or were too many.
    Dropped,
}

/// Leave, and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Not before this.
    pub after: Duration,
    /// And at a random time in this, so that not all come at once.
    pub spread: Duration,
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// The session has begun.
    Welcome(Box<Welcome>),
    /// A message.
    Deliver(Box<Message>),
    /// Everything was given, acked, and the acks are stored.
    Idle,
    /// Messages were dropped.
    Gap(Gap),
    /// Messages that were given are taken back.
    Cancel {
        /// Which ones.
        ids: Vec<Uuid>,
        /// Why.
        reason: Withdrawal,
    },
    /// A message is stored.
    Published(Box<Published>),
    /// Something is not done.
    Refused(Box<Refused>),
    /// Somebody in a room says something, now or never.
    Signal(Arc<Signal>),
    /// Who is in a room.
    Present(Arc<Present>),
    /// The process leaves.
    GoAway(GoAway),
    /// Yes.
    Pong,
    /// What was wrong; the session closes.
    Error {
        /// As [`Close::as_str`]. Whoever decodes keeps what it does not know.
        code: String,
        /// For people: what is wrong and what to do.
        detail: String,
        /// The field that is wrong, if one is.
        field: Option<String>,
    },
}

/// What serde writes of a frame; a `deliver` is written by hand, for its payload.
#[derive(Serialize)]
#[serde(tag = "frame", rename_all = "lowercase")]
enum Wire<'a> {
    Welcome {
        session: Uuid,
        window: WireWindow,
        heartbeat_ms: u64,
        time: Timestamp,
    },
    Idle,
    Gap(WireGap<'a>),
    Cancel {
        ids: &'a [Uuid],
        reason: Withdrawal,
    },
    Published(&'a Published),
    Refused(&'a Refused),
    Signal(WireSignal<'a>),
    Present(&'a Present),
    GoAway {
        after_ms: u64,
        spread_ms: u64,
    },
    Pong,
    Error {
        code: &'a str,
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
    },
}

#[derive(Serialize)]
struct WireWindow {
    messages: u16,
    bytes: u32,
}

#[derive(Serialize)]
pub(super) struct WireGap<'a> {
    number: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl Gap {
    pub(super) fn wire(&self) -> WireGap<'_> {
        WireGap { number: self.number, reason: &self.reason, count: self.count }
    }

    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            number: seq(fields, "number")?,
            reason: fields.required("reason")?,
            count: fields.number("count", 0..=MAX_SEQ)?,
        })
    }
}

impl ServerFrame {
    /// An error that leads to this close.
    pub fn error(close: Close, detail: impl Into<String>, field: Option<String>) -> Self {
        Self::Error { code: close.as_str().to_owned(), detail: detail.into(), field }
    }

    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Deliver(_) => "deliver",
            Self::Idle => "idle",
            Self::Gap(_) => "gap",
            Self::Cancel { .. } => "cancel",
            Self::Published(_) => "published",
            Self::Refused(_) => "refused",
            Self::Signal(_) => "signal",
            Self::Present(_) => "present",
            Self::GoAway(_) => "goaway",
            Self::Pong => "pong",
            Self::Error { .. } => "error",
        }
    }

    /// Writes a frame. The payload of a `deliver` is copied once.
    pub fn encode(&self) -> String {
        let mut out = Vec::new();
        let wire = match self {
            Self::Deliver(message) => {
                out.reserve(message.size() + 512);
                out.extend_from_slice(b"{\"frame\":\"deliver\",");
                message.write(&mut out);
                out.push(b'}');
                return into_text(out);
            }
            Self::Welcome(welcome) => Wire::Welcome {
                session: welcome.session,
                window: WireWindow { messages: welcome.window.messages, bytes: welcome.window.bytes },
                heartbeat_ms: millis(welcome.heartbeat),
                time: welcome.time,
            },
            Self::Idle => Wire::Idle,
            Self::Gap(gap) => Wire::Gap(gap.wire()),
            Self::Cancel { ids, reason } => Wire::Cancel { ids, reason: *reason },
            Self::Published(published) => Wire::Published(published),
            Self::Refused(refused) => Wire::Refused(refused),
            Self::Signal(signal) => Wire::Signal(signal.wire()),
            Self::Present(present) => Wire::Present(present),
            Self::GoAway(away) => Wire::GoAway { after_ms: millis(away.after), spread_ms: millis(away.spread) },
            Self::Pong => Wire::Pong,
            Self::Error { code, detail, field } => Wire::Error { code, detail, field: field.as_deref() },
        };
        write_json(&mut out, &wire);
        into_text(out)
    }

    /// Reads a frame, as a client does; `None` for one that it does not know, which it skips.
    ///
    /// # Errors
    /// For what no server of this version sends.
    pub fn decode(text: &str) -> Result<Option<Self>, Malformed> {
        let fields = Fields::parse(text, message::MAX_DEPTH + 1)?;
        let name: String = fields.required("frame")?;
        let missing = |name: &'static str| fields.wrong(name, "it is missing");
        let time = |name: &'static str| fields.required::<u64>(name).map(Duration::from_millis);
        Ok(Some(match name.as_str() {
            "welcome" => Self::Welcome(Box::new(Welcome {
                session: fields.required("session")?,
                window: Window::read(&fields.object("window", "window.")?.ok_or_else(|| missing("window"))?)?,
                heartbeat: time("heartbeat_ms")?,
                time: fields.required("time")?,
            })),
            "deliver" => Self::Deliver(Box::new(Message::read(&fields)?)),
            "idle" => Self::Idle,
            "gap" => Self::Gap(Gap::read(&fields)?),
            "cancel" => Self::Cancel { ids: fields.required("ids")?, reason: fields.required("reason")? },
            "published" => {
                Self::Published(Box::new(Published { reference: fields.required("ref")?, id: fields.required("id")? }))
            }
            "refused" => Self::Refused(Box::new(Refused {
                reference: fields.optional("ref")?,
                group: fields.optional("group")?,
                code: fields.required("code")?,
                detail: fields.required("detail")?,
                retry_after_ms: fields.optional("retry_after_ms")?,
            })),
            "signal" => Self::Signal(Arc::new(Signal::read(&fields)?)),
            "present" => Self::Present(Arc::new(Present {
                group: fields.required("group")?,
                all: fields.optional("all")?.unwrap_or_default(),
                here: fields.list("here", usize::MAX)?,
                away: fields.list("away", usize::MAX)?,
            })),
            "goaway" => Self::GoAway(GoAway { after: time("after_ms")?, spread: time("spread_ms")? }),
            "pong" => Self::Pong,
            "error" => Self::Error {
                code: fields.required("code")?,
                detail: fields.required("detail")?,
                field: fields.optional("field")?,
            },
            _ => return Ok(None),
        }))
    }
}
