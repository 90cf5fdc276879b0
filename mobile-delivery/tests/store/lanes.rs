//! Hot and cold: who has a queue, and who may take it away.

use mobile_delivery::store::{Idle, Lane, MAIN, Number, SLOTS, Temperature, Tier, Turned, slot_of};

use crate::ground::{Ground, ME, OTHER, SECOND, T0, registration, to};

contract![
    a_device_is_made_hot_once_and_cooled_by_turns,
    nobody_cools_under_a_session_or_on_an_older_turn,
    idle_ones_are_told_longest_first,
    a_queue_keeps_its_name_until_it_is_gone,
    slots_are_had_by_one_process_each,
    what_is_to_go_is_told_however_long_it_was_idle,
];

async fn a_device_is_made_hot_once_and_cooled_by_turns(ground: &Ground) {
    let device = ground.device("phone").await;
    let lanes = &ground.stores.lanes;
    let lane = |turn, was| Some(Lane { turn, was, tier: Tier::Standard, shard: MAIN.into() });
    assert_eq!(lanes.warm(device, MAIN, None, T0).await.unwrap(), lane(1, Temperature::Cold));
    assert_eq!(lanes.warm(device, MAIN, None, T0).await.unwrap(), lane(1, Temperature::Hot));
    assert_eq!(lanes.warm(Number(device.0 + 1), MAIN, None, T0).await.unwrap(), None);
    assert_eq!(lanes.cool(device, 1, T0).await.unwrap(), Turned::Done { turn: 2 });
    assert_eq!(lanes.cool(device, 1, T0).await.unwrap(), Turned::No);
    // Somebody comes before the queue is gone, and then it cools again.
    assert_eq!(lanes.warm(device, MAIN, None, T0).await.unwrap(), lane(3, Temperature::Cooling));
    assert_eq!(lanes.cooled(device, 2).await.unwrap(), Turned::No, "who cooled has lost its turn");
    assert_eq!(lanes.cool(device, 3, T0).await.unwrap(), Turned::Done { turn: 4 });
    assert_eq!(lanes.cooled(device, 4).await.unwrap(), Turned::Done { turn: 5 });
    assert_eq!(lanes.cooled(device, 4).await.unwrap(), Turned::No);
    assert_eq!(ground.count("device_lanes").await, 0);
    assert_eq!(lanes.warm(device, MAIN, None, T0).await.unwrap(), lane(6, Temperature::Cold), "it rises for ever");
}

async fn nobody_cools_under_a_session_or_on_an_older_turn(ground: &Ground) {
    let device = ground.device("phone").await;
    let lanes = &ground.stores.lanes;
    lanes.warm(device, MAIN, None, T0).await.unwrap();
    let fence = ground.connect(device).await;
    assert_eq!(lanes.idle(&[MAIN], T0 + SECOND, 10).await.unwrap(), []);
    assert_eq!(lanes.cool(device, 1, T0).await.unwrap(), Turned::No);
    ground.stores.sessions.release(&[(device, fence)], T0 + 5).await.unwrap();
    assert_eq!(lanes.cool(device, 0, T0).await.unwrap(), Turned::No);
    assert_eq!(lanes.cool(device, 1, T0).await.unwrap(), Turned::Done { turn: 2 });
    let message = ground.send(&to("phone")).await;
    assert_eq!(ground.state(message, "phone").await, mobile_delivery::store::State::Queued);
}

async fn idle_ones_are_told_longest_first(ground: &Ground) {
    let mut devices = Vec::new();
    for n in 0..4 {
        let device = ground.device(&format!("d{n}")).await;
        ground.stores.lanes.warm(device, MAIN, None, T0 + 10 - n).await.unwrap();
        devices.push(device);
    }
    ground.connect(devices[1]).await;
    let idle = |at: usize, turn, temperature, since| Idle {
        device: devices[at],
        tenant: "acme".into(),
        id: format!("d{at}"),
        tier: Tier::Standard,
        shard: MAIN.into(),
        temperature,
        turn,
        since,
    };
    let lanes = &ground.stores.lanes;
    let found = lanes.idle(&[MAIN], T0 + 10, 2).await.unwrap();
    assert_eq!(found, [idle(3, 1, Temperature::Hot, T0 + 7), idle(2, 1, Temperature::Hot, T0 + 8)]);
    // One that somebody began to cool and left is told as such.
    lanes.cool(devices[3], 1, T0 + 99).await.unwrap();
    let found = lanes.idle(&[MAIN], T0 + 10, 10).await.unwrap();
    assert_eq!(found, [idle(3, 2, Temperature::Cooling, T0 + 7), idle(2, 1, Temperature::Hot, T0 + 8)]);
}

