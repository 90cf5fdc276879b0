//! How a session ends.

use mobile_delivery::protocol::{GoAway, How, Token};
use mobile_delivery::session::Phase;

use super::*;

const AWAY: GoAway = GoAway { after: Duration::ZERO, spread: Duration::from_secs(10) };

fn drain(seconds: u64) -> Event {
    Event::Drain { away: AWAY, within: Duration::from_secs(seconds) }
}

/// The field that the `error` before a close names.
fn blamed(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::Send(ServerFrame::Error { field, .. }) => field.as_deref(),
        _ => None,
    })
}

#[test]
fn hello_comes_first_once_and_in_time() {
    let mut talk = Talk::new();
    assert_eq!(closed(&talk.says(ClientFrame::Ping)), Some(Close::ProtocolError));
    let mut talk = Talk::new();
    talk.on(Event::Timer);
    assert_eq!(talk.after(Duration::from_secs(9)), []);
    assert_eq!(closed(&talk.after(Duration::from_secs(1))), Some(Close::HelloLate));
    let mut talk = Talk::open(1);
    assert_eq!(closed(&talk.says(ClientFrame::Hello(Box::new(hello(Window::default()))))), Some(Close::ProtocolError));
    let mut talk = Talk::new();
    talk.says(ClientFrame::Hello(Box::new(hello(Window::default()))));
    assert_eq!(talk.says(ClientFrame::Ping), [Action::Send(ServerFrame::Pong)]);
    assert_eq!(closed(&talk.after(Duration::from_secs(30))), Some(Close::Unavailable), "a claim that never ends");
}

#[test]
fn what_was_not_given_cannot_be_acked() {
    let wrong = [
        (ClientFrame::Ack { up_to: Some(3), seqs: Vec::new(), entry: None, gap: None }, "up_to"),
        (ClientFrame::Ack { up_to: Some(1), seqs: vec![2, 3], entry: None, gap: None }, "seqs"),
        (ClientFrame::Ack { up_to: Some(1), seqs: Vec::new(), entry: None, gap: Some(1) }, "gap"),
        (ClientFrame::Nack { seq: 3, how: How::Reject, reason: None }, "seq"),
    ];
    for (frame, field) in wrong {
        let mut talk = Talk::live(16);
        talk.lane(1, 0);
        talk.lane(2, 1);
        let actions = talk.says(frame);
        assert_eq!((closed(&actions), blamed(&actions)), (Some(Close::ProtocolError), Some(field)));
        assert!(!actions.iter().any(|action| matches!(action, Action::Settle { .. })), "{actions:?}");
        assert!(actions.contains(&Action::GiveBack(vec![Tag(1), Tag(2)])), "{actions:?}");
    }
}

#[test]
fn what_is_rejected_ends_with_its_reason() {
    let mut talk = Talk::live(16);
    talk.lane(1, 0);
    let reason = Some("no such screen".to_owned());
    let ends = vec![End { seq: 1, id: id(1), ended: Ended::Rejected { reason: reason.clone() } }];
    let nack = ClientFrame::Nack { seq: 1, how: How::Reject, reason };
    assert_eq!(talk.says(nack.clone()), [Action::Settle { fence: 7, ends }]);
    assert_eq!(talk.says(nack), [], "said twice");
    assert_eq!(talk.acks(1), []);
}

#[test]
fn who_acks_nothing_of_a_full_window_is_closed() {
    let mut talk = Talk::live(2);
    let ping = |talk: &mut Talk| talk.says(ClientFrame::Ping);
    talk.lane(1, 0);
    talk.lane(2, 1);
    talk.after(Duration::from_secs(20));
    ping(&mut talk);
    talk.acks(1);
    talk.on(Event::Settled { seqs: vec![1] });
    talk.lane(3, 2);
    talk.after(Duration::from_secs(20));
    ping(&mut talk);
    assert_eq!(talk.session.phase(), Phase::Open, "there was progress");
    let actions = talk.after(Duration::from_secs(10));
    assert_eq!(closed(&actions), Some(Close::SlowConsumer));
    assert!(actions.contains(&Action::GiveBack(vec![Tag(2), Tag(3)])), "in order: {actions:?}");
}

