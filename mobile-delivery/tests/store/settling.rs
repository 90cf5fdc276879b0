//! What a device has to get, and what it acks.

use mobile_delivery::store::{Ack, Acked, Limit, Number, Outcome, Reason, State, Which};
use uuid::Uuid;

use crate::ground::{ALL, Ground, ME, OTHER, SECOND, T0, ids, to, to_user};

contract![
    an_ack_ends_what_it_names_and_nothing_else,
    an_ack_reaches_no_further_than_what_was_given,
    an_ack_of_an_older_session_changes_nothing,
    what_became_of_what_a_session_holds_is_told,
    a_batch_is_answered_each_on_its_own,
    what_is_read_was_delivered_and_is_told_once,
    pages_of_what_is_pending_keep_to_their_limits,
    receipts_are_told_until_they_are_forgotten,
];

fn ack(device: Number, fence: i64, which: Which) -> Ack {
    Ack { device, fence, which, outcome: Outcome::Delivered }
}

async fn settle(ground: &Ground, ack: Ack) -> Acked {
    ground.stores.sessions.settle(&[ack], T0 + SECOND).await.unwrap().remove(0)
}

fn ended(count: u32) -> Acked {
    Acked::Ended { count, more: false }
}

async fn sent(ground: &Ground, device: &str, count: usize) -> Vec<Uuid> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(ground.send(&to(device)).await);
    }
    messages
}

async fn an_ack_ends_what_it_names_and_nothing_else(ground: &Ground) {
    let device = ground.device("phone").await;
    let messages = sent(ground, "phone", 6).await;
    let fence = ground.connect(device).await;
    assert_eq!(settle(ground, ack(device, fence, Which::UpTo { seq: 2, given: 6 })).await, ended(2));
    assert_eq!(settle(ground, ack(device, fence, Which::UpTo { seq: 2, given: 6 })).await, ended(0), "again");
    assert_eq!(settle(ground, ack(device, fence, Which::Seqs(vec![4, 4, 1, 99]))).await, ended(1));
    let unknown = Uuid::now_v7();
    assert_eq!(settle(ground, ack(device, fence, Which::Messages(vec![messages[4], messages[0], unknown]))).await, ended(1));
    let refused = Ack {
        outcome: Outcome::Rejected { detail: Some("no \u{1F4F1} for it".to_owned()) },
        ..ack(device, fence, Which::Seqs(vec![3]))
    };
    assert_eq!(settle(ground, refused).await, ended(1));
    assert_eq!(ground.places(device).await, [6]);
    let mut states = Vec::new();
    for message in &messages {
        states.push(ground.state(*message, "phone").await);
    }
    use State::{Delivered, Dropped, Queued};
    assert_eq!(states, [Delivered, Delivered, Dropped, Delivered, Delivered, Queued]);
    let fate = ground.fate(messages[2], "phone").await;
    assert_eq!((fate.reason, fate.ended_at), (Some(Reason::Rejected), Some(T0 + SECOND)));
    let said = Some("no \u{1F4F1} for it".to_owned());
    assert_eq!(fate.detail, said);
    let told: Vec<_> = ground.receipts().await.into_iter().filter(|receipt| receipt.message == messages[2]).collect();
    assert_eq!((told.len(), &told[0].detail), (1, &said), "its receipt says what the device said");
    assert_eq!(ground.pending(device).await.gap, None, "a device knows what it refused");
    ground.check_counters().await;
}

async fn an_ack_reaches_no_further_than_what_was_given(ground: &Ground) {
    let device = ground.device("phone").await;
    sent(ground, "phone", 5).await;
    let fence = ground.connect(device).await;
    assert_eq!(settle(ground, ack(device, fence, Which::UpTo { seq: 99, given: 3 })).await, ended(3));
    assert_eq!(ground.places(device).await, [4, 5]);
}

