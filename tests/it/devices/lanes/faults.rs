//! Channels, connections and brokers that go away under many devices.

use std::collections::BTreeSet;

use futures::future::join_all;
use messaging::devices::{DEVICES_PER_CHANNEL, Lane};
use warren_tests::broker::Broker;

use super::*;

/// Waits until the session was attached again, and takes what follows until `count` different messages have come.
async fn after_the_loss(session: &mut Attachment, count: usize) -> BTreeSet<i64> {
    while !matches!(heard(session).await, Some(Event::Reattached)) {}
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        match heard(session).await {
            Some(Event::Delivery(delivery)) => {
                session.ack(&[delivery.tag]).await;
                seen.insert(delivery.seq.unwrap());
            }
            Some(Event::Reattached) => {}
            other => panic!("{other:?}"),
        }
    }
    seen
}

#[tokio::test]
async fn devices_of_a_connection_that_is_lost_are_attached_again_by_themselves_and_told() {
    let stage = Stage::set().await;
    let count = DEVICES_PER_CHANNEL as u64 + 10;
    let mut sessions = Vec::new();
    for number in 1..=count {
        let device = stage.declared(number).await;
        stage.fill(device, 3).await;
        let mut session = stage.lanes.attach(device, 2).await.unwrap();
        // One is acked, one is held when it happens.
        let first = delivered(&mut session).await;
        session.ack(&[first.tag]).await;
        let held = delivered(&mut session).await;
        sessions.push((session, held.tag));
    }
    Broker::shared().await.close_all_connections(stage.vhost.name()).await;
    let again = sessions.into_iter().map(|(mut session, stale)| async move {
        let seen = after_the_loss(&mut session, 2).await;
        // A tag of before means nothing.
        session.ack(&[stale]).await;
        (seen, session)
    });
    for (seen, session) in join_all(again).await {
        // Those that were acked may come again, as their ack was on its way.
        assert!(seen.is_superset(&BTreeSet::from([2])) || seen == BTreeSet::from([1, 2]), "{seen:?}");
        drop(session);
    }
    assert!(stage.count("warren_device_attaches_total", "reattached") >= count);
    assert_eq!(stage.count("warren_device_attaches_total", "gone"), 0);
}

#[tokio::test]
async fn queues_are_there_after_the_broker_was_killed_and_sessions_find_them_by_themselves() {
    let broker = Broker::dedicated().await;
    let stage = Stage::on(&broker, quick()).await;
    let devices: Vec<_> = (1..=40).map(standard).collect();
    for answer in join_all(devices.iter().map(|device| stage.lanes.ensure(Lane::of(*device)))).await {
        answer.unwrap();
    }
    let mut sessions = Vec::new();
    for device in &devices {
        sessions.push(stage.lanes.attach(*device, 1).await.unwrap());
        stage.fill(*device, 4).await;
    }
    broker.sync_declarations().await;
    broker.kill9();
    broker.start_again().await;
    // What was in them is in the store. They are told so, and get what comes then.
    let told = sessions.iter_mut().map(|session| after_the_loss(session, 0));
    join_all(told).await;
    join_all(devices.iter().map(|device| stage.fill(*device, 4))).await;
    for session in &mut sessions {
        for seq in 1..=4 {
            let delivery = delivered(session).await;
            assert_eq!(delivery.seq, Some(seq));
            session.ack(&[delivery.tag]).await;
        }
    }
    // And everything else works on.
    let more = stage.declared(41).await;
    stage.fill(more, 1).await;
    assert_eq!(stage.lanes.retire(&Lane::of(more)).await.unwrap().drained, ["m-1"]);
}
