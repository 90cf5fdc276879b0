//! Work that takes longer than the broker waits for an ack: acked early, it lies with the store alone while it runs.

mod deaths;

use std::time::Duration;

use futures::StreamExt;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::json;
use warren_tests::broker::{Broker, BrokerOptions, Vhost};
use warren_tests::downstream::{Asked, Downstream, Reply};
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::wait::until_true;

use crate::http_worker::kind;
use crate::world::{LONG, settled};

const BUILD: &str = "reports.build";

/// How a hub takes a kind with this `timeout` for long: the least that can be written for what the broker waits.
const MINUTE: (&str, &str) = ("WARREN__BROKER__CONSUMER_TIMEOUT", "1m");

/// Options of a hub with one long kind that calls `service`, with more of its own keys.
fn options(vhost: &Vhost, store_url: &str, service: &Downstream, more: &str) -> HubOptions {
    HubOptions {
        broker_url: vhost.url(),
        store_url: store_url.to_owned(),
        extra_toml: format!("[drain]\ngrace = \"1s\"\n{}", kind(BUILD, service, &format!("timeout = \"1m\"\n{more}"))),
        env: vec![(MINUTE.0.to_owned(), MINUTE.1.to_owned())],
        ..HubOptions::default()
    }
}

async fn start(options: &HubOptions) -> HubProcess {
    let hub = HubProcess::start(options).await;
    settled(&hub).await;
    hub
}

/// The calls for a job.
fn calls(service: &Downstream, id: &str) -> Vec<Asked> {
    service.asked().into_iter().filter(|asked| asked.header("ce-id") == id).collect()
}

async fn called(service: &Downstream, id: &str, times: usize) {
    until_true(LONG, &format!("call {times} of {id}"), async || calls(service, id).len() >= times).await;
}

/// How often the broker has closed a channel since somebody did not ack in time.
fn closed(broker: &Broker) -> usize {
    broker.log().matches("has timed out waiting for delivery acknowledgement").count()
}

/// A consumer that does not ack, so that it is seen that the broker waits no longer than it should.
async fn sluggard(vhost: &Vhost) -> lapin::Consumer {
    vhost.declare_queue("sluggard", json!({"x-queue-type": "quorum"})).await;
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let publish = channel.basic_publish("".into(), "sluggard".into(), Default::default(), b"x", Default::default());
    publish.await.unwrap().await.unwrap();
    let consume = channel.basic_consume("sluggard".into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consume.await.unwrap();
    consumer.next().await.unwrap().unwrap();
    consumer
}

#[tokio::test]
async fn a_job_five_times_as_long_as_the_broker_waits_has_one_effect_and_no_channel_is_closed() {
    const WAITS: Duration = Duration::from_secs(3);
    let broker = Broker::dedicated_with(BrokerOptions { consumer_timeout: Some(WAITS), ..BrokerOptions::default() }).await;
    // It looks once a minute otherwise.
    broker.ctl(&["eval", "application:set_env(rabbit, channel_tick_interval, 500)."]).await;
    let vhost = broker.vhost().await;
    let service = Downstream::start(Reply::Late(WAITS * 5 + Duration::from_secs(1))).await;
    let mut hub = start(&options(&vhost, "", &service, "concurrency = 1")).await;
    let client = hub.client();
    let mut sluggard = sluggard(&vhost).await;

    let first = client.accepted(BUILD, &json!({"n": 1})).await;
    called(&service, &first, 1).await;
    let second = client.accepted(BUILD, &json!({"n": 2})).await;
    until_true(LONG, "the second to wait where it is safe", async || vhost.queue_depth("jobs.reports.build").await == Some(1))
        .await;
    assert!(sluggard.next().await.is_none_or(|end| end.is_err()), "the broker waits no longer than it was told");
    for id in [&first, &second] {
        let job = client.wait_state(id, "succeeded", LONG).await;
        assert_eq!((&job["result"], job["attempts"].as_array().unwrap().len()), (&json!("late"), 1), "{job}");
        assert_eq!(job["interrupted"], 0, "{job}");
    }
    for id in [&first, &second] {
        assert_eq!(calls(&service, id).len(), 1);
    }
    let waited = calls(&service, &second)[0].at - calls(&service, &first)[0].at;
    assert!(waited >= WAITS * 5, "the one slot was taken for {waited:?}");
    assert!(closed(&broker) <= 1, "but for the one that was to be closed: {}", broker.log());
    // Since 4.3 the broker ends the subscription alone, and says so to nobody but its consumer.
    for trouble in ["opening it again", "cannot fetch deliveries"] {
        assert!(!hub.log().contains(trouble), "{}", hub.log());
    }
    assert_eq!(vhost.queue_depth("jobs.reports.build").await, Some(0));
    assert!(hub.process().poll().is_none());
}
