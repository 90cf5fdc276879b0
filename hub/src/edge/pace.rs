//! What a connection waits for, and since when: noted by what reads, answers and writes; read by who holds the clock.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Edge;
use super::metrics::Open;

/// How long a head may still take once the process leaves: what is on its way arrives, and nobody holds up the drain.
const LAST_HEAD: Duration = Duration::from_secs(1);
/// How long an answer that does not flow may still take once the process leaves.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of the connection.
    Fresh,
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The answer: the time is ours.
    Busy,
}

/// Why a connection is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing came for too long.
    Idle,
    /// A head began and did not end.
    SlowHead,
    /// The client does not take its answer.
    Stalled,
    /// The process leaves, and the request has not begun.
    Drain,
}

impl Cut {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow-head",
            Self::Stalled => "stalled",
            Self::Drain => "drain",
        }
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    /// When the answer that is being written stalled for the first time: who takes a little now and then is slow all the same.
    first_stalled: Option<Instant>,
    /// The status of an answer of hyper's own, which was held back.
    held_back: Option<u16>,
}

/// The pace of one connection. All of its parts are in one task, so the lock is never waited for.
#[derive(Debug)]
pub(super) struct Pace(Mutex<State>);

impl Pace {
    pub(super) fn new() -> Arc<Self> {
        let since = Instant::now();
        Arc::new(Self(Mutex::new(State { phase: Phase::Fresh, since, stalled: None, first_stalled: None, held_back: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection is cut off if nothing happens, and as what; with a drain that began at `drained`, soon.
    pub(super) fn deadline(&self, edge: &Edge, drained: Option<Instant>) -> Option<(Instant, Cut)> {
        let state = self.state();
        // Until an answer is taken, the next request is not waited for.
        if let Some(since) = state.stalled {
            let leaves = drained.map(|drained| drained.max(state.first_stalled.unwrap_or(since)) + LAST_ANSWER);
            let at = since + edge.idle;
            return Some((leaves.map_or(at, |last| last.min(at)), Cut::Stalled));
        }
        let waits = match state.phase {
            Phase::Fresh => Some((state.since + edge.head_deadline, Cut::Idle)),
            Phase::Idle => Some((state.since + edge.idle, Cut::Idle)),
            Phase::Head => Some((state.since + edge.head_deadline, Cut::SlowHead)),
            Phase::Busy => None,
        };
        let leaves = drained.map(|since| (since + LAST_HEAD, Cut::Drain));
        waits.map(|(at, cut)| leaves.filter(|(last, _)| *last < at).unwrap_or((at, cut)))
    }

    fn read(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Idle => (state.phase, state.since) = (Phase::Head, Instant::now()),
            // Its clock runs since the connection was opened.
            Phase::Fresh => state.phase = Phase::Head,
            Phase::Head | Phase::Busy => {}
        }
    }

    fn written(&self, through: bool) {
        let mut state = self.state();
        if !through {
            let since = *state.stalled.get_or_insert_with(Instant::now);
            state.first_stalled.get_or_insert(since);
        } else if state.stalled.take().is_some() {
            // What went out slowly does not count as idle time.
            state.since = Instant::now();
        }
    }

    /// The status that hyper would have answered to a head it cannot read.
    pub(super) fn held_back(&self) -> Option<u16> {
        self.state().held_back
    }

    /// Whether `bytes` are an answer of hyper's own, bare as they are: those of the routes carry a request id.
    fn holds_back(&self, bytes: &[u8]) -> bool {
        // Most answers are told apart by their first bytes.
        if !bytes.starts_with(b"HTTP/1.1 4") || !bytes.ends_with(b"\r\n\r\n") {
            return false;
        }
        let mut state = self.state();
        if state.phase == Phase::Busy {
            return false;
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let bare = text.contains("\r\ncontent-length: 0\r\n") && !text.contains("x-request-id");
        state.held_back = bare.then(|| text.get(9..12)?.parse().ok()).flatten();
        bare
    }

    /// A request is here; it is answered when what this gives is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        (state.phase, state.first_stalled) = (Phase::Busy, None);
        drop(state);
        Busy(self.clone())
    }
}

/// A request that is being answered.
pub(super) struct Busy(Arc<Pace>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        (state.phase, state.since) = (Phase::Idle, Instant::now());
    }
}

/// The body of an answer: with it the request ends.
pub(super) struct Answer<B> {
    pub(super) body: B,
    pub(super) _busy: Busy,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One of the places that a listener has for connections. It goes with the stream, whatever is spoken on it in the end.
pub(super) struct Seat {
    _place: OwnedSemaphorePermit,
    _open: Open,
}

impl Seat {
    pub(super) fn new(place: OwnedSemaphorePermit, open: Open) -> Self {
        Self { _place: place, _open: open }
    }
}

/// A stream that tells its pace, and holds back hyper's own answers: in their place a document is written that says more.
pub(super) struct Watched {
    stream: TcpStream,
    pace: Arc<Pace>,
    seat: Seat,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, pace: Arc<Pace>, seat: Seat) -> Self {
        Self { stream, pace, seat }
    }

    pub(super) fn into_inner(self) -> (TcpStream, Seat) {
        (self.stream, self.seat)
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.pace.written(written.is_ready());
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.pace.read();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pace.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let whole = parts.iter().find(|part| !part.is_empty());
        if let Some(part) = whole.filter(|part| self.pace.holds_back(part)) {
            return Poll::Ready(Ok(part.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pace.held_back().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