async fn what_became_of_what_a_session_holds_is_told(ground: &Ground) {
    let (device, other) = (ground.device("phone").await, ground.device("tablet").await);
    let messages = sent(ground, "phone", 4).await;
    let elsewhere = sent(ground, "tablet", 1).await;
    let fence = ground.connect(device).await;
    assert_eq!(ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().fence, fence);
    let held: Vec<_> = (1..).zip(&messages).map(|(seq, message)| (device, seq, *message)).collect();
    let became = async || {
        let all: Vec<_> = held.iter().copied().chain([(other, 1, elsewhere[0])]).collect();
        let found = ground.stores.sessions.became(&all).await.unwrap();
        let mut found: Vec<_> = found.into_iter().map(|end| (end.device, end.seq, end.state, end.reason)).collect();
        found.sort_unstable_by_key(|(_, seq, ..)| *seq);
        found
    };
    assert_eq!(became().await, []);
    settle(ground, ack(device, fence, Which::Seqs(vec![1]))).await;
    let rejected = Ack { outcome: Outcome::Rejected { detail: None }, ..ack(device, fence, Which::Seqs(vec![2])) };
    settle(ground, rejected).await;
    ground.stores.messages.cancel("acme", messages[2], T0).await.unwrap();
    let ends = [
        (device, 1, State::Delivered, None),
        (device, 2, State::Dropped, Some(Reason::Rejected)),
        (device, 3, State::Dropped, Some(Reason::Cancelled)),
    ];
    assert_eq!(became().await, ends, "4 waits, and so does that of the other device");
    // What nobody remembers any more.
    ground.execute("DELETE FROM device_ended").await;
    assert_eq!(became().await[0], (device, 1, State::Delivered, None));
    // Who has left is still known by the fence.
    ground.stores.sessions.release(&[(device, fence)], T0).await.unwrap();
    assert_eq!(settle(ground, ack(device, fence, Which::Seqs(vec![4]))).await, ended(1));
    assert_eq!(ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().fence, fence);
}

async fn an_ack_of_an_older_session_changes_nothing(ground: &Ground) {
    let device = ground.device("phone").await;
    sent(ground, "phone", 2).await;
    let old = ground.connect(device).await;
    let new = ground.connect(device).await;
    assert!(new > old);
    assert_eq!(settle(ground, ack(device, old, Which::UpTo { seq: 2, given: 2 })).await, Acked::Fenced { fence: new });
    assert_eq!(ground.places(device).await, [1, 2]);
    // One whose session is over and that nobody has followed counts: the device has the message.
    assert_eq!(ground.stores.sessions.release(&[(device, new)], T0).await.unwrap(), [true]);
    assert_eq!(settle(ground, ack(device, new, Which::Seqs(vec![1]))).await, ended(1));
    let gone = Number(device.0 + 1);
    assert_eq!(settle(ground, ack(gone, 1, Which::Seqs(vec![1]))).await, Acked::Unknown);
}

async fn a_batch_is_answered_each_on_its_own(ground: &Ground) {
    let (one, two) = (ground.device("one").await, ground.device("two").await);
    let messages = [ground.send(&to_user("ann")).await, ground.send(&to_user("ann")).await, ground.send(&to_user("ann")).await];
    let (first, second) = (ground.connect(one).await, ground.connect(two).await);
    let acks = [
        ack(two, second, Which::Messages(vec![messages[1]])),
        ack(one, first, Which::UpTo { seq: 3, given: 2 }),
        ack(one, first - 1, Which::Seqs(vec![3])),
        Ack { outcome: Outcome::Rejected { detail: None }, ..ack(one, first, Which::Seqs(vec![1])) },
    ];
    let answers = ground.another.sessions.settle(&acks, T0).await.unwrap();
    assert_eq!(answers, [ended(1), ended(1), Acked::Fenced { fence: first }, ended(1)]);
    assert_eq!((ground.places(one).await, ground.places(two).await), (vec![3], vec![1, 3]));
    assert_eq!(ground.state(messages[0], "one").await, State::Dropped, "who names it is believed before who counts to it");
    assert_eq!(ground.stores.sessions.settle(&[], T0).await.unwrap(), []);
    ground.check_counters().await;
}

