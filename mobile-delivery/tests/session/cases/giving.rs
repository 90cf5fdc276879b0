//! What is given when, and acked how.

use mobile_delivery::protocol::{Gap, How, Withdrawal};
use mobile_delivery::session::Phase;

use super::*;

#[test]
fn what_the_lane_brings_in_order_is_given_without_a_read() {
    let mut talk = Talk::live(16);
    assert_eq!(given(&talk.lane(1, 0)), [1]);
    assert_eq!(given(&talk.lane(4, 1)), [4], "the lane says that nothing is between");
    assert_eq!(talk.acks(4), [delivered(&[1, 4])]);
    assert_eq!(talk.acks(4), [], "said twice");
    let settled = talk.on(Event::Settled { seqs: vec![1, 4] });
    assert_eq!(settled, [Action::AckLane(vec![Tag(1), Tag(4)]), Action::Send(ServerFrame::Idle)]);
    assert_eq!(talk.on(Event::Settled { seqs: vec![1, 4] }), []);
}

#[test]
fn a_hole_in_the_lane_is_read() {
    let mut talk = Talk::live(16);
    assert_eq!(given(&talk.lane(1, 0)), [1]);
    let ask = asked(&talk.lane(3, 2)).expect("something is missing");
    assert_eq!((ask.number, ask.after, ask.messages), (2, 1, 15));
    assert_eq!(talk.lane(4, 3), [], "it waits for the answer");
    let actions = talk.page(2, page(&[2, 3], 3));
    assert_eq!(given(&actions), [2, 3]);
    // The store was read before 4 was there.
    let ask = asked(&actions).expect("4 was brought, and not read");
    assert_eq!(given(&talk.page(ask.number, page(&[4], 4))), [4]);
    talk.acks(4);
    let actions = talk.on(Event::Settled { seqs: vec![1, 2, 3, 4] });
    assert_eq!(actions[0], Action::AckLane(vec![Tag(1), Tag(3), Tag(4)]));
}

#[test]
fn what_the_lane_brings_again_is_acked_and_forgotten() {
    let mut talk = Talk::open(16);
    assert_eq!(talk.lane(2, 1), [], "not before the rows are read");
    assert_eq!(given(&talk.page(1, page(&[1, 2], 9))), [1, 2]);
    let copies = |seq| Delivery { tag: Tag(100 + seq), seq, after: seq - 1, message: Some(message(seq, 10)) };
    for seq in [1, 2, 9] {
        assert_eq!(talk.on(Event::Delivery(copies(seq))), [Action::AckLane(vec![Tag(100 + seq)])]);
    }
}

#[test]
fn a_delivery_whose_row_is_nowhere_is_not_asked_for_again_and_again() {
    let mut talk = Talk::live(16);
    // The store was restored from a copy of last week; the queue was not.
    let ask = asked(&talk.lane(50, 49)).unwrap();
    assert_eq!(talk.page(ask.number, page(&[], 40)), [Action::AckLane(vec![Tag(50)])]);
    let ask = asked(&talk.lane(41, 50)).expect("the lane knows of one that was not given");
    assert_eq!(given(&talk.page(ask.number, page(&[41], 41))), [41]);
}

#[test]
fn a_read_that_may_be_older_than_the_lane_does_not_count() {
    let mut talk = Talk::open(16);
    let ask = asked(&talk.on(Event::LaneReset)).expect("anew");
    assert_eq!(talk.page(1, page(&[], 0)), []);
    assert_eq!(given(&talk.page(ask.number, page(&[1], 1))), [1]);
}

#[test]
fn the_store_is_given_time() {
    let mut talk = Talk::open(16);
    assert_eq!(talk.on(Event::Unread { ask: 1 }), []);
    let ask = asked(&talk.after(Duration::from_secs(1))).expect("again");
    // It says that there is more, and brings nothing.
    assert_eq!(talk.page(ask.number, Page { more: true, ..Page::default() }), []);
    let ask = asked(&talk.after(Duration::from_secs(1))).expect("again");
    // No answer at all.
    talk.after(Duration::from_secs(9));
    assert!(asked(&talk.after(Duration::from_secs(1))).is_some_and(|next| next.number != ask.number));
}

