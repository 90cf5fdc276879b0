//! Workers that the hub knows by what they report: those of docs/examples as they are, and some that misbehave.

pub(crate) mod examples;
mod misbehaving;
mod tokens;

use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::BasicGetOptions;
use lapin::{Connection, ConnectionProperties};
use messaging::message::Message;
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::postgres::Postgres;
use warren_tests::wait::{until, until_true};

use crate::world::{LONG, settled};

const KIND: &str = "reports.build";
const QUEUE: &str = "jobs.reports.build";

/// A hub whose one kind is worked on elsewhere.
struct Stage {
    vhost: Vhost,
    store_url: String,
    hub: HubProcess,
}

impl Stage {
    async fn set() -> Self {
        Self::with("timeout = \"60s\"", &[]).await
    }

    /// With more of the kind's settings, and roles of the hub.
    async fn with(settings: &str, roles: &[&str]) -> Self {
        let (vhost, store_url) = (Broker::shared().await.vhost().await, Postgres::shared().await.database().await);
        let retry = r#"retry = { delays = ["1s"], max_attempts = 3 }"#;
        let options = HubOptions {
            broker_url: vhost.url(),
            store_url: store_url.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            extra_toml: format!("[[kind]]\nname = \"{KIND}\"\nworker = \"amqp\"\n{retry}\n{settings}\n"),
            ..HubOptions::default()
        };
        let hub = HubProcess::start(&options).await;
        settled(&hub).await;
        Self { vhost, store_url, hub }
    }

    fn client(&self) -> HubClient {
        self.hub.client()
    }

    /// A job's state and attempts, once `seen`.
    async fn job_once(&self, id: &str, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
        let client = self.client();
        until(LONG, what, async || client.job(id).await.ok().map(|answer| answer.body).filter(|job| seen(job))).await
    }

    /// Publishes to `warren.results` as a worker would.
    async fn say(&self, kind: &str, body: &Value) {
        let properties = json!({"message_id": uuid::Uuid::now_v7(), "type": kind, "delivery_mode": 2});
        assert!(self.vhost.publish("warren.results", "warren.results", properties, body.to_string().as_bytes()).await);
    }

    /// Waits until so many reports have been counted like this.
    async fn counted(&self, result: &str, count: u64) {
        let series = format!("warren_reports_total{{result=\"{result}\"}} ");
        until_true(LONG, &format!("{count} reports that are {result}"), async || {
            let text = reqwest::get(format!("{}/metrics", self.hub.internal_url())).await.unwrap().text().await.unwrap();
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0) == count
        })
        .await;
    }

    /// A connection of a worker, which holds what it takes until it is dropped.
    async fn hand(&self) -> Hand {
        let connection = Connection::connect(&self.vhost.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Hand { connection, channel }
    }
}

/// A worker's hand: the test says what it does.
struct Hand {
    connection: Connection,
    channel: lapin::Channel,
}

/// A job's message, held and not acked.
struct Held {
    message: Message,
    delivery: BasicGetMessage,
}

impl Hand {
    async fn take(&self) -> Held {
        until(LONG, "a message", async || {
            let got = self.channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await.unwrap()?;
            let message = messaging::wire::read(&got.delivery.properties, got.delivery.data.clone().into());
            Some(Held { message, delivery: got })
        })
        .await
    }

    /// Dies: what it holds goes back to the queue.
    async fn die(self) {
        self.connection.close(200, "gone".into()).await.unwrap();
    }
}

impl Held {
    /// A report of this run, with more fields.
    fn report(&self, more: &Value) -> Value {
        let run = self.message.run.unwrap();
        let mut body =
            json!({"job": self.message.id, "epoch": run.epoch, "attempt": run.attempt, "token": self.message.token().unwrap()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    async fn ack(&self) {
        self.delivery.delivery.acker.ack(lapin::options::BasicAckOptions::default()).await.unwrap();
    }
}

/// How attempts ended, oldest first.
fn outcomes(job: &Value) -> Vec<&str> {
    job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].as_str().unwrap_or("-")).collect()
}

/// Longer than a worker may take to leave.
const LEAVING: Duration = Duration::from_secs(40);
