//! Devices that read a stream of events.

use std::time::Duration;

use bytes::Bytes;
use mobile_delivery::protocol::{ServerFrame, Window};
use mobile_delivery::session;
use mobile_delivery::sessions::Options;
use mobile_delivery::store::{Temperature, Transport};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, token, token_with};
use super::polling::Poller;
use super::socket::{Said, Socket};
use super::stream::Listener;

fn listener(id: &str) -> Listener {
    Listener::new(token(id))
}

/// Sessions that ask what was acked only when they are told, or every so often and are told by nobody.
fn told_only() -> How {
    asking_every(Duration::from_secs(3600), false)
}

fn asking_every(check_every: Duration, mute: bool) -> How {
    let limits = session::Limits { check_every, ..session::Limits::default() };
    How { options: Options { limits, ..Options::default() }, mute }
}

#[tokio::test]
async fn what_is_sent_is_streamed_and_ends_with_the_ack_of_a_request() {
    let ground = Ground::set().await;
    let limits = session::Limits { check_every: Duration::from_secs(3600), ..session::Limits::default() };
    let options = Options { lane_within: SOON, fresh: 2 * SOON, limits, ..Options::default() };
    let process = Process::with(&ground, How { options, mute: false }).await;
    let device = ground.device("page").await;
    let page = listener("page");
    let mut stream = page.open(process.address, "window=8&bytes=65536").await;
    for (header, value) in [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")] {
        assert_eq!(stream.response.headers()[header], value);
    }
    let Said::Frame(ServerFrame::Welcome(welcome)) = stream.next().await else { panic!("no welcome") };
    assert_eq!(welcome.window, Window { messages: 8, bytes: 65536 });
    assert_eq!(welcome.heartbeat, Duration::from_secs(20), "how often something is written");
    let back = stream.reader.retry.expect("when to come back");
    assert!((Duration::from_millis(500)..=Duration::from_secs(3)).contains(&back), "{back:?}");
    stream.is_idle().await;
    let there = ground.look("page").await;
    assert_eq!((there.temperature, there.session.unwrap().transport), (Temperature::Hot, Transport::Stream));
    assert_eq!(process.metric("warren_device_sessions", Some("stream")), 1);

    let ids = ground.send_texts(&process, "page", 5).await;
    for (n, id) in ids.iter().enumerate() {
        let message = stream.message().await;
        assert_eq!((message.seq, message.id, &message.payload[..]), (n as u64 + 1, *id, format!("message {n}").as_bytes()));
    }
    assert_eq!(process.metric("warren_device_rows_read_total", None), 0, "the lane brought them");
    assert_eq!(page.ack(process.address, json!({"up_to": 3})).await, 204);
    assert_eq!(ground.pending(device).await, [4, 5], "204 is stored");
    assert_eq!(page.ack(process.address, json!({"ids": [ids[3], ids[4]]})).await, 204);
    stream.is_idle().await;
    let queue = format!("device.standard.{}", device.0);
    until_true(SOON, "the broker to forget them", async || ground.vhost.queue_depth(&queue).await == Some(0)).await;
    drop(stream);
    until_true(SOON, "nobody to be there", async || ground.look("page").await.session.is_none()).await;
    assert_eq!(process.metric("warren_device_sessions", Some("stream")), 0);
}

#[tokio::test]
async fn a_full_window_goes_on_when_another_process_is_told_of_acks() {
    // By a word alone, and by asking alone.
    for how in [told_only(), asking_every(Duration::from_secs(1), true)] {
        let ground = Ground::set().await;
        let (one, two) = tokio::join!(Process::with(&ground, how.clone()), Process::with(&ground, how));
        ground.device("page").await;
        let page = listener("page");
        let mut stream = page.welcome(one.address, "window=2").await;
        stream.is_idle().await;
        ground.send_texts(&one, "page", 5).await;
        assert_eq!(stream.seqs(2).await, [1, 2]);
        stream.is_quiet().await;
        for up_to in 1..=3 {
            assert_eq!(page.ack(two.address, json!({"up_to": up_to})).await, 204);
            assert_eq!(stream.seqs(1).await, [up_to + 2]);
        }
        assert_eq!(page.ack(two.address, json!({"up_to": 5})).await, 204);
        stream.is_idle().await;
        assert!(ground.look("page").await.session.is_some(), "an ack makes no session, and ends none");
    }
}

