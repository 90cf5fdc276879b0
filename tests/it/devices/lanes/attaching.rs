//! Sessions at the queues of their devices: many on a channel, none in the way of another.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream::iter;
use messaging::devices::{DEVICES_PER_CHANNEL, LaneError};
use serde_json::Value;
use warren_tests::broker::Broker;
use warren_tests::wait::until_true;

use super::*;

#[tokio::test]
async fn what_is_acked_is_gone_and_the_window_of_a_device_is_its_own() {
    let stage = Stage::set().await;
    let (one, two) = (stage.declared(1).await, stage.declared(2).await);
    stage.fill(one, 10).await;
    stage.fill(two, 10).await;
    let mut narrow = stage.lanes.attach(one, 2).await.unwrap();
    let mut wide = stage.lanes.attach(two, 10).await.unwrap();
    assert_eq!(seqs(&mut wide, 10).await, Vec::from_iter(1..=10));
    let first = delivered(&mut narrow).await;
    let second = delivered(&mut narrow).await;
    until_true(SOON, "the rest to stay", async || stage.vhost.queue_depth(&stage.queue(one)).await == Some(8)).await;
    narrow.ack(&[first.tag, second.tag]).await;
    assert_eq!(seqs(&mut narrow, 2).await, [3, 4]);
    assert_eq!(narrow.detach().await, 2);
    assert_eq!(wide.detach().await, 10);
    assert_eq!(stage.vhost.queue_depth(&stage.queue(one)).await, Some(8), "all of it there at once");
    assert_eq!(stage.vhost.queue_depth(&stage.queue(two)).await, Some(10));
}

#[tokio::test]
async fn what_a_session_leaves_is_given_to_the_next_in_the_old_order() {
    let stage = Stage::set().await;
    let device = stage.declared(1).await;
    stage.fill(device, 100).await;
    let mut first = stage.lanes.attach(device, 30).await.unwrap();
    let mut tags = Vec::new();
    for _ in 0..25 {
        tags.push(delivered(&mut first).await.tag);
    }
    // Acked here and there, so that what goes back has holes.
    let done: Vec<_> = tags.iter().copied().step_by(5).collect();
    first.ack(&done).await;
    first.nack(&tags[1..4]).await;
    assert!(first.detach().await >= 17, "25 less 5 acked and 3 nacked, and what came again");
    let mut second = stage.lanes.attach(device, 200).await.unwrap();
    let acked: BTreeSet<i64> = (1..=25).step_by(5).collect();
    let expected: Vec<i64> = (1..=100).filter(|seq| !acked.contains(seq)).collect();
    assert_eq!(seqs(&mut second, expected.len()).await, expected);
}

/// The next session of a device waits beside the first, as when a phone comes back over another network. What it is given once the first
/// has left is complete; what the first held comes to it after what was ready, which is why a session goes by `seq`.
#[tokio::test]
async fn a_second_session_gets_nothing_until_the_first_has_left() {
    let stage = Stage::set().await;
    let device = stage.declared(1).await;
    stage.fill(device, 20).await;
    let mut first = stage.lanes.attach(device, 10).await.unwrap();
    assert_eq!(seqs(&mut first, 10).await, Vec::from_iter(1..=10));
    let mut second = stage.lanes.attach(device, 100).await.unwrap();
    assert_eq!(stage.vhost.consumers(&stage.queue(device)).await, Some(2));
    assert_eq!(stage.vhost.queue_depth(&stage.queue(device)).await, Some(10), "nothing goes to the second");
    assert_eq!(first.detach().await, 10);
    let given = seqs(&mut second, 20).await;
    assert_eq!(BTreeSet::from_iter(given), BTreeSet::from_iter(1..=20));
}