async fn what_is_read_was_delivered_and_is_told_once(ground: &Ground) {
    let device = ground.device("phone").await;
    let messages = sent(ground, "phone", 2).await;
    let fence = ground.connect(device).await;
    settle(ground, ack(device, fence, Which::Seqs(vec![1]))).await;
    let read = async |at| ground.stores.messages.read(device, &messages, at).await.unwrap();
    assert_eq!((read(T0 + 2).await, read(T0 + 3).await), (1, 0));
    let fate = ground.fate(messages[0], "phone").await;
    assert_eq!((fate.state, fate.read_at), (State::Read, Some(T0 + 2)));
    assert_eq!(ground.state(messages[1], "phone").await, State::Queued);
    let told: Vec<State> = ground.receipts().await.iter().map(|receipt| receipt.state).collect();
    assert_eq!(told, [State::Delivered, State::Read]);
}

async fn pages_of_what_is_pending_keep_to_their_limits(ground: &Ground) {
    let device = ground.device("phone").await;
    let messages = sent(ground, "phone", 5).await;
    let fence = ground.connect(device).await;
    settle(ground, ack(device, fence, Which::Seqs(vec![2]))).await;
    // Each body has 7 bytes.
    for (limit, want, more) in [
        (ALL, vec![1, 3, 4, 5], false),
        (Limit { messages: 2, ..ALL }, vec![1, 3], true),
        (Limit { messages: 4, ..ALL }, vec![1, 3, 4, 5], false),
        (Limit { bytes: 14, ..ALL }, vec![1, 3], true),
        (Limit { bytes: 1, ..ALL }, vec![1], true),
        (Limit { messages: 0, bytes: 0 }, vec![1], true),
    ] {
        let pending = ground.stores.sessions.pending(device, 0, limit, T0).await.unwrap();
        let places: Vec<i64> = pending.messages.iter().map(|given| given.seq).collect();
        assert_eq!((places, pending.more), (want, more), "{limit:?}");
    }
    let rest = ground.stores.sessions.pending(device, 3, ALL, T0).await.unwrap();
    assert_eq!(ids(&rest.messages), messages[3..]);
    // Whoever is at his place is not behind.
    let other = ground.device("other").await;
    let behind = ground.stores.sessions.behind(&[(device, 4), (other, 0)], T0).await.unwrap();
    assert_eq!(behind, [device]);
    assert_eq!(ground.stores.sessions.behind(&[(device, 5), (other, 0)], T0).await.unwrap(), []);
}

async fn receipts_are_told_until_they_are_forgotten(ground: &Ground) {
    let device = ground.device("phone").await;
    let message = ground.send(&to("phone")).await;
    let quiet = mobile_delivery::store::NewMessage { receipt: false, ..to("phone") };
    ground.send(&quiet).await;
    let fence = ground.connect(device).await;
    assert_eq!(settle(ground, ack(device, fence, Which::UpTo { seq: 2, given: 2 })).await, ended(2));
    let told = ground.receipts().await;
    assert_eq!(told.len(), 1, "who asked for none gets none");
    let receipt = &told[0];
    assert_eq!((receipt.message, receipt.device.as_str(), receipt.user.as_str()), (message, "phone", "ann"));
    assert_eq!((receipt.tenant.as_str(), receipt.state, receipt.at), ("acme", State::Delivered, T0 + SECOND));
    assert_eq!(ground.another.messages.receipts(0, 10).await.unwrap(), told);
    ground.stores.messages.forget_receipts(&[receipt.number]).await.unwrap();
    assert_eq!(ground.receipts().await, []);
    ground.claim(device, OTHER).await;
    ground.claim(device, ME).await;
}
