//! `GET /v1/device/socket`: a session over a WebSocket, with the subprotocol `warren.device.v1`.
//!
//! Owns the handshake and what a frame of the WebSocket means. Refuses to own what is said: that is [`crate::protocol`] and [`crate::session`].
//!
//! Limits: a frame of a client has 64 KiB, a message as much; what is larger closes with 4413. Buffers are small, so that thousands of idle sockets cost
//! little: one that waits has a read buffer of 2 KiB and nothing else.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use door::auth::Verifier;
use door::current::Current;
use door::problem::{Code, Document, Problem};
use futures::{SinkExt, StreamExt};

use crate::protocol::{ClientFrame, Close, MAX_FRAME, Malformed, SUBPROTOCOL, ServerFrame};
use crate::sessions::Sessions;
use crate::sessions::wire::{Broken, Heard, Wire};
use crate::store::Transport;

/// Bytes that are read at once.
const READ_BUFFER: usize = 2048;

/// What is gathered before it is written.
const WRITE_BUFFER: usize = 2048;

/// For the close frame to be written, and to be read on the other side.
const GOODBYE: Duration = Duration::from_secs(2);

/// Connect a device
///
/// A WebSocket with the subprotocol `warren.device.v1`; `docs/device-protocol.md` has its frames. The token may be in the header, or in the first
/// frame where headers cannot be set.
#[utoipa::path(
    get,
    path = "/v1/device/socket",
    tag = "device",
    security(("token" = ["device"]), ()),
    responses(
        (status = 101, description = "the connection speaks `warren.device.v1` from now on"),
        (status = 400, description = "subprotocol-missing", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "too-many-sessions", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(crate) async fn connect(
    State(sessions): State<Sessions>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let missing = |why: &str| {
        let detail = format!("{why}: connect a WebSocket that asks for the subprotocol `{SUBPROTOCOL}`");
        Problem::new(Code::SubprotocolMissing, detail).header("sec-websocket-protocol", SUBPROTOCOL)
    };
    let upgrade = upgrade.map_err(|rejection| missing(&rejection.body_text()))?.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Err(missing("the handshake does not ask for a subprotocol that is spoken here"));
    }
    // A token that is shown is looked at before anything else is spent.
    let bearer = match headers.contains_key(AUTHORIZATION) {
        true => Some(sessions.bearer(Verifier::bearer_of(&headers)?)?),
        false => None,
    };
    let place = sessions.place().ok_or_else(no_place)?;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        // One frame over is read whole, and answered with its name; what is larger still is not even read.
        .max_message_size(2 * MAX_FRAME)
        .max_frame_size(2 * MAX_FRAME);
    let current = Current::get();
    // The drain waits for whoever has a place.
    Ok(upgrade.on_upgrade(move |socket| sessions.serve(Socket(socket), bearer, current, place)).into_response())
}

/// The refusal of one more connection.
pub(crate) fn no_place() -> Problem {
    Problem::new(Code::TooManySessions, "this process takes no more devices: come back in a moment, and with jitter")
        .retry_after(2)
}

struct Socket(WebSocket);

impl Socket {
    async fn send(&mut self, message: Message) -> Result<(), Broken> {
        self.0.feed(message).await.map_err(|_| Broken)
    }
}

impl Wire for Socket {
    const TRANSPORT: Transport = Transport::Socket;

    async fn hear(&mut self) -> Heard {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => read(text.as_str().as_bytes()),
                Some(Ok(Message::Binary(_))) => wrong(Close::ProtocolError, "frames are text, and this one is binary"),
                // Pings are answered below this, as it reads on; neither is a sign of life of the program.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_))) | None => Heard::Gone,
                Some(Err(error)) => failed(&error.to_string()),
            };
        }
    }

    async fn say(&mut self, frame: &ServerFrame) -> Result<(), Broken> {
        self.send(Message::Text(frame.encode().into())).await
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.0.flush().await.map_err(|_| Broken)
    }

    async fn close(&mut self, close: Close) {
        let frame = CloseFrame { code: close.code(), reason: close.as_str().into() };
        let closing = async {
            self.send(Message::Close(Some(frame))).await?;
            self.flush().await?;
            // Until the other side has closed too: what lies unread when a connection is dropped resets it, and the code is lost.
            while let Some(Ok(_)) = self.0.next().await {}
            if close == Close::FrameTooLarge {
                tokio::time::sleep(GOODBYE / 2).await;
            }
            Ok::<_, Broken>(())
        };
        let _ = tokio::time::timeout(GOODBYE, closing).await;
    }
}

fn read(bytes: &[u8]) -> Heard {
    match ClientFrame::decode(bytes) {
        Ok(frame) => Heard::Frame(frame),
        Err(wrong) => Heard::Malformed(wrong),
    }
}

fn wrong(close: Close, what: &str) -> Heard {
    Heard::Malformed(Malformed { close, field: "".into(), what: what.to_owned() })
}

/// What the WebSocket below could not read: the client's fault, unless the connection is gone.
fn failed(error: &str) -> Heard {
    if error.starts_with("Space limit exceeded") {
        wrong(Close::FrameTooLarge, &format!("a frame is larger than {MAX_FRAME} bytes"))
    } else if error.starts_with("WebSocket protocol error: Connection reset") || error.starts_with("IO error") {
        Heard::Gone
    } else {
        wrong(Close::ProtocolError, error)
    }
}
