//! What lanes are to be filled with.

use mobile_delivery::store::{
    Handed, MAIN, Mark, NewMessage, Number, Put, Reading, Reason, Registration, Relayed, State, Temperature, Turned, Via, slot_of,
};

use crate::ground::{Ground, ME, OTHER, SECOND, T0, ids, registration, to};

contract![
    what_is_new_to_a_hot_lane_is_relayed_from_where_it_was_marked,
    what_was_there_before_a_lane_is_left_to_the_session,
    a_mark_counts_under_the_fence_of_the_slot_and_the_turn_of_the_lane,
    a_lane_that_nothing_is_left_for_is_marked_up_to_its_end,
    readings_keep_to_their_limits_and_all_devices_get_their_turn,
    those_that_are_named_are_read_alone_and_within_the_same_limits,
    what_the_broker_has_for_a_device_that_it_serves_is_delivered_and_nothing_else_is,
    the_lane_of_a_device_that_the_broker_serves_is_never_idle_and_keeps_its_way,
];

const SLOTS: [i16; 64] = {
    let mut slots = [0; 64];
    let mut at = 0;
    while at < 64 {
        slots[at] = at as i16;
        at += 1;
    }
    slots
};

const ALL: Reading<'_> =
    Reading { slots: &SLOTS, shards: &[MAIN], after: Number(0), devices: 100, each: 100, messages: 1000, bytes: 1 << 30 };

async fn unsent(ground: &Ground, reading: &Reading<'_>) -> Vec<Relayed> {
    ground.stores.lanes.unsent(reading, T0).await.unwrap()
}

/// A device that is hot; answers it.
async fn hot(ground: &Ground, id: &str) -> Number {
    let device = ground.device(id).await;
    ground.stores.lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap();
    device
}

/// Takes all slots for a process; answers the fence of a device's.
async fn fence_of(ground: &Ground, process: mobile_delivery::store::ProcessId, device: Number) -> i64 {
    ground.stores.sessions.beat(process, &[]).await.unwrap();
    let slots = ground.stores.lanes.take_slots(process, 64).await.unwrap();
    slots.into_iter().find(|slot| slot.slot == slot_of(device)).unwrap().fence
}

async fn mark(ground: &Ground, mark: Mark) -> bool {
    ground.stores.lanes.mark_sent(&[mark]).await.unwrap()[0]
}

async fn what_is_new_to_a_hot_lane_is_relayed_from_where_it_was_marked(ground: &Ground) {
    let device = hot(ground, "phone").await;
    ground.device("cold").await;
    let fence = fence_of(ground, ME, device).await;
    assert_eq!(unsent(ground, &ALL).await, []);
    let messages = [ground.send(&to("phone")).await, ground.send(&to("phone")).await];
    ground.send(&to("cold")).await;
    let found = unsent(ground, &ALL).await;
    assert_eq!((found.len(), found[0].device, found[0].id.as_str(), found[0].turn), (1, device, "phone", 1));
    assert_eq!((ids(&found[0].messages), found[0].after, found[0].upto), (messages.to_vec(), 0, 2));
    assert!(mark(ground, Mark { device, fence, turn: 1, upto: 1, handed: None }).await);
    let found = unsent(ground, &ALL).await.remove(0);
    assert_eq!((ids(&found.messages), found.after, found.upto), (messages[1..].to_vec(), 1, 2));
    let states = [ground.state(messages[0], "phone").await, ground.state(messages[1], "phone").await];
    assert_eq!(states, [State::Sent, State::Queued]);
    assert!(mark(ground, Mark { device, fence, turn: 1, upto: 2, handed: None }).await);
    assert_eq!(unsent(ground, &ALL).await, []);
    let third = ground.send(&to("phone")).await;
    let found = unsent(ground, &ALL).await.remove(0);
    assert_eq!((ids(&found.messages), found.after), (vec![third], 2));
    let slots = [slot_of(device)];
    assert_eq!(unsent(ground, &Reading { slots: &slots, shards: &[MAIN], ..ALL }).await.len(), 1);
    let others: Vec<i16> = (0..64).filter(|slot| *slot != slots[0]).collect();
    assert_eq!(unsent(ground, &Reading { slots: &others, shards: &[MAIN], ..ALL }).await, []);
    assert_eq!(ground.pending(device).await.messages.len(), 3, "a mark ends nothing");
}

