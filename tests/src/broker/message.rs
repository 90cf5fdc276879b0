//! Putting messages into a queue and taking them out, byte for byte, as a stranger would.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::Vhost;

/// A message as it lay in a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The bytes, exactly.
    pub body: Vec<u8>,
    /// AMQP properties by their names in the API; `headers` is an object among them.
    pub properties: Value,
    /// The exchange it came through.
    pub exchange: String,
    /// The key it came with.
    pub routing_key: String,
    /// Whether the broker handed it out before.
    pub redelivered: bool,
}

impl Message {
    /// A header's value, `Null` when there is none.
    pub fn header(&self, name: &str) -> &Value {
        &self.properties["headers"][name]
    }

    /// The `message_id` property.
    pub fn message_id(&self) -> Option<&str> {
        self.properties["message_id"].as_str()
    }
}

impl Vhost {
    /// Takes up to `n` messages out of a queue, oldest first.
    pub async fn get_messages(&self, queue: &str, n: usize) -> Vec<Message> {
        self.fetch(queue, n, "ack_requeue_false").await
    }

    /// Reads up to `n` messages and leaves them in the queue. They are back a moment after the answer, and count as delivered
    /// once more.
    pub async fn peek_messages(&self, queue: &str, n: usize) -> Vec<Message> {
        self.fetch(queue, n, "ack_requeue_true").await
    }

    async fn fetch(&self, queue: &str, n: usize, ackmode: &str) -> Vec<Message> {
        let path = format!("{}/get", self.path("queues", queue));
        let body = json!({"count": n, "ackmode": ackmode, "encoding": "base64"});
        let found = self.management.call("POST", &path, Some(body)).await;
        let found = found.as_array().expect("RabbitMQ answers with a list").clone();
        found.into_iter().map(message).collect()
    }

    /// Publishes as a stranger would and waits for the confirm; `false` when no queue took it.
    ///
    /// The exchange `""` is the default exchange. Properties carry their names in the API, such as
    /// `{"message_id": "1", "delivery_mode": 2, "headers": {"a": 1}}`.
    pub async fn publish(&self, exchange: &str, key: &str, properties: Value, body: &[u8]) -> bool {
        let exchange = if exchange.is_empty() { "amq.default" } else { exchange };
        let path = format!("{}/publish", self.path("exchanges", exchange));
        let message = json!({
            "routing_key": key,
            "properties": properties,
            "payload": BASE64_STANDARD.encode(body),
            "payload_encoding": "base64",
        });
        let answer = self.management.call("POST", &path, Some(message)).await;
        answer["routed"].as_bool().expect("RabbitMQ tells whether it routed a message")
    }
}

fn message(found: Value) -> Message {
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    let mut properties = found["properties"].clone();
    // The API writes a message without any properties as an empty list.
    if !properties.is_object() {
        properties = json!({});
    }
    Message {
        body: BASE64_STANDARD.decode(text("payload")).expect("RabbitMQ was asked for base64"),
        properties,
        exchange: text("exchange"),
        routing_key: text("routing_key"),
        redelivered: found["redelivered"].as_bool().unwrap_or_default(),
    }
}
