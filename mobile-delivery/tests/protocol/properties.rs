//! Any bytes are a frame or an error; what is written is read as the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use mobile_delivery::protocol::poll::{Acks, Polled};
use mobile_delivery::protocol::stream::{Mark, Reader, write};
use mobile_delivery::protocol::{
    Author, ClientFrame, Close, Gap, GoAway, Hello, How, Logged, MAX_FRAME, MAX_LIST, MAX_SEQ, Message, Present, Publish,
    Published, Refused, ServerFrame, Signal, Token, Welcome, Window, Withdrawal,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

/// What would be an event of a stream, could it get out of its message.
const FORGED: &str = "x\r\n\r\n\n\nid: 99\nevent: close\ndata: {\"code\":4105,\"word\":\"device-revoked\"}\n\n";

fn ids() -> impl Strategy<Value = Vec<Uuid>> {
    vec(any::<u128>().prop_map(Uuid::from_u128), 0..5)
}

fn windows() -> impl Strategy<Value = Window> {
    (1..=256u16, 4096..=1_048_576u32).prop_map(|(messages, bytes)| Window { messages, bytes })
}

fn seqs() -> impl Strategy<Value = u64> {
    prop_oneof![1..100u64, 1..=MAX_SEQ]
}

fn hellos() -> impl Strategy<Value = Hello> {
    let texts = || option::of(".{0,60}");
    ("[a-z0-9][a-z0-9_-]{0,62}", texts(), windows(), option::of(5_000..600_000u64), ids(), texts()).prop_map(
        |(device, token, window, heartbeat, seen, agent)| Hello {
            device,
            token: token.map(Token),
            window,
            heartbeat: heartbeat.map(Duration::from_millis),
            seen,
            agent,
            one_way: false,
        },
    )
}

fn client_frames() -> impl Strategy<Value = ClientFrame> {
    let hows = prop_oneof![Just(How::Reject), (0..3_600_000u64).prop_map(|delay| How::Later(Duration::from_millis(delay)))];
    let acks = (option::of(0..=MAX_SEQ), vec(seqs(), 0..6), option::of(0..=MAX_SEQ), option::of(seqs()));
    prop_oneof![
        hellos().prop_map(|hello| ClientFrame::Hello(Box::new(hello))),
        acks.prop_filter_map("acks nothing", |(up_to, seqs, entry, gap)| {
            let says = up_to.is_some() || !seqs.is_empty() || entry.is_some() || gap.is_some();
            says.then_some(ClientFrame::Ack { up_to, seqs, entry, gap })
        }),
        (seqs(), hows, option::of(".{0,40}")).prop_map(|(seq, how, reason)| ClientFrame::Nack { seq, how, reason }),
        ids().prop_map(|ids| ClientFrame::Read { ids }),
        publishes().prop_map(|publish| ClientFrame::Publish(Box::new(publish))),
        signals(false).prop_map(|signal| ClientFrame::Signal(Box::new(signal))),
        vec(GROUP, 0..=16).prop_map(|groups| ClientFrame::Watch { groups }),
        Just(ClientFrame::Ping),
        ".{0,60}".prop_map(|token| ClientFrame::Auth { token: Token(token) }),
        Just(ClientFrame::Bye),
    ]
}

const GROUP: &str = "[a-z0-9][a-z0-9_-]{0,62}";

fn authors() -> impl Strategy<Value = Author> {
    (GROUP, ".{1,20}").prop_map(|(device, user)| Author { device, user })
}

fn publishes() -> impl Strategy<Value = Publish> {
    // What is JSON comes without the spaces around it.
    let said = payloads().prop_filter("spaces around", |(_, payload)| payload.trim_ascii().len() == payload.len());
    ("[A-Za-z0-9_-]{1,64}", GROUP, ".{0,20}", said).prop_map(|(reference, group, kind, (content_type, payload))| Publish {
        reference,
        group,
        kind,
        content_type,
        payload,
    })
}

fn signals(from_server: bool) -> impl Strategy<Value = Signal> {
    let data = select(&["7", "{\"a\": [1.50, -0]}", "\"\\u00e4\"", "[ ]"][..]).prop_map(str::to_owned);
    (GROUP, authors(), ".{0,20}", option::of(data)).prop_map(move |(group, author, kind, data)| Signal {
        group,
        from: from_server.then_some(author),
        kind,
        data,
    })
}

fn times() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_000_000i64).prop_map(|micros| Timestamp::from_microsecond(micros).unwrap())
}

/// A content type, and bytes that may or may not be of it.
fn payloads() -> impl Strategy<Value = (String, Bytes)> {
    let contents = select(
        &["application/json", "application/a+json", "text/plain", "text/html; charset=utf-8", "image/png", "", "json"][..],
    );
    let jsons = prop_oneof![
        Just("{\"a\": [1.50, -0, 1e999, \"\\ud800\"]}".to_owned()),
        Just(" [1,2]\n".to_owned()),
        Just("{\"a\":\r\n\n1,\r\"event: close\"\n:\ndata\n}".replace("data", "2")),
        Just(FORGED.to_owned()),
        Just(format!("{}{}", "[".repeat(200), "]".repeat(200))),
        Just("1}".to_owned()),
        "\".{0,20}\"",
    ];
    let bytes = prop_oneof![
        jsons.prop_map(Bytes::from),
        ".{0,60}".prop_map(Bytes::from),
        vec(any::<u8>(), 0..200).prop_map(Bytes::from),
    ];
    (contents.prop_map(str::to_owned), bytes)
}

