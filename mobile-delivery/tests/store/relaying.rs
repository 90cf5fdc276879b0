//! What lanes are to be filled with.

use mobile_delivery::store::{Mark, NewMessage, Number, Reading, Relayed, State, slot_of};

use crate::ground::{Ground, ME, OTHER, SECOND, T0, ids, to};

contract![
    what_is_new_to_a_hot_lane_is_relayed_from_where_it_was_marked,
    what_was_there_before_a_lane_is_left_to_the_session,
    a_mark_counts_under_the_fence_of_the_slot_and_the_turn_of_the_lane,
    a_lane_that_nothing_is_left_for_is_marked_up_to_its_end,
    readings_keep_to_their_limits_and_all_devices_get_their_turn,
    those_that_are_named_are_read_alone_and_within_the_same_limits,
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

const ALL: Reading<'_> = Reading { slots: &SLOTS, after: Number(0), devices: 100, each: 100, messages: 1000, bytes: 1 << 30 };

async fn unsent(ground: &Ground, reading: &Reading<'_>) -> Vec<Relayed> {
    ground.stores.lanes.unsent(reading, T0).await.unwrap()
}

/// A device that is hot; answers it.
async fn hot(ground: &Ground, id: &str) -> Number {
    let device = ground.device(id).await;
    ground.stores.lanes.warm(device, T0).await.unwrap().unwrap();
    device
}

/// Takes all slots for a process; answers the fence of a device's.
async fn fence_of(ground: &Ground, process: mobile_delivery::store::ProcessId, device: Number) -> i64 {
    ground.stores.sessions.beat(process).await.unwrap();
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
    assert_eq!(unsent(ground, &Reading { slots: &slots, ..ALL }).await.len(), 1);
    let others: Vec<i16> = (0..64).filter(|slot| *slot != slots[0]).collect();
    assert_eq!(unsent(ground, &Reading { slots: &others, ..ALL }).await, []);
    assert_eq!(ground.pending(device).await.messages.len(), 3, "a mark ends nothing");
}

async fn what_was_there_before_a_lane_is_left_to_the_session(ground: &Ground) {
    let device = ground.device("phone").await;
    let before = ground.send(&to("phone")).await;
    ground.stores.lanes.warm(device, T0).await.unwrap();
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
