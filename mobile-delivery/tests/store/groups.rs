//! What is said of groups, who is in them, what their devices publish, and what is read back.

use mobile_delivery::store::{
    Audience, Author, Claimed, Group, GroupRules, HISTORY, Limit, Limits, Member, Membership, NewMessage, Number, Put, ROOM,
    Registration, Sent, StoreError, Target,
};

use crate::ground::{ALL, DAY, Ground, ME, SECOND, T0, key, keyed, registration, to_all};

contract![
    a_device_publishes_where_it_is_in_and_devices_may,
    what_a_device_publishes_is_stored_once_by_its_key_and_in_one_order,
    a_group_is_what_was_said_of_it_last,
    a_room_has_so_many_members_and_no_more,
    the_newest_are_read_back_by_members_alone,
    who_is_connected_is_seen_of_rooms_alone,
];

const ROOM_RULES: GroupRules = GroupRules { publish: true, history: 3, ttl: None };

fn author(id: &str) -> Author {
    Author { device: id.into(), user: "ann".into() }
}

fn published(device: Number, group: &str) -> NewMessage {
    let to = to_all(Target::Log(Audience::Group(group.into())));
    NewMessage { receipt: false, publisher: Some(device), ..to }
}

async fn member(ground: &Ground, id: &str, groups: &[&str]) -> Number {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    ground.put(&Registration { groups, ..registration(id) }).await
}

async fn set(ground: &Ground, group: &str, rules: GroupRules) -> bool {
    ground.another.groups.set_group("acme", group, &rules, T0).await.unwrap()
}

async fn publish(ground: &Ground, send: &NewMessage) -> i64 {
    match ground.try_send(send).await {
        Sent::Accepted { logged: Some(logged), .. } => logged.entry,
        other => panic!("{other:?}"),
    }
}

async fn a_device_publishes_where_it_is_in_and_devices_may(ground: &Ground) {
    let (ada, bob) = (member(ground, "ada", &["room", "news"]).await, member(ground, "bob", &["room"]).await);
    let stranger = member(ground, "stranger", &[]).await;
    assert_eq!(ground.try_send(&published(ada, "room")).await, Sent::NotARoom, "nobody has opened it");
    assert!(set(ground, "room", ROOM_RULES).await);
    assert_eq!(publish(ground, &published(ada, "room")).await, 1);
    assert_eq!(ground.try_send(&published(ada, "news")).await, Sent::NotARoom);
    assert_eq!(ground.try_send(&published(stranger, "room")).await, Sent::NotAMember);
    assert_eq!(ground.try_send(&published(stranger, "nowhere")).await, Sent::NotAMember);
    let theirs = NewMessage { tenant: "zoo".into(), ..published(ada, "room") };
    assert_eq!(ground.try_send(&theirs).await, Sent::NotAMember, "the room of that name of another tenant is another");
    // Each with its own answer, whatever else is in the call.
    let together = [published(stranger, "room"), published(bob, "room"), published(bob, "news")];
    let sent = ground.stores.messages.send(&together, &Limits::default(), T0).await.unwrap();
    assert!(matches!(&sent[..], [Sent::NotAMember, Sent::Accepted { .. }, Sent::NotAMember]), "{sent:?}");
    let tail = ground.stores.log.tail("acme", 0, ALL).await.unwrap();
    let authors: Vec<_> = tail.entries.iter().map(|entry| (entry.entry, entry.author.clone())).collect();
    assert_eq!(authors, [(1, Some(author("ada"))), (2, Some(author("bob")))]);
    let unheard = ground.stores.log.unheard(ada, 0, ALL, T0).await.unwrap();
    assert_eq!(unheard.entries, tail.entries, "its own, too");
    assert!(set(ground, "room", GroupRules::default()).await);
    assert_eq!(ground.try_send(&published(ada, "room")).await, Sent::NotARoom);
    // Registered for another: it speaks as that one from then on. Revoked: not at all.
    assert!(set(ground, "room", ROOM_RULES).await);
    let groups = ["room".to_owned()].into();
    ground.put(&Registration { user: "zoe".into(), groups, ..registration("bob") }).await;
    let send = published(bob, "room");
    match ground.try_send(&send).await {
        Sent::Accepted { logged: Some(logged), .. } => {
            assert_eq!(logged.author, Some(Author { device: "bob".into(), user: "zoe".into() }))
        }
        other => panic!("{other:?}"),
    }
    assert!(ground.stores.devices.revoke(bob, T0).await.unwrap().is_some());
    assert_eq!(ground.try_send(&published(bob, "room")).await, Sent::Revoked { device: "bob".into() });
    ground.stores.devices.remove("acme", "stranger", T0).await.unwrap();
    assert_eq!(ground.try_send(&published(stranger, "room")).await, Sent::NotAMember, "it is no more");
    // Left: nothing more may be said.
    assert!(set(ground, "room", ROOM_RULES).await);
    ground.stores.devices.member("acme", "room", "ada", false, T0).await.unwrap();
    assert_eq!(ground.try_send(&published(ada, "room")).await, Sent::NotAMember);
    assert_eq!(ground.count("device_log").await, 3);
}

