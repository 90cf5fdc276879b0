//! One connection, from its opening to its end.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::front::{Door, Front};
use super::pace::{Cut, Pace, Seat, Watched};
use super::{Edge, farewell};

/// The longest head, in bytes; hyper's limit of 100 headers stands beside it.
const HEAD_MAX: usize = 32 << 10;
/// What is read ahead for one connection at most, in bytes: a bound on what 4096 slow senders can make us hold.
const BUFFER_MAX: usize = 64 << 10;

/// Serves `stream` until it ends, is cut off, or the drain lets it end; or until a route takes it over for another protocol, with its seat: from
/// then on it is that route's to keep time and to leave.
pub(super) async fn serve(edge: &Edge, stream: TcpStream, peer: IpAddr, door: Arc<Door>, seat: Seat) {
    let pace = Pace::new();
    let mut http = http1::Builder::new();
    // Our clock knows an idle connection from a slow head, and costs a request no timer.
    http.header_read_timeout(None).max_header_size(HEAD_MAX).max_buf_size(BUFFER_MAX);
    let front = Front { door: door.clone(), pace: pace.clone(), peer };
    let watched = Watched::new(stream, pace.clone(), seat);
    let mut connection = http.serve_connection(TokioIo::new(watched), front).with_upgrades();
    let mut drain = pin!(edge.drain.cancelled());
    let mut drained = None;
    let mut clock = Clock(pin!(sleep(edge.head_deadline)));
    let cut = poll_fn(|cx| {
        if drained.is_none() && drain.as_mut().poll(cx).is_ready() {
            drained = Some(Instant::now());
            // What is idle closes; what is being answered ends with `Connection: close`.
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Err(ended));
        }
        clock.poll(cx, pace.deadline(edge, drained)).map(Ok)
    });
    let cut = match cut.await {
        Ok(cut) => cut,
        Err(Ok(())) => return,
        Err(Err(error)) => {
            tracing::debug!(client = %peer, error = %error, "a connection ended early");
            if let (Some(status), Some(parts)) = (pace.held_back(), connection.into_parts()) {
                let (stream, _seat) = parts.io.into_inner().into_inner();
                farewell::unreadable(stream, peer, status, &error).await;
            }
            return;
        }
    };
    door.metrics.cut(cut.as_str());
    tracing::debug!(client = %peer, "a connection is cut off: {}", cut.as_str());
    if cut == Cut::SlowHead
        && let Some(parts) = connection.into_parts()
    {
        let (stream, _seat) = parts.io.into_inner().into_inner();
        farewell::slow_head(stream, peer, edge.head_deadline).await;
    }
}

/// A timer that is never later than the deadline, and is set anew only when it fires too early: a busy connection does not
/// touch it.
struct Clock<'a>(Pin<&'a mut Sleep>);

impl Clock<'_> {
    /// Ready when the deadline has passed. To be asked after everything that may have moved it.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<(Instant, Cut)>) -> Poll<Cut> {
        let Some((at, cut)) = deadline else { return Poll::Pending };
        if at < self.0.deadline() {
            self.0.as_mut().reset(at);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if at <= Instant::now() {
                return Poll::Ready(cut);
            }
            self.0.as_mut().reset(at);
        }
    }
}
