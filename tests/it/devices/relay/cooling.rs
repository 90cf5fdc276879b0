//! Queues of idle devices are taken away, whatever happens at the same time.

use std::time::Duration;

use database::clock;
use futures::future::join_all;
use mobile_delivery::store::{MAIN, Temperature, Turned};
use mobile_delivery::upkeep::UpkeepOptions;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process};
use super::phone::{Phone, hot};

/// Cools whatever has nobody connected.
fn at_once() -> How {
    let upkeep = UpkeepOptions {
        every: Duration::from_millis(20),
        cool_after: Duration::ZERO,
        cool_per_second: 1000,
        cool_together: 16,
        cool_again: Duration::from_millis(500),
        ..UpkeepOptions::default()
    };
    How { upkeep, ..How::default() }
}

#[tokio::test]
async fn an_idle_device_loses_its_queue_and_no_message() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let number = hot(&ground, &process, "phone").await;
    ground.send(&process, "phone", 3).await;
    let queue = super::ground::queue(number);
    until_true(SOON, "its queue to be filled", async || ground.vhost.queue_depth(&queue).await == Some(3)).await;
    process.drain().await;
    let process = Process::with(&ground, at_once()).await;
    until_true(SOON, "the device to be cold", async || ground.temperature("phone").await == Temperature::Cold).await;
    assert!(!ground.has_queue(number).await);
    assert_eq!(ground.pending(number).await, [1, 2, 3]);
    let phone = Phone::connect(&ground, &process, "phone", 0).await;
    assert_eq!(phone.got, [1, 2, 3]);
}

#[tokio::test]
async fn what_was_left_half_way_is_ended_and_a_removed_device_leaves_no_queue() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let (half, removed) = (hot(&ground, &process, "half").await, hot(&ground, &process, "removed").await);
    // As a process that dies between the two steps leaves it.
    let lane =
        ground.stores.lanes.idle(&[MAIN], i64::MAX, 10).await.unwrap().into_iter().find(|idle| idle.device == half).unwrap();
    assert!(matches!(ground.stores.lanes.cool(half, lane.turn, clock::now()).await.unwrap(), Turned::Done { .. }));
    ground.remove("removed").await;
    until_true(SOON, "both queues to be gone", async || !ground.has_queue(half).await && !ground.has_queue(removed).await).await;
    until_true(SOON, "nothing to be left to cool", async || ground.stores.lanes.cooling(&[MAIN], 10).await.unwrap().is_empty())
        .await;
    assert_eq!(ground.temperature("half").await, Temperature::Cold);
}

/// 300 races: while everything idle is cooled at once, devices come and go and get messages.
#[tokio::test]
async fn cooling_races_with_sends_and_connects_and_nothing_is_lost() {
    const DEVICES: u64 = 60;
    const ROUNDS: u64 = 5;
    let ground = Ground::set().await;
    let (process, other) = (Process::with(&ground, at_once()).await, Process::with(&ground, at_once()).await);
    let race = async |device: u64| {
        let id = format!("phone-{device}");
        let (mut got, mut cursor) = (Vec::new(), 0);
        let number = ground.device(&id).await;
        for round in 0..ROUNDS {
            let seed = device * 31 + round * 7919;
            let by = |bit: u64| if seed >> bit & 1 == 0 { &process } else { &other };
            let pause = |salt: u64| Duration::from_micros((seed * salt) % 4000);
            let sending = async {
                for step in 0..3 {
                    tokio::time::sleep(pause(104_729 + step)).await;
                    ground.send(by(step), &id, 1).await;
                }
            };
            let connecting = async {
                tokio::time::sleep(pause(6007)).await;
                let mut phone = Phone::connect(&ground, by(3), &id, cursor).await;
                phone.linger(pause(13)).await;
                phone.leave().await
            };
            let ((), (some, last)) = tokio::join!(sending, connecting);
            (got, cursor) = ([got, some].concat(), last);
        }
        let pending = ground.pending(number).await;
        let sent: Vec<i64> = (1..=i64::try_from(ROUNDS * 3).unwrap()).collect();
        // What it got it has acked: each is in one place or the other.
        assert_eq!([got, pending].concat(), sent, "{id}");
    };
    for devices in (0..DEVICES).collect::<Vec<u64>>().chunks(30) {
        join_all(devices.iter().map(|device| race(*device))).await;
    }
    // And all of them can be reached afterwards, by a queue.
    let last = i64::try_from(ROUNDS * 3).unwrap() + 1;
    let reach = async |device: u64| {
        let id = format!("phone-{device}");
        let mut phone = Phone::connect(&ground, &process, &id, last - 1).await;
        ground.send(&other, &id, 1).await;
        phone.until(last).await;
        phone.leave().await;
    };
    join_all((0..DEVICES).map(reach)).await;
    let all_cold = async || ground.stores.lanes.idle(&[MAIN], i64::MAX, 100).await.unwrap().is_empty();
    until_true(SOON, "all to be cold again", all_cold).await;
}
