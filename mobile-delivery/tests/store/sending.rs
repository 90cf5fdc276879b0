//! Accepting messages: each answered on its own, stored once, placed in order.

use bytes::Bytes;
use mobile_delivery::store::{
    Filter, GapReason, Limits, NewMessage, Number, Placed, Priority, Reason, Registration, Sent, State, StoreError, Target, Tier,
};

use crate::ground::{DAY, Ground, T0, collapsing, ids, key, keyed, registration, to, to_all, to_user};

contract![
    what_was_sent_is_what_a_device_gets_in_order,
    each_is_answered_on_its_own,
    a_user_is_all_his_devices_but_the_one_it_comes_from,
    a_revoked_device_gets_what_its_user_gets_and_nothing_by_name,
    a_key_sends_once,
    of_one_collapse_key_the_latest_stays,
    a_full_backlog_drops_the_oldest_and_tells_the_gap,
    a_full_tenant_is_refused_until_something_ends,
    a_bad_one_is_refused_before_anything_is_stored,
    more_than_a_transaction_should_hold_is_deferred_in_order,
];

async fn what_was_sent_is_what_a_device_gets_in_order(ground: &Ground) {
    let device = ground.device("phone").await;
    let mut first = to("phone");
    first.message.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    first.message.priority = Priority::High;
    first.message.body = Bytes::from((0..=255).collect::<Vec<u8>>());
    let second = NewMessage { ttl: Some(7), ..to("phone") };
    let sent = ground.stores.messages.send(&[first.clone(), second.clone()], &Limits::default(), T0).await.unwrap();
    let accepted = |send: &NewMessage, seq| Sent::Accepted {
        message: send.message.id,
        placed: vec![Placed { device, seq, expires_at: Some(T0 + send.ttl.unwrap_or(28 * DAY)) }],
        withdrawn: vec![],
        logged: None,
    };
    assert_eq!(sent, [accepted(&first, 1), accepted(&second, 2)]);
    let pending = ground.pending(device).await;
    let got: Vec<_> = pending.messages.iter().map(|given| (given.seq, given.expires_at, &given.message)).collect();
    assert_eq!(got, [(1, T0 + 28 * DAY, &first.message), (2, T0 + 7, &second.message)]);
    assert_eq!((pending.gap, pending.more), (None, false));

    let record = ground.another.messages.record("acme", first.message.id).await.unwrap().unwrap();
    assert_eq!((record.size, record.priority, record.sender.as_str()), (256, Priority::High, "shop"));
    let fate = &record.fates[0];
    assert_eq!((fate.device.as_str(), fate.seq, fate.state, fate.ended_at), ("phone", Some(1), State::Queued, None));
    ground.check_counters().await;

    let lite = ground.put(&Registration { tier: Tier::Lite, ..registration("watch") }).await;
    ground.send(&to("watch")).await;
    assert_eq!(ground.pending(lite).await.messages[0].expires_at, T0 + 3 * DAY);
    // Longer than any may wait: as long as any may.
    ground.send(&NewMessage { ttl: Some(99 * DAY), ..to("watch") }).await;
    assert_eq!(ground.pending(lite).await.messages[1].expires_at, T0 + 28 * DAY);
}