#[test]
fn a_window_is_filled_and_refilled_by_halves() {
    let mut talk = Talk::open(4);
    let full = Page { more: true, ..page(&[1, 2, 3, 4], 0) };
    assert_eq!(given(&talk.page(1, full)), [1, 2, 3, 4]);
    assert_eq!(talk.acks(1), [delivered(&[1])]);
    assert_eq!(talk.on(Event::Settled { seqs: vec![1] }), [], "one place is not worth a statement");
    talk.acks(2);
    let ask = asked(&talk.on(Event::Settled { seqs: vec![2] })).unwrap();
    assert_eq!((ask.after, ask.messages), (4, 2));
}

#[test]
fn a_message_larger_than_the_window_goes_alone() {
    let mut talk = Talk::open_with(hello(Window { messages: 16, bytes: 4096 }));
    let large = Page { messages: vec![message(1, 10), message(2, 8000), message(3, 10)], through: 3, ..Page::default() };
    assert_eq!(given(&talk.page(1, large.clone())), [1]);
    let ask = asked(&talk.acks(1)).unwrap();
    assert_eq!(given(&talk.page(ask.number, large.clone())), [2]);
    assert_eq!(talk.session.in_flight(), (1, 8000));
    let ask = asked(&talk.acks(2)).expect("its bytes are no longer with the device");
    assert_eq!(given(&talk.page(ask.number, large)), [3]);
}

#[test]
fn what_is_put_off_comes_again_before_anything_new() {
    let mut talk = Talk::live(16);
    for seq in 1..=3 {
        talk.lane(seq, seq - 1);
    }
    let later = ClientFrame::Nack { seq: 2, how: How::Later(Duration::from_secs(5)), reason: None };
    assert_eq!(talk.says(later), []);
    assert_eq!(given(&talk.lane(4, 3)), [4], "meanwhile others go ahead");
    assert_eq!(talk.acks(4), [delivered(&[1, 3, 4])], "all but the one that is put off");
    talk.on(Event::Settled { seqs: vec![1, 3, 4] });
    assert!(!talk.session.is_idle());
    assert_eq!(talk.after(Duration::from_secs(4)), []);
    let ask = asked(&talk.after(Duration::from_secs(1))).expect("its payload is not kept");
    assert_eq!((ask.after, ask.messages), (1, 1));
    assert_eq!(talk.lane(5, 4), [], "it is its turn");
    let actions = talk.page(ask.number, page(&[2], 5));
    assert_eq!(given(&actions), [-2]);
    let ask = asked(&actions).unwrap();
    assert_eq!(given(&talk.page(ask.number, page(&[5], 5))), [5]);
    assert_eq!(talk.acks(5), [delivered(&[2, 5])]);
}

#[test]
fn nothing_goes_ahead_in_a_window_of_one() {
    let mut talk = Talk::live(1);
    talk.lane(1, 0);
    talk.says(ClientFrame::Nack { seq: 1, how: How::Later(Duration::from_secs(5)), reason: None });
    assert_eq!(talk.lane(2, 1), []);
    let ask = asked(&talk.after(Duration::from_secs(5))).unwrap();
    // It was cancelled meanwhile, and the place is free.
    let actions = talk.page(ask.number, page(&[2], 2));
    assert_eq!(actions[0], Action::AckLane(vec![Tag(1)]));
    let ask = asked(&actions).unwrap();
    assert_eq!(given(&talk.page(ask.number, page(&[2], 2))), [2]);
}

#[test]
fn what_was_seen_is_settled_and_not_given() {
    let mut talk = Talk::open_with(Hello { seen: vec![id(2), id(77)], ..hello(Window::default()) });
    let actions = talk.page(1, page(&[1, 2, 3], 3));
    assert_eq!(given(&actions), [1, 3]);
    assert!(actions.contains(&delivered(&[2])), "{actions:?}");
}

