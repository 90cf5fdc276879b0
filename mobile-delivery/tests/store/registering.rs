//! Who a device is: made, changed, listed, removed.

use mobile_delivery::store::{
    Filter, Invalid, MAIN, Number, Page, Presence, Put, Reason, Registration, State, StoreError, Temperature, Tier,
};

use crate::ground::{Ground, SECOND, T0, registration, to};

contract![
    a_registration_is_full_state_and_idempotent,
    bad_ones_are_refused_by_name,
    a_user_has_a_hundred_devices_at_most,
    pages_go_by_what_was_asked_for,
    a_removed_device_drops_its_messages_and_its_id_comes_back_as_another,
    tenants_do_not_meet,
];

fn tagged(id: &str, group: &str, label: &str) -> Registration {
    let mut tagged = registration(id);
    tagged.groups.insert(group.into());
    tagged.labels.insert("os".into(), label.into());
    tagged
}

async fn a_registration_is_full_state_and_idempotent(ground: &Ground) {
    let devices = &ground.stores.devices;
    let first = tagged("phone", "news", "a=b");
    let Put::Done { device, made: true } = devices.put(&first, T0).await.unwrap() else { panic!("it was not made") };
    assert_eq!(devices.put(&first, T0 + 1).await.unwrap(), Put::Done { device, made: false });
    let found = devices.get("acme", "phone").await.unwrap().unwrap();
    assert_eq!((found.number, &found.registration, found.created_at, found.updated_at), (device, &first, T0, T0));
    assert_eq!((found.seq, found.backlog, found.temperature, found.session), (0, 0, Temperature::Cold, None));

    let second = Registration { user: "bob".into(), tier: Tier::Lite, ..tagged("phone", "sport", "ios") };
    assert_eq!(devices.put(&second, T0 + 2).await.unwrap(), Put::Done { device, made: false });
    let found = devices.get("acme", "phone").await.unwrap().unwrap();
    assert_eq!((found.registration, found.created_at, found.updated_at), (second, T0, T0 + 2));
    let in_group = |group: &str| Filter { group: Some(group.into()), ..Filter::of("acme") };
    assert_eq!(devices.list(&in_group("news")).await.unwrap(), Page::default());
    assert_eq!(devices.list(&in_group("sport")).await.unwrap().devices.len(), 1);
    assert_eq!(devices.get("acme", "other").await.unwrap(), None);
}

async fn bad_ones_are_refused_by_name(ground: &Ground) {
    let bad = |change: fn(&mut Registration)| {
        let mut bad = registration("phone");
        change(&mut bad);
        bad
    };
    let cases: [(&str, Registration); 9] = [
        ("id", bad(|bad| bad.id = "Phone".into())),
        ("id", bad(|bad| bad.id = "-phone".into())),
        ("id", bad(|bad| bad.id = "p".repeat(64))),
        ("user", bad(|bad| bad.user = String::new())),
        ("user", bad(|bad| bad.user = "an\0n".into())),
        ("user", bad(|bad| bad.user = "u".repeat(129))),
        ("groups", bad(|bad| bad.groups = (0..65).map(|n| n.to_string()).collect())),
        ("labels", bad(|bad| bad.labels = [("a=b".into(), "c".into())].into())),
        ("labels", bad(|bad| bad.labels = (0..17).map(|n| (n.to_string(), String::new())).collect())),
    ];
    for (field, registration) in cases {
        let Invalid { field: found, .. } = registration.check().unwrap_err();
        assert_eq!(found, field);
        let answer = ground.stores.devices.put(&registration, T0).await;
        assert!(matches!(&answer, Err(StoreError::Refused(text)) if text.contains(field)), "{answer:?}");
    }
    assert_eq!(ground.count("devices").await, 0);
    let longest = Registration { user: "u".repeat(128), ..registration(&"p".repeat(63)) };
    ground.put(&longest).await;
}

async fn a_user_has_a_hundred_devices_at_most(ground: &Ground) {
    for n in 0..100 {
        ground.device(&format!("d{n}")).await;
    }
    let devices = &ground.stores.devices;
    assert_eq!(devices.put(&registration("more"), T0).await.unwrap(), Put::Full);
    let of_bob = Registration { user: "bob".into(), ..registration("more") };
    ground.put(&of_bob).await;
    assert_eq!(devices.put(&registration("more"), T0).await.unwrap(), Put::Full, "nor by changing hands");
    assert_eq!(devices.get("acme", "more").await.unwrap().unwrap().registration, of_bob);
    ground.device("d7").await;
}