async fn each_is_answered_on_its_own(ground: &Ground) {
    let one = ground.device("one").await;
    let two = ground.device("two").await;
    let names = |names: &[&str]| to_all(Target::Devices(names.iter().map(|name| (*name).to_owned()).collect()));
    let many = Target::Devices((0..101).map(|n| format!("d{n}")).collect());
    let sends = [
        names(&["two", "one", "two"]),
        names(&["one", "gone"]),
        to_user("nobody"),
        to_all(many),
        names(&[]),
        NewMessage { tenant: "zoo".into(), ..to("one") },
        to("two"),
    ];
    let sent = ground.stores.messages.send(&sends, &Limits::default(), T0).await.unwrap();
    let placed = |device, seq| Placed { device, seq, expires_at: Some(T0 + 28 * DAY) };
    let both = vec![placed(one, 1), placed(two, 1)];
    let want = [
        Sent::Accepted { message: sends[0].message.id, placed: both, withdrawn: vec![], logged: None },
        Sent::UnknownDevice { device: "gone".into() },
        Sent::NoDevices,
        Sent::TooMany,
        Sent::NoDevices,
        Sent::UnknownDevice { device: "one".into() },
        Sent::Accepted { message: sends[6].message.id, placed: vec![placed(two, 2)], withdrawn: vec![], logged: None },
    ];
    assert_eq!(sent, want);
    assert_eq!(ground.count("device_messages").await, 2, "a payload is stored once, and only of what was accepted");
    assert_eq!(ground.stores.messages.send(&[], &Limits::default(), T0).await.unwrap(), []);
    ground.check_counters().await;
}

async fn a_user_is_all_his_devices_but_the_one_it_comes_from(ground: &Ground) {
    let (one, two) = (ground.device("one").await, ground.device("two").await);
    let of_bob = ground.put(&Registration { user: "bob".into(), ..registration("three") }).await;
    ground.send(&to_user("ann")).await;
    let except = |id: &str| to_all(Target::User { user: "ann".into(), except: Some(id.into()) });
    ground.send(&except("one")).await;
    let counts = [ground.places(one).await.len(), ground.places(two).await.len(), ground.places(of_bob).await.len()];
    assert_eq!(counts, [1, 2, 0]);
    ground.stores.devices.remove("acme", "two", T0).await.unwrap();
    assert_eq!(ground.try_send(&except("one")).await, Sent::NoDevices);
}

async fn a_revoked_device_gets_what_its_user_gets_and_nothing_by_name(ground: &Ground) {
    let revoked = ground.device("phone").await;
    let other = ground.device("watch").await;
    ground.stores.devices.revoke(revoked, T0).await.unwrap();
    let both = to_all(Target::Devices(vec!["watch".into(), "phone".into()]));
    let sent =
        ground.stores.messages.send(&[keyed(to("phone"), key(1, 1)), both, to("watch")], &Limits::default(), T0).await.unwrap();
    let refused = Sent::Revoked { device: "phone".into() };
    assert_eq!(sent[..2], [refused.clone(), refused]);
    assert_eq!((ground.places(revoked).await.len(), ground.places(other).await.len()), (0, 1));
    let user = registration("phone").user;
    ground.send(&to_user(&user)).await;
    assert_eq!((ground.places(revoked).await.len(), ground.places(other).await.len()), (1, 2));
    // The key was not taken: let in again, the same send is stored.
    ground.stores.devices.credit(revoked, mobile_delivery::store::Hash::of("r"), T0).await.unwrap();
    let again = ground.try_send(&keyed(to("phone"), key(1, 1))).await;
    assert!(matches!(again, Sent::Accepted { .. }), "{again:?}");
    ground.check_counters().await;
}

