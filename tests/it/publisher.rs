//! The publisher against a real broker: what it says became of a message is what became of it.

mod faults;
mod verdicts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use messaging::connection::{BrokerOptions, Link};
use messaging::message::{Message, Route};
use messaging::metrics::Metrics;
use messaging::publisher::{PublishError, Publisher, PublisherOptions};
use messaging::wire::Outbound;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::wait::until_true;

const SOON: Duration = Duration::from_secs(30);
const QUEUE: &str = "work";

/// A vhost with one queue, and a publisher on a connection that may lead through a proxy.
struct Stage {
    vhost: Vhost,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Stage {
    async fn set() -> Self {
        Self::on(Broker::shared().await, PublisherOptions::default(), |url| url).await
    }

    async fn on(broker: &Broker, options: PublisherOptions, lead: impl FnOnce(String) -> String) -> Self {
        let vhost = broker.vhost().await;
        vhost.declare_queue(QUEUE, json!({})).await;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::new(Metrics::new(&Default::default()).unwrap());
        let broker = Arc::new(BrokerOptions::new(lead(vhost.url()), "test"));
        let link = Link::start(broker, "publish", &tasks, stop.clone(), metrics.clone());
        let publisher = Publisher::start(link, options, &tasks, stop.clone(), metrics);
        Self { vhost, publisher, stop }
    }

    /// Publishes until it works: for the time a connection or a channel needs to come back.
    async fn works_again(&self) {
        until_true(SOON, "a publish to work", async || self.publisher.publish(to(QUEUE, "again")).await.is_ok()).await;
    }

    /// How often each message lies in the queue; they are taken out.
    async fn taken(&self) -> BTreeMap<String, usize> {
        let mut taken = BTreeMap::new();
        loop {
            let some = self.vhost.get_messages(QUEUE, 1000).await;
            if some.is_empty() {
                return taken;
            }
            for message in some {
                *taken.entry(message.message_id().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn message(id: &str, body: Bytes) -> Message {
    Message {
        id: id.to_owned(),
        kind: "test.published".to_owned(),
        source: "/warren/test".to_owned(),
        time: Default::default(),
        content_type: "application/octet-stream".to_owned(),
        traceparent: None,
        run: None,
        tenant: String::new(),
        headers: Default::default(),
        body,
    }
}

/// A message to the queue of this name, through the default exchange.
fn to(queue: &str, id: &str) -> Outbound {
    Outbound::new(Route::new("", queue), &message(id, Bytes::from(vec![b'x'; 200]))).unwrap()
}

fn is_closed(verdict: &Result<(), PublishError>) -> bool {
    matches!(verdict, Err(PublishError::Closed(_)))
}
