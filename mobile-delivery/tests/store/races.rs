//! Several processes at once, on Postgres: nothing is lost, nothing is twice, and nobody waits in a circle.

use std::collections::BTreeSet;

use mobile_delivery::store::{
    Ack, Acked, Limits, MAIN, Mark, NewMessage, Number, Outcome, Put, Reading, Sent, Stores, Target, Which, slot_of,
};

use crate::ground::{DAY, Ground, ME, T0, key, keyed, registration, to, to_all, to_user};

/// How often each side does its part.
const TIMES: usize = 25;

async fn send(stores: &Stores, sends: &[NewMessage]) -> Vec<Sent> {
    stores.messages.send(sends, &Limits::default(), T0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_are_given_once_and_in_the_order_of_commits() {
    let ground = Ground::postgres().await;
    let mut devices = Vec::new();
    for n in 0..8 {
        devices.push(ground.device(&format!("d{n}")).await);
    }
    // To the same devices, named in opposite orders: who takes them in the order they are named waits in a circle.
    let names: Vec<String> = (0..8).map(|n| format!("d{n}")).collect();
    let backwards: Vec<String> = names.iter().rev().cloned().collect();
    let side = async |stores: &Stores, names: &[String]| {
        for _ in 0..TIMES {
            let sends: Vec<NewMessage> =
                names.iter().map(|name| to(name)).chain([to_all(Target::Devices(names.to_vec()))]).collect();
            assert!(send(stores, &sends).await.iter().all(|sent| matches!(sent, Sent::Accepted { .. })));
        }
    };
    // Meanwhile a third reads each device as a session does: what it has seen is never followed by something earlier.
    let reader = async {
        let mut last = 0;
        for _ in 0..TIMES * 4 {
            let all = ground.places(devices[3]).await;
            let whole: Vec<i64> = (1..=i64::try_from(all.len()).unwrap()).collect();
            assert_eq!(all, whole, "a place was seen before one that comes earlier");
            assert!(all.len() >= last);
            last = all.len();
        }
    };
    tokio::join!(side(&ground.stores, &names), side(&ground.another, &backwards), reader);
    for device in devices {
        assert_eq!(ground.places(device).await.len(), TIMES * 4);
    }
    ground.check_counters().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_sends_once_whoever_sends_it() {
    let ground = Ground::postgres().await;
    let device = ground.device("phone").await;
    ground.device("watch").await;
    let side = async |stores: &Stores, backwards: bool| {
        let mut answers = Vec::new();
        for round in 0..TIMES {
            let mut hashes: Vec<u8> = (0..5).map(|n| u8::try_from(round * 5 + n).unwrap()).collect();
            if backwards {
                hashes.reverse();
            }
            let sends: Vec<NewMessage> = hashes.iter().map(|hash| keyed(to_user("ann"), key(*hash, 1))).collect();
            answers.extend(send(stores, &sends).await);
        }
        answers
    };
    let (one, other) = tokio::join!(side(&ground.stores, false), side(&ground.another, true));
    let id = |sent: &Sent| match sent {
        Sent::Accepted { message, .. } | Sent::Existing { message } => *message,
        other => panic!("{other:?}"),
    };
    let accepted = one.iter().chain(&other).filter(|sent| matches!(sent, Sent::Accepted { .. })).count();
    let told: BTreeSet<_> = one.iter().chain(&other).map(id).collect();
    assert_eq!((accepted, told.len()), (TIMES * 5, TIMES * 5), "both sides are told of the same messages");
    let kept: BTreeSet<_> = ground.pending(device).await.messages.iter().map(|given| given.message.id).collect();
    assert_eq!(kept, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_ends_once_whoever_ends_it() {
    let ground = Ground::postgres().await;
    let device = ground.device("phone").await;
    let fence = ground.connect(device).await;
    for _ in 0..TIMES {
        let sends: Vec<NewMessage> = (0..4).map(|_| NewMessage { ttl: Some(DAY), ..to("phone") }).collect();
        send(&ground.stores, &sends).await;
        let places = ground.places(device).await;
        let given = *places.last().unwrap();
        let ack = Ack { device, fence, which: Which::UpTo { seq: given, given }, outcome: Outcome::Delivered };
        let (acked, expired, cancelled) = tokio::join!(
            ground.stores.sessions.settle(std::slice::from_ref(&ack), T0),
            ground.another.messages.expire(T0 + 2 * DAY, 2),
            ground.another.messages.cancel("acme", sends[1].message.id, T0),
        );
        let (acked, _, _) = (acked.unwrap(), expired.unwrap(), cancelled.unwrap());
        assert!(matches!(acked[0], Acked::Ended { .. }));
        assert!(ground.places(device).await.is_empty());
    }
    let told: Vec<_> = ground.receipts().await.iter().map(|receipt| receipt.message).collect();
    let distinct: BTreeSet<_> = told.iter().copied().collect();
    assert_eq!((told.len(), distinct.len()), (TIMES * 4, TIMES * 4));
    assert_eq!(ground.count("device_ended").await, i64::try_from(TIMES * 4).unwrap());
    ground.check_counters().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_is_never_thought_full_while_something_is_sent() {
    let ground = Ground::postgres().await;
    let device = ground.device("phone").await;
    ground.stores.lanes.warm(device, MAIN, None, T0).await.unwrap();
    ground.stores.sessions.beat(ME, &[]).await.unwrap();
    let slots = ground.stores.lanes.take_slots(ME, 64).await.unwrap();
    let fence = slots.iter().find(|slot| slot.slot == slot_of(device)).unwrap().fence;
    let all: Vec<i16> = (0..64).collect();
    let reading =
        Reading { slots: &all, shards: &[MAIN], after: Number(0), devices: 10, each: 100, messages: 1000, bytes: 1 << 30 };
    let mut relayed = Vec::new();
    let sender = async {
        for _ in 0..TIMES * 4 {
            send(&ground.another, &[to("phone")]).await;
        }
    };
    let relay = async {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while relayed.len() < TIMES * 4 {
            assert!(tokio::time::Instant::now() < deadline, "{} of {} were relayed", relayed.len(), TIMES * 4);
            for found in ground.stores.lanes.unsent(&reading, T0).await.unwrap() {
                relayed.extend(found.messages.iter().map(|given| given.seq));
                let mark = Mark { device, fence, turn: found.turn, upto: found.upto, handed: None };
                assert_eq!(ground.stores.lanes.mark_sent(&[mark]).await.unwrap(), [true]);
            }
        }
    };
    tokio::join!(sender, relay);
    let want: Vec<i64> = (1..=i64::try_from(TIMES * 4).unwrap()).collect();
    assert_eq!(relayed, want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_made_once_and_removed_under_whoever_sends() {
    let ground = Ground::postgres().await;
    for _ in 0..TIMES {
        let phone = registration("phone");
        let (one, other) = tokio::join!(ground.stores.devices.put(&phone, T0), ground.another.devices.put(&phone, T0));
        let (Put::Done { device, made: one }, Put::Done { device: same, made: other }) = (one.unwrap(), other.unwrap()) else {
            panic!("one device is too many")
        };
        assert_eq!((device, one != other), (same, true));
        let sends = [to("phone")];
        let (sent, removed) = tokio::join!(send(&ground.stores, &sends), ground.another.devices.remove("acme", "phone", T0));
        let removed = removed.unwrap().unwrap();
        match &sent[0] {
            Sent::Accepted { message, .. } => assert_eq!(removed.dropped, [*message]),
            Sent::UnknownDevice { .. } => assert!(removed.dropped.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ground.count("device_deliveries").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_shared_out_once() {
    let ground = Ground::postgres().await;
    let other = mobile_delivery::store::ProcessId(22);
    ground.stores.sessions.beat(ME, &[]).await.unwrap();
    ground.stores.sessions.beat(other, &[]).await.unwrap();
    let (mine, theirs) = tokio::join!(ground.stores.lanes.take_slots(ME, 40), ground.another.lanes.take_slots(other, 40));
    let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
    let distinct: BTreeSet<i16> = mine.iter().chain(&theirs).map(|slot| slot.slot).collect();
    assert_eq!((mine.len() + theirs.len(), distinct.len()), (64, 64));
}
