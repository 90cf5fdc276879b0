//! `GET /v1/device/stream`: a session over Server-Sent Events. It goes one way: what the device has to say comes by `POST /v1/device/acks`, to any process.
//!
//! ```text
//! request --> hello, acks of `Last-Event-ID` --> driver --events, 1 chunk--> body of the answer
//! POST /v1/device/acks --> store --a word--> the session asks what became of what it holds
//! ```
//!
//! Owns what a request says instead of a `hello`, and how the body is written. Refuses to own what is said ([`crate::protocol::stream`],
//! [`crate::session`]) and acks ([`crate::poll`]).
//!
//! Guarantees: as sessions have them. What is refused before the stream begins is a problem document; afterwards the last event is `close`, unless the
//! connection is gone.
//!
//! Limits: of what a device does not take two chunks are held, besides what its connection holds; after
//! [`Options::write_within`](crate::sessions::Options::write_within) its session ends, and what was unacked waits for the next one. A stream that has nothing to say writes a comment every
//! [`Options::keep_alive`](crate::sessions::Options::keep_alive). A device that vanished without a word is noticed by what the listener does about connections that acknowledge nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::response::{IntoResponse, Response};
use door::auth::Verifier;
use door::pages;
use door::problem::{Code, Document, Problem, shown};
use futures::stream::unfold;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::poll::acking::acked;
use crate::protocol::poll::Acks;
use crate::protocol::stream::{KEEP_ALIVE, Mark, write, write_close};
use crate::protocol::{Band, ClientFrame, Close, GoAway, Hello, ServerFrame, Window};
use crate::sessions::wire::{Broken, Heard, Wire};
use crate::sessions::{Bearer, Sessions};
use crate::socket::no_place;
use crate::store::Transport;

/// What an `EventSource` says it was given last.
const LAST_EVENT_ID: &str = "last-event-id";

/// What keeps nginx from gathering what it should pass on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What is gathered before it is written.
const GATHERED: usize = 16 * 1024;

/// For the last event to be taken.
const GOODBYE: Duration = Duration::from_secs(2);

/// In what time an `EventSource` comes back by itself.
const BACK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// The same of one that should not come back by itself, and whose page does not close it.
const NOT_BACK: Duration = Duration::from_mins(10);

/// What is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Messages that may be unacked, 1 to 256; 16 by default.
    #[param(example = 16)]
    window: Option<u16>,
    /// Bytes of payloads that may be unacked, 4096 to 1048576; 262144 by default. A larger message comes alone.
    bytes: Option<u32>,
    /// `post`: only `POST /v1/device/acks` acks, and `Last-Event-ID` is not looked at.
    acks: Option<AckedBy>,
}

/// What acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum AckedBy {
    /// Requests alone.
    Post,
}