#[tokio::test]
async fn who_acks_nothing_of_a_full_window_is_closed_and_comes_back() {
    let ground = Ground::set().await;
    let limits = session::Limits { ack_within: Duration::from_secs(1), ..session::Limits::default() };
    let process = Process::with(&ground, How { options: Options { limits, ..Options::default() }, mute: false }).await;
    let device = ground.device("page").await;
    let page = listener("page");
    let mut stream = page.welcome(process.address, "window=2").await;
    stream.is_idle().await;
    ground.send_texts(&process, "page", 3).await;
    assert_eq!(stream.seqs(2).await, [1, 2]);
    assert_eq!(stream.closes().await, Some(4230));
    assert!(stream.closed.unwrap().detail.is_some_and(|detail| detail.contains("window")));
    // As an `EventSource` does it: what it had is acked by its coming back.
    let mut stream = page.resume(process.address, "window=2", &stream.last).await;
    let Said::Frame(ServerFrame::Welcome(_)) = stream.next().await else { panic!("no welcome") };
    assert_eq!(stream.seqs(1).await, [3]);
    assert_eq!(ground.pending(device).await, [3]);
}

#[tokio::test]
async fn the_last_event_acks_what_was_given_and_nothing_else() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let device = ground.device("page").await;
    let page = listener("page");
    ground.send_texts(&process, "page", 6).await;
    let given = async |query: &str, last: &str, count: usize| {
        let mut stream = page.resume(process.address, query, last).await;
        let Said::Frame(ServerFrame::Welcome(_)) = stream.next().await else { panic!("no welcome") };
        stream.seqs(count).await
    };
    // None of these was ever sent by us.
    for rubbish in ["", "x", "-1", "2.5", "0", "7", "9007199254740993", "99999999999999999999999", "2 "] {
        let expected: &[u64] = if rubbish == "2 " { &[3, 4, 5, 6] } else { &[1, 2, 3, 4, 5, 6] };
        assert_eq!(given("", rubbish, expected.len()).await, expected, "{rubbish}");
    }
    assert_eq!(given("acks=post", "4", 4).await, [3, 4, 5, 6], "requests alone ack");
    assert_eq!(given("", "4", 2).await, [5, 6]);
    assert_eq!(ground.pending(device).await, [5, 6]);
    // Somebody else's events are not ours.
    ground.device("other").await;
    let mut other = listener("other").resume(process.address, "", "6").await;
    let Said::Frame(ServerFrame::Welcome(_)) = other.next().await else { panic!("no welcome") };
    other.is_idle().await;
    assert_eq!(ground.pending(device).await, [5, 6]);
}

#[tokio::test]
async fn a_device_changes_its_way_between_any_two_messages() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::start(&ground), Process::start(&ground));
    let device = ground.device("phone").await;
    let (phone, poller) = (listener("phone"), Poller::of("phone"));
    let ids = ground.send_texts(&one, "phone", 12).await;

    let mut socket = Socket::welcome(one.address, "phone", Window::default()).await;
    assert_eq!(socket.message().await.seq, 1);
    socket.ack(1).await;
    until_true(SOON, "1 to be stored", async || ground.pending(device).await[0] == 2).await;
    assert_eq!(socket.message().await.seq, 2);
    // It goes while it has 2, and the stream gives it again.
    let mut stream = phone.welcome(two.address, "window=3").await;
    assert_eq!(socket.closes().await, Some(4409));
    assert_eq!(stream.seqs(3).await, [2, 3, 4]);
    assert_eq!(phone.ack(one.address, json!({"ids": [ids[1]]})).await, 204);
    // By polls, with 3 and 4 in hand.
    assert_eq!(poller.seqs(&one, "max=2").await, [3, 4]);
    assert_eq!(stream.closes().await, Some(4409));
    assert!(stream.reader.retry.is_some_and(|back| back >= Duration::from_secs(600)), "nor does its browser come back at once");
    assert_eq!(poller.ack(&two, json!({"up_to": 3})).await, 204);
    // A stream in the process that has leases: they are nothing to it.
    let mut stream = phone.welcome(one.address, "").await;
    assert_eq!(stream.seqs(9).await, (4..=12).collect::<Vec<_>>());
    assert_eq!(phone.ack(one.address, json!({"up_to": 8})).await, 204);
    drop(stream);
    let mut socket = Socket::welcome(two.address, "phone", Window::default()).await;
    let again = socket.messages(4).await;
    assert_eq!(again.iter().map(|message| message.seq).collect::<Vec<_>>(), [9, 10, 11, 12]);
    assert_eq!(again.iter().map(|message| message.id).collect::<Vec<_>>(), ids[8..]);
    // What it acks by a request is no more with the socket.
    assert_eq!(phone.ack(one.address, json!({"up_to": 12})).await, 204);
    socket.is_idle().await;
    let mut stream = phone.welcome(one.address, "").await;
    stream.is_idle().await;
    assert_eq!(socket.closes().await, Some(4409));
    assert!(ground.pending(device).await.is_empty());
}