async fn pages_go_by_what_was_asked_for(ground: &Ground) {
    let mut numbers = Vec::new();
    for n in 0..6 {
        let mut device = tagged(&format!("d{n}"), if n % 2 == 0 { "even" } else { "odd" }, "ios");
        device.user = if n < 3 { "ann".into() } else { "bob".into() };
        numbers.push(ground.put(&device).await);
    }
    ground.connect(numbers[4]).await;
    ground.send(&to("d1")).await;
    let devices = &ground.stores.devices;
    let all = Filter::of("acme");
    let cases: [(Filter, &[usize]); 9] = [
        (all.clone(), &[0, 1, 2, 3, 4, 5]),
        (Filter { user: Some("bob".into()), ..all.clone() }, &[3, 4, 5]),
        (Filter { group: Some("odd".into()), ..all.clone() }, &[1, 3, 5]),
        (Filter { label: Some(("os".into(), "ios".into())), user: Some("ann".into()), ..all.clone() }, &[0, 1, 2]),
        (Filter { label: Some(("os".into(), "android".into())), ..all.clone() }, &[]),
        (Filter { presence: Some(Presence::Online), ..all.clone() }, &[4]),
        (Filter { presence: Some(Presence::Offline), group: Some("even".into()), ..all.clone() }, &[0, 2]),
        (Filter { backlog: Some(1), ..all.clone() }, &[1]),
        (Filter { user: Some("bob".into()), group: Some("even".into()), ..all.clone() }, &[4]),
    ];
    for (filter, want) in cases {
        let want: Vec<Number> = want.iter().map(|at| numbers[*at]).collect();
        // In pages of all sizes, and with looks of all lengths.
        for (limit, scan) in [(100, 1000), (1, 1), (1, 3), (2, 2), (2, 100), (4, 3)] {
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = devices.list(&Filter { limit, scan, after, ..filter.clone() }).await.unwrap();
                assert!(page.devices.len() <= usize::try_from(limit).unwrap());
                found.extend(page.devices.iter().map(|device| device.number));
                pages += 1;
                after = page.next;
                if after.is_none() {
                    break;
                }
                assert!(pages < 20, "it goes round in circles");
            }
            assert_eq!(found, want, "{filter:?} by {limit} of {scan}");
        }
    }
}

async fn a_removed_device_drops_its_messages_and_its_id_comes_back_as_another(ground: &Ground) {
    let device = ground.device("phone").await;
    let message = ground.send(&to("phone")).await;
    ground.stores.lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap();
    let fence = ground.connect(device).await;
    let devices = &ground.stores.devices;
    let removed = devices.remove("acme", "phone", T0 + SECOND).await.unwrap().unwrap();
    assert_eq!((removed.device, removed.session.unwrap().fence, removed.dropped), (device, fence, vec![message]));
    assert_eq!(devices.remove("acme", "phone", T0).await.unwrap(), None);
    assert_eq!(devices.get("acme", "phone").await.unwrap(), None);
    let fate = ground.fate(message, "phone").await;
    assert_eq!((fate.state, fate.reason, fate.ended_at), (State::Dropped, Some(Reason::Removed), Some(T0 + SECOND)));

    let again = ground.device("phone").await;
    assert!(again > device);
    assert!(ground.places(again).await.is_empty());
    ground.check_counters().await;
    // The queue of the first is still to go.
    let idle = ground.stores.lanes.idle(&[MAIN], T0 + 2 * SECOND, 10).await.unwrap().remove(0);
    assert_eq!((idle.device, idle.id.as_str(), idle.temperature), (device, "phone", Temperature::Cooling));
    ground.stores.lanes.cooled(device, idle.turn).await.unwrap();
    assert_eq!(ground.count("device_lanes").await, 0);
    // What tells of it goes with what is told.
    while ground.stores.messages.purge(T0 + 2 * SECOND, 1).await.unwrap() > 0 {}
    assert_eq!((ground.count("devices").await, ground.count("device_messages").await), (1, 0));
}

async fn tenants_do_not_meet(ground: &Ground) {
    let theirs = Registration { tenant: "zoo".into(), ..registration("phone") };
    let (mine, theirs) = (ground.device("phone").await, ground.put(&theirs).await);
    assert_ne!(mine, theirs);
    let message = ground.send(&to("phone")).await;
    assert_eq!((ground.places(mine).await.len(), ground.places(theirs).await.len()), (1, 0));
    assert_eq!(ground.stores.messages.record("zoo", message).await.unwrap(), None);
    assert!(!ground.stores.messages.cancel("zoo", message, T0).await.unwrap().known);
    assert_eq!(ground.stores.devices.list(&Filter::of("zoo")).await.unwrap().devices.len(), 1);
    ground.stores.devices.remove("zoo", "phone", T0).await.unwrap().unwrap();
    assert!(ground.stores.devices.get("acme", "phone").await.unwrap().is_some());
}
