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