#[test]
fn a_gap_is_told_once_and_before_the_next_message() {
    let mut talk = Talk::open(16);
    let gap = |number| Some(Gap { number, reason: "overflow".to_owned(), count: Some(3) });
    let actions = talk.page(1, Page { gap: gap(3), ..page(&[4], 4) });
    assert_eq!(actions[0], Action::Send(ServerFrame::Gap(gap(3).unwrap())));
    assert_eq!(given(&actions[1..]), [4]);
    let ask = asked(&talk.on(Event::Pending { seq: 5 })).unwrap();
    let again = talk.page(ask.number, Page { gap: gap(3), ..page(&[5], 5) });
    assert!(matches!(&again[..], [Action::Send(ServerFrame::Deliver(_))]), "{again:?}");
    let ack = ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: None, gap: Some(3) };
    assert_eq!(talk.says(ack), [Action::GapTold { fence: 7, number: 3 }]);
    let ask = asked(&talk.on(Event::Withdrawn { seqs: vec![6], reason: Withdrawal::Dropped })).expect("there may be another");
    let grown = talk.page(ask.number, Page { gap: gap(4), ..page(&[], 6) });
    assert_eq!(grown, [Action::Send(ServerFrame::Gap(gap(4).unwrap()))]);
}

#[test]
fn what_ended_elsewhere_is_taken_back() {
    let mut talk = Talk::live(16);
    talk.lane(1, 0);
    talk.lane(2, 1);
    let withdrawn = |seqs: &[u64]| Event::Withdrawn { seqs: seqs.to_vec(), reason: Withdrawal::Cancelled };
    let cancel = ServerFrame::Cancel { ids: vec![id(1)], reason: Withdrawal::Cancelled };
    assert_eq!(talk.on(withdrawn(&[1])), [Action::AckLane(vec![Tag(1)]), Action::Send(cancel)]);
    assert_eq!(talk.acks(1), [], "the device did not know yet");
    // Of one that is on its way, the lane is not believed.
    let ask = asked(&talk.on(withdrawn(&[3]))).unwrap();
    assert_eq!(talk.lane(3, 2), []);
    assert_eq!(talk.page(ask.number, page(&[], 3)), [Action::AckLane(vec![Tag(3)])]);
    // Nor once the store was read: what the lane brings late is not given, and what comes before it is.
    let ask = asked(&talk.on(withdrawn(&[5]))).unwrap();
    assert_eq!(given(&talk.page(ask.number, page(&[4], 4))), [4]);
    assert_eq!(talk.lane(5, 4), [Action::AckLane(vec![Tag(5)])]);
    assert_eq!(given(&talk.lane(6, 5)), [6]);
}

#[test]
fn what_ended_while_a_page_was_read_does_not_make_that_page_the_last() {
    let mut talk = Talk::open(16);
    let again = asked(&talk.on(Event::Withdrawn { seqs: vec![3], reason: Withdrawal::Cancelled }));
    assert_eq!(again, None, "one question at a time");
    // Read before 2 and 3 were there.
    let actions = talk.page(1, page(&[1], 1));
    assert_eq!(given(&actions), [1]);
    let ask = asked(&actions).expect("it is read anew");
    assert_eq!(given(&talk.page(ask.number, page(&[2], 2))), [2]);
    assert_eq!(talk.lane(3, 2), [Action::AckLane(vec![Tag(3)])]);
}

#[test]
fn idle_comes_once_each_time_there_is_nothing_left() {
    let mut talk = Talk::live(16);
    assert_eq!((talk.session.is_idle(), talk.session.phase()), (true, Phase::Open));
    let ask = asked(&talk.on(Event::Pending { seq: 9 })).unwrap();
    assert_eq!(talk.page(ask.number, page(&[], 9)), [], "nothing came, nothing is said");
    talk.lane(10, 9);
    assert_eq!(talk.acks(10), [delivered(&[10])], "not before the ack is stored");
    assert!(talk.on(Event::Settled { seqs: vec![10] }).contains(&Action::Send(ServerFrame::Idle)));
}

