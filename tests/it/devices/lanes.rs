//! The lanes of devices against a real broker: what is said to be there is there, what is confirmed is not lost, and what happens to one
//! device does not happen to the others.

mod attaching;
mod declaring;
mod faults;
mod permitted;
mod policies;
mod publishing;
mod retiring;

use std::sync::Arc;
use std::time::Duration;

use broker_topology::{Device, Names, Tier, TierLimits, definitions, devices};
use bytes::Bytes;
use messaging::connection::BrokerOptions;
use messaging::devices::{Attachment, Delivery, DeviceMessage, Event, Lane, Lanes, LanesOptions, Sent};
use messaging::message::Message;
use messaging::metrics::Metrics;
use prometheus::Registry;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::wait::until;

const SOON: Duration = Duration::from_secs(30);

/// Devices are declared as fast as the broker can; a pace is tested by itself.
fn quick() -> LanesOptions {
    LanesOptions { declares_per_second: 100_000, ..LanesOptions::default() }
}

/// A vhost with what all devices share, and lanes on it.
struct Stage {
    vhost: Vhost,
    names: Names,
    lanes: Lanes,
    registry: Registry,
    stop: CancellationToken,
}

impl Stage {
    async fn set() -> Self {
        Self::on(Broker::shared().await, quick()).await
    }

    async fn on(broker: &Broker, options: LanesOptions) -> Self {
        let vhost = broker.vhost().await;
        let names = Names::default();
        let shared = definitions(&devices(&names, &TierLimits::default()), vhost.name());
        let path = format!("/api/definitions/{}", vhost.name().replace('/', "%2F"));
        broker.management().call("POST", &path, Some(shared)).await;
        let (lanes, registry, stop) = lanes(&vhost.url(), names.clone(), options);
        Self { vhost, names, lanes, registry, stop }
    }

    fn queue(&self, device: Device) -> String {
        self.names.device_queue(device)
    }

    async fn declared(&self, number: u64) -> Device {
        let device = standard(number);
        self.lanes.ensure(Lane::of(device)).await.unwrap();
        device
    }

    /// Publishes so many messages, numbered from 1, of which every one is queued.
    async fn fill(&self, device: Device, count: i64) {
        let sent = self.lanes.line(device).publish((1..=count).map(message).collect()).await;
        assert!(sent.iter().all(|sent| *sent == Sent::Queued), "{sent:?}");
    }

    /// What policies make of the queue of a device, once the broker tells.
    async fn effective(&self, device: Device) -> Value {
        until(SOON, "the broker to tell of the policies of a queue", async || {
            let queue = self.vhost.queue(&self.queue(device)).await;
            queue.get("effective_policy_definition").filter(|found| found.is_object()).cloned()
        })
        .await
    }

    /// What a counter of lanes shows.
    fn count(&self, name: &str, result: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no metric {name}"));
        let of = |one: &&prometheus::proto::Metric| one.get_label().iter().any(|label| label.value() == result);
        family.get_metric().iter().find(of).map_or(0, |one| one.get_counter().get_value() as u64)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn lanes(url: &str, names: Names, options: LanesOptions) -> (Lanes, Registry, CancellationToken) {
    let (tasks, stop, registry) = (TaskTracker::new(), CancellationToken::new(), Registry::new());
    let wire = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let broker = Arc::new(BrokerOptions::new(url, "test"));
    let lanes = Lanes::start(&broker, names, options, &tasks, &stop, &wire, &registry).unwrap();
    (lanes, registry, stop)
}

fn standard(number: u64) -> Device {
    Device { number, tier: Tier::Standard }
}

/// The message with this seq; its id says it too.
fn message(seq: i64) -> DeviceMessage {
    named(&format!("m-{seq}"), seq)
}

fn named(id: &str, seq: i64) -> DeviceMessage {
    let message = Message {
        id: id.to_owned(),
        kind: "device.message".to_owned(),
        source: "/warren/test".to_owned(),
        time: Default::default(),
        content_type: "application/json".to_owned(),
        traceparent: None,
        run: None,
        tenant: "acme".to_owned(),
        headers: Default::default(),
        body: Bytes::from_static(b"{\"hello\": \"device\"}"),
    };
    DeviceMessage { message, seq, after: (seq > 1).then_some(seq - 1), kept: None }
}

/// The next event, which comes soon.
async fn heard(session: &mut Attachment) -> Option<Event> {
    tokio::time::timeout(SOON, session.next()).await.expect("an event")
}

/// The next delivery, which comes soon and before anything else.
async fn delivered(session: &mut Attachment) -> Delivery {
    match heard(session).await {
        Some(Event::Delivery(delivery)) => delivery,
        other => panic!("{other:?} came instead of a delivery"),
    }
}

async fn seqs(session: &mut Attachment, count: usize) -> Vec<i64> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(delivered(session).await.seq.unwrap());
    }
    all
}
