//! docs/device-protocol/vectors.json holds for what the hub reads and writes.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mobile_delivery::protocol::poll::{Acks, Polled};
use mobile_delivery::protocol::stream::{Event, Mark, Reader, write, write_close};
use mobile_delivery::protocol::{Band, ClientFrame, Close, SUBPROTOCOL, ServerFrame, VERSION};
use serde_json::Value;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/device-protocol/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Each case of a list; there are some.
fn each(list: &str, check: impl Fn(&str, &Value)) {
    let vectors = vectors();
    let cases = vectors[list].as_array().unwrap_or_else(|| panic!("no list is called {list}"));
    assert!(cases.len() > 1, "{list} has {} cases", cases.len());
    for case in cases {
        check(case["text"].as_str().unwrap_or_default(), case);
    }
}

fn client(text: &str) -> ClientFrame {
    ClientFrame::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_name_and_version_are_these() {
    assert_eq!((vectors()["subprotocol"].as_str(), vectors()["version"].as_u64()), (Some(SUBPROTOCOL), Some(VERSION)));
}

#[test]
fn frames_of_clients_are_read_and_written() {
    each("client", |text, _| assert_eq!(json(&client(text).encode()), json(text)));
}

#[test]
fn what_is_tolerated_means_the_same() {
    let texts = vectors();
    each("tolerated", |text, case| {
        let same = texts["client"].as_array().unwrap().iter().find(|other| other["name"] == case["same_as"]).unwrap();
        assert_eq!(client(text), client(same["text"].as_str().unwrap()), "{case}");
    });
}

#[test]
fn what_is_refused_names_its_field_and_close() {
    each("refused", |text, case| {
        let wrong = ClientFrame::decode(text.as_bytes()).expect_err(text);
        assert_eq!(u64::from(wrong.close.code()), case["close"], "{case}");
        assert_eq!(wrong.field, case["field"].as_str().unwrap_or_default(), "{case}: {wrong}");
        assert!(wrong.field.is_empty() || wrong.to_string().starts_with(&format!("`{}`: ", wrong.field)), "{wrong}");
    });
}

#[test]
fn frames_of_the_server_are_written_and_read() {
    each("server", |text, _| {
        let frame = ServerFrame::decode(text).unwrap_or_else(|error| panic!("{text}: {error}")).expect(text);
        assert_eq!(frame.encode(), text);
    });
    assert_eq!(ServerFrame::decode(vectors()["unknown_server_frame"].as_str().unwrap()), Ok(None));
}

#[test]
fn payloads_go_out_as_they_came() {
    each("deliver", |text, case| {
        let payload = match (case["payload"].as_str(), case["payload_base64"].as_str()) {
            (Some(text), _) => Bytes::from(text.to_owned()),
            (_, base64) => Bytes::from(STANDARD.decode(base64.unwrap()).unwrap()),
        };
        let Some(ServerFrame::Deliver(message)) = ServerFrame::decode(text).unwrap() else { panic!("{text}") };
        assert_eq!(message.payload, payload, "{case}");
        assert_eq!((message.seq, message.dup, message.high), (7, case["dup"] == true, case["high"] == true));
        assert_eq!(message.content_type, case["content_type"]);
        assert_eq!(message.expires.map(|at| at.to_string()).as_deref(), case["expires"].as_str());
        assert_eq!(message.collapse_key.as_deref(), case["collapse_key"].as_str());
        assert_eq!(ServerFrame::Deliver(message).encode(), text);
    });
}

#[test]
fn answers_of_polls_are_written_and_read() {
    each("polled", |text, _| assert_eq!(Polled::decode(text).unwrap().encode(), text));
}

/// The event that a text is, and what it says of coming back.
fn event(text: &str) -> (Event, Option<Duration>) {
    let mut reader = Reader::default();
    let mut events = reader.read(text.as_bytes());
    assert_eq!(events.len(), 1, "{text}");
    (events.remove(0), reader.retry)
}

#[test]
fn events_of_streams_are_written_and_read() {
    let back = |case: &Value| case["retry_ms"].as_u64().map(Duration::from_millis);
    each("stream", |text, case| {
        let (event, retry) = event(text);
        let frame = event.frame().unwrap().expect(text);
        assert_eq!(frame.encode(), case["frame"].as_str().unwrap());
        assert_eq!((event.last_id.as_str(), retry), (case["id"].as_str().unwrap_or_default(), back(case)));
        let mut written = Vec::new();
        write(&frame, retry, &mut Mark::default(), &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), text);
    });
    each("stream_closes", |text, case| {
        let (event, retry) = event(text);
        let closed = event.closed().expect(text);
        let close = Close::ALL.iter().find(|close| u64::from(close.code()) == case["code"]).unwrap();
        assert_eq!((closed.code, closed.word.as_str(), retry), (close.code(), close.as_str(), back(case)));
        assert_eq!(closed.detail.as_deref(), case["detail"].as_str());
        let mut written = Vec::new();
        write_close(*close, closed.detail.as_deref(), retry, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), text);
    });
}

#[test]
fn acks_of_polls_are_read() {
    each("acks", |text, case| match Acks::decode(text.as_bytes()) {
        Ok(acks) => {
            let said = [&case["up_to"], &case["entry"], &case["gap"]].map(Value::as_u64);
            assert_eq!([acks.up_to, acks.entry, acks.gap], said, "{case}");
            assert_eq!(serde_json::to_value(acks.ids).unwrap(), case["ids"]);
        }
        Err(wrong) => {
            assert!(case.get("up_to").is_none(), "{case}: {wrong}");
            assert_eq!(wrong.field, case["field"].as_str().unwrap_or_default(), "{wrong}");
        }
    });
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/device-protocol.md")).unwrap()
}

#[test]
fn what_the_page_shows_is_spoken() {
    let page = page();
    let mut shown = 0;
    for line in page.split("```json\n").skip(1).flat_map(|rest| rest.split("```").next().unwrap().lines()) {
        let by_server = ServerFrame::decode(line).is_ok_and(|frame| frame.is_some_and(|frame| frame.encode() == line));
        let by_client = ClientFrame::decode(line.as_bytes()).is_ok();
        let by_poll = Polled::decode(line).is_ok_and(|polled| polled.encode() == line) || Acks::decode(line.as_bytes()).is_ok();
        assert!(by_server || by_client || by_poll, "nobody says {line}");
        shown += 1;
    }
    assert!(shown > 8, "{shown} frames were found");
    for close in Close::ALL {
        let row = format!("| {} | `{}` |", close.code(), close.as_str());
        assert!(page.contains(&row), "the table of closes has no row {row}");
    }
}

#[test]
fn closes_say_whether_to_come_back() {
    let listed = vectors()["closes"].as_array().unwrap().len();
    assert_eq!(listed, Close::ALL.len());
    for close in Close::ALL {
        let vectors = vectors();
        let case = vectors["closes"].as_array().unwrap().iter().find(|case| case["code"] == close.code()).unwrap();
        assert_eq!((close.as_str(), close.band().as_str()), (case["name"].as_str().unwrap(), case["client"].as_str().unwrap()));
    }
    each("other_closes", |_, case| {
        let code = u16::try_from(case["code"].as_u64().unwrap()).unwrap();
        assert_eq!(Band::of(code).as_str(), case["client"], "{code}");
    });
}