#[test]
fn what_is_acked_by_a_request_frees_its_place_once_the_store_says_so() {
    let mut talk = Talk::live(2);
    talk.lane(1, 0);
    talk.lane(2, 1);
    assert_eq!(talk.lane(3, 2), [], "the window is full");
    assert_eq!(talk.on(Event::Acked), [Action::Check(vec![(1, id(1)), (2, id(2))])]);
    assert_eq!(talk.on(Event::Acked), [], "one question at a time");
    let actions = talk.on(Event::Checked { ended: vec![1] });
    assert_eq!(actions[0], Action::AckLane(vec![Tag(1)]));
    assert!(actions.contains(&Action::Check(vec![(2, id(2))])), "the answer may be older than the second word: {actions:?}");
    let ask = asked(&actions).expect("there is a place for 3");
    // Acked here as well, while the question is under way: its end is written once.
    assert_eq!(talk.acks(2), [delivered(&[2])]);
    assert_eq!(talk.on(Event::Checked { ended: vec![2] }), []);
    talk.page(ask.number, page(&[3], 3));
    assert_eq!(talk.on(Event::Settled { seqs: vec![2] }), [Action::AckLane(vec![Tag(2)])]);
    assert_eq!(talk.on(Event::Acked), [Action::Check(vec![(3, id(3))])]);
    // The lane had filled the window once: the store says that there is no more.
    let last = talk.on(Event::Checked { ended: vec![3] });
    assert_eq!(last[0], Action::AckLane(vec![Tag(3)]));
    let ask = asked(&last).expect("a look");
    assert_eq!(talk.page(ask.number, page(&[], 3)), [Action::Send(ServerFrame::Idle)]);
    assert_eq!(talk.on(Event::Acked), [], "it holds nothing");
}

#[test]
fn who_goes_one_way_is_not_silent_and_asks_by_itself_what_was_acked() {
    let stream =
        Hello { one_way: true, heartbeat: Some(Duration::from_secs(20)), ..hello(Window { messages: 2, ..Window::default() }) };
    let mut talk = Talk::open_with(stream);
    talk.page(1, page(&[], 0));
    assert_eq!(talk.after(Duration::from_secs(3600)), [], "nothing is waited for");
    talk.lane(1, 0);
    assert_eq!(talk.after(Duration::from_secs(10)), [Action::Check(vec![(1, id(1))])], "no word came");
    // The store does not answer: it is asked again.
    assert_eq!(talk.after(Duration::from_secs(10)), [Action::Check(vec![(1, id(1))])]);
    let idle = [Action::AckLane(vec![Tag(1)]), Action::Send(ServerFrame::Idle)];
    assert_eq!(talk.on(Event::Checked { ended: vec![1] }), idle);
    assert_eq!(talk.after(Duration::from_secs(3600)), [], "and holds nothing to ask about");
    // A full window counts from the last that was acked.
    talk.lane(2, 1);
    talk.lane(3, 2);
    talk.after(Duration::from_secs(20));
    talk.on(Event::Checked { ended: vec![2] });
    talk.lane(4, 3);
    assert_eq!(closed(&talk.after(Duration::from_secs(29))), None);
    assert_eq!(closed(&talk.after(Duration::from_secs(1))), Some(Close::SlowConsumer));
}

#[test]
fn an_idle_session_is_small() {
    let mut talk = Talk::live(256);
    (1..=256).for_each(|seq| _ = talk.lane(seq, seq - 1));
    assert!(talk.session.heap() > 0);
    talk.acks(256);
    let settled = talk.on(Event::Settled { seqs: (1..=256).collect() });
    talk.page(asked(&settled).expect("a look, after a full window").number, page(&[], 256));
    assert!(talk.session.is_idle());
    eprintln!("a session has {} bytes, and {} on the heap", size_of::<Session>(), talk.session.heap());
    assert!(size_of::<Session>() + talk.session.heap() < 1024);
}

#[test]
fn it_is_not_idle_while_the_lane_may_have_more_than_it_brings_at_one_time() {
    let mut talk = Talk::live(2);
    talk.lane(1, 0);
    talk.lane(2, 1);
    talk.acks(2);
    let settled = talk.on(Event::Settled { seqs: vec![1, 2] });
    let ask = asked(&settled).expect("a look at the store");
    assert!(!settled.contains(&Action::Send(ServerFrame::Idle)), "{settled:?}");
    // A third waits behind the first two, and comes one way or the other.
    assert_eq!(given(&talk.page(ask.number, page(&[3], 3))), [3]);
    assert_eq!(talk.lane(3, 2), [Action::AckLane(vec![Tag(3)])], "the copy");
    talk.acks(3);
    assert!(talk.on(Event::Settled { seqs: vec![3] }).contains(&Action::Send(ServerFrame::Idle)), "one of two is no window");
}
