//! What goes to many, a step at a time.

use std::time::Duration;

use mobile_delivery::protocol::{ClientFrame, Close, Hello, ServerFrame, Window, Withdrawal};
use mobile_delivery::session::{Action, Ask, Event, LogPage};

use super::{Talk, asked, claimed, closed, hello, page};
use crate::log::entry;
use crate::store::id;

fn asked_log(actions: &[Action]) -> Option<Ask> {
    actions.iter().find_map(|action| if let Action::AskLog(ask) = action { Some(*ask) } else { None })
}

/// The numbers of what is given.
fn entries(actions: &[Action]) -> Vec<u64> {
    let entry = |action: &Action| match action {
        Action::Send(ServerFrame::Deliver(message)) => message.logged.as_ref().map(|logged| logged.entry),
        _ => None,
    };
    actions.iter().filter_map(entry).collect()
}

fn read(talk: &mut Talk, ask: u32, numbers: &[u64], through: u64, more: bool) -> Vec<Action> {
    let messages = numbers.iter().map(|number| entry(*number, 10)).collect();
    talk.on(Event::LogPage { ask, page: LogPage { messages, more, through } })
}

fn hears(talk: &mut Talk, entry: u64) -> Vec<Action> {
    talk.says(ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: Some(entry), gap: None })
}

/// A session whose device had heard everything up to 10, and for which there is something up to `last`.
fn open(window: Window, seen: &[u64], last: Option<u64>) -> (Talk, Vec<Action>) {
    let mut talk = Talk::new();
    talk.on(Event::Timer);
    let hello = Hello { seen: seen.iter().map(|seq| id(*seq)).collect(), ..hello(window) };
    talk.says(ClientFrame::Hello(Box::new(hello)));
    let actions = talk.on(Event::Claimed(mobile_delivery::session::Claimed { heard: 10, logged: last, ..claimed() }));
    (talk, actions)
}

#[test]
fn what_is_logged_is_given_in_order_and_stored_as_one_number() {
    let (mut talk, _) = open(Window::default(), &[], None);
    assert!(talk.page(1, page(&[], 0)).contains(&Action::Send(ServerFrame::Idle)));
    let ask = asked_log(&talk.on(Event::Logged { entry: 12 })).unwrap();
    assert_eq!((ask.after, ask.messages), (10, 16));
    assert_eq!(talk.on(Event::Logged { entry: 14 }), [], "one question at a time");
    let given = read(&mut talk, ask.number, &[12], 13, false);
    assert_eq!(entries(&given), [12]);
    let ask = asked_log(&given).expect("14 is not here yet");
    assert_eq!(ask.after, 13);
    assert_eq!(entries(&read(&mut talk, ask.number, &[14], 17, false)), [14]);
    assert_eq!(hears(&mut talk, 12), [Action::Hear { entry: 13 }], "with it what was for others");
    assert_eq!(hears(&mut talk, 12), [], "again");
    assert_eq!(hears(&mut talk, 14), [Action::Hear { entry: 14 }]);
    assert_eq!(talk.on(Event::Heard { entry: 13 }), []);
    assert_eq!(talk.on(Event::Heard { entry: 14 }), [Action::Send(ServerFrame::Idle)]);
    assert_eq!(talk.session.heap(), 0);
}

#[test]
fn what_was_not_given_is_not_heard() {
    let (mut talk, actions) = open(Window::default(), &[], Some(12));
    let ask = asked_log(&actions).unwrap();
    read(&mut talk, ask.number, &[12], 12, false);
    assert_eq!(closed(&hears(&mut talk, 13)), Some(Close::ProtocolError));
}

#[test]
fn it_has_a_window_of_its_own_and_a_device_that_acks_nothing_is_slow() {
    let (mut talk, actions) = open(Window { messages: 2, bytes: 4096 }, &[], Some(20));
    talk.page(1, page(&[], 0));
    let ask = asked_log(&actions).unwrap();
    assert_eq!(ask.messages, 2);
    let given = read(&mut talk, ask.number, &[11, 12], 12, true);
    assert_eq!((entries(&given), asked_log(&given)), (vec![11, 12], None), "it is full");
    assert_eq!(super::given(&talk.lane(1, 0)), [1], "and holds up nothing else");
    let acked = hears(&mut talk, 11);
    assert_eq!(asked_log(&acked).map(|ask| (ask.after, ask.messages)), Some((12, 1)));
    let ask = asked_log(&talk.after(Duration::from_secs(20))).expect("nobody has answered");
    read(&mut talk, ask.number, &[13], 13, true);
    talk.says(ClientFrame::Ping);
    assert_eq!(closed(&talk.after(Duration::from_secs(31))), Some(Close::SlowConsumer));
}

