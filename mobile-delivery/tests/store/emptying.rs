//! Operators empty a backlog: what goes, what stays, and who is told.

use mobile_delivery::store::{Ack, Acked, Claimed, GapReason, Limits, NewMessage, Outcome, Reason, State, Which};

use crate::ground::{Ground, ME, SECOND, T0, ids, to, to_user};

contract![
    what_is_emptied_is_told_to_its_senders_and_to_its_device,
    what_came_since_and_what_is_scheduled_stays,
    a_page_says_how_far_it_goes,
];

async fn what_is_emptied_is_told_to_its_senders_and_to_its_device(ground: &Ground) {
    let (phone, watch) = (ground.device("phone").await, ground.device("watch").await);
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(ground.send(&to_user("ann")).await);
    }
    let fence = ground.connect(phone).await;
    let empty = async |limit| ground.another.messages.empty(phone, 5, T0 + SECOND, limit).await.unwrap();
    // Step by step, from the oldest; whoever stops half-way has told of what he did.
    assert_eq!(empty(2).await, 2);
    assert_eq!(ground.places(phone).await, [3, 4, 5]);
    let gap = ground.pending(phone).await.gap.unwrap();
    assert_eq!((gap.number, gap.count, gap.reason), (2, 2, GapReason::Purged));
    assert_eq!(empty(2).await, 2);
    assert_eq!(empty(2).await, 1);
    assert_eq!(empty(2).await, 0, "again");
    assert_eq!(ground.places(phone).await, [0; 0]);
    assert_eq!(ground.places(watch).await, [1, 2, 3, 4, 5], "another's is left alone");
    for (message, seq) in sent.iter().zip(1..) {
        let fate = ground.fate(*message, "phone").await;
        assert_eq!((fate.state, fate.reason, fate.seq), (State::Dropped, Some(Reason::Purged), Some(seq)));
        assert_eq!(ground.state(*message, "watch").await, State::Queued);
    }
    let receipts = ground.receipts().await;
    let told = |message| receipts.iter().filter(|receipt| receipt.message == message && receipt.device == "phone").count();
    assert!(sent.iter().all(|message| told(*message) == 1), "{receipts:?}");
    assert!(receipts.iter().all(|receipt| (receipt.state, receipt.reason) == (State::Dropped, Some(Reason::Purged))));
    // The device acks what it had in its hands: nothing more comes of it.
    let acks = [Ack { device: phone, fence, which: Which::UpTo { seq: 5, given: 5 }, outcome: Outcome::Delivered }];
    assert_eq!(ground.stores.sessions.settle(&acks, T0).await.unwrap(), [Acked::Ended { count: 0, more: false }]);
    // Who comes back reads it in his claim.
    let Claimed::Yours { gap: Some(gap), seq: 5, backlog: 0, .. } = ground.claim(phone, ME).await else {
        panic!("the claim says nothing of it")
    };
    assert_eq!((gap.number, gap.count, gap.reason), (5, 5, GapReason::Purged));
    ground.check_counters().await;
}

async fn what_came_since_and_what_is_scheduled_stays(ground: &Ground) {
    let phone = ground.device("phone").await;
    ground.send(&to("phone")).await;
    let scheduled = ground.send(&NewMessage { not_before: Some(T0 + SECOND), ..to("phone") }).await;
    let looked = ground.stores.devices.get("acme", "phone").await.unwrap().unwrap();
    let later = ground.send(&to("phone")).await;
    assert_eq!(ground.stores.messages.empty(phone, looked.seq, T0, 100).await.unwrap(), 1);
    assert_eq!(ids(&ground.pending(phone).await.messages), [later]);
    assert_eq!(ground.state(scheduled, "phone").await, State::Scheduled);
    assert_eq!(ground.stores.messages.place_due(&Limits::default(), T0 + SECOND, 10).await.unwrap().placed.len(), 1);
    assert_eq!(ids(&ground.pending(phone).await.messages), [later, scheduled]);
    ground.stores.devices.remove("acme", "phone", T0).await.unwrap().unwrap();
    assert_eq!(ground.stores.messages.empty(phone, i64::MAX, T0, 100).await.unwrap(), 0, "of one that is gone");
}

async fn a_page_says_how_far_it_goes(ground: &Ground) {
    use mobile_delivery::store::{Limit, Number};
    let phone = ground.device("phone").await;
    assert_eq!(ground.pending(phone).await.through, 0);
    for _ in 0..4 {
        ground.send(&to("phone")).await;
    }
    let page = async |after, messages| {
        ground.stores.sessions.pending(phone, after, Limit { messages, bytes: 1 << 20 }, T0).await.unwrap()
    };
    let first = page(0, 2).await;
    assert_eq!((first.more, first.through), (true, 2));
    ground.stores.messages.empty(phone, 3, T0, 100).await.unwrap();
    let rest = page(2, 2).await;
    assert_eq!((rest.messages[0].seq, rest.more, rest.through), (4, false, 4));
    ground.stores.messages.empty(phone, 4, T0, 100).await.unwrap();
    let none = page(2, 2).await;
    assert_eq!((none.messages.len(), none.more, none.through), (0, false, 4), "what is no more is passed over");
    assert_eq!(page(9, 2).await.through, 9);
    let nobody = ground.stores.sessions.pending(Number(4711), 3, Limit { messages: 1, bytes: 1 }, T0).await.unwrap();
    assert_eq!((nobody.through, nobody.gap), (3, None));
}
