//! Queues and bindings of devices.

use std::time::{Duration, Instant};

use broker_topology::{Device, Names, Tier};
use futures::future::join_all;
use messaging::devices::{Lane, LaneError, LanesOptions, MAX_KEYS};
use serde_json::json;
use warren_tests::broker::Broker;

use super::*;

/// The bindings of a queue: exchange and key, sorted.
async fn bindings(stage: &Stage, queue: &str) -> Vec<(String, String)> {
    let all = stage.vhost.definitions().await;
    let of_queue = all["bindings"].as_array().unwrap().iter().filter(|binding| binding["destination"] == queue);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = of_queue.map(|binding| (text(&binding["source"]), text(&binding["routing_key"]))).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_device_has_its_queue_and_all_its_bindings_and_that_may_be_asked_for_again() {
    let stage = Stage::set().await;
    let device = Device { number: 7, tier: Tier::Lite };
    let user = Names::user_key("acme", "ann");
    let news = Names::group_key("acme", "news.de").unwrap();
    let lane = Lane { device, keys: vec![user.clone(), news.clone()], broadcast: true };
    stage.lanes.ensure(lane.clone()).await.unwrap();
    let queue = stage.queue(device);
    let arguments = stage.vhost.queue_arguments(&queue).await;
    assert_eq!(arguments["x-queue-type"], "classic");
    assert_eq!(arguments["x-single-active-consumer"], true);
    let expected = |keys: &[&String]| {
        let own = [("warren.broadcast".to_owned(), String::new()), ("warren.devices".to_owned(), "device.7".to_owned())];
        let mut all: Vec<_> =
            own.into_iter().chain(keys.iter().map(|key| ("warren.groups".to_owned(), (*key).clone()))).collect();
        all.sort();
        all
    };
    assert_eq!(bindings(&stage, &queue).await, expected(&[&user, &news]));
    // The policy of its tier holds for it.
    let effective = stage.effective(device).await;
    assert_eq!((&effective["max-length"], &effective["expires"]), (&json!(100), &json!(null)));

    stage.fill(device, 1).await;
    stage.lanes.ensure(lane.clone()).await.unwrap();
    assert_eq!(stage.vhost.queue_depth(&queue).await, Some(1), "what is in it stays");
    let left = Lane { keys: vec![news], ..lane };
    for _ in 0..2 {
        stage.lanes.leave(&left).await.unwrap();
    }
    assert_eq!(bindings(&stage, &queue).await, expected(&[&user]));
}

#[tokio::test]
async fn calls_for_one_device_at_one_time_share_a_declare() {
    let stage = Stage::set().await;
    let lane = Lane::of(standard(1));
    let answers = join_all((0..100).map(|_| stage.lanes.ensure(lane.clone()))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(stage.count("warren_device_declares_total", "declared"), 1);
}

#[tokio::test]
async fn a_refusal_is_told_to_its_device_alone_with_the_words_of_the_broker() {
    let stage = Stage::set().await;
    let stranger = standard(13);
    stage.vhost.declare_queue(&stage.queue(stranger), json!({"x-queue-type": "classic"})).await;
    let asked = (1..=40).map(|number| stage.lanes.ensure(Lane::of(standard(number))));
    let answers = join_all(asked).await;
    for (answer, number) in answers.iter().zip(1..) {
        match answer {
            Ok(()) => assert_ne!(number, 13),
            Err(error @ LaneError::Refused { code, .. }) => {
                assert_eq!((number, *code), (13, 406), "{error}");
                let said = error.to_string();
                assert!(said.contains("device.standard.13") && said.contains("x-single-active-consumer"), "{said}");
            }
            Err(other) => panic!("device {number}: {other}"),
        }
    }
    stage.vhost.delete_exchange("warren.groups").await;
    let joined = Lane { keys: vec!["user.x.y".to_owned()], ..Lane::of(standard(50)) };
    let said = stage.lanes.ensure(joined).await.unwrap_err().to_string();
    assert!(said.contains("warren.groups") && said.contains("`warren topology apply`"), "{said}");
    stage.vhost.set_permissions("^$", ".*", ".*").await;
    // RabbitMQ remembers on a channel what its user may do.
    Broker::shared().await.close_all_connections(stage.vhost.name()).await;
    let said = stage.lanes.ensure(Lane::of(standard(60))).await.unwrap_err().to_string();
    assert!(said.contains("ACCESS_REFUSED") && said.contains("docs/permissions.md"), "{said}");
}

#[tokio::test]
async fn what_waits_is_bounded_and_paced() {
    let options = LanesOptions { declares_per_second: 20, declares_waiting: 12, ..LanesOptions::default() };
    let stage = Stage::on(Broker::shared().await, options).await;
    let begun = Instant::now();
    let answers = join_all((1..=20).map(|number| stage.lanes.ensure(Lane::of(standard(number))))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 12);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(LaneError::Busy(_)))).count(), 8);
    // Two go at once, and each of the ten others a twentieth of a second later.
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    let crowded = Lane { keys: vec![String::new(); MAX_KEYS + 1], ..Lane::of(standard(1)) };
    let long = Lane { keys: vec!["x".repeat(256)], ..Lane::of(standard(1)) };
    for unfit in [crowded, long] {
        assert!(matches!(stage.lanes.ensure(unfit).await, Err(LaneError::Unfit(_))));
    }
}