async fn a_key_sends_once(ground: &Ground) {
    let device = ground.device("phone").await;
    let first = keyed(to("phone"), key(1, 1));
    let message = ground.send(&first).await;
    let again = keyed(to("phone"), key(1, 1));
    let other = keyed(to("phone"), key(1, 2));
    // Known before, and two of one key in one call.
    let (fresh, same, differs) = (keyed(to("phone"), key(2, 1)), keyed(to("phone"), key(2, 1)), keyed(to("phone"), key(2, 2)));
    let sends = [again, other, fresh.clone(), same, differs];
    let sent = ground.another.messages.send(&sends, &Limits::default(), T0).await.unwrap();
    let id = fresh.message.id;
    let want = [
        Sent::Existing { message },
        Sent::Conflict { message },
        Sent::Accepted {
            message: id,
            placed: vec![Placed { device, seq: 2, expires_at: Some(T0 + 28 * DAY) }],
            withdrawn: vec![],
            logged: None,
        },
        Sent::Existing { message: id },
        Sent::Conflict { message: id },
    ];
    assert_eq!(sent, want);
    assert_eq!(ground.places(device).await, [1, 2]);

    // One that was refused has not taken its key, nor the second of it.
    let refused = [keyed(to("gone"), key(3, 1)), keyed(to("gone"), key(3, 1))];
    let sent = ground.stores.messages.send(&refused, &Limits::default(), T0).await.unwrap();
    let unknown = Sent::UnknownDevice { device: "gone".into() };
    assert_eq!(sent, [unknown.clone(), unknown]);
    ground.send(&keyed(to("phone"), key(3, 2))).await;
    // It answers also when its device is gone, until retention takes it.
    ground.stores.devices.remove("acme", "phone", T0).await.unwrap();
    assert_eq!(ground.try_send(&keyed(to("phone"), key(1, 1))).await, Sent::Existing { message });
    assert_eq!(ground.stores.messages.purge_keys(T0 + 1, 2).await.unwrap(), 2);
    assert_eq!(ground.stores.messages.purge_keys(T0 + 1, 2).await.unwrap(), 1);
    assert_eq!(ground.stores.messages.purge_keys(T0 + 1, 2).await.unwrap(), 0);
}

/// Whether each delivery of an accepted message is to be given.
fn to_be_given(sent: &Sent) -> Vec<bool> {
    match sent {
        Sent::Accepted { placed, .. } => placed.iter().map(|placed| placed.expires_at.is_some()).collect(),
        other => panic!("{other:?}"),
    }
}

async fn of_one_collapse_key_the_latest_stays(ground: &Ground) {
    let (phone, watch) = (ground.device("phone").await, ground.device("watch").await);
    let old = ground.send(&collapsing(to_user("ann"), "score")).await;
    let other = ground.send(&collapsing(to("phone"), "weather")).await;
    let (middle, latest) = (collapsing(to("phone"), "score"), collapsing(to("phone"), "score"));
    let sent = ground.stores.messages.send(&[middle.clone(), latest.clone()], &Limits::default(), T0).await.unwrap();
    assert_eq!(sent.iter().flat_map(to_be_given).collect::<Vec<_>>(), [false, true], "the one that has ended is not to be given");
    let pending = ground.pending(phone).await;
    assert_eq!((ids(&pending.messages), pending.gap), (vec![other, latest.message.id], None));
    assert_eq!(ground.places(watch).await, [1], "another device's is not touched");
    for gone in [old, middle.message.id] {
        let fate = ground.fate(gone, "phone").await;
        assert_eq!((fate.state, fate.reason), (State::Dropped, Some(Reason::Collapsed)));
    }
    assert_eq!(ground.state(old, "watch").await, State::Queued);
    assert_eq!(ground.receipts().await.len(), 2);
    ground.check_counters().await;
}

async fn a_full_backlog_drops_the_oldest_and_tells_the_gap(ground: &Ground) {
    let device = ground.device("phone").await;
    let limits = Limits { device_messages: 3, device_bytes: 100, ..Limits::default() };
    let mut messages = Vec::new();
    for _ in 0..5 {
        let send = to("phone");
        messages.push(send.message.id);
        ground.send_within(&send, &limits).await;
    }
    assert_eq!(ground.places(device).await, [3, 4, 5]);
    let fate = ground.fate(messages[0], "phone").await;
    assert_eq!((fate.state, fate.reason, fate.seq), (State::Dropped, Some(Reason::Overflow), Some(1)));
    let gap = ground.pending(device).await.gap.unwrap();
    assert_eq!((gap.number, gap.count, gap.reason), (2, 2, GapReason::Overflow));
    // By bytes: a large one takes the place of as many as it must; and more in one call than there is room for.
    let mut large = to("phone");
    large.message.body = Bytes::from(vec![0; 90]);
    ground.send_within(&large, &limits).await;
    assert_eq!(ground.places(device).await, [5, 6]);
    let flood: Vec<NewMessage> = (0..10).map(|_| to("phone")).collect();
    let sent = ground.stores.messages.send(&flood, &limits, T0).await.unwrap();
    assert_eq!(ground.places(device).await, [14, 15, 16]);
    let given = sent.iter().flat_map(to_be_given).filter(|given| *given).count();
    assert_eq!(given, 3, "what makes way at once is not to be given");
    let gap = ground.pending(device).await.gap.unwrap();
    assert_eq!((gap.number, gap.count), (13, 13));
    ground.check_counters().await;
}