#[tokio::test]
async fn an_ack_that_comes_while_nobody_is_there_takes_nobodys_place() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let device = ground.device("page").await;
    let page = listener("page");
    ground.send_texts(&process, "page", 2).await;
    assert_eq!(page.ack(process.address, json!({"up_to": 1})).await, 204, "it never had a session");
    assert_eq!(ground.pending(device).await, [2]);
    assert!(ground.look("page").await.session.is_none());
    // Over and over, while its stream comes and goes.
    let acking = async {
        loop {
            assert_eq!(page.ack(process.address, json!({"up_to": 1})).await, 204);
        }
    };
    let streaming = async {
        for _ in 0..20 {
            let mut stream = page.welcome(process.address, "").await;
            assert_eq!(stream.seqs(1).await, [2]);
            stream.is_quiet().await;
        }
    };
    tokio::select! {
        () = acking => {}
        () = streaming => {}
    }
}

#[tokio::test]
async fn who_leaves_says_so_and_says_when_to_come_back() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::start(&ground), Process::start(&ground));
    let device = ground.device("page").await;
    let page = listener("page");
    let mut stream = page.welcome(one.address, "").await;
    stream.is_idle().await;
    ground.send_texts(&one, "page", 2).await;
    assert_eq!(stream.seqs(2).await, [1, 2]);
    let going = async {
        let Said::Frame(ServerFrame::GoAway(away)) = stream.next().await else { panic!("no goaway") };
        let back = stream.reader.retry.unwrap();
        assert!(back >= away.after && back <= away.after + away.spread, "{back:?} of {away:?}");
        // The process that leaves takes nothing more; any other does, and the stream ends with its last ack.
        assert_eq!(page.ack(two.address, json!({"up_to": 2})).await, 204);
        let acked = tokio::time::Instant::now();
        assert_eq!(stream.closes().await, Some(4201));
        assert!(acked.elapsed() < Duration::from_secs(4), "not by its time-out: {:?}", acked.elapsed());
    };
    tokio::join!(one.drain(), going);
    assert!(ground.pending(device).await.is_empty());
    let refused = page.answer(one.address, "").await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
    page.welcome(two.address, "").await.is_idle().await;
}

#[tokio::test]
async fn something_is_written_now_and_then_and_who_takes_nothing_is_cut_off() {
    let ground = Ground::set().await;
    let limits = session::Limits { ack_within: SOON, ..session::Limits::default() };
    let (keep_alive, write_within) = (Duration::from_millis(200), Duration::from_secs(1));
    let options = Options { limits, keep_alive, write_within, ..Options::default() };
    let process = Process::with(&ground, How { options, mute: false }).await;
    ground.device("page").await;
    let page = listener("page");
    let mut stream = page.welcome(process.address, "window=256&bytes=1048576").await;
    stream.is_idle().await;
    stream.is_quiet().await;
    assert!(stream.reader.comments >= 1, "{:?}", stream.reader);
    drop(stream);
    // Far more than its connection holds, and not read.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(process.address).await.unwrap();
    let request = format!(
        "GET /v1/device/stream?window=256&bytes=1048576 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\r\n",
        token("page")
    );
    deaf.write_all(request.as_bytes()).await.unwrap();
    let body = Bytes::from(vec![b'x'; 250 * 1024]);
    for _ in 0..8 {
        ground.send(&process, "page", &vec![body.clone(); 4]).await;
    }
    let acked = async {
        // It acks what it cannot have read, so that more is written: its connection fills.
        for up_to in (1..=32).cycle() {
            page.ack(process.address, json!({"up_to": up_to})).await;
        }
    };
    let cut_off = async {
        until_true(SOON, "it to be there", async || process.metric("warren_device_given_total", None) > 0).await;
        until_true(SOON, "it to be cut off", async || ground.look("page").await.session.is_none()).await;
    };
    tokio::select! {
        () = acked => {}
        () = cut_off => {}
    }
    assert!(process.metric("warren_device_given_total", None) < 32, "it does not get all while it takes nothing");
    drop(deaf);
    // Its last ack may still have counted; all after that is there, in order.
    let mut stream = page.welcome(process.address, "window=256&bytes=1048576").await;
    let mut seq = stream.message().await.seq;
    assert!(seq < 32, "something was left");
    loop {
        assert_eq!(page.ack(process.address, json!({"up_to": seq})).await, 204);
        if seq == 32 {
            break;
        }
        seq += 1;
        assert_eq!(stream.message().await.seq, seq);
    }
    stream.is_idle().await;
}

