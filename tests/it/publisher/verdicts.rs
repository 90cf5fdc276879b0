//! Return, nack, and what closes the channel.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use messaging::message::Route;
use messaging::publisher::{PublishError, PublisherOptions};
use messaging::wire::{Outbound, Unsendable};
use serde_json::json;
use warren_tests::broker::{Broker, BrokerOptions};

use super::{QUEUE, Stage, is_closed, message, to};

fn is_return(verdict: &Result<(), PublishError>) -> bool {
    matches!(verdict, Err(PublishError::Returned { code: 312, text }) if text == "NO_ROUTE")
}

/// Every second one has no queue to go to.
fn alternating(prefix: &str) -> Vec<Outbound> {
    (0..1000).map(|n| to(if n % 2 == 0 { QUEUE } else { "nowhere" }, &format!("{prefix}-{n}"))).collect()
}

async fn exactly_the_unroutable(stage: &Stage, prefix: &str, verdicts: Vec<Result<(), PublishError>>) {
    assert_eq!(verdicts.len(), 1000);
    for (n, verdict) in verdicts.iter().enumerate() {
        let fits = if n % 2 == 0 { verdict.is_ok() } else { is_return(verdict) };
        assert!(fits, "message {n}: {verdict:?}");
    }
    let routed: BTreeMap<String, usize> = (0..1000).step_by(2).map(|n| (format!("{prefix}-{n}"), 1)).collect();
    assert_eq!(stage.taken().await, routed);
}

#[tokio::test]
async fn of_a_thousand_exactly_the_unroutable_come_back() {
    let stage = Stage::set().await;
    let together = stage.publisher.publish_all(alternating("together")).await;
    exactly_the_unroutable(&stage, "together", together).await;
    let one_by_one = join_all(alternating("single").into_iter().map(|one| stage.publisher.publish(one))).await;
    exactly_the_unroutable(&stage, "single", one_by_one).await;
}

/// The same event for two queues, of which one is missing: the id alone would not tell them apart.
#[tokio::test]
async fn of_two_messages_with_one_id_the_unroutable_comes_back() {
    let stage = Stage::set().await;
    for (good, pair) in [(0, [QUEUE, "nowhere"]), (1, ["nowhere", QUEUE])] {
        for round in 0..100 {
            let id = format!("{good}-{round}");
            let verdicts = stage.publisher.publish_all(pair.iter().map(|queue| to(queue, &id)).collect()).await;
            assert!(verdicts[good].is_ok() && is_return(&verdicts[1 - good]), "{pair:?} round {round}: {verdicts:?}");
        }
    }
}

#[tokio::test]
async fn what_a_full_queue_refuses_is_a_nack() {
    let stage = Stage::set().await;
    stage.vhost.declare_queue("full", json!({"x-max-length": 1, "x-overflow": "reject-publish"})).await;
    assert_eq!(stage.publisher.publish(to("full", "first")).await, Ok(()));
    let all: Vec<Outbound> = (0..50).map(|n| to(if n % 2 == 0 { QUEUE } else { "full" }, &format!("n-{n}"))).collect();
    for (n, verdict) in stage.publisher.publish_all(all).await.into_iter().enumerate() {
        assert_eq!(verdict, if n % 2 == 0 { Ok(()) } else { Err(PublishError::Nacked) }, "message {n}");
    }
    assert_eq!((stage.vhost.queue_depth("full").await, stage.vhost.queue_depth(QUEUE).await), (Some(1), Some(25)));
}

