//! Lanes that go from one broker to another, and the queues that they leave.

use mobile_delivery::store::{Idle, Left, MAIN, Mark, Number, Reading, SLOTS, Temperature, Tier, Turned};

use crate::ground::{Ground, ME, SECOND, T0, to};

contract![
    a_session_takes_its_lane_along_and_what_it_left_is_known,
    only_the_session_that_has_the_device_takes_it_along,
    what_is_relayed_by_an_older_turn_counts_nowhere,
    a_lane_that_comes_back_is_not_taken_away,
    what_is_at_other_brokers_is_not_told,
    what_is_left_of_a_broker_is_counted,
    a_queue_that_is_about_to_be_made_goes_unless_it_becomes_the_lane,
];

fn left(device: Number, shard: &str) -> Left {
    Left { shard: shard.to_owned(), device, tier: Tier::Standard, since: T0 }
}

async fn shard_of(ground: &Ground, id: &str) -> (Temperature, String) {
    let found = ground.stores.devices.get("acme", id).await.unwrap().unwrap();
    (found.temperature, found.queue_shard)
}

async fn a_session_takes_its_lane_along_and_what_it_left_is_known(ground: &Ground) {
    let (device, lanes) = (ground.device("phone").await, &ground.stores.lanes);
    assert_eq!(shard_of(ground, "phone").await, (Temperature::Cold, MAIN.to_owned()));
    let fence = ground.connect(device).await;
    assert_eq!(lanes.warm(device, MAIN, Some(fence), T0).await.unwrap().unwrap().turn, 1);
    assert_eq!(lanes.left(&[MAIN, "b"], T0 + 1, 10).await.unwrap(), []);
    let moved = lanes.warm(device, "b", Some(fence), T0).await.unwrap().unwrap();
    assert_eq!((moved.turn, moved.was, moved.shard.as_str()), (2, Temperature::Cold, "b"));
    assert_eq!(shard_of(ground, "phone").await, (Temperature::Hot, "b".to_owned()));
    assert_eq!(lanes.left(&[MAIN, "b"], T0 + 1, 10).await.unwrap(), [left(device, MAIN)]);
    // Again, as after a lost answer: nothing changes.
    assert_eq!(lanes.warm(device, "b", Some(fence), T0).await.unwrap().unwrap().turn, 2);
    assert!(lanes.gone(&left(device, MAIN)).await.unwrap());
    assert!(!lanes.gone(&left(device, MAIN)).await.unwrap());
    assert_eq!(lanes.left(&[MAIN, "b"], T0 + 1, 10).await.unwrap(), []);
}

async fn only_the_session_that_has_the_device_takes_it_along(ground: &Ground) {
    let (device, lanes) = (ground.device("phone").await, &ground.stores.lanes);
    let old = ground.connect(device).await;
    lanes.warm(device, "b", Some(old), T0).await.unwrap();
    let new = ground.connect(device).await;
    for by in [Some(old), None] {
        let stays = lanes.warm(device, MAIN, by, T0).await.unwrap().unwrap();
        assert_eq!((stays.turn, stays.shard.as_str()), (1, "b"), "{by:?}");
    }
    assert_eq!(lanes.left(&[MAIN, "b"], T0 + 1, 10).await.unwrap(), []);
    assert_eq!(lanes.warm(device, MAIN, Some(new), T0).await.unwrap().unwrap().shard, MAIN);
    // One that is about to go is anybody's, and who cools it has lost its turn.
    ground.stores.sessions.release(&[(device, new)], T0).await.unwrap();
    let Turned::Done { turn } = lanes.cool(device, 2, T0).await.unwrap() else { panic!("nobody is there") };
    assert_eq!(lanes.warm(device, "b", None, T0).await.unwrap().unwrap().shard, "b");
    assert_eq!(lanes.cooled(device, turn).await.unwrap(), Turned::No);
}

async fn what_is_relayed_by_an_older_turn_counts_nowhere(ground: &Ground) {
    let (device, lanes) = (ground.device("phone").await, &ground.stores.lanes);
    ground.stores.sessions.beat(ME, &[]).await.unwrap();
    let slots = lanes.take_slots(ME, SLOTS).await.unwrap();
    let fence = ground.connect(device).await;
    lanes.warm(device, MAIN, Some(fence), T0).await.unwrap();
    ground.send(&to("phone")).await;
    let all: Vec<i16> = slots.iter().map(|slot| slot.slot).collect();
    let both = [MAIN, "b"];
    let reading = |shards| Reading { slots: &all, shards, after: Number(0), devices: 9, each: 9, messages: 9, bytes: 1 << 20 };
    let read = lanes.unsent(&reading(&both), T0).await.unwrap().remove(0);
    assert_eq!((read.shard.as_str(), read.upto), (MAIN, 1));
    assert_eq!(lanes.unsent(&reading(&["b"]), T0).await.unwrap(), []);
    assert_eq!(lanes.unsent_of(&[device], &reading(&["b"]), T0).await.unwrap(), []);
    lanes.warm(device, "b", Some(fence), T0).await.unwrap();
    let own = slots.iter().find(|slot| slot.slot == mobile_delivery::store::slot_of(device)).unwrap();
    let mark = Mark { device, fence: own.fence, turn: read.turn, upto: read.upto, handed: None };
    assert_eq!(lanes.mark_sent(&[mark]).await.unwrap(), [false]);
    // What was there is the session's to read; what comes after it is relayed to where the lane is now.
    ground.send(&to("phone")).await;
    let read = lanes.unsent_of(&[device], &reading(&both), T0).await.unwrap().remove(0);
    assert_eq!((read.shard.as_str(), read.after, read.upto), ("b", 1, 2));
    assert_eq!(lanes.unsent(&reading(&["b"]), T0).await.unwrap(), [read]);
    assert_eq!(lanes.unsent(&reading(&[MAIN]), T0).await.unwrap(), []);
}