async fn what_was_there_before_a_lane_is_left_to_the_session(ground: &Ground) {
    let device = ground.device("phone").await;
    let before = ground.send(&to("phone")).await;
    ground.stores.lanes.warm(device, MAIN, None, T0).await.unwrap();
    assert_eq!(unsent(ground, &ALL).await, []);
    assert_eq!(ground.state(before, "phone").await, State::Sent);
    let after = ground.send(&to("phone")).await;
    let found = unsent(ground, &ALL).await.remove(0);
    assert_eq!((ids(&found.messages), found.after), (vec![after], 1));
    // A lane that cools is not filled, and what was in it waits in the store again.
    ground.stores.lanes.cool(device, 1, T0).await.unwrap();
    assert_eq!(unsent(ground, &ALL).await, []);
    assert_eq!(ground.state(before, "phone").await, State::Queued);
}

async fn a_mark_counts_under_the_fence_of_the_slot_and_the_turn_of_the_lane(ground: &Ground) {
    let device = hot(ground, "phone").await;
    let fence = fence_of(ground, ME, device).await;
    ground.send(&to("phone")).await;
    let good = Mark { device, fence, turn: 1, upto: 1, handed: None };
    assert!(!mark(ground, Mark { turn: 0, ..good }).await);
    assert!(!mark(ground, Mark { fence: fence - 1, ..good }).await);
    assert!(!mark(ground, Mark { device: Number(device.0 + 1), ..good }).await);
    ground.stores.sessions.leave(ME).await.unwrap();
    assert!(!mark(ground, good).await, "nobody has the slot");
    let fence = fence_of(ground, OTHER, device).await;
    assert!(!mark(ground, good).await, "another has it");
    assert_eq!(unsent(ground, &ALL).await.len(), 1);
    assert!(mark(ground, Mark { fence, upto: 99, ..good }).await);
    assert_eq!(unsent(ground, &ALL).await, []);
    ground.send(&to("phone")).await;
    assert_eq!(unsent(ground, &ALL).await[0].after, 1, "a mark reaches no further than the device's last place");
    assert!(!mark(ground, Mark { fence, upto: 0, ..good }).await, "nor back");
}

async fn a_lane_that_nothing_is_left_for_is_marked_up_to_its_end(ground: &Ground) {
    let device = hot(ground, "phone").await;
    let fence = fence_of(ground, ME, device).await;
    let message = ground.send(&to("phone")).await;
    ground.send(&NewMessage { ttl: Some(0), ..to("phone") }).await;
    ground.stores.messages.cancel("acme", message, T0 + SECOND).await.unwrap();
    let found = unsent(ground, &ALL).await.remove(0);
    assert_eq!((found.messages.len(), found.upto), (0, 2));
    assert!(mark(ground, Mark { device, fence, turn: found.turn, upto: found.upto, handed: None }).await);
    assert_eq!(unsent(ground, &ALL).await, []);
}

async fn readings_keep_to_their_limits_and_all_devices_get_their_turn(ground: &Ground) {
    let mut devices = Vec::new();
    for n in 0..7 {
        let device = hot(ground, &format!("d{n}")).await;
        for _ in 0..=n {
            ground.send(&to(&format!("d{n}"))).await;
        }
        devices.push(device);
    }
    // Each body has 7 bytes.
    for reading in [
        ALL,
        Reading { devices: 2, ..ALL },
        Reading { each: 2, ..ALL },
        Reading { messages: 3, ..ALL },
        Reading { messages: 1, ..ALL },
        Reading { bytes: 20, ..ALL },
        Reading { bytes: 1, ..ALL },
    ] {
        let (mut seen, mut after) = (Vec::new(), Number(0));
        loop {
            let found = unsent(ground, &Reading { after, ..reading }).await;
            let Some(last) = found.last() else { break };
            after = last.device;
            assert!(found.len() <= usize::try_from(reading.devices).unwrap());
            let messages: usize = found.iter().map(|relayed| relayed.messages.len()).sum();
            assert!(messages <= usize::try_from(reading.messages).unwrap());
            assert!(messages == 1 || i64::try_from(messages * 7).unwrap() <= reading.bytes);
            for relayed in found {
                let all = devices.iter().position(|device| *device == relayed.device).unwrap() + 1;
                let places: Vec<i64> = relayed.messages.iter().map(|given| given.seq).collect();
                let want: Vec<i64> = (1..=relayed.upto).collect();
                assert_eq!(places, want, "{reading:?}: from the first one on, and marked as far as it was read");
                assert!(!places.is_empty() && places.len() <= all.min(usize::try_from(reading.each).unwrap()), "{reading:?}");
                seen.push(relayed.device);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, devices, "{reading:?}");
    }
}

async fn those_that_are_named_are_read_alone_and_within_the_same_limits(ground: &Ground) {
    let mut devices = Vec::new();
    for id in ["a", "b", "c"] {
        devices.push(hot(ground, id).await);
        ground.send(&to(id)).await;
        ground.send(&to(id)).await;
    }
    let cold = ground.device("cold").await;
    ground.send(&to("cold")).await;
    let lanes = &ground.stores.lanes;
    let read = async |named: &[Number], reading: Reading<'static>| {
        let read = lanes.unsent_of(named, &reading, T0).await.unwrap();
        read.into_iter().map(|read| (read.device, read.messages.len(), read.upto)).collect::<Vec<_>>()
    };
    assert_eq!(read(&[devices[2], cold, devices[0]], ALL).await, [(devices[0], 2, 2), (devices[2], 2, 2)]);
    assert_eq!(read(&devices, Reading { each: 1, ..ALL }).await.len(), 3);
    let cut = read(&devices, Reading { messages: 3, ..ALL }).await;
    assert_eq!(cut, [(devices[0], 2, 2), (devices[1], 1, 1)], "what did not fit is left out");
    assert_eq!(read(&[], ALL).await, []);
}