/// Neighbours on the channel are answered, and none that was confirmed is missing; the next publish works.
async fn closes_the_channel_and_no_more(stage: &Stage, bad: impl Fn() -> Outbound, says: &str) {
    let Err(PublishError::Closed(why)) = stage.publisher.publish(bad()).await else { panic!("it closes the channel") };
    assert!(why.contains(says), "{why}");
    assert_eq!(stage.publisher.publish(to(QUEUE, "after")).await, Ok(()), "the next publish works");
    stage.taken().await;

    let neighbours = (0..100).map(|n| to(QUEUE, &format!("n-{n}")));
    let mut all: Vec<Outbound> = neighbours.collect();
    all.insert(50, bad());
    let mut verdicts = stage.publisher.publish_all(all).await;
    let verdict = verdicts.remove(50);
    assert!(is_closed(&verdict), "{verdict:?}");
    assert!(verdicts.iter().all(|verdict| verdict.is_ok() || is_closed(verdict)), "{verdicts:?}");
    let confirmed: BTreeSet<String> = (0..100).filter(|n| verdicts[*n].is_ok()).map(|n| format!("n-{n}")).collect();
    let again: Vec<Outbound> = (0..100).filter(|n| verdicts[*n].is_err()).map(|n| to(QUEUE, &format!("n-{n}"))).collect();
    assert!(stage.publisher.publish_all(again).await.iter().all(Result::is_ok), "the rest goes through at once");
    let taken: BTreeSet<String> = stage.taken().await.into_keys().collect();
    assert!(taken.is_superset(&confirmed), "what was confirmed is there");
    assert_eq!(taken.len(), 100, "and the rest too");
}

#[tokio::test]
async fn a_missing_exchange_fails_what_is_in_flight_and_no_more() {
    let stage = Stage::set().await;
    let bad = || Outbound::new(Route::new("no.such.exchange", "k"), &message("bad", Bytes::new())).unwrap();
    // Whoever notices first that the channel is gone: the broker's words are not lost.
    for _ in 0..5 {
        closes_the_channel_and_no_more(&stage, bad, "no exchange 'no.such.exchange'").await;
    }
}

#[tokio::test]
async fn a_body_over_the_brokers_limit_fails_what_is_in_flight_and_no_more() {
    let options = BrokerOptions { config: "max_message_size = 65536\n".to_owned(), ..BrokerOptions::default() };
    let broker = Broker::dedicated_with(options).await;
    let stage = Stage::on(&broker, PublisherOptions::default(), |url| url).await;
    let sized = |bytes: usize| Outbound::new(Route::new("", QUEUE), &message("bad", vec![b'x'; bytes].into())).unwrap();
    closes_the_channel_and_no_more(&stage, || sized(65537), "larger than").await;
    assert_eq!(stage.publisher.publish(sized(65536)).await, Ok(()), "the limit is exact");
}

#[tokio::test]
async fn what_amqp_cannot_carry_is_refused_before_it_is_sent() {
    let stage = Stage::set().await;
    let (fits, long) = ("k".repeat(255), "k".repeat(256));
    let too_long = |field| Unsendable::TooLong { field, length: 256 };
    let with_header = |name: &str, value: &str| {
        let mut message = message("m", Bytes::new());
        message.headers.insert(name.to_owned(), value.to_owned());
        Outbound::new(Route::new("", QUEUE), &message)
    };
    let refused = [
        (Outbound::new(Route::new("", long.as_str()), &message("m", Bytes::new())), too_long("routing key")),
        (Outbound::new(Route::new(long.as_str(), "k"), &message("m", Bytes::new())), too_long("exchange")),
        (Outbound::new(Route::new("", QUEUE), &message(&long, Bytes::new())), too_long("message id")),
        (Outbound::new(Route::new("", QUEUE), &message("", Bytes::new())), Unsendable::NoId),
        (with_header(&long, "v"), too_long("header name")),
    ];
    for (outbound, why) in refused {
        assert_eq!(outbound.unwrap_err(), why);
    }
    assert!(matches!(with_header("note", &"v".repeat(17_000)).unwrap_err(), Unsendable::HeadersTooLarge(17_000..)));
    // What is just short enough is carried as it is.
    stage.vhost.declare_queue(&fits, json!({})).await;
    assert_eq!(stage.publisher.publish(to(&fits, &fits)).await, Ok(()));
    assert_eq!(stage.vhost.get_messages(&fits, 1).await.remove(0).message_id(), Some(fits.as_str()));
    for (name, value) in [(fits.as_str(), "v"), ("note", &"ü".repeat(7_900))] {
        assert_eq!(stage.publisher.publish(with_header(name, value).unwrap()).await, Ok(()));
        assert_eq!(stage.vhost.get_messages(QUEUE, 1).await.remove(0).header(name), value);
    }
}