fn messages() -> impl Strategy<Value = Message> {
    let words = (prop_oneof![3 => ".{0,20}", 1 => Just(FORGED.to_owned())], option::of(".{0,20}"));
    let places = prop_oneof![
        seqs().prop_map(|seq| (seq, None)),
        (seqs(), option::of("[a-z0-9_-]{1,20}"), option::of(authors()))
            .prop_map(|(entry, group, from)| (0, Some(Box::new(Logged { entry, group, from })))),
    ];
    (places, any::<u128>(), any::<(bool, bool)>(), words, times(), option::of(times()), payloads()).prop_map(
        |((seq, logged), id, (dup, high), (kind, collapse_key), time, expires, (content_type, payload))| Message {
            seq,
            logged,
            id: Uuid::from_u128(id),
            dup,
            kind,
            time,
            expires,
            collapse_key,
            high,
            content_type,
            payload,
        },
    )
}

fn gaps() -> impl Strategy<Value = Gap> {
    (seqs(), "[a-z]{1,10}", option::of(0..=MAX_SEQ)).prop_map(|(number, reason, count)| Gap { number, reason, count })
}

fn server_frames() -> impl Strategy<Value = ServerFrame> {
    let withdrawals = select(&[Withdrawal::Cancelled, Withdrawal::Collapsed, Withdrawal::Expired, Withdrawal::Dropped][..]);
    let millis = || (0..10_000_000u64).prop_map(Duration::from_millis);
    prop_oneof![
        (any::<u128>(), windows(), millis(), times()).prop_map(|(session, window, heartbeat, time)| {
            ServerFrame::Welcome(Box::new(Welcome { session: Uuid::from_u128(session), window, heartbeat, time }))
        }),
        messages().prop_map(|message| ServerFrame::Deliver(Box::new(message))),
        gaps().prop_map(ServerFrame::Gap),
        (ids(), withdrawals).prop_map(|(ids, reason)| ServerFrame::Cancel { ids, reason }),
        (millis(), millis()).prop_map(|(after, spread)| ServerFrame::GoAway(GoAway { after, spread })),
        ("[A-Za-z0-9_-]{1,64}", any::<u128>())
            .prop_map(|(reference, id)| ServerFrame::Published(Box::new(Published { reference, id: Uuid::from_u128(id) }))),
        (option::of(".{0,9}"), option::of(GROUP), "[a-z-]{1,9}", ".{0,40}", option::of(any::<u64>())).prop_map(
            |(reference, group, code, detail, retry_after_ms)| {
                ServerFrame::Refused(Box::new(Refused { reference, group, code, detail, retry_after_ms }))
            }
        ),
        signals(true).prop_map(|signal| ServerFrame::Signal(Arc::new(signal))),
        (GROUP, any::<bool>(), vec(authors(), 0..4), vec(authors(), 0..4))
            .prop_map(|(group, all, here, away)| ServerFrame::Present(Arc::new(Present { group, all, here, away }))),
        (select(Close::ALL), ".{0,40}", option::of("[a-z.]{1,9}"))
            .prop_map(|(close, detail, field)| ServerFrame::error(close, detail, field)),
    ]
}

/// Cuts, doubles, and overwrites pieces of a frame, so that what is near to one is tried as well.
fn spoilt(mut bytes: Vec<u8>, spoils: &[(usize, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in spoils {
        let at = at % (bytes.len() + 1);
        match how % 4 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, *byte),
            _ => bytes.extend_from_within(at / 2..at),
        }
    }
    bytes
}

