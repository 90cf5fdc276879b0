//! Clients that do not keep to the protocol, at the real hub: each is closed with a code and told why, and the hub serves the others.

use std::time::Duration;

use futures::SinkExt;
use futures::future::join_all;
use mobile_delivery::protocol::{ClientFrame, MAX_FRAME, ServerFrame, Window};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::fleet::{Owner, Registered, address, hub, register};
use super::sessions::socket::{Said, Socket};
use crate::world::{Keep, LONG, World, settled};

#[tokio::test]
async fn whoever_keeps_to_nothing_is_told_why_and_the_hub_serves_the_others() {
    let world = World::new(Keep::Sqlite).await;
    let mut hub = hub(&world, "").await;
    let (to, owner) = (address(&hub), Owner::of("acme", &[hub.public_url()]));
    let (bad, good) = (register(&hub, "acme", "bad").await, register(&hub, "acme", "good").await);
    let open = async || Socket::open(to, Some(&bad.token)).await;
    let welcome = async |device: &Registered| {
        let mut socket = Socket::open(to, Some(&device.token)).await;
        socket.hello(&device.id, Window::default()).await;
        let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
        socket.is_idle().await;
        socket
    };
    let mut there = welcome(&good).await;

    // Wrong before a welcome, and wrong after one.
    let large = format!(r#"{{"frame":"ping","x":"{}"}}"#, "x".repeat(MAX_FRAME));
    let deep = format!(r#"{{"frame":"ping","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (text, code) in [
        (r#"{"frame":"hello","device":"bad","version":2}"#, 4426),
        (r#"{"frame":"hello","device":"bad","version":"1"}"#, 4400),
        (r#"{"frame":"hello","device":"good"}"#, 4103),
        (r#"{"frame":"ack","up_to":1}"#, 4400),
        ("{", 4400),
        ("", 4400),
    ] {
        let mut socket = open().await;
        socket.text(text).await;
        let (closed, said) = socket.refusal().await;
        assert!(closed == Some(code) && !said.is_empty(), "{text}: {closed:?} {said}");
    }
    for (text, code) in [
        (r#"{"frame":"ack","up_to":1}"#, 4400),
        (r#"{"frame":"dance"}"#, 4400),
        (r#"{"frame":"auth","token":"no"}"#, 4102),
        (&*deep, 4400),
        (&*large, 4413),
    ] {
        let mut socket = welcome(&bad).await;
        socket.text(text).await;
        let (closed, said) = socket.refusal().await;
        assert!(closed == Some(code) && !said.is_empty(), "{}: {closed:?} {said}", &text[..text.len().min(60)]);
    }
    // A megabyte, whole and in fragments without an end, is not read; what is on its way may cost the code.
    for message in [Message::text("x".repeat(1 << 20)), Message::binary(vec![0; 1 << 20])] {
        let mut socket = welcome(&bad).await;
        let _ = socket.0.send(message).await;
        let (closed, _) = socket.refusal().await;
        assert!(matches!(closed, Some(4413 | 4400) | None), "{closed:?}");
    }
    let mut socket = welcome(&bad).await;
    let stream = socket.0.get_mut();
    // Fragments of a text, masked by nothing, that never ends.
    let mut fragment = vec![0x01, 0xFE, 0x10, 0x00, 0, 0, 0, 0];
    fragment.extend(vec![b'x'; 4096]);
    for n in 0..256 {
        fragment[0] = u8::from(n == 0);
        if stream.write_all(&fragment).await.is_err() {
            break;
        }
    }
    let (fragmented, _) = socket.refusal().await;
    assert!(matches!(fragmented, Some(4413 | 4400 | 1009) | None), "{fragmented:?}");

    // A flood of pings by some who do not read the answers.
    let flooding = (0..3).map(async |_| {
        let mut socket = open().await;
        socket.hello(&bad.id, Window::default()).await;
        let ping = ClientFrame::Ping.encode();
        let flood = async {
            for _ in 0..50_000 {
                if socket.0.feed(Message::text(ping.as_str())).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(Duration::from_secs(5), flood).await;
        let (flooded, _) = socket.refusal().await;
        assert!(matches!(flooded, Some(4229 | 4409) | None), "{flooded:?}");
    });
    join_all(flooding).await;

    // What is no frame at all, and a connection that is no handshake.
    let mut socket = welcome(&bad).await;
    socket.0.get_mut().write_all(&[0xFF; 64]).await.unwrap();
    let (garbled, _) = socket.refusal().await;
    assert!(matches!(garbled, Some(1002 | 4400) | None), "{garbled:?}");
    let mut plain = TcpStream::connect(to).await.unwrap();
    plain.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 GET / nothing\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(LONG, plain.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));

    // A hello that comes a byte at a time is one.
    let mut slow = Socket::open(to, Some(&bad.token)).await;
    let hello = br#"{"frame":"hello","device":"bad"}"#;
    let mut bytes = vec![0x81, 0x80 | u8::try_from(hello.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend_from_slice(hello);
    for byte in bytes {
        let stream = slow.0.get_mut();
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let Said::Frame(ServerFrame::Welcome(_)) = slow.next().await else { panic!("no welcome") };
    slow.is_idle().await;

    // Nobody else noticed.
    assert!(hub.process().poll().is_none(), "the hub is up");
    settled(&hub).await;
    for id in [&bad.id, &good.id] {
        owner.send(id, 0).await;
    }
    assert_eq!((slow.message().await.seq, there.message().await.seq), (1, 1));
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}