#[test]
fn a_store_that_hangs_is_not_the_devices_fault() {
    let mut talk = Talk::live(2);
    talk.lane(1, 0);
    talk.lane(2, 1);
    talk.acks(1);
    for _ in 0..10 {
        assert_eq!(closed(&talk.after(Duration::from_secs(20))), None);
        talk.says(ClientFrame::Ping);
    }
}

#[test]
fn silence_ends_it() {
    let mut talk = Talk::live(16);
    talk.after(Duration::from_secs(25));
    talk.says(ClientFrame::Ping);
    assert_eq!(talk.after(Duration::from_secs(34)), []);
    assert_eq!(closed(&talk.after(Duration::from_secs(1))), Some(Close::Silent));
}

#[test]
fn a_token_runs_out_unless_there_is_another() {
    let mut talk = Talk::live(16);
    let until = Some(talk.now + Duration::from_secs(20));
    talk.on(Event::Authorized { until });
    let token = Token("new".to_owned());
    assert_eq!(talk.says(ClientFrame::Auth { token: token.clone() }), [Action::Verify(token)]);
    assert_eq!(talk.after(Duration::from_secs(10)), []);
    let until = Some(talk.now + Duration::from_secs(15));
    talk.on(Event::Authorized { until });
    talk.says(ClientFrame::Ping);
    assert_eq!(talk.after(Duration::from_secs(14)), []);
    assert_eq!(closed(&talk.after(Duration::from_secs(1))), Some(Close::TokenExpired));
}

#[test]
fn a_drain_waits_for_acks_and_then_leaves() {
    let mut talk = Talk::live(16);
    talk.lane(1, 0);
    assert_eq!(talk.on(drain(60)), [Action::Send(ServerFrame::GoAway(AWAY))]);
    assert_eq!(talk.lane(2, 1), [], "nothing new");
    assert_eq!(talk.on(drain(60)), []);
    assert_eq!(talk.acks(1), [delivered(&[1])]);
    let actions = talk.on(Event::Settled { seqs: vec![1] });
    let leaves = [Action::AckLane(vec![Tag(1)]), Action::GiveBack(vec![Tag(2)]), Action::Close(Close::Draining)];
    assert_eq!(actions, leaves);
}

#[test]
fn a_drain_waits_only_so_long() {
    let mut talk = Talk::live(16);
    talk.lane(1, 0);
    talk.on(drain(5));
    assert_eq!(talk.after(Duration::from_secs(5)), [Action::GiveBack(vec![Tag(1)]), Action::Close(Close::Draining)]);
    let mut talk = Talk::new();
    assert_eq!(closed(&talk.on(drain(5))), Some(Close::Draining), "before the hello");
}

#[test]
fn a_newer_session_takes_the_place() {
    let mut talk = Talk::live(16);
    talk.lane(2, 0);
    talk.lane(4, 3);
    let actions = talk.on(Event::End { close: Close::Displaced, detail: "a newer session has this device".to_owned() });
    assert_eq!(closed(&actions), Some(Close::Displaced));
    assert!(actions.contains(&Action::GiveBack(vec![Tag(2), Tag(4)])), "{actions:?}");
    assert_eq!(talk.acks(2), [], "an ack that was on its way changes nothing");
    assert_eq!(talk.lane(5, 4), [Action::GiveBack(vec![Tag(5)])], "nor is a delivery kept");
    assert_eq!(talk.on(Event::Timer), []);
}

#[test]
fn who_is_gone_is_told_nothing() {
    let mut talk = Talk::live(16);
    talk.lane(1, 0);
    assert_eq!(talk.on(Event::Gone), [Action::GiveBack(vec![Tag(1)])]);
    let mut talk = Talk::live(16);
    assert_eq!(talk.says(ClientFrame::Bye), [Action::Close(Close::Bye)]);
}

#[test]
fn an_end_that_was_not_asked_for_changes_nothing() {
    let mut talk = Talk::live(16);
    talk.lane(1, 0);
    assert_eq!(talk.on(Event::Settled { seqs: vec![1, 9] }), []);
    assert_eq!(talk.session.in_flight(), (1, 10));
}
