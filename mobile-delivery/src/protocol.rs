//! `warren.device.v1`: the frames between a device and the hub, as text JSON over a WebSocket, and the shapes of the same over plain
//! HTTP. Without I/O: bytes to frames and back. `docs/device-protocol.md` is for who writes a client.
//!
//! Owns what is on the wire: names, limits, close codes. Refuses to own what a frame leads to; that is the
//! [session](crate::session)'s.
//!
//! * What comes in is read strictly where that protects (size, depth, lengths of lists, unknown frames, wrong types and ranges:
//!   [`Malformed`] names the field and how the session closes), and tolerantly where it must grow: unknown fields are skipped.
//! * A payload is bytes with a content type. JSON goes out as it was written, to the digit ([`message`]); nothing is parsed into
//!   numbers on the way. A `deliver` copies its payload once.
//! * No input panics, and none costs more than its size.
//!
//! [`ClientFrame::encode`] and [`ServerFrame::decode`] are for clients in Rust, and for tests.

mod client;
mod close;
mod fields;
pub mod message;
pub mod poll;
mod room;
mod server;
pub mod stream;

use std::borrow::Cow;

pub use client::{ClientFrame, Hello, How, MAX_DELAY, MAX_REASON, MAX_TOKEN, Token, Window};
pub use close::{Band, Close};
pub use message::{Logged, Message};
pub use room::{Author, MAX_KIND, MAX_REF, MAX_SIGNAL, MAX_WATCHED, Present, Publish, Published, Refused, Signal};
pub use server::{Gap, GoAway, ServerFrame, Welcome, Withdrawal};

/// The name of the WebSocket's subprotocol.
pub const SUBPROTOCOL: &str = "warren.device.v1";

/// The version of the protocol that this is.
pub const VERSION: u64 = 1;

/// The largest frame that a client may send, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// The longest list in a frame, and the largest window, in messages.
pub const MAX_LIST: usize = 256;

/// The largest `seq`: what every JSON reader keeps exact.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", if field.is_empty() { String::new() } else { format!("`{field}`: ") })]
pub struct Malformed {
    /// How the session closes over it.
    pub close: Close,
    /// The field that is wrong; empty if it is the frame.
    pub field: Cow<'static, str>,
    /// What is wrong, and what is taken.
    pub what: String,
}

impl Malformed {
    fn frame(what: impl Into<String>) -> Self {
        Self { close: Close::ProtocolError, field: Cow::Borrowed(""), what: what.into() }
    }
}
