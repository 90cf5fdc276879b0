//! The accept loop of one listener.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::front::Door;
use super::pace::Seat;
use super::{Edge, connection, farewell};

/// How long to wait when there is nothing to accept with; what waits for us waits in the kernel meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// How many are told at once that there is no place; who comes beyond is not told.
const FAREWELLS: usize = 64;

pub(super) async fn run(edge: Edge, listener: TcpListener, door: Arc<Door>, connections: usize) {
    let places = Arc::new(Semaphore::new(connections));
    let farewells = Arc::new(Semaphore::new(FAREWELLS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = edge.drain.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, peer)) = accepted else { continue };
        // Answers are small and written at once: nothing is gained by holding them back.
        let _ = stream.set_nodelay(true);
        give_up_after(&stream, edge.idle);
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let (edge, door) = (edge.clone(), door.clone());
                let seat = Seat::new(place, door.metrics.opened());
                edge.tasks.clone().spawn(async move { connection::serve(&edge, stream, peer, door, seat).await });
            }
            Err(_) => {
                door.metrics.cut("full");
                if let Ok(turn) = farewells.clone().try_acquire_owned() {
                    edge.tasks.spawn(async move {
                        farewell::no_place(stream, peer).await;
                        drop(turn);
                    });
                }
            }
        }
    }
}

/// A connection, or `None` after an error that passes. Cancelled, it has accepted nothing.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, std::net::IpAddr)> {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer.ip().to_canonical())),
        // It was gone before it was taken.
        Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => None,
        // No file descriptors or no memory: they come back when others leave.
        Err(error) => {
            tracing::warn!(error = %error, "no connection can be accepted right now");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// Has the kernel end a connection whose other side acknowledges nothing of what was written for so long: who vanished without a word does not take its
/// answer either, and what is small lies in the kernel where [`Pace`](super::pace::Pace) does not see it. Without that it would take a quarter of an hour.
fn give_up_after(stream: &TcpStream, idle: Duration) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
        let millis = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
        let _ = setsockopt(stream, TcpUserTimeout, &millis);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, idle);
}
