//! What reaches a device, and in which order.

use std::time::Duration;

use futures::future::join_all;
use mobile_delivery::lane_message;
use mobile_delivery::store::{Limits, Priority, Sent, Temperature};
use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, message, queue};
use super::phone::{Phone, hot};

#[tokio::test]
async fn what_is_stored_for_a_connected_device_comes_by_its_queue_in_order_and_complete() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    let read = phone.reads;
    let mut one = message("phone");
    one.message.collapse_key = Some("weather".into());
    one.message.priority = Priority::High;
    let sent = ground.stores.messages.send(&[one.clone()], &Limits::default(), database::clock::now()).await.unwrap();
    let Some(Sent::Accepted { placed, .. }) = sent.first() else { panic!("{sent:?}") };
    process.wake.placed(placed);
    for _ in 0..30 {
        ground.send(&process, "phone", 5).await;
    }
    phone.until(151).await;
    assert_eq!(phone.got, (1..=151).collect::<Vec<i64>>());
    assert_eq!(phone.reads, read, "nothing was missing, so nothing was read");
    let (memory, store) = (process.relayed("memory"), process.relayed("store"));
    assert!(memory >= 30, "{memory} were at hand, and {store} were read");
    let first = phone.carried.remove(0);
    let given = lane_message::read(first.seq.unwrap(), first.message).unwrap();
    assert_eq!((given.id, given.kind.as_str(), given.high), (one.message.id, "note", true));
    assert_eq!((given.collapse_key.as_deref(), &given.payload[..]), (Some("weather"), &b"hello"[..]));
    assert_eq!(given.time.as_microsecond(), one.message.created_at);
    assert!(given.expires.is_some());
    assert_eq!(ground.pending(phone.number).await, [0_i64; 0]);
}

/// Two relays and a wake-up in the wrong process: it reaches the right one by a notice, and with notices lost by the look.
#[tokio::test]
async fn a_device_of_another_process_is_relayed_by_that_one() {
    for mute in [false, true] {
        let ground = Ground::set().await;
        let how = How { mute, ..How::default() };
        let (one, two) = (Process::with(&ground, how.clone()).await, Process::with(&ground, how).await);
        until_true(SOON, "both to have their share", async || super::slots::shares(&ground).await == [32, 32]).await;
        let ids: Vec<String> = (0..8).map(|n| format!("phone-{n}")).collect();
        let mut phones = join_all(ids.iter().map(|id| Phone::connect(&ground, &two, id, 0))).await;
        for id in &ids {
            ground.send(&one, id, 3).await;
        }
        join_all(phones.iter_mut().map(|phone| phone.until(3))).await;
        assert!(phones.iter().all(|phone| phone.got == [1, 2, 3]));
    }
}

#[tokio::test]
async fn the_order_holds_when_the_relay_of_a_device_is_killed_mid_way() {
    let ground = Ground::set().await;
    let (mut one, two) = (Process::start(&ground).await, Process::start(&ground).await);
    until_true(SOON, "both to have their share", async || super::slots::shares(&ground).await == [32, 32]).await;
    let ids: Vec<String> = (0..12).map(|n| format!("phone-{n}")).collect();
    let mut phones = join_all(ids.iter().map(|id| Phone::connect(&ground, &two, id, 0))).await;
    let sending = async {
        for round in 0..20 {
            join_all(ids.iter().map(|id| ground.send(if round % 2 == 0 { &one } else { &two }, id, 4))).await;
            if round == 9 {
                one.kill();
                ground.lapse(one.me).await;
            }
        }
    };
    tokio::join!(sending, join_all(phones.iter_mut().map(|phone| phone.until(80))));
    for phone in &phones {
        assert_eq!(phone.got, (1..=80).collect::<Vec<i64>>());
    }
    until_true(SOON, "the survivor to have all slots", async || super::slots::shares(&ground).await == [64]).await;
}

