//! What goes to many at once: the log of a tenant, and where each device stands with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mobile_delivery::store::{
    Audience, Claimed, GapReason, Giving, Heard, Hearing, Limit, Limits, Logged, Membership, NewMessage, Number, Pausing, Put,
    Registration, Sent, Standing, Target,
};

use crate::ground::{ALL, DAY, Ground, ME, SECOND, T0, key, keyed, registration, to, to_all};

contract![
    an_entry_is_one_row_and_all_members_get_it_in_order,
    who_comes_into_a_group_gets_what_is_sent_from_then_on,
    what_is_heard_rises_and_counts_under_the_fence_and_the_tags_it_was_given_by,
    a_send_to_a_group_is_sent_once_by_its_key_and_refused_where_nobody_is,
    a_device_that_is_registered_again_keeps_its_groups_unless_they_are_said,
    what_was_withdrawn_or_has_expired_is_given_to_nobody,
    what_is_paused_is_given_to_nobody_until_it_goes_on,
    who_missed_what_expired_is_told_of_a_gap_once,
    entries_are_forgotten_with_their_messages,
    appending_at_the_same_time_leaves_no_hole_that_anybody_passes_over,
];

fn to_group(group: &str) -> NewMessage {
    NewMessage { receipt: false, ..to_all(Target::Log(Audience::Group(group.into()))) }
}

fn to_everyone() -> NewMessage {
    NewMessage { receipt: false, ..to_all(Target::Log(Audience::Everyone)) }
}

async fn member(ground: &Ground, id: &str, groups: &[&str]) -> Number {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    ground.put(&Registration { groups, ..registration(id) }).await
}

async fn join(ground: &Ground, group: &str, id: &str, is_in: bool) -> bool {
    match ground.another.devices.member("acme", group, id, is_in, T0).await.unwrap() {
        Membership::Done { changed, .. } => changed,
        other => panic!("{other:?}"),
    }
}

/// Entries that a device has not heard, all that there are for it.
async fn unheard(ground: &Ground, device: Number) -> Vec<i64> {
    let heard = standing(ground, device).await.heard;
    let tail = ground.stores.log.unheard(device, heard, ALL, T0).await.unwrap();
    assert!(!tail.more);
    tail.entries.iter().map(|entry| entry.entry).collect()
}

async fn standing(ground: &Ground, device: Number) -> Standing {
    ground.stores.log.standing(device).await.unwrap().unwrap()
}

async fn hear(ground: &Ground, device: Number, fence: i64, roster: Option<i64>, entry: i64) -> Heard {
    ground.stores.log.hear(&[Hearing { device, fence, roster, entry }]).await.unwrap().remove(0)
}

async fn log(ground: &Ground, send: &NewMessage) -> i64 {
    match ground.try_send(send).await {
        Sent::Accepted { logged: Some(logged), .. } => logged.entry,
        other => panic!("{other:?}"),
    }
}

async fn an_entry_is_one_row_and_all_members_get_it_in_order(ground: &Ground) {
    let (one, two) = (member(ground, "one", &["room"]).await, member(ground, "two", &["room", "other"]).await);
    let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    let three = ground.put(&Registration { labels, ..registration("three") }).await;
    let label = Target::Log(Audience::Label { name: "app".into(), value: "shop".into() });
    let sends = [to_group("room"), to_group("other"), to("one"), to_everyone(), NewMessage { receipt: false, ..to_all(label) }];
    let sent = ground.stores.messages.send(&sends, &Limits::default(), T0).await.unwrap();
    let logged = |sent: &Sent| match sent {
        Sent::Accepted { logged, .. } => logged.as_deref().cloned(),
        other => panic!("{other:?}"),
    };
    let entry = |entry, tag: &str| Some(Logged { entry, tag: tag.into(), expires_at: T0 + 28 * DAY, author: None });
    let want = [entry(1, "g:room"), entry(2, "g:other"), None, entry(3, "*"), entry(4, "l:app=shop")];
    assert_eq!(sent.iter().map(logged).collect::<Vec<_>>(), want);
    assert_eq!((ground.count("device_log").await, ground.count("device_deliveries").await), (4, 1));
    for (device, entries) in [(one, vec![1, 3]), (two, vec![1, 2, 3]), (three, vec![3, 4])] {
        assert_eq!(unheard(ground, device).await, entries);
        assert_eq!(standing(ground, device).await.last, entries.last().copied());
    }
    // A page at a time, with the body as it was sent.
    let limit = Limit { messages: 2, ..ALL };
    let page = ground.stores.log.unheard(two, 0, limit, T0).await.unwrap();
    assert_eq!((page.entries.len(), page.through, page.more), (2, 2, true));
    assert_eq!(page.entries[0].message, sends[0].message);
    let page = ground.stores.log.unheard(two, page.through, limit, T0).await.unwrap();
    assert_eq!((page.entries.len(), page.through, page.more), (1, 4, false));
    // The whole log, for who keeps the newest of it.
    let tail = ground.another.log.tail("acme", 1, Limit { messages: 2, ..ALL }).await.unwrap();
    assert_eq!(
        tail.entries.iter().map(|entry| (entry.entry, entry.tag.as_str())).collect::<Vec<_>>(),
        [(2, "g:other"), (3, "*")]
    );
    assert_eq!((tail.through, tail.more), (3, true));
    assert_eq!(ground.stores.log.heads(&["acme".into(), "zoo".into()]).await.unwrap(), [("acme".to_owned(), 4)]);
}