#[test]
fn what_does_not_fit_comes_when_there_is_room_and_the_largest_goes_alone() {
    let (mut talk, actions) = open(Window { messages: 9, bytes: 4096 }, &[], Some(12));
    let ask = asked_log(&actions).unwrap();
    let messages = vec![entry(11, 10), entry(12, 8000)];
    let given = talk.on(Event::LogPage { ask: ask.number, page: LogPage { messages, more: false, through: 12 } });
    assert_eq!((entries(&given), asked_log(&given)), (vec![11], None));
    let ask = asked_log(&hears(&mut talk, 11)).unwrap();
    let page = LogPage { messages: vec![entry(12, 8000)], more: false, through: 12 };
    assert_eq!(entries(&talk.on(Event::LogPage { ask: ask.number, page })), [12]);
}

#[test]
fn what_was_seen_is_heard_and_not_given_again() {
    let (mut talk, actions) = open(Window::default(), &[11, 12], Some(13));
    talk.page(1, page(&[], 0));
    let ask = asked_log(&actions).unwrap();
    let given = read(&mut talk, ask.number, &[11, 12, 13], 13, false);
    assert_eq!(entries(&given), [13]);
    assert!(given.contains(&Action::Hear { entry: 12 }), "{given:?}");
}

#[test]
fn a_withdrawn_entry_is_taken_back_from_who_has_it() {
    let (mut talk, actions) = open(Window::default(), &[], Some(12));
    let ask = asked_log(&actions).unwrap();
    read(&mut talk, ask.number, &[11, 12], 12, false);
    let cancel = Action::Send(ServerFrame::Cancel { ids: vec![id(12)], reason: Withdrawal::Cancelled });
    assert_eq!(talk.on(Event::Recalled { entry: 12 }), [cancel]);
    assert_eq!(talk.on(Event::Recalled { entry: 10 }), [], "it has that no more");
    assert_eq!(hears(&mut talk, 11), [Action::Hear { entry: 12 }]);
}

#[test]
fn a_log_that_does_not_answer_is_asked_again() {
    let (mut talk, actions) = open(Window::default(), &[], Some(12));
    talk.page(1, page(&[], 0));
    let ask = asked_log(&actions).unwrap();
    assert_eq!(asked_log(&talk.on(Event::LogUnread { ask: ask.number })), None);
    let again = asked_log(&talk.after(Duration::from_secs(1))).expect("after a rest");
    talk.says(ClientFrame::Ping);
    let third = asked_log(&talk.after(Duration::from_secs(10))).expect("nobody has answered");
    assert_eq!(entries(&read(&mut talk, again.number, &[12], 12, false)), [0; 0], "that is not waited for any more");
    let nothing = read(&mut talk, third.number, &[], 11, false);
    let fourth = asked_log(&nothing).expect("12 is there, and 11 was passed");
    assert_eq!(asked_log(&read(&mut talk, fourth.number, &[], 11, false)), None, "it is not asked without end");
    assert!(asked_log(&talk.after(Duration::from_secs(1))).is_some());
    assert_eq!(asked(&talk.after(Duration::from_secs(1))), None);
}

#[test]
fn who_drains_gives_no_more_and_waits_for_what_is_heard() {
    let (mut talk, actions) = open(Window::default(), &[], Some(12));
    talk.page(1, page(&[], 0));
    let ask = asked_log(&actions).unwrap();
    read(&mut talk, ask.number, &[12], 12, false);
    let away = mobile_delivery::protocol::GoAway { after: Duration::ZERO, spread: Duration::ZERO };
    let drained = talk.on(Event::Drain { away, within: Duration::from_secs(5) });
    assert_eq!(closed(&drained), None);
    assert_eq!(asked_log(&talk.on(Event::Logged { entry: 13 })), None);
    assert_eq!(hears(&mut talk, 12), [Action::Hear { entry: 12 }]);
    assert_eq!(closed(&talk.on(Event::Heard { entry: 12 })), Some(Close::Draining));
}