/// A device is connecting while messages for it are being stored: each comes by the read or by the queue.
#[tokio::test]
async fn nothing_falls_between_the_read_and_the_queue_of_a_device_that_connects() {
    let ground = Ground::set().await;
    let process = Process::with(&ground, How { relay: never_looking(), ..How::default() }).await;
    let race = async |seed: u64| {
        let id = format!("phone-{seed}");
        ground.device(&id).await;
        let sending = async {
            for step in 0..4 {
                // Another order of things for each seed.
                tokio::time::sleep(Duration::from_micros((seed * 7919 + step * 104_729) % 5000)).await;
                ground.send(&process, &id, 1).await;
            }
        };
        let connecting = async {
            tokio::time::sleep(Duration::from_micros(seed * 6007 % 9000)).await;
            let mut phone = Phone::connect(&ground, &process, &id, 0).await;
            phone.until(4).await;
            phone
        };
        let ((), phone) = tokio::join!(sending, connecting);
        assert_eq!(phone.got, [1, 2, 3, 4], "seed {seed}");
        phone.leave().await;
    };
    for seeds in (0..128).collect::<Vec<u64>>().chunks(16) {
        join_all(seeds.iter().map(|seed| race(*seed))).await;
    }
}

/// The look would find what a race has left.
fn never_looking() -> mobile_delivery::relay::RelayOptions {
    mobile_delivery::relay::RelayOptions { look: Duration::from_secs(3600), ..Default::default() }
}

#[tokio::test]
async fn a_device_whose_queue_is_gone_is_made_cold_and_keeps_its_messages() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let number = hot(&ground, &process, "phone").await;
    ground.vhost.delete_queue(&queue(number)).await;
    ground.send(&process, "phone", 2).await;
    until_true(SOON, "the device to be cold", async || ground.temperature("phone").await == Temperature::Cold).await;
    assert_eq!(ground.pending(number).await, [1, 2]);
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    ground.send(&process, "phone", 1).await;
    phone.until(3).await;
    assert_eq!(phone.got, [1, 2, 3]);
}

/// Somebody is connected, and only the bindings are gone: nothing tells him, so the relay makes them again.
#[tokio::test]
async fn a_connected_device_whose_bindings_are_gone_gets_them_again() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    ground.vhost.unbind("warren.devices", &queue(phone.number), &format!("device.{}", phone.number.0)).await;
    ground.send(&process, "phone", 3).await;
    phone.until(3).await;
    assert_eq!((phone.got, ground.temperature("phone").await), (vec![1, 2, 3], Temperature::Hot));
}

#[tokio::test]
async fn what_the_broker_refuses_is_tried_again_and_nothing_overtakes_it() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let number = hot(&ground, &process, "phone").await;
    let full = json!({"max-length": 2, "overflow": "reject-publish"});
    ground.vhost.set_policy("full", "^device\\.", "queues", full).await;
    let depth = async || ground.vhost.queue_depth(&queue(number)).await;
    until_true(SOON, "the queue to be full", async || {
        ground.send(&process, "phone", 1).await;
        depth().await >= Some(2)
    })
    .await;
    let last = ground.send(&process, "phone", 5).await.last().unwrap().seq;
    ground.vhost.set_policy("full", "^device\\.", "queues", json!({"max-length": 1000, "overflow": "reject-publish"})).await;
    let all = usize::try_from(last).unwrap();
    until_true(SOON, "all to be in the queue", async || {
        let ready = ground.vhost.queue_depth(&queue(number)).await;
        ready.is_some_and(|ready| ready as usize >= all)
    })
    .await;
    let messages = ground.vhost.get_messages(&queue(number), all).await;
    let seqs: Vec<i64> = messages.iter().map(|message| message.header("warren-seq").as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_broker_that_is_away_for_a_while_costs_nothing() {
    let broker = Broker::dedicated().await;
    let ground = Ground::on(&broker).await;
    let process = Process::start(&ground).await;
    let ids: Vec<String> = (0..6).map(|n| format!("phone-{n}")).collect();
    let mut phones = join_all(ids.iter().map(|id| Phone::connect(&ground, &process, id, 0))).await;
    let sending = async {
        for round in 0..10 {
            join_all(ids.iter().map(|id| ground.send(&process, id, 3))).await;
            if round == 4 {
                broker.sync_declarations().await;
                broker.kill9();
                broker.start_again().await;
            }
        }
    };
    tokio::join!(sending, join_all(phones.iter_mut().map(|phone| phone.until(30))));
    for phone in &phones {
        assert_eq!(phone.got, (1..=30).collect::<Vec<i64>>());
    }
}
