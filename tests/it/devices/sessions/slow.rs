//! Devices that do not read, and what it costs the others.

use std::time::Duration;

use bytes::Bytes;
use mobile_delivery::protocol::Window;
use mobile_delivery::session;
use mobile_delivery::sessions::Options;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, token};
use super::socket::Socket;

#[tokio::test]
async fn who_reads_nothing_is_cut_off_and_holds_up_nobody() {
    let ground = Ground::set().await;
    let limits = session::Limits { ack_within: Duration::from_secs(2), ..session::Limits::default() };
    let options = Options { limits, write_within: Duration::from_secs(1), ..Options::default() };
    let process = Process::with(&ground, How { options, mute: false }).await;
    let (deaf, quick) = (ground.device("deaf").await, ground.device("quick").await);
    let mut socket = Socket::narrow(process.address, &token("deaf")).await;
    socket.hello("deaf", Window { messages: 256, bytes: 1024 * 1024 }).await;
    // It takes no more than its window, however much there is.
    let body = Bytes::from(vec![b'x'; 60 * 1024]);
    let ids = ground.send(&process, "deaf", &vec![body; 40]).await;
    until_true(SOON, "it to be given what it does not read", async || process.metric("warren_device_given_total", None) > 0)
        .await;
    let mut other = Socket::idle(process.address, "quick").await;
    let mut seq = 0;
    let cut_off = async {
        until_true(SOON, "the deaf one to be cut off", async || ground.look("deaf").await.session.is_none()).await;
    };
    let going_on = async {
        loop {
            ground.send_texts(&process, "quick", 1).await;
            seq = other.message().await.seq;
            other.ack(seq).await;
            other.is_idle().await;
        }
    };
    tokio::select! {
        () = cut_off => {}
        () = going_on => {}
    }
    assert!(seq > 0, "others are served meanwhile");
    assert!(process.metric("warren_device_given_total", None) <= 18 + i64::try_from(seq).unwrap(), "never more than the window");
    assert_eq!(ground.pending(deaf).await.len(), 40);
    drop(socket);
    // It comes again, reads, and has all of it.
    let mut socket = Socket::welcome(process.address, "deaf", Window::default()).await;
    for id in ids {
        let message = socket.message().await;
        assert_eq!(message.id, id);
        socket.ack(message.seq).await;
    }
    socket.is_idle().await;
    assert!(ground.pending(deaf).await.is_empty());
    let _ = quick;
}