fn by_broker(id: &str, via: Via) -> Registration {
    Registration { via, ..registration(id) }
}

async fn what_the_broker_has_for_a_device_that_it_serves_is_delivered_and_nothing_else_is(ground: &Ground) {
    let device = ground.put(&by_broker("meter", Via::Mqtt)).await;
    let fence = fence_of(ground, ME, device).await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(ground.send(&NewMessage { receipt: true, ..to("meter") }).await);
    }
    assert_eq!(unsent(ground, &ALL).await, [], "it has no session yet");
    ground.stores.lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap();
    let found = unsent(ground, &ALL).await.remove(0);
    assert_eq!((ids(&found.messages), found.via), (messages.clone(), Via::Mqtt), "what was there before is relayed too");
    // The first could not be carried; the fourth is not confirmed yet.
    let handed = Some(Handed { after: 1, upto: 3, at: T0 });
    let good = Mark { device, fence, turn: found.turn, upto: 3, handed };
    assert!(!mark(ground, Mark { turn: found.turn - 1, ..good }).await);
    assert!(!mark(ground, Mark { fence: fence - 1, ..good }).await);
    assert_eq!(ground.pending(device).await.messages.len(), 4, "a mark that does not count ends nothing");
    assert!(mark(ground, good).await);
    assert_eq!(ids(&ground.pending(device).await.messages), [messages[0], messages[3]]);
    for message in &messages[1..3] {
        let fate = ground.fate(*message, "meter").await;
        assert_eq!((fate.state, fate.reason, fate.ended_at), (State::Delivered, Some(Reason::Inferred), Some(T0)));
    }
    let receipts = ground.receipts().await;
    let told: Vec<_> = receipts.iter().map(|receipt| (receipt.message, receipt.state, receipt.reason)).collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, state, reason)| (*state, *reason) == (State::Delivered, Some(Reason::Inferred))));
    let found = unsent(ground, &ALL).await.remove(0);
    assert_eq!(ids(&found.messages), messages[3..]);
    // Time has passed it by before it was published.
    let late = Some(Handed { after: 3, upto: 4, at: i64::MAX });
    assert!(mark(ground, Mark { upto: 4, handed: late, ..good }).await);
    assert_eq!(ground.state(messages[3], "meter").await, State::Sent, "it goes on to expire");
    ground.check_counters().await;
}

async fn the_lane_of_a_device_that_the_broker_serves_is_never_idle_and_keeps_its_way(ground: &Ground) {
    let (lanes, devices) = (&ground.stores.lanes, &ground.stores.devices);
    let gateway = ground.put(&by_broker("gateway", Via::Amqp)).await;
    let meter = ground.put(&by_broker("meter", Via::Mqtt)).await;
    let temperature = async |id: &str| devices.get("acme", id).await.unwrap().unwrap().temperature;
    assert_eq!((temperature("gateway").await, temperature("meter").await), (Temperature::Hot, Temperature::Cold));
    let lane = lanes.warm(meter, MAIN, None, T0).await.unwrap().unwrap();
    assert_eq!(lanes.idle(&[MAIN], i64::MAX, 10).await.unwrap(), []);
    // Nobody knows whether somebody consumes from the one; of the other a message came back.
    assert_eq!(lanes.cool(gateway, 1, T0).await.unwrap(), Turned::No);
    assert!(matches!(lanes.cool(meter, lane.turn, T0).await.unwrap(), Turned::Done { .. }));
    for via in [Via::Hub, Via::Mqtt] {
        assert_eq!(devices.put(&by_broker("gateway", via), T0).await.unwrap(), Put::Via(Via::Amqp));
    }
    devices.remove("acme", "gateway", T0).await.unwrap().unwrap();
    assert!(lanes.cooling(&[MAIN], 10).await.unwrap().iter().any(|idle| idle.device == gateway), "its queue is to go");
}