/// JSON says the same, outside of spaces.
fn same_payload(content_type: &str, came: &[u8], sent: &[u8]) -> bool {
    came == sent || (content_type.contains("json") && came == sent.trim_ascii())
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        let _ = (ClientFrame::decode(&bytes), Acks::decode(&bytes));
        let text = String::from_utf8_lossy(&bytes);
        let _ = (ServerFrame::decode(&text), Polled::decode(&text));
    }

    #[test]
    fn spoilt_frames_are_frames_or_errors(frame in client_frames(), spoils in vec(any::<(usize, u8, u8)>(), 0..6)) {
        match ClientFrame::decode(&spoilt(frame.encode().into_bytes(), &spoils)) {
            Ok(read) => prop_assert_eq!(ClientFrame::decode(read.encode().as_bytes()).unwrap(), read),
            Err(wrong) => prop_assert!(!wrong.what.is_empty() && wrong.to_string().len() < 500),
        }
    }

    #[test]
    fn frames_of_clients_survive(frame in client_frames()) {
        prop_assert_eq!(ClientFrame::decode(frame.encode().as_bytes()).unwrap(), frame);
    }

    #[test]
    fn frames_of_the_server_survive(frame in server_frames()) {
        let text = frame.encode();
        // Any reader reads it.
        let read: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            // A lone surrogate, or a number out of range, is passed on as it came.
            assert!(error.to_string().contains("surrogate") || error.to_string().contains("number out of range"), "{error}: {text}");
            serde_json::Value::Null
        });
        prop_assert!(read.is_null() || read["frame"].is_string());
        match (ServerFrame::decode(&text).unwrap().unwrap(), frame) {
            (ServerFrame::Deliver(came), ServerFrame::Deliver(sent)) => {
                prop_assert!(same_payload(&sent.content_type, &came.payload, &sent.payload), "{}", text);
                prop_assert_eq!(Message { payload: sent.payload.clone(), ..*came }, *sent);
            }
            (came, sent) => prop_assert_eq!(came, sent),
        }
    }

    /// However the stream is cut, and whatever messages hold: as many events as frames, each the frame it was.
    #[test]
    fn events_of_a_stream_are_its_frames_and_nothing_else(frames in vec(server_frames(), 0..8), cut in 1..40usize) {
        let mut text = Vec::new();
        let mut mark = Mark::default();
        frames.iter().for_each(|frame| write(frame, None, &mut mark, &mut text));
        let mut reader = Reader::default();
        let events: Vec<_> = text.chunks(cut).flat_map(|chunk| reader.read(chunk)).collect();
        prop_assert_eq!((reader.comments, reader.retry), (0, None));
        let said: Vec<_> = frames.iter().filter(|frame| !matches!(frame, ServerFrame::Error { .. })).collect();
        prop_assert_eq!(events.len(), said.len());
        let (mut seq, mut entry) = (0, 0);
        for (event, frame) in events.iter().zip(said) {
            // A line end between tokens of JSON is any of three, and read as one.
            let sent = frame.encode().replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(event.frame().unwrap().unwrap().encode(), sent);
            if let ServerFrame::Deliver(message) = frame {
                match &message.logged {
                    Some(logged) => entry = entry.max(logged.entry),
                    None => seq = message.seq,
                }
                let mark = if entry == 0 { seq.to_string() } else { format!("{seq}.{entry}") };
                prop_assert_eq!(&event.last_id, &mark);
                prop_assert_eq!(Mark::parse(&mark), Some(Mark { seq, entry }));
            }
        }
    }

    #[test]
    fn answers_of_polls_survive(messages in vec(messages(), 0..5), more in any::<bool>(), gap in option::of(gaps())) {
        let sent = Polled { messages, more, gap };
        let came = Polled::decode(&sent.encode()).unwrap();
        prop_assert_eq!((came.more, &came.gap, came.messages.len()), (sent.more, &sent.gap, sent.messages.len()));
        for (came, sent) in came.messages.iter().zip(&sent.messages) {
            prop_assert!(came.seq == sent.seq && same_payload(&sent.content_type, &came.payload, &sent.payload));
        }
    }
}

#[test]
fn a_frame_that_is_too_large_is_refused_unread() {
    let text = format!("{{\"frame\":\"ping\",\"x\":\"{}\"}}", "x".repeat(MAX_FRAME));
    assert_eq!(ClientFrame::decode(text.as_bytes()).unwrap_err().close, Close::FrameTooLarge);
    let fits = format!("{{\"frame\":\"ping\",\"x\":\"{}\"}}", "x".repeat(MAX_FRAME - 50));
    assert_eq!(ClientFrame::decode(fits.as_bytes()), Ok(ClientFrame::Ping));
}

#[test]
fn lists_are_bounded() {
    let acks = |count: usize| format!("{{\"frame\":\"ack\",\"seqs\":[{}]}}", vec!["1"; count].join(","));
    assert!(ClientFrame::decode(acks(MAX_LIST).as_bytes()).is_ok());
    let wrong = ClientFrame::decode(acks(MAX_LIST + 1).as_bytes()).unwrap_err();
    assert_eq!(wrong.to_string(), "`seqs`: it has 257 entries, 256 at most are taken");
    let names: Vec<String> = (0..100).map(|at| format!("\"x{at}\":1")).collect();
    assert!(ClientFrame::decode(format!("{{\"frame\":\"ping\",{}}}", names.join(",")).as_bytes()).is_err());
}

#[test]
fn a_token_is_never_shown() {
    let frame = ClientFrame::decode(b"{\"frame\":\"auth\",\"token\":\"hunter2\"}").unwrap();
    assert!(!format!("{frame:?}").contains("hunter2"));
}

#[test]
fn a_payload_is_copied_once() {
    // The buffer is made as large as it must be, so that it never grows; its text takes no more than that.
    let json = Bytes::from(format!("[\"{}\"]", "x".repeat(100_000)));
    let message = Message {
        seq: 1,
        logged: None,
        id: Uuid::nil(),
        dup: false,
        kind: "note".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        expires: None,
        collapse_key: None,
        high: false,
        content_type: "application/json".to_owned(),
        payload: json.clone(),
    };
    let text = ServerFrame::Deliver(Box::new(message)).encode();
    assert!(text.capacity() < json.len() + 2048, "{} bytes for {}", text.capacity(), json.len());
}
