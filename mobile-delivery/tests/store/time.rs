//! What time does: messages become due, expire, and are forgotten.

use mobile_delivery::store::{Expired, GapReason, Limits, NewMessage, Reason, Sent, State, Which};

use crate::ground::{ALL, DAY, Ground, SECOND, T0, collapsing, ids, to, to_user};

contract![
    what_is_due_gets_its_place_then_and_not_before,
    what_is_due_keeps_to_the_rules_of_a_send,
    a_cancel_withdraws_what_is_not_delivered,
    what_expires_is_not_given_and_is_told,
    what_was_scheduled_for_a_removed_device_ends,
    retention_forgets_what_ended_and_nothing_else,
];

fn later(send: NewMessage, not_before: i64) -> NewMessage {
    NewMessage { not_before: Some(not_before), ..send }
}

async fn place_due(ground: &Ground, now: i64) -> Vec<i64> {
    let due = ground.stores.messages.place_due(&Limits::default(), now, 100).await.unwrap();
    due.placed.iter().map(|placed| placed.seq).collect()
}

async fn what_is_due_gets_its_place_then_and_not_before(ground: &Ground) {
    let device = ground.device("phone").await;
    let scheduled = NewMessage { ttl: Some(SECOND), ..later(to("phone"), T0 + 10 * SECOND) };
    let sent = ground.try_send(&scheduled).await;
    assert_eq!(sent, Sent::Accepted { message: scheduled.message.id, placed: Vec::new(), withdrawn: Vec::new(), logged: None });
    let now = ground.send(&to("phone")).await;
    assert_eq!(ground.state(scheduled.message.id, "phone").await, State::Scheduled);
    assert!(place_due(ground, T0 + 9 * SECOND).await.is_empty());
    assert_eq!(ground.places(device).await, [1]);
    assert_eq!(place_due(ground, T0 + 10 * SECOND).await, [2]);
    assert!(place_due(ground, T0 + 10 * SECOND).await.is_empty());
    let pending = ground.pending(device).await;
    assert_eq!(ids(&pending.messages), [now, scheduled.message.id]);
    assert_eq!(pending.messages[1].expires_at, T0 + 11 * SECOND, "its time runs from when it was due");
    let record = ground.stores.messages.record("acme", scheduled.message.id).await.unwrap().unwrap();
    assert_eq!(record.not_before, scheduled.not_before);
    ground.check_counters().await;
    // What is due already is placed at once.
    assert!(matches!(ground.try_send(&later(to("phone"), T0)).await, Sent::Accepted { placed, .. } if placed.len() == 1));
}

async fn what_is_due_keeps_to_the_rules_of_a_send(ground: &Ground) {
    let device = ground.device("phone").await;
    let old = ground.send(&collapsing(to("phone"), "score")).await;
    let due = [5, 3].map(|seconds| later(collapsing(to("phone"), "score"), T0 + seconds * SECOND));
    for send in &due {
        ground.send(send).await;
    }
    let limits = Limits { device_messages: 1, ..Limits::default() };
    ground.stores.messages.place_due(&limits, T0 + DAY, 100).await.unwrap();
    assert_eq!(ids(&ground.pending(device).await.messages), [due[0].message.id], "the one that was due last");
    for gone in [old, due[1].message.id] {
        assert_eq!(ground.fate(gone, "phone").await.reason, Some(Reason::Collapsed));
    }
    // They were counted when they were sent, and once.
    let full = Limits { tenant_messages: 2, ..Limits::default() };
    let sent = ground.stores.messages.send(&[to("phone"), to("phone")], &full, T0).await.unwrap();
    assert!(matches!(sent[..], [Sent::Accepted { .. }, Sent::BacklogFull]), "{sent:?}");
}

async fn a_cancel_withdraws_what_is_not_delivered(ground: &Ground) {
    let (one, two) = (ground.device("one").await, ground.device("two").await);
    let message = ground.send(&to_user("ann")).await;
    let scheduled = ground.send(&later(to_user("ann"), T0 + DAY)).await;
    let fence = ground.connect(one).await;
    let ack = mobile_delivery::store::Ack {
        device: one,
        fence,
        which: Which::Seqs(vec![1]),
        outcome: mobile_delivery::store::Outcome::Delivered,
    };
    ground.stores.sessions.settle(&[ack], T0).await.unwrap();
    let cancel = async |message| {
        let cancelled = ground.stores.messages.cancel("acme", message, T0 + SECOND).await.unwrap();
        (cancelled.known, cancelled.count)
    };
    assert_eq!((cancel(message).await, cancel(message).await), ((true, 1), (true, 0)));
    assert_eq!(cancel(scheduled).await, (true, 2));
    assert_eq!(cancel(uuid::Uuid::now_v7()).await, (false, 0));
    assert_eq!(ground.state(message, "one").await, State::Delivered);
    for withdrawn in [message, scheduled] {
        let fate = ground.fate(withdrawn, "two").await;
        assert_eq!((fate.state, fate.reason), (State::Dropped, Some(Reason::Cancelled)));
    }
    assert!(ground.pending(two).await.messages.is_empty());
    assert_eq!(ground.pending(two).await.gap, None, "what the sender took back is no loss");
    assert!(place_due(ground, T0 + 2 * DAY).await.is_empty());
    ground.check_counters().await;
}