async fn a_lane_that_comes_back_is_not_taken_away(ground: &Ground) {
    let (device, lanes) = (ground.device("phone").await, &ground.stores.lanes);
    let fence = ground.connect(device).await;
    for (shard, gone_from) in [("b", vec![]), ("c", vec![left(device, "b")]), ("b", vec![left(device, "c")])] {
        lanes.warm(device, shard, Some(fence), T0).await.unwrap();
        assert_eq!(lanes.left(&[MAIN, "b", "c"], T0 + 1, 10).await.unwrap(), gone_from, "{shard}");
    }
    assert!(!lanes.gone(&left(device, "b")).await.unwrap(), "who was about to learns that it is in use again");
    // The same by way of being cold.
    ground.stores.sessions.release(&[(device, fence)], T0).await.unwrap();
    let Turned::Done { turn } = lanes.cool(device, 3, T0).await.unwrap() else { panic!("nobody is there") };
    lanes.cooled(device, turn).await.unwrap();
    lanes.warm(device, "c", None, T0).await.unwrap();
    assert_eq!(lanes.left(&["b", "c"], T0 + 1, 10).await.unwrap(), []);
}

async fn what_is_at_other_brokers_is_not_told(ground: &Ground) {
    let lanes = &ground.stores.lanes;
    let mut devices = Vec::new();
    for (id, shard) in [("one", MAIN), ("two", "b"), ("three", "b"), ("four", "c")] {
        let device = ground.device(id).await;
        lanes.warm(device, shard, None, T0).await.unwrap();
        devices.push(device);
    }
    let numbers = |idle: Vec<Idle>| idle.into_iter().map(|idle| (idle.device, idle.shard)).collect::<Vec<_>>();
    let at = |index: usize, shard: &str| (devices[index], shard.to_owned());
    assert_eq!(numbers(lanes.idle(&[MAIN, "c"], T0 + SECOND, 10).await.unwrap()), [at(0, MAIN), at(3, "c")]);
    assert_eq!(numbers(lanes.idle(&[], T0 + SECOND, 10).await.unwrap()), []);
    // Those of a broker that is emptied, if nobody is connected.
    ground.connect(devices[2]).await;
    assert_eq!(numbers(lanes.vacant("b", 10).await.unwrap()), [at(1, "b")]);
    lanes.cool(devices[1], 1, T0).await.unwrap();
    assert_eq!(numbers(lanes.vacant("b", 10).await.unwrap()), []);
    assert_eq!(numbers(lanes.cooling(&[MAIN, "c"], 10).await.unwrap()), []);
    assert_eq!(numbers(lanes.cooling(&["b"], 10).await.unwrap()), [at(1, "b")]);
    assert_eq!(lanes.left(&[], T0 + 1, 10).await.unwrap(), []);
}

async fn what_is_left_of_a_broker_is_counted(ground: &Ground) {
    let lanes = &ground.stores.lanes;
    assert_eq!(lanes.occupied(10).await.unwrap(), []);
    for n in 0..4 {
        let device = ground.device(&format!("d{n}")).await;
        let fence = ground.connect(device).await;
        let path: &[&str] = if n == 0 { &[MAIN, "b", "c"] } else { &["b", MAIN, "b"] };
        for shard in path {
            lanes.warm(device, shard, Some(fence), T0).await.unwrap();
        }
    }
    let count = |shard: &str, count| (shard.to_owned(), count);
    // Three lanes and the queue that the first one left; its lane.
    assert_eq!(lanes.occupied(10).await.unwrap(), [count("b", 4), count("c", 1)]);
    assert_eq!(lanes.occupied(2).await.unwrap(), [count("b", 2), count("c", 1)]);
}

async fn a_queue_that_is_about_to_be_made_goes_unless_it_becomes_the_lane(ground: &Ground) {
    let (device, lanes) = (ground.device("phone").await, &ground.stores.lanes);
    let fence = ground.connect(device).await;
    lanes.leave(&left(device, "b")).await.unwrap();
    assert_eq!(lanes.left(&["b"], T0, 10).await.unwrap(), [], "it is left alone for a while");
    assert_eq!(lanes.left(&["b"], T0 + 1, 10).await.unwrap(), [left(device, "b")]);
    lanes.leave(&Left { since: T0 + SECOND, ..left(device, "b") }).await.unwrap();
    assert!(!lanes.gone(&left(device, "b")).await.unwrap(), "whoever takes it away learns of that");
    assert_eq!(lanes.left(&["b"], T0 + SECOND, 10).await.unwrap(), [], "somebody makes it again");
    lanes.warm(device, "b", Some(fence), T0 + SECOND).await.unwrap();
    assert_eq!(lanes.left(&["b"], T0 + 9 * SECOND, 10).await.unwrap(), []);
}