async fn who_comes_into_a_group_gets_what_is_sent_from_then_on(ground: &Ground) {
    let (old, new) = (member(ground, "old", &["room"]).await, member(ground, "new", &[]).await);
    log(ground, &to_group("room")).await;
    assert!(join(ground, "room", "new", true).await);
    assert!(!join(ground, "room", "new", true).await, "again");
    assert_eq!(unheard(ground, new).await, [0; 0], "it was sent before");
    log(ground, &to_group("room")).await;
    let late = member(ground, "late", &["room"]).await;
    assert_eq!(unheard(ground, late).await, [0; 0], "it was registered after that");
    log(ground, &to_group("room")).await;
    for (device, entries) in [(old, vec![1, 2, 3]), (new, vec![2, 3]), (late, vec![3])] {
        assert_eq!(unheard(ground, device).await, entries);
    }
    assert!(join(ground, "room", "new", false).await);
    assert!(!join(ground, "room", "new", false).await, "again");
    assert_eq!(unheard(ground, new).await, [0; 0], "who leaves gets nothing more");
    assert!(join(ground, "room", "new", true).await);
    assert_eq!(unheard(ground, new).await, [0; 0], "nor when it comes back");
    let groups = ground.stores.devices.get("acme", "new").await.unwrap().unwrap().registration.groups;
    assert_eq!(groups, BTreeSet::from(["room".to_owned()]));

    let unknown = ground.stores.devices.member("acme", "room", "nobody", true, T0).await.unwrap();
    assert_eq!(unknown, Membership::Unknown);
    let many: Vec<String> = (0..64).map(|number| format!("g{number}")).collect();
    let crowded = member(ground, "crowded", &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let full = ground.stores.devices.member("acme", "room", "crowded", true, T0).await.unwrap();
    assert_eq!(full, Membership::Full);
    assert!(!join(ground, "g7", "crowded", true).await);
    assert_eq!(standing(ground, crowded).await.tags.len(), 65, "its groups, and what all get");
    for name in ["", "Room", "a.b", "#", "*", "a b", "-a", &"x".repeat(64)] {
        assert!(ground.stores.devices.member("acme", name, "old", true, T0).await.is_err(), "{name}");
    }
}

async fn what_is_heard_rises_and_counts_under_the_fence_and_the_tags_it_was_given_by(ground: &Ground) {
    let phone = member(ground, "phone", &["room"]).await;
    for _ in 0..3 {
        log(ground, &to_group("room")).await;
    }
    let Claimed::Yours { fence, standing: at, .. } = ground.claim(phone, ME).await else { panic!() };
    assert_eq!((at.heard, at.last), (0, Some(3)));
    assert_eq!(at.tags, [("*".to_owned(), 0), ("g:room".to_owned(), 0)]);
    let roster = Some(at.roster);
    assert_eq!(hear(ground, phone, fence, roster, 2).await, Heard::Done);
    assert_eq!(hear(ground, phone, fence, roster, 1).await, Heard::Done, "late");
    assert_eq!(standing(ground, phone).await.heard, 2);
    assert_eq!(unheard(ground, phone).await, [3]);
    // The tags are others now: who went by the old ones may have passed over something.
    assert!(join(ground, "other", "phone", true).await);
    assert_eq!(ground.stores.log.stale(&[(phone, at.roster)]).await.unwrap(), [phone]);
    assert_eq!(hear(ground, phone, fence, roster, 3).await, Heard::Stale);
    assert_eq!(standing(ground, phone).await.heard, 2);
    // Nor is a request believed that acks what such a session gave, until it goes by what there is now.
    assert_eq!(hear(ground, phone, fence, None, 3).await, Heard::Stale);
    let now = standing(ground, phone).await.roster;
    ground.another.log.goes_by(phone, fence + 1, now).await.unwrap();
    assert_eq!(hear(ground, phone, fence, None, 3).await, Heard::Stale, "that is another session");
    ground.another.log.goes_by(phone, fence, now).await.unwrap();
    ground.stores.log.goes_by(phone, fence, now - 1).await.unwrap();
    assert_eq!(hear(ground, phone, fence, None, 3).await, Heard::Done, "what was said before comes late");
    let now = standing(ground, phone).await;
    assert_eq!((now.heard, now.last), (3, None));
    assert_eq!(ground.stores.log.stale(&[(phone, now.roster)]).await.unwrap(), [Number(0); 0]);
    let newer = ground.connect(phone).await;
    assert_eq!(hear(ground, phone, fence, Some(now.roster), 3).await, Heard::Fenced);
    assert_eq!(hear(ground, phone, newer, Some(now.roster), 3).await, Heard::Done);
    assert_eq!(hear(ground, Number(phone.0 + 1), newer, None, 3).await, Heard::Unknown);
}

async fn a_send_to_a_group_is_sent_once_by_its_key_and_refused_where_nobody_is(ground: &Ground) {
    member(ground, "phone", &["room"]).await;
    let sends = [
        keyed(to_group("room"), key(1, 1)),
        to_group("empty"),
        keyed(to_group("room"), key(1, 1)),
        keyed(to_group("room"), key(1, 2)),
        NewMessage { tenant: "zoo".into(), ..to_everyone() },
    ];
    let sent = ground.stores.messages.send(&sends, &Limits::default(), T0).await.unwrap();
    let message = sends[0].message.id;
    assert!(matches!(&sent[0], Sent::Accepted { logged: Some(logged), .. } if logged.entry == 1), "{sent:?}");
    assert_eq!(sent[1..], [Sent::NoDevices, Sent::Existing { message }, Sent::Conflict { message }, Sent::NoDevices]);
    let few = Limits { tenant_messages: 1, ..Limits::default() };
    assert_eq!(ground.send_within(&to_group("room"), &few).await, Sent::BacklogFull, "there is one that is given still");
    assert_eq!(ground.try_send(&sends[2]).await, Sent::Existing { message });
    assert_eq!((ground.count("device_log").await, ground.count("device_messages").await), (1, 1));
}

async fn a_device_that_is_registered_again_keeps_its_groups_unless_they_are_said(ground: &Ground) {
    let phone = member(ground, "phone", &["room"]).await;
    log(ground, &to_group("room")).await;
    let other = Registration { user: "ben".into(), ..registration("phone") };
    let kept = ground.stores.devices.put_in_its_groups(&other, T0 + 1).await.unwrap();
    assert_eq!(kept, Put::Done { device: phone, made: false });
    let found = ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().registration;
    assert_eq!((found.user.as_str(), found.groups), ("ben", BTreeSet::from(["room".to_owned()])));
    assert_eq!(unheard(ground, phone).await, [1], "it was never out of it");
    ground.put(&other).await;
    assert_eq!(unheard(ground, phone).await, [0; 0]);
}

async fn what_was_withdrawn_or_has_expired_is_given_to_nobody(ground: &Ground) {
    let (phone, watch) = (member(ground, "phone", &["room"]).await, member(ground, "watch", &["room"]).await);
    let first = to_group("room");
    log(ground, &first).await;
    log(ground, &NewMessage { ttl: Some(SECOND), ..to_group("room") }).await;
    let fence = ground.connect(watch).await;
    assert_eq!(hear(ground, watch, fence, None, 1).await, Heard::Done);
    let record = ground.stores.messages.record("acme", first.message.id).await.unwrap().unwrap();
    let spread = record.spread.unwrap();
    assert_eq!((spread.entry, spread.devices, spread.delivered, spread.giving), (1, 2, 1, Giving::On));
    assert_eq!(spread.audience, Audience::Group("room".into()));
    let cancelled = ground.stores.messages.cancel("acme", first.message.id, T0 + 1).await.unwrap();
    assert_eq!((cancelled.known, cancelled.count, cancelled.recalled.map(|gone| gone.entry)), (true, 1, Some(1)));
    let again = ground.another.messages.cancel("acme", first.message.id, T0 + 2).await.unwrap();
    assert_eq!((again.known, again.count, again.recalled), (true, 0, None));
    assert_eq!(unheard(ground, phone).await, [2]);
    let later = ground.stores.log.unheard(phone, 0, ALL, T0 + SECOND).await.unwrap();
    assert_eq!((later.entries.len(), later.through), (0, 2));
}

async fn what_is_paused_is_given_to_nobody_until_it_goes_on(ground: &Ground) {
    let (phone, watch) = (member(ground, "phone", &["room"]).await, member(ground, "watch", &["room"]).await);
    let campaign = NewMessage { ttl: Some(DAY), ..to_group("room") };
    let (id, messages) = (campaign.message.id, &ground.stores.messages);
    log(ground, &campaign).await;
    let fence = ground.connect(watch).await;
    assert_eq!(hear(ground, watch, fence, None, 1).await, Heard::Done);
    for recalled in [Some(1), None] {
        match ground.another.messages.pause("acme", id, T0).await.unwrap() {
            Pausing::Done(gone) => assert_eq!(gone.map(|gone| gone.entry), recalled),
            other => panic!("{other:?}"),
        }
    }
    let spread = async || messages.record("acme", id).await.unwrap().unwrap().spread.unwrap();
    assert_eq!((spread().await.giving, spread().await.delivered), (Giving::Paused, 1));
    assert_eq!(unheard(ground, phone).await, [0; 0]);
    assert_eq!(ground.stores.log.tail("acme", 0, ALL).await.unwrap().entries, []);
    // It counts for nothing meanwhile, and what comes after it goes its way.
    let room = Limits { tenant_messages: 1, ..Limits::default() };
    assert!(matches!(ground.send_within(&to_group("room"), &room).await, Sent::Accepted { .. }));
    assert_eq!(unheard(ground, phone).await, [2]);
    assert_eq!(
        ground.stores.log.expire_log(T0 + 2 * DAY, 10).await.unwrap(),
        0,
        "nor does it expire: nobody is to be told of a gap"
    );
    for entry in [Some(3), None] {
        match ground.another.messages.resume("acme", id, T0).await.unwrap() {
            Pausing::Done(entered) => {
                let as_it_was = entered.map(|entered| (entered.entry, entered.tag, entered.expires_at, entered.message));
                let want = |entry| (entry, "g:room".to_owned(), T0 + DAY, campaign.message.clone());
                assert_eq!(as_it_was, entry.map(want));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (unheard(ground, phone).await, unheard(ground, watch).await),
        (vec![2, 3], vec![2, 3]),
        "who had it gets it once more"
    );
    assert_eq!((spread().await.giving, spread().await.entry, spread().await.delivered), (Giving::On, 3, 0));
    // Once more, and then never again.
    assert!(matches!(messages.pause("acme", id, T0).await.unwrap(), Pausing::Done(Some(_))));
    assert_eq!(messages.resume("acme", id, T0 + DAY).await.unwrap(), Pausing::Over, "its time goes on");
    let cancelled = messages.cancel("acme", id, T0).await.unwrap();
    assert_eq!((cancelled.count, cancelled.recalled.map(|gone| gone.entry)), (2, Some(3)));
    for pausing in [messages.pause("acme", id, T0).await.unwrap(), messages.pause("acme", id, T0 + DAY).await.unwrap()] {
        assert_eq!(pausing, Pausing::Over);
    }
    assert_eq!(messages.resume("acme", id, T0).await.unwrap(), Pausing::Over);
    assert_eq!(messages.pause("zoo", id, T0).await.unwrap(), Pausing::Unknown);
    let direct = ground.send(&to("phone")).await;
    assert_eq!(messages.pause("acme", direct, T0).await.unwrap(), Pausing::Direct);
    let full = Limits { tenant_messages: 2, ..Limits::default() };
    assert!(matches!(ground.send_within(&to_group("room"), &full).await, Sent::Accepted { .. }), "one is live");
    assert_eq!(ground.send_within(&to_group("room"), &full).await, Sent::BacklogFull);
}

async fn who_missed_what_expired_is_told_of_a_gap_once(ground: &Ground) {
    let (phone, watch) = (member(ground, "phone", &["room"]).await, member(ground, "watch", &["room"]).await);
    let other = member(ground, "other", &["quiet"]).await;
    log(ground, &NewMessage { ttl: Some(SECOND), ..to_group("room") }).await;
    log(ground, &to_group("room")).await;
    let fence = ground.connect(watch).await;
    assert_eq!(hear(ground, watch, fence, None, 1).await, Heard::Done);
    assert_eq!(ground.stores.log.expire_log(T0, 10).await.unwrap(), 0);
    assert_eq!(ground.stores.log.expire_log(T0 + SECOND, 10).await.unwrap(), 1);
    assert_eq!(ground.stores.log.expire_log(T0 + SECOND, 10).await.unwrap(), 0, "again");
    let gap = async |device| match ground.claim(device, ME).await {
        Claimed::Yours { gap, .. } => gap.map(|gap| (gap.reason, gap.count)),
        other => panic!("{other:?}"),
    };
    assert_eq!(gap(phone).await, Some((GapReason::Expired, 1)));
    assert_eq!(gap(phone).await, Some((GapReason::Expired, 1)), "it was not told yet, and it is still one");
    assert_eq!((gap(watch).await, gap(other).await), (None, None));
    assert_eq!(unheard(ground, phone).await, [2], "what is there is given all the same");
}

async fn entries_are_forgotten_with_their_messages(ground: &Ground) {
    let phone = member(ground, "phone", &["room"]).await;
    let gone = to_group("room");
    log(ground, &gone).await;
    log(ground, &NewMessage { ttl: Some(SECOND), ..to_group("room") }).await;
    log(ground, &to_group("room")).await;
    ground.stores.messages.cancel("acme", gone.message.id, T0).await.unwrap();
    ground.stores.log.expire_log(T0 + SECOND, 10).await.unwrap();
    let room = Limits { tenant_messages: 2, ..Limits::default() };
    assert!(matches!(ground.send_within(&to_group("room"), &room).await, Sent::Accepted { .. }), "one is left of three");
    assert_eq!(ground.stores.messages.purge(T0, 10).await.unwrap(), 0, "not yet");
    assert!(ground.stores.messages.purge(T0 + DAY, 10).await.unwrap() > 0);
    assert_eq!((ground.count("device_log").await, ground.count("device_messages").await), (2, 2));
    assert_eq!(unheard(ground, phone).await, [3, 4]);
    assert_eq!(log(ground, &to_group("room")).await, 5, "a number is never given twice");
}

async fn appending_at_the_same_time_leaves_no_hole_that_anybody_passes_over(ground: &Ground) {
    const EACH: i64 = 40;
    member(ground, "phone", &["room"]).await;
    let append = async |stores: &mobile_delivery::store::Stores| {
        for _ in 0..EACH {
            let sent = stores.messages.send(&[to_group("room")], &Limits::default(), T0).await.unwrap();
            assert!(matches!(sent[..], [Sent::Accepted { .. }]));
        }
    };
    let follow = async {
        let (mut after, mut seen) = (0, Vec::new());
        while after < 2 * EACH {
            let tail = ground.stores.log.tail("acme", after, ALL).await.unwrap();
            seen.extend(tail.entries.iter().map(|entry| entry.entry));
            after = tail.through;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        seen
    };
    let ((), (), seen) = tokio::join!(append(&ground.stores), append(&ground.another), follow);
    assert_eq!(seen, (1..=2 * EACH).collect::<Vec<_>>());
}