async fn what_expires_is_not_given_and_is_told(ground: &Ground) {
    let device = ground.device("phone").await;
    let mut messages = Vec::new();
    for ttl in [SECOND, 2 * SECOND, DAY] {
        messages.push(ground.send(&NewMessage { ttl: Some(ttl), ..to("phone") }).await);
    }
    let at = T0 + 2 * SECOND;
    let pending = ground.stores.sessions.pending(device, 0, ALL, at).await.unwrap();
    assert_eq!(ids(&pending.messages), messages[2..], "whether or not somebody has swept");
    for (limit, count) in [(1, 1), (100, 1), (100, 0)] {
        let expired = ground.stores.messages.expire(at, limit).await.unwrap();
        assert_eq!(expired, Expired { count, withdrawn: Vec::new() }, "nobody is connected");
    }
    let gap = ground.pending(device).await.gap.unwrap();
    assert_eq!((gap.number, gap.count, gap.reason), (2, 2, GapReason::Expired));
    assert_eq!(ground.fate(messages[1], "phone").await.state, State::Expired);
    assert_eq!(ground.receipts().await.len(), 2);
    // Told by the session that has the device, once, and no more of it than there is: what came meanwhile is told as well.
    let fence = ground.connect(device).await;
    let told = async |fence, number| ground.stores.sessions.told(device, fence, number).await.unwrap();
    assert!(!told(fence - 1, 2).await);
    assert!(!told(fence, 3).await);
    assert!(told(fence, 1).await);
    let gap = ground.pending(device).await.gap.unwrap();
    assert_eq!((gap.number, gap.count), (2, 1));
    assert!(told(fence, 2).await);
    assert!(!told(fence, 2).await);
    assert!(!told(fence, 1).await);
    assert_eq!(ground.pending(device).await.gap, None);
    ground.check_counters().await;
}

async fn what_was_scheduled_for_a_removed_device_ends(ground: &Ground) {
    ground.device("phone").await;
    let watch = ground.device("watch").await;
    let message = ground.send(&later(to_user("ann"), T0 + DAY)).await;
    ground.stores.devices.remove("acme", "phone", T0).await.unwrap().unwrap();
    // It is remembered for as long as something is to be told of it.
    assert_eq!(ground.stores.messages.purge(T0 + DAY, 100).await.unwrap(), 0);
    assert_eq!(place_due(ground, T0 + DAY).await, [1]);
    assert_eq!(ground.places(watch).await, [1]);
    let fate = ground.fate(message, "phone").await;
    assert_eq!((fate.state, fate.reason, fate.seq), (State::Dropped, Some(Reason::Removed), None));
    let limits = Limits { tenant_messages: 2, ..Limits::default() };
    assert!(matches!(ground.send_within(&to("watch"), &limits).await, Sent::Accepted { .. }), "it is counted no more");
}

async fn retention_forgets_what_ended_and_nothing_else(ground: &Ground) {
    let (one, two) = (ground.device("one").await, ground.device("two").await);
    let both = ground.send(&to_user("ann")).await;
    let gone = ground.send(&NewMessage { ttl: Some(1), ..to("one") }).await;
    ground.stores.messages.expire(T0 + SECOND, 100).await.unwrap();
    let fence = ground.connect(one).await;
    let ack = mobile_delivery::store::Ack {
        device: one,
        fence,
        which: Which::UpTo { seq: 9, given: 9 },
        outcome: mobile_delivery::store::Outcome::Delivered,
    };
    ground.stores.sessions.settle(&[ack], T0 + DAY).await.unwrap();
    assert_eq!(ground.stores.messages.purge(T0 + SECOND, 100).await.unwrap(), 0, "what ended then is not older");
    // The delivery and its message; then a delivery, but not the message that another device has to get.
    assert_eq!(ground.stores.messages.purge(T0 + SECOND + 1, 100).await.unwrap(), 2);
    assert_eq!(ground.stores.messages.record("acme", gone).await.unwrap(), None);
    assert_eq!(ground.stores.messages.purge(T0 + DAY + 1, 100).await.unwrap(), 1);
    let record = ground.stores.messages.record("acme", both).await.unwrap().unwrap();
    assert_eq!(record.fates.len(), 1);
    assert_eq!(ids(&ground.pending(two).await.messages), [both]);
    ground.stores.messages.cancel("acme", both, T0 + DAY).await.unwrap();
    while ground.stores.messages.purge(T0 + 2 * DAY, 1).await.unwrap() > 0 {}
    assert_eq!((ground.count("device_ended").await, ground.count("device_messages").await), (0, 0));
    assert_eq!(ground.count("devices").await, 2);
}
