//! Queues at two brokers, of which one hangs.

use std::time::{Duration, Instant};

use database::clock;
use messaging::devices::Lane;
use mobile_delivery::lane::queue_of;
use mobile_delivery::relay::RelayOptions;
use mobile_delivery::store::Tier;
use warren_tests::broker::Broker;
use warren_tests::proxy::{Mode, Proxy};
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, NORTH, Process, queue, shared};
use super::phone::Phone;

/// Far more devices have something at the broker that hangs than may be under way: each publish there waits for its deadline of 15 s.
#[tokio::test]
async fn a_broker_that_hangs_takes_no_room_from_another() {
    let (broker, ground) = (Broker::shared().await, Ground::set().await);
    let (there, proxy) = (shared(broker).await, Proxy::to(broker.amqp_addr()).await);
    let relay = RelayOptions { devices: 4, together: 4, look: Duration::from_millis(300), ..RelayOptions::default() };
    let how = How { relay, north: Some(proxy.through(&there.url())), ..How::default() };
    let process = Process::with(&ground, how).await;
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    let mut hanging = Vec::new();
    for n in 0..16 {
        let id = format!("north-{n}");
        let device = ground.device(&id).await;
        let lanes = process.shards.lanes(NORTH).expect("it has it");
        lanes.ensure(Lane::of(queue_of(device, Tier::Standard))).await.unwrap();
        ground.stores.lanes.warm(device, NORTH, None, clock::now()).await.unwrap().unwrap();
        hanging.push((id, device));
    }
    ground.send(&process, "phone", 1).await;
    phone.until(1).await;

    proxy.set(Mode::BLACKHOLE).await;
    for (id, _) in &hanging {
        ground.send(&process, id, 3).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for round in 1..=10 {
        let sent = Instant::now();
        ground.send(&process, "phone", 2).await;
        phone.until(1 + 2 * round).await;
        assert!(sent.elapsed() < Duration::from_secs(3), "round {round} took {:?}", sent.elapsed());
    }
    assert_eq!(phone.got, (1..=21).collect::<Vec<i64>>());

    proxy.set(Mode::Pass).await;
    for (id, device) in &hanging {
        let filled = async || there.queue_depth(&queue(*device)).await >= Some(3);
        until_true(SOON, &format!("the queue of {id} to be filled"), filled).await;
        assert!(!ground.has_queue(*device).await, "nothing of it is at the other broker");
    }
}