async fn a_queue_keeps_its_name_until_it_is_gone(ground: &Ground) {
    let device = ground.device("phone").await;
    let lanes = &ground.stores.lanes;
    lanes.warm(device, MAIN, None, T0).await.unwrap();
    let lite = mobile_delivery::store::Registration { tier: Tier::Lite, ..registration("phone") };
    ground.put(&lite).await;
    let found = ground.stores.devices.get("acme", "phone").await.unwrap().unwrap();
    assert_eq!((found.registration.tier, found.queue_tier, found.temperature), (Tier::Lite, Tier::Standard, Temperature::Hot));
    lanes.cool(device, 1, T0).await.unwrap();
    assert_eq!(lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap().tier, Tier::Standard);
    lanes.cool(device, 3, T0).await.unwrap();
    lanes.cooled(device, 4).await.unwrap();
    assert_eq!(lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap().tier, Tier::Lite);
}

async fn slots_are_had_by_one_process_each(ground: &Ground) {
    let lanes = &ground.stores.lanes;
    ground.stores.sessions.beat(ME, &[]).await.unwrap();
    ground.stores.sessions.beat(OTHER, &[]).await.unwrap();
    let mine = lanes.take_slots(ME, 40).await.unwrap();
    assert_eq!((mine.len(), mine[0].fence), (40, 1));
    assert_eq!(lanes.take_slots(ME, 40).await.unwrap(), mine, "it has what it wants");
    let theirs = ground.another.lanes.take_slots(OTHER, SLOTS).await.unwrap();
    assert_eq!(theirs.len(), 24);
    assert!(theirs.iter().all(|slot| mine.iter().all(|mine| mine.slot != slot.slot)));
    lanes.give_slots(&mine[..8]).await.unwrap();
    let theirs = ground.another.lanes.take_slots(OTHER, 32).await.unwrap();
    assert_eq!(theirs.iter().filter(|slot| slot.fence == 2).count(), 8);
    lanes.give_slots(&mine[..8]).await.unwrap();
    assert_eq!(ground.another.lanes.take_slots(OTHER, 0).await.unwrap(), theirs, "what is another's by now is not given");
    // Every device is in some slot, and they are spread.
    let mut devices = [0; SLOTS as usize];
    (1..=6400).for_each(|number| devices[usize::try_from(slot_of(Number(number))).unwrap()] += 1);
    assert!(devices.iter().all(|count| (50..=150).contains(count)), "{devices:?}");
}

async fn what_is_to_go_is_told_however_long_it_was_idle(ground: &Ground) {
    let lanes = &ground.stores.lanes;
    let mut devices = Vec::new();
    for id in ["hot", "half-way", "removed"] {
        devices.push(ground.device(id).await);
        lanes.warm(devices[devices.len() - 1], MAIN, None, T0).await.unwrap();
    }
    assert_eq!(lanes.cooling(&[MAIN], 10).await.unwrap(), []);
    lanes.cool(devices[1], 1, T0).await.unwrap();
    ground.stores.devices.remove("acme", "removed", T0).await.unwrap().unwrap();
    let cooling = lanes.cooling(&[MAIN], 10).await.unwrap();
    let told: Vec<_> = cooling.iter().map(|idle| (idle.device, idle.temperature, idle.turn)).collect();
    assert_eq!(told, [(devices[1], Temperature::Cooling, 2), (devices[2], Temperature::Cooling, 2)]);
    for idle in cooling {
        assert!(matches!(lanes.cooled(idle.device, idle.turn).await.unwrap(), Turned::Done { .. }));
    }
    assert_eq!(lanes.cooling(&[MAIN], 10).await.unwrap(), []);
}
