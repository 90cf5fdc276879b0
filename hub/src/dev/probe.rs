//! Does a broker answer? Asked on the wire, since a listening port alone says little.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);

/// Sends the protocol header to `port` of this machine and waits for `connection.start`.
pub(super) async fn answers_amqp(port: u16) -> bool {
    timeout(PATIENCE, connection_start(port)).await.is_ok_and(|result| result.unwrap_or(false))
}

/// Whether anybody listens on `port` of this machine.
pub(super) async fn listens(port: u16) -> bool {
    timeout(PATIENCE, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await.is_ok_and(|result| result.is_ok())
}

async fn connection_start(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    let mut frame = [0; 11];
    stream.read_exact(&mut frame).await?;
    // A method frame on channel 0 (then four bytes of size), class 10, method 10.
    Ok(frame[..3] == [1, 0, 0] && frame[7..] == [0, 10, 0, 10])
}