async fn what_a_device_publishes_is_stored_once_by_its_key_and_in_one_order(ground: &Ground) {
    let ada = member(ground, "ada", &["room"]).await;
    assert_eq!(ground.try_send(&keyed(published(ada, "room"), key(1, 1))).await, Sent::NotARoom);
    set(ground, "room", GroupRules { ttl: Some(DAY), ..ROOM_RULES }).await;
    // What was refused has not used the key up.
    let first = keyed(published(ada, "room"), key(1, 1));
    assert_eq!(publish(ground, &first).await, 1);
    let again = keyed(published(ada, "room"), key(1, 1));
    assert_eq!(ground.try_send(&again).await, Sent::Existing { message: first.message.id });
    let other = keyed(published(ada, "room"), key(1, 2));
    assert_eq!(ground.try_send(&other).await, Sent::Conflict { message: first.message.id });
    let entry = ground.stores.log.tail("acme", 0, ALL).await.unwrap().entries.remove(0);
    assert_eq!(entry.expires_at, first.message.created_at + DAY, "as long as the group says");
    // An answer that was lost, after the room was closed: still the first.
    set(ground, "room", GroupRules::default()).await;
    assert_eq!(ground.try_send(&again).await, Sent::Existing { message: first.message.id });
}

async fn a_group_is_what_was_said_of_it_last(ground: &Ground) {
    let nothing = Group { rules: GroupRules::default(), members: 0, present: 0 };
    assert_eq!(ground.stores.groups.group("acme", "room").await.unwrap(), nothing);
    let ada = member(ground, "ada", &["room", "news"]).await;
    let rules = GroupRules { publish: true, history: 7, ttl: Some(SECOND) };
    for rules in [rules, rules, GroupRules { history: 0, ..rules }, ROOM_RULES] {
        assert!(set(ground, "room", rules).await);
        assert_eq!(ground.stores.groups.group("acme", "room").await.unwrap(), Group { rules, members: 1, present: 0 });
    }
    assert_eq!(ground.stores.groups.group("zoo", "room").await.unwrap(), nothing);
    let own = ground.stores.groups.groups_of(ada).await.unwrap();
    assert_eq!(own, [("news".to_owned(), GroupRules::default()), ("room".to_owned(), ROOM_RULES)]);
    assert_eq!(ground.stores.log.standing(ada).await.unwrap().unwrap().rooms, ["room"]);
    for (group, rules) in [("R*", ROOM_RULES), ("room", GroupRules { history: HISTORY + 1, ..ROOM_RULES })] {
        let refused = ground.stores.groups.set_group("acme", group, &rules, T0).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
}

async fn a_room_has_so_many_members_and_no_more(ground: &Ground) {
    let device = member(ground, "ada", &[]).await.0;
    let full = ROOM;
    let tag = |from: i64, to: i64| {
        let values: Vec<String> =
            (from..to).map(|number| format!("('acme', 'g:room', {}, 0)", device + 1_000_000 + number)).collect();
        format!("INSERT INTO device_tags (tenant, tag, device, since) VALUES {}", values.join(", "))
    };
    ground.execute(&tag(0, full + 1)).await;
    assert!(!set(ground, "room", ROOM_RULES).await, "one too many");
    assert!(set(ground, "room", GroupRules { publish: false, ..ROOM_RULES }).await);
    ground.execute(&format!("DELETE FROM device_tags WHERE device = {}", device + 1_000_000)).await;
    assert!(set(ground, "room", ROOM_RULES).await);
    let joined = ground.stores.devices.member("acme", "room", "ada", true, T0).await.unwrap();
    assert_eq!(joined, Membership::Crowded);
    let groups = ["other".to_owned(), "room".to_owned()].into();
    let late = Registration { groups, ..registration("late") };
    assert_eq!(ground.stores.devices.put(&late, T0).await.unwrap(), Put::Crowded("room".into()));
    let ada = Registration { groups: late.groups.clone(), ..registration("ada") };
    assert_eq!(ground.stores.devices.put(&ada, T0).await.unwrap(), Put::Crowded("room".into()));
    assert!(ground.stores.devices.get("acme", "late").await.unwrap().is_none(), "nothing was changed");
    assert_eq!(ground.stores.groups.groups_of(Number(device)).await.unwrap(), []);
    // Who is in it already may say so again; and a group that is no room takes any number.
    ground.execute(&format!("DELETE FROM device_tags WHERE device = {}", device + 1_000_001)).await;
    let joined = ground.stores.devices.member("acme", "room", "ada", true, T0).await.unwrap();
    assert!(matches!(joined, Membership::Done { changed: true, .. }), "{joined:?}");
    let again = ground.stores.devices.member("acme", "room", "ada", true, T0).await.unwrap();
    assert!(matches!(again, Membership::Done { changed: false, .. }), "{again:?}");
    assert!(set(ground, "room", GroupRules::default()).await);
    assert!(matches!(ground.stores.devices.put(&late, T0).await.unwrap(), Put::Done { made: true, .. }));
}

async fn read(ground: &Ground, device: Number, before: i64, messages: u32) -> Option<(Vec<i64>, bool)> {
    let limit = Limit { messages, ..ALL };
    let found = ground.another.groups.history(device, "room", before, limit, T0).await.unwrap()?;
    Some((found.entries.iter().map(|entry| entry.entry).collect(), found.more))
}

async fn the_newest_are_read_back_by_members_alone(ground: &Ground) {
    let (ada, stranger) = (member(ground, "ada", &["room"]).await, member(ground, "stranger", &[]).await);
    set(ground, "room", ROOM_RULES).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        let send = published(ada, "room");
        sent.push((publish(ground, &send).await, send.message.id));
    }
    let late = member(ground, "late", &["room"]).await;
    assert_eq!(
        read(ground, late, i64::MAX, 100).await,
        Some((vec![3, 4, 5], false)),
        "from before it came, but no more than the room shows"
    );
    assert_eq!(read(ground, late, i64::MAX, 2).await, Some((vec![4, 5], true)));
    assert_eq!(read(ground, late, 4, 2).await, Some((vec![3], false)));
    assert_eq!(read(ground, late, 3, 2).await, Some((vec![], false)));
    assert_eq!(read(ground, stranger, i64::MAX, 100).await, None);
    let entry = ground.stores.groups.history(late, "room", i64::MAX, ALL, T0).await.unwrap().unwrap().entries.remove(0);
    assert_eq!((entry.author, entry.message.id), (Some(author("ada")), sent[2].1));
    ground.stores.messages.cancel("acme", sent[3].1, T0).await.unwrap();
    assert_eq!(read(ground, late, i64::MAX, 100).await, Some((vec![3, 5], false)), "withdrawn");
    let over = ground.stores.groups.history(late, "room", i64::MAX, ALL, T0 + 29 * DAY).await.unwrap().unwrap();
    assert_eq!(over.entries, [], "expired, if nobody has said so yet");
    // Nothing but what was sent to it.
    publish(ground, &NewMessage { receipt: false, ..to_all(Target::Log(Audience::Everyone)) }).await;
    assert_eq!(read(ground, late, i64::MAX, 100).await, Some((vec![3, 5], false)));
    set(ground, "room", GroupRules { history: 0, ..ROOM_RULES }).await;
    assert_eq!(read(ground, ada, i64::MAX, 100).await, Some((vec![], false)));
}

