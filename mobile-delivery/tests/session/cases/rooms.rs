//! What a session has to do with rooms: it hands on what is said, once it has its device, and what there is to tell.

use std::sync::Arc;

use bytes::Bytes;
use mobile_delivery::protocol::{Present, Publish, Signal};

use super::*;

fn publish() -> ClientFrame {
    ClientFrame::Publish(Box::new(Publish {
        reference: "m-1".to_owned(),
        group: "room".to_owned(),
        kind: String::new(),
        content_type: "text/plain".to_owned(),
        payload: Bytes::from_static(b"hello"),
    }))
}

fn signal() -> Signal {
    Signal { group: "room".to_owned(), from: None, kind: "typing".to_owned(), data: None }
}

#[test]
fn what_is_said_in_a_room_is_handed_on_and_changes_nothing_else() {
    let mut talk = Talk::live(1);
    assert!(matches!(&talk.says(publish())[..], [Action::Publish(publish)] if publish.reference == "m-1"));
    assert_eq!(talk.says(ClientFrame::Signal(Box::new(signal()))), [Action::Signal(Box::new(signal()))]);
    let groups = vec!["room".to_owned()];
    assert_eq!(talk.says(ClientFrame::Watch { groups: groups.clone() }), [Action::Watch { groups }]);
    assert!(talk.session.is_idle());
}

#[test]
fn nobody_speaks_before_the_device_is_known() {
    for frame in [publish(), ClientFrame::Signal(Box::new(signal())), ClientFrame::Watch { groups: Vec::new() }] {
        assert!(talk_closes(Talk::new(), frame.clone()), "{frame:?} before hello");
        let mut claiming = Talk::new();
        claiming.says(ClientFrame::Hello(Box::new(hello(Window::default()))));
        assert!(talk_closes(claiming, frame.clone()), "{frame:?} before welcome");
    }
}

fn talk_closes(mut talk: Talk, frame: ClientFrame) -> bool {
    talk.says(frame).contains(&Action::Close(Close::ProtocolError))
}

#[test]
fn what_there_is_to_tell_takes_no_place_in_a_full_window() {
    let mut talk = Talk::live(1);
    talk.lane(1, 0);
    assert_eq!(talk.session.in_flight(), (1, 10));
    let frame = ServerFrame::Present(Arc::new(Present { group: "room".to_owned(), all: true, ..Present::default() }));
    assert_eq!(talk.on(Event::Tell(frame.clone())), [Action::Send(frame.clone())]);
    assert_eq!(talk.session.in_flight(), (1, 10));
    // Nor is it told to who is not in yet, or out again.
    assert_eq!(Talk::new().on(Event::Tell(frame.clone())), []);
    talk.says(ClientFrame::Bye);
    assert_eq!(talk.on(Event::Tell(frame)), []);
}
