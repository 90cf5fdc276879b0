//! Devices by what they have to get.

use bytes::Bytes;
use mobile_delivery::store::{After, Filter, Number, Order, Presence, Registration};

use crate::ground::{Ground, ME, T0, registration, to};

contract![
    those_with_the_most_come_first_in_pages_of_all_sizes,
    a_narrow_choice_is_in_order_too,
    what_was_acked_is_not_listed_any_more,
];

/// Registers a device with so many messages of so many bytes.
async fn loaded(ground: &Ground, id: &str, messages: usize, bytes: usize) -> Number {
    let device = ground.device(id).await;
    let sends: Vec<_> = (0..messages)
        .map(|_| {
            let mut send = to(id);
            send.message.body = Bytes::from(vec![0; bytes]);
            send
        })
        .collect();
    for some in sends.chunks(500) {
        ground.stores.messages.send(some, &mobile_delivery::store::Limits::default(), T0).await.unwrap();
    }
    device
}

/// Follows the pages to the end.
async fn all(ground: &Ground, filter: &Filter) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..200 {
        let page = ground.stores.devices.list(&Filter { after, ..filter.clone() }).await.unwrap();
        assert!(page.devices.len() <= usize::try_from(filter.limit).unwrap());
        found.extend(page.devices.into_iter().map(|device| device.registration.id));
        // As it goes through a query.
        after = page.next.map(|next| filter.order.after(&next.to_string()).unwrap());
        if after.is_none() {
            return found;
        }
    }
    panic!("it goes round in circles: {found:?}");
}

async fn those_with_the_most_come_first_in_pages_of_all_sizes(ground: &Ground) {
    // Large ones are found by their load, small ones by a look: there are both, and equal ones, and some of other sizes in bytes.
    let (most, more, none) = ("most", "more", "none");
    for (id, messages, bytes) in [
        ("one", 1, 90_000),
        (most, 70, 10),
        ("two", 2, 1),
        (none, 0, 0),
        (more, 33, 10_000),
        ("same", 33, 10),
        ("few", 15, 10),
        ("half", 16, 1),
    ] {
        loaded(ground, id, messages, bytes).await;
    }
    ground.put(&Registration { tenant: "zoo".into(), ..registration("bear") }).await;
    let by = |order| Filter { order, ..Filter::of("acme") };
    let cases: [(Order, &[&str]); 3] = [
        (Order::Messages, &[most, more, "same", "half", "few", "two", "one"]),
        (Order::Bytes, &[more, "one", most, "same", "few", "half", "two"]),
        (Order::Age, &["one", most, "two", more, "same", "few", "half"]),
    ];
    for (order, want) in cases {
        for (limit, scan) in [(100, 1000), (1, 1000), (2, 1000), (3, 1000), (4, 8), (100, 8)] {
            let found = all(ground, &Filter { limit, scan, ..by(order) }).await;
            assert_eq!(found, want, "{order:?} by {limit} of {scan}");
        }
        let everywhere = Filter { tenant: None, ..by(order) };
        assert_eq!(all(ground, &everywhere).await, want, "of all tenants");
        let nobody = Filter { tenant: Some("zoo".into()), ..by(order) };
        assert_eq!(all(ground, &nobody).await, [""; 0]);
        assert_eq!(all(ground, &Filter { backlog: Some(16), ..by(order) }).await.len(), 4);
    }
    assert_eq!(Order::Messages.after("77"), None);
    assert_eq!(Order::Registered.after("77"), Some(After::Device(Number(77))));
    for bad in ["", "l", "l.1", "l.1.x", "m.1.2", "l.1.2.3", "w.1.2"] {
        assert_eq!(Order::Messages.after(bad), None, "{bad}");
    }
}

async fn a_narrow_choice_is_in_order_too(ground: &Ground) {
    for (id, messages) in [("a", 3), ("b", 40), ("c", 17), ("d", 0)] {
        let device = loaded(ground, id, messages, 10).await;
        if id != "c" {
            ground.connect(device).await;
        }
    }
    loaded(ground, "other", 90, 10).await;
    ground.put(&Registration { user: "bob".into(), ..registration("other") }).await;
    for (order, want) in [(Order::Messages, ["b", "c", "a"]), (Order::Bytes, ["b", "c", "a"]), (Order::Age, ["a", "b", "c"])] {
        let of_ann = Filter { user: Some("ann".into()), order, ..Filter::of("acme") };
        for limit in [1, 2, 100] {
            assert_eq!(all(ground, &Filter { limit, ..of_ann.clone() }).await, want);
        }
        let online = Filter { presence: Some(Presence::Online), order, ..Filter::of("acme") };
        let connected: Vec<&str> = want.into_iter().filter(|id| *id != "c").collect();
        assert_eq!(all(ground, &online).await, connected);
        assert_eq!(all(ground, &Filter { tenant: None, ..online }).await, connected);
    }
}

async fn what_was_acked_is_not_listed_any_more(ground: &Ground) {
    use mobile_delivery::store::{Ack, Outcome, Which};
    let (phone, watch) = (loaded(ground, "phone", 64, 10).await, loaded(ground, "watch", 20, 10).await);
    let devices = &ground.stores.devices;
    assert_eq!(devices.waiting_since(&[watch, phone, Number(4711)]).await.unwrap().len(), 2);
    assert_eq!(devices.waiting_since(&[phone]).await.unwrap(), [(phone, T0)]);
    assert_eq!(devices.numbered(phone).await.unwrap().unwrap().registration.id, "phone");
    assert_eq!(devices.numbered(Number(4711)).await.unwrap(), None);
    for (seq, want) in [(50, vec!["watch", "phone"]), (64, vec!["watch"])] {
        let fence = match ground.claim(phone, ME).await {
            mobile_delivery::store::Claimed::Yours { fence, .. } => fence,
            other => panic!("{other:?}"),
        };
        let ack = Ack { device: phone, fence, which: Which::UpTo { seq, given: seq }, outcome: Outcome::Delivered };
        ground.stores.sessions.settle(&[ack], T0).await.unwrap();
        for order in [Order::Messages, Order::Bytes] {
            assert_eq!(all(ground, &Filter { order, ..Filter::of("acme") }).await, want, "{order:?}");
        }
    }
    assert_eq!(devices.waiting_since(&[phone]).await.unwrap(), []);
}
