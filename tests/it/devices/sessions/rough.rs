//! Clients that do not keep to the protocol, and credentials that are not good.

use std::time::Duration;

use futures::SinkExt;
use mobile_delivery::protocol::{ClientFrame, MAX_FRAME, SUBPROTOCOL, ServerFrame};
use mobile_delivery::session;
use mobile_delivery::sessions::Options;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, token, token_with};
use super::socket::{Said, Socket};

/// Says this instead of what is right, and is closed with that code, after an error that says why.
async fn refused(mut socket: Socket, text: &str) -> (Option<u16>, String) {
    socket.text(text).await;
    socket.refusal().await
}

#[tokio::test]
async fn what_is_wrong_closes_with_its_code_and_says_why() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    ground.device("phone").await;
    ground.device("other").await;
    let to = process.address;
    let open = async || Socket::open(to, Some(&token("phone"))).await;
    for (text, code, why) in [
        (r#"{"frame":"hello","device":"phone","version":2}"#, 4426, "version"),
        (r#"{"frame":"hello","device":"Phone!"}"#, 4400, "device"),
        (r#"{"frame":"hello","device":"other"}"#, 4103, "another device"),
        (r#"{"frame":"ping"}"#, 4400, "first"),
        (r#"{"frame":"dance"}"#, 4400, "dance"),
        ("{", 4400, ""),
        ("", 4400, ""),
    ] {
        let (closed, said) = refused(open().await, text).await;
        assert_eq!(closed, Some(code), "{text}");
        assert!(said.contains(why), "{text}: {said}");
    }
    for (text, code) in [
        (r#"{"frame":"ack","up_to":1}"#, 4400),
        (r#"{"frame":"hello","device":"phone"}"#, 4400),
        (r#"{"frame":"auth","token":"no"}"#, 4102),
        (&format!(r#"{{"frame":"auth","token":"{}"}}"#, token("other")), 4103),
        (&format!(r#"{{"frame":"ping","x":"{}"}}"#, "x".repeat(MAX_FRAME)), 4413),
    ] {
        let socket = Socket::idle(to, "phone").await;
        assert_eq!(refused(socket, text).await.0, Some(code), "{}", &text[..text.len().min(80)]);
    }
    let mut socket = Socket::idle(to, "phone").await;
    socket.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.closes().await, Some(4400), "binary");
    // A megabyte is not even read; the code may be lost with what was under way.
    let mut socket = Socket::idle(to, "phone").await;
    socket.text(&"x".repeat(1 << 20)).await;
    let closed = socket.closes().await;
    assert!(matches!(closed, Some(4413) | None), "{closed:?}");
    // Nothing of all this is left.
    drop(Socket::idle(to, "phone").await);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    ground.device("phone").await;
    let to = process.address;
    let url = format!("http://{to}/v1/device/socket");
    let http = reqwest::Client::new();
    // Before the handshake.
    let plain = http.get(&url).send().await.unwrap();
    assert_eq!((plain.status().as_u16(), code(plain).await), (400, "subprotocol-missing".to_owned()));
    let upgrade = |protocol: &'static str, bearer: &'static str| {
        let request = http.get(&url).header("connection", "upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.header("sec-websocket-protocol", protocol).header("authorization", bearer)
    };
    let other = upgrade("mqtt", "Bearer x").send().await.unwrap();
    assert_eq!((other.status().as_u16(), code(other).await), (400, "subprotocol-missing".to_owned()));
    let bad = upgrade(SUBPROTOCOL, "Bearer x").send().await.unwrap();
    assert_eq!((bad.status().as_u16(), code(bad).await), (401, "token-invalid".to_owned()));
    // After it.
    for (token, closes) in
        [("nothing".to_owned(), 4102), (token_with("phone", "jobs:read"), 4103), (token("nobody"), 4103), (token("phone"), 0)]
    {
        let mut socket = Socket::open(to, None).await;
        socket.hello_with("phone", &token).await;
        match (socket.next().await, closes) {
            (Said::Frame(ServerFrame::Welcome(_)), 0) => {}
            (Said::Frame(ServerFrame::Error { .. }), code) => assert_eq!(socket.closes().await, Some(code)),
            (other, _) => panic!("{other:?}"),
        }
    }
    let mut socket = Socket::open(to, None).await;
    socket.hello("phone", Default::default()).await;
    assert_eq!(socket.closes().await, Some(4102), "no token at all");
    let mut socket = Socket::open(to, Some(&token("nobody"))).await;
    socket.hello("nobody", Default::default()).await;
    assert_eq!(socket.closes().await, Some(4104), "never registered");
}

async fn code(response: reqwest::Response) -> String {
    response.json::<serde_json::Value>().await.unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_says_nothing_is_closed_and_who_says_too_much_as_well() {
    let ground = Ground::set().await;
    let limits = session::Limits { hello_within: Duration::from_millis(300), ..session::Limits::default() };
    let how = How { options: Options { limits, ..Options::default() }, mute: false };
    let process = Process::with(&ground, how).await;
    ground.device("phone").await;
    let mut silent = Socket::open(process.address, None).await;
    assert_eq!(silent.closes().await, Some(4208));
    let mut loud = Socket::idle(process.address, "phone").await;
    let ping = ClientFrame::Ping.encode();
    let flooding = async {
        for _ in 0..100_000 {
            if loud.0.feed(Message::text(ping.as_str())).await.is_err() {
                break;
            }
        }
    };
    // It is answered as long as it reads, and it does not.
    let _ = tokio::time::timeout(Duration::from_secs(5), flooding).await;
    let closed = loud.closes().await;
    assert!(matches!(closed, Some(4229) | None), "{closed:?}");
}

#[tokio::test]
async fn who_finds_no_place_is_told_to_come_back() {
    let ground = Ground::set().await;
    let how = How { options: Options { sessions: 2, ..Options::default() }, mute: false };
    let process = Process::with(&ground, how).await;
    ground.device("phone").await;
    let _one = Socket::open(process.address, None).await;
    let two = Socket::open(process.address, None).await;
    let poll = async || {
        let url = format!("http://{}/v1/device/messages", process.address);
        reqwest::Client::new().get(url).bearer_auth(token("phone")).send().await.unwrap()
    };
    let full = poll().await;
    assert_eq!(full.headers()["retry-after"], "2");
    assert_eq!((full.status().as_u16(), code(full).await), (503, "too-many-sessions".to_owned()));
    drop(two);
    until_true(SOON, "a place to be free", async || poll().await.status() == 200).await;
}

#[tokio::test]
async fn a_frame_may_come_a_byte_at_a_time() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    ground.device("phone").await;
    let mut socket = Socket::open(process.address, Some(&token("phone"))).await;
    // A masked text frame, with a mask of nothing.
    let text = br#"{"frame":"hello","device":"phone"}"#;
    let mut bytes = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend_from_slice(text);
    for byte in bytes {
        let stream = socket.0.get_mut();
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(matches!(socket.next().await, Said::Frame(ServerFrame::Welcome(_))));
    socket.is_idle().await;
}