/// Stream messages
///
/// Server-Sent Events, as long as the connection holds: `welcome`, then `deliver` with the message's `seq` as `id`, `idle`, `gap`, `cancel`, `goaway`, and as
/// the last one `close` with a code; `docs/device-protocol.md` has them. Acks go to `POST /v1/device/acks`. `Last-Event-ID` acks all up to that `seq`, unless `acks=post`.
#[utoipa::path(
    get,
    path = "/v1/device/stream",
    tag = "device",
    security(("token" = ["device"])),
    params(Asked, ("Last-Event-ID" = Option<String>, Header, description = "the `id` of the last event that was handled, which acks it and all before")),
    responses(
        (status = 200, description = "events, until one is `close`", body = String, content_type = "text/event-stream",
            example = "event: deliver\nid: 7\ndata: {\"seq\":7,\"id\":\"0192f3c4-5b6a-7c8d-9e0f-112233445566\",\"type\":\"order.shipped\",\"time\":\"2026-11-22T11:15:00Z\",\"content_type\":\"application/json\",\"data\":{\"order\":5}}\n\n"),
        (status = 400, description = "invalid-parameter", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "session-replaced: newer sessions came between again and again", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable, too-many-sessions", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(crate) async fn open(
    State(sessions): State<Sessions>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    if method == Method::HEAD {
        // It would take the device from whoever has it, for an answer that has no events.
        return Ok(([(ALLOW, "GET")], pages::method_not_allowed(method, uri).await).into_response());
    }
    let bearer = sessions.bearer(Verifier::bearer_of(&headers)?)?;
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let Query(asked) = asked.map_err(|why| wrong(format!("a query parameter is wrong: {}", shown(&why.body_text()))))?;
    let window = window(&asked).map_err(wrong)?;
    let place = sessions.place().ok_or_else(no_place)?;
    let mut device = sessions.admit(&bearer.caller).await?;
    let said = if asked.acks == Some(AckedBy::Post) { None } else { said(&headers) };
    if let Some(mark) = said {
        let head = if mark.entry == 0 { 0 } else { sessions.head(&device.registration.tenant).await? };
        if is_ours(mark, device.seq, head) {
            let part = |number: u64| (number > 0).then_some(number);
            let acks = Acks { up_to: part(mark.seq), ids: Vec::new(), entry: part(mark.entry), gap: None };
            device = acked(&sessions, &bearer.caller, &acks).await?;
        }
    }
    let keep_alive = sessions.keep_alive();
    let hello = Hello {
        device: device.registration.id.clone(),
        token: None,
        window,
        heartbeat: Some(keep_alive),
        seen: Vec::new(),
        agent: None,
        one_way: true,
    };
    let (events, body) = mpsc::channel(1);
    let stream = Stream::new(hello, events, keep_alive);
    let bearer = Bearer { device: Some(Box::new(device)), ..bearer };
    sessions.serve_apart(stream, bearer, place);
    let chunks = unfold(body, async |mut body| Some((Ok::<Bytes, Infallible>(body.recv().await?), body)));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

fn window(asked: &Asked) -> Result<Window, String> {
    let (least, most, usual) = (Window::MIN, Window::MAX, Window::default());
    let window = Window { messages: asked.window.unwrap_or(usual.messages), bytes: asked.bytes.unwrap_or(usual.bytes) };
    if !(least.messages..=most.messages).contains(&window.messages) {
        return Err(format!("`window` must be {} to {} messages", least.messages, most.messages));
    }
    if !(least.bytes..=most.bytes).contains(&window.bytes) {
        return Err(format!("`bytes` must be {} to {}", least.bytes, most.bytes));
    }
    Ok(window)
}

/// Up to where the device says it has handled what it was given.
fn said(headers: &HeaderMap) -> Option<Mark> {
    Mark::parse(headers.get(LAST_EVENT_ID)?.to_str().ok()?.trim())
}

/// Whether a stream can have given so much. What is above all that the device can have been given was not sent by us, and names nothing: a refusal would stop an
/// `EventSource` for ever, and an ack of what may never have come would lose it.
fn is_ours(mark: Mark, seq: i64, head: i64) -> bool {
    let within = |said: u64, highest: i64| said <= highest.max(0).unsigned_abs();
    mark != Mark::default() && within(mark.seq, seq) && within(mark.entry, head)
}

/// The body of an answer, as a wire.
struct Stream {
    /// What the request said; until it is heard.
    hello: Option<Box<Hello>>,
    /// One chunk, until the connection takes it.
    events: mpsc::Sender<Bytes>,
    gathered: Vec<u8>,
    mark: Mark,
    /// What there is to say of the close.
    detail: Option<String>,
    every: Duration,
    keep_alive: Pin<Box<Sleep>>,
    /// When something was written last.
    said: Instant,
    /// Whether it was said when to come back.
    away: bool,
}

impl Stream {
    fn new(hello: Hello, events: mpsc::Sender<Bytes>, every: Duration) -> Self {
        Self {
            hello: Some(Box::new(hello)),
            events,
            gathered: Vec::new(),
            mark: Mark::default(),
            detail: None,
            every,
            keep_alive: Box::pin(sleep(every)),
            said: Instant::now(),
            away: false,
        }
    }

    /// Hands over what was gathered, once what was before is taken.
    async fn hand_over(&mut self) -> Result<(), Broken> {
        if !self.gathered.is_empty() {
            let place = self.events.reserve().await.map_err(|_| Broken)?;
            place.send(Bytes::from(std::mem::take(&mut self.gathered)));
            self.said = Instant::now();
        }
        Ok(())
    }
}

impl Wire for Stream {
    const TRANSPORT: Transport = Transport::Stream;

    async fn hear(&mut self) -> Heard {
        if let Some(hello) = self.hello.take() {
            return Heard::Frame(ClientFrame::Hello(hello));
        }
        loop {
            tokio::select! {
                biased;
                () = self.events.closed() => return Heard::Gone,
                () = self.keep_alive.as_mut() => {
                    if self.said + self.every <= Instant::now() {
                        // What was written so long ago is not taken yet: nobody is there.
                        if self.events.try_send(Bytes::from_static(KEEP_ALIVE)).is_err() {
                            return Heard::Gone;
                        }
                        self.said = Instant::now();
                    }
                    self.keep_alive.as_mut().reset(self.said + self.every);
                }
            }
        }
    }

    async fn say(&mut self, frame: &ServerFrame) -> Result<(), Broken> {
        let back = match frame {
            ServerFrame::Error { detail, .. } => {
                self.detail = Some(detail.clone());
                return Ok(());
            }
            ServerFrame::Welcome(_) => Some(any_of(BACK.0, BACK.1)),
            ServerFrame::GoAway(GoAway { after, spread }) => {
                self.away = true;
                Some(*after + any_of(Duration::ZERO, *spread))
            }
            _ => None,
        };
        write(frame, back, &mut self.mark, &mut self.gathered);
        if self.gathered.len() >= GATHERED { self.hand_over().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.hand_over().await?;
        // Taken, once there is a place for the next.
        self.events.reserve().await.map(drop).map_err(|_| Broken)
    }

    async fn close(&mut self, close: Close) {
        let back = match close.band() {
            Band::Stop | Band::Credentials | Band::Done => Some(NOT_BACK),
            // One that was never welcome has not been told either.
            Band::ComeBack => (!self.away).then(|| any_of(BACK.0, BACK.1)),
        };
        write_close(close, self.detail.as_deref(), back, &mut self.gathered);
        let _ = timeout(GOODBYE, self.flush()).await;
    }
}

/// Any time between the two: not all come back at once.
fn any_of(least: Duration, most: Duration) -> Duration {
    let [low, high, ..] = uuid::Uuid::new_v4().into_bytes();
    let dice = u16::from_le_bytes([low, high]);
    least + most.saturating_sub(least).mul_f64(f64::from(dice) / f64::from(u16::MAX))
}