#[tokio::test]
async fn one_whose_queue_goes_is_told_and_the_others_on_its_channel_go_on() {
    let stage = Stage::set().await;
    let count = DEVICES_PER_CHANNEL as u64 + 6;
    let mut sessions = Vec::new();
    for number in 1..=count {
        let device = stage.declared(number).await;
        sessions.push(stage.lanes.attach(device, 4).await.unwrap());
    }
    let gone = standard(20);
    stage.vhost.delete_queue(&stage.queue(gone)).await;
    let mut victim = sessions.remove(19);
    assert!(matches!(heard(&mut victim).await, Some(Event::Gone(LaneError::Gone { .. }))));
    assert!(victim.next().await.is_none());
    match stage.lanes.attach(gone, 4).await {
        Err(LaneError::Gone { queue, why }) => assert!(queue == "device.standard.20" && why.contains("NOT_FOUND"), "{why}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    for session in &mut sessions {
        stage.fill(session.device(), 1).await;
        let got = delivered(session).await;
        assert_eq!(got.seq, Some(1));
        session.ack(&[got.tag]).await;
    }
    assert_eq!(stage.count("warren_device_attaches_total", "reattached"), 0, "nobody else noticed");
    // As few channels as there can be.
    let vhost = stage.vhost.name().to_owned();
    let channels = Broker::shared().await.management().get("/api/channels").await;
    let consuming = |one: &&Value| one["vhost"] == *vhost && one["consumer_count"].as_u64().is_some_and(|count| count > 0);
    assert!(channels.as_array().unwrap().iter().filter(consuming).count() <= 2);
}

/// The look before says yes, and the consume is refused all the same: it takes the channel from everybody on it.
#[tokio::test]
async fn a_channel_that_one_device_has_broken_is_made_good_to_the_others_at_once() {
    let stage = Stage::set().await;
    let mut others = Vec::new();
    for number in 1..=20 {
        let device = stage.declared(number).await;
        others.push(stage.lanes.attach(device, 4).await.unwrap());
    }
    let culprit = stage.declared(66).await;
    stage.vhost.set_permissions(".*", ".*", r"^(?!device\.standard\.66$)").await;
    match stage.lanes.attach(culprit, 4).await {
        Err(error @ LaneError::Refused { code: 403, .. }) => assert!(error.to_string().contains("device.standard.66"), "{error}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    for session in &mut others {
        assert!(matches!(heard(session).await, Some(Event::Reattached)), "and it was told");
        stage.fill(session.device(), 1).await;
        assert_eq!(seqs(session, 1).await, [1]);
    }
    stage.vhost.set_permissions(".*", ".*", ".*").await;
    stage.lanes.attach(culprit, 4).await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_dropped_holds_nothing_and_one_that_is_not_awaited_leaves_nothing() {
    let stage = Stage::set().await;
    let device = stage.declared(1).await;
    let neighbour = stage.declared(2).await;
    stage.fill(device, 3).await;
    stage.fill(neighbour, 1).await;
    let mut other = stage.lanes.attach(neighbour, 1).await.unwrap();
    let kept = delivered(&mut other).await;
    let mut session = stage.lanes.attach(device, 10).await.unwrap();
    assert_eq!(seqs(&mut session, 3).await, [1, 2, 3]);
    drop(session);
    let queue = stage.queue(device);
    let is_left = async || (stage.vhost.queue_depth(&queue).await, stage.vhost.consumers(&queue).await) == (Some(3), Some(0));
    until_true(SOON, "what it held to be back", is_left).await;
    for pause in 0..20 {
        let attaching = stage.lanes.attach(device, 10);
        let _ = tokio::time::timeout(Duration::from_micros(pause * 150), attaching).await;
    }
    until_true(SOON, "no consumer to be left behind", is_left).await;
    other.ack(&[kept.tag]).await;
    assert_eq!(other.detach().await, 0, "its channel lives, and its ack counted");
}

#[tokio::test]
async fn sessions_come_and_go_without_a_declare() {
    const DEVICES: u64 = 100;
    const TIMES: u64 = 5_000;
    let stage = Stage::set().await;
    for number in 1..=DEVICES {
        stage.declared(number).await;
    }
    let come_and_go = |time: u64| {
        let lanes = stage.lanes.clone();
        async move { lanes.attach(standard(time % DEVICES + 1), 8).await.unwrap().detach().await }
    };
    iter(0..TIMES).map(come_and_go).buffer_unordered(64).for_each(|left| async move { assert_eq!(left, 0) }).await;
    assert_eq!(stage.count("warren_device_declares_total", "declared"), DEVICES);
    assert_eq!(stage.count("warren_device_attaches_total", "attached"), TIMES);
    for number in [1, DEVICES] {
        assert_eq!(stage.vhost.consumers(&stage.queue(standard(number))).await, Some(0));
    }
}