#[tokio::test]
async fn what_a_message_holds_never_becomes_an_event() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    ground.device("page").await;
    let page = listener("page");
    let mut stream = page.welcome(process.address, "").await;
    stream.is_idle().await;
    let forged = "x\r\n\r\n\n\nid: 99\nevent: close\ndata: {\"code\":4105,\"word\":\"device-revoked\"}\n\n";
    let written = "{\r\n\n\"event: close\"\r:\n{\"data\":\r\r1}\n}";
    ground.send_of(&process, "page", "text/plain", forged, forged.into()).await;
    ground.send_of(&process, "page", forged, "note", forged.into()).await;
    ground.send_of(&process, "page", "application/json", "note", written.into()).await;
    ground.send_of(&process, "page", "application/json", "note", forged.into()).await;
    let first = stream.message().await;
    assert_eq!((&*first.kind, &first.payload[..]), (forged, forged.as_bytes()));
    let second = stream.message().await;
    assert_eq!((&*second.content_type, &second.payload[..]), (forged, forged.as_bytes()));
    let third: Value = serde_json::from_slice(&stream.message().await.payload).unwrap();
    assert_eq!(third, json!({"event: close": {"data": 1}}));
    assert_eq!(&stream.message().await.payload[..], forged.as_bytes(), "what is no JSON is bytes");
    stream.is_quiet().await;
    assert_eq!((&*stream.last, &stream.closed), ("4", &None));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_before_anything_is_taken() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let device = ground.device("page").await;
    let to = process.address;
    let page = listener("page");
    let mut there = page.welcome(to, "").await;
    there.is_idle().await;
    let refusal = async |listener: &Listener, query: &str| {
        let answer = listener.answer(to, query).await;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["code"].as_str().unwrap().to_owned(), body["detail"].as_str().unwrap().to_owned())
    };
    for (query, what) in [
        ("window=0", "window"),
        ("window=257", "window"),
        ("window=x", "window"),
        ("window=70000", "window"),
        ("bytes=4095", "bytes"),
        ("bytes=1048577", "bytes"),
        ("acks=never", "acks"),
        ("since=3", "since"),
    ] {
        let (status, code, detail) = refusal(&page, query).await;
        assert_eq!((status, &*code), (400, "invalid-parameter"), "{query}");
        assert!(detail.contains(what), "{query}: {detail}");
    }
    let of = |token: String| Listener::new(token);
    for (token, expected) in [
        ("x".to_owned(), (401, "token-invalid")),
        (token_with("page", "jobs:read"), (403, "scope-missing")),
        (token("nobody"), (404, "device-not-found")),
    ] {
        let (status, code, _) = refusal(&of(token), "").await;
        assert_eq!((status, &*code), expected);
    }
    let http = reqwest::Client::new();
    let url = format!("http://{to}/v1/device/stream");
    let head = http.head(&url).bearer_auth(token("page")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["allow"]), (405, &"GET".parse().unwrap()));
    assert_eq!(http.post(&url).bearer_auth(token("page")).send().await.unwrap().status(), 405);
    there.is_quiet().await;
    ground.stores.devices.revoke(device, database::clock::now()).await.unwrap();
    // A second later, its tokens are of before.
    let (status, code, _) = refusal(&page, "").await;
    assert!(matches!((status, &*code), (410, "device-revoked") | (401, "token-invalid")), "{status} {code}");
}

#[tokio::test]
async fn who_is_revoked_or_displaced_is_told_by_the_last_event() {
    let ground = Ground::set().await;
    let how = How { options: Options { round: Duration::from_secs(1), ..Options::default() }, mute: false };
    let process = Process::with(&ground, how).await;
    let device = ground.device("page").await;
    let page = listener("page");
    let mut older = page.welcome(process.address, "").await;
    older.is_idle().await;
    let mut newer = page.welcome(process.address, "").await;
    assert_eq!(older.closes().await, Some(4409));
    let closed = older.closed.unwrap();
    assert_eq!(closed.word, "displaced");
    newer.is_idle().await;
    ground.stores.devices.revoke(device, database::clock::now()).await.unwrap();
    assert_eq!(newer.closes().await, Some(4105));
    assert_eq!(process.metric("warren_device_session_ends_total", Some("displaced")), 1);
}