async fn a_full_tenant_is_refused_until_something_ends(ground: &Ground) {
    ground.device("phone").await;
    ground.device("watch").await;
    ground.put(&Registration { tenant: "zoo".into(), ..registration("phone") }).await;
    let limits = Limits { tenant_messages: 3, ..Limits::default() };
    let sends = [to_user("ann"), to_user("ann"), to("phone"), to("phone")];
    let sent = ground.stores.messages.send(&sends, &limits, T0).await.unwrap();
    assert!(matches!(sent[..], [Sent::Accepted { .. }, Sent::BacklogFull, Sent::Accepted { .. }, Sent::BacklogFull]), "{sent:?}");
    let again = ground.another.messages.send(&[to("phone")], &limits, T0).await.unwrap();
    assert_eq!(again, [Sent::BacklogFull]);
    let theirs = NewMessage { tenant: "zoo".into(), ..to("phone") };
    assert!(matches!(ground.send_within(&theirs, &limits).await, Sent::Accepted { .. }));
    // Counted by another process than the one that counted it in.
    ground.another.messages.cancel("acme", sends[2].message.id, T0).await.unwrap();
    assert!(matches!(ground.send_within(&to("phone"), &limits).await, Sent::Accepted { .. }));
    assert_eq!(ground.send_within(&to("phone"), &limits).await, Sent::BacklogFull);
}

async fn a_bad_one_is_refused_before_anything_is_stored(ground: &Ground) {
    ground.device("phone").await;
    let mut nul = to("phone");
    nul.message.sender = "sh\0p".into();
    let mut large = to("phone");
    large.message.body = Bytes::from(vec![0; 17 << 20]);
    let twice = to("phone");
    let cases = [
        (vec![to("phone"), nul.clone()], nul.message.id.to_string()),
        (vec![to("phone"), large.clone()], large.message.id.to_string()),
        (vec![twice.clone(), twice], String::new()),
        ((0..513).map(|_| to("phone")).collect(), "512 at most".into()),
    ];
    for (sends, named) in cases {
        let answer = ground.stores.messages.send(&sends, &Limits::default(), T0).await;
        assert!(matches!(&answer, Err(StoreError::Refused(text)) if text.contains(&named)), "{answer:?}");
    }
    assert_eq!(ground.count("device_messages").await, 0);
    ground.check_counters().await;
}

async fn more_than_a_transaction_should_hold_is_deferred_in_order(ground: &Ground) {
    for n in 0..50 {
        ground.device(&format!("d{n}")).await;
    }
    let sends: Vec<NewMessage> = (0..90).map(|n| if n == 89 { to("d0") } else { to_user("ann") }).collect();
    let sent = ground.stores.messages.send(&sends, &Limits::default(), T0).await.unwrap();
    let accepted = sent.iter().take_while(|sent| matches!(sent, Sent::Accepted { .. })).count();
    assert_eq!(accepted, 4096 / 50);
    assert!(sent[accepted..].iter().all(|sent| *sent == Sent::Deferred), "also the small one, which would overtake");
    let rest = ground.stores.messages.send(&sends[accepted..], &Limits::default(), T0).await.unwrap();
    assert!(rest.iter().all(|sent| matches!(sent, Sent::Accepted { .. })));
    let devices = ground.stores.devices.list(&Filter::of("acme")).await.unwrap().devices;
    let first = Number(devices[0].number.0);
    let want: Vec<_> = sends.iter().map(|send| send.message.id).collect();
    assert_eq!(ids(&ground.pending(first).await.messages), want);
}