async fn who_is_connected_is_seen_of_rooms_alone(ground: &Ground) {
    let (ada, bob) = (member(ground, "ada", &["room", "news"]).await, member(ground, "bob", &["room"]).await);
    let stranger = member(ground, "stranger", &["news"]).await;
    set(ground, "room", ROOM_RULES).await;
    set(ground, "empty", ROOM_RULES).await;
    let claimed = ground.claim(ada, ME).await;
    assert!(matches!(claimed, Claimed::Yours { .. }), "{claimed:?}");
    ground.claim(stranger, ME).await;
    let room = |group: &str| ("acme".to_owned(), group.to_owned());
    let asked = [room("room"), room("news"), room("empty"), ("zoo".to_owned(), "room".to_owned())];
    let there = |number, id: &str, present| Member { number, author: author(id), present };
    let present = ground.another.groups.present(&asked).await.unwrap();
    assert_eq!(present, [Some(vec![there(ada, "ada", true)]), None, Some(vec![]), None]);
    let members = ground.stores.groups.members(bob, "room").await.unwrap();
    assert_eq!(members, Some(vec![there(ada, "ada", true), there(bob, "bob", false)]));
    assert_eq!(ground.stores.groups.members(ada, "news").await.unwrap(), Some(vec![]), "no room");
    assert_eq!(ground.stores.groups.members(bob, "news").await.unwrap(), None);
    let group = ground.stores.groups.group("acme", "room").await.unwrap();
    assert_eq!((group.members, group.present), (2, 1));
}
