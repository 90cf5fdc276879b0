//! Where the jobs of a kind go that has an exchange and a queue already.

use serde::Serialize;
use toml::Value;

use super::section::Section;
use super::value::{FromValue, words};

/// One `[kind.amqp]`: what was there before Warren, and is neither declared nor changed by it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AmqpTarget {
    /// The exchange, as it is called on the broker; default empty: the default exchange, whose routing keys are names of queues.
    pub exchange: String,
    /// The routing key; required, 1 to 255 bytes.
    pub routing_key: String,
    /// The queue that its messages come to: looked for at start, and its depth shown. Default none; with the default exchange the
    /// routing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What a message looks like; default `cloudevents`.
    pub format: AmqpFormat,
    /// When a job is done; default `report`.
    pub completion: AmqpCompletion,
}

words! {
    /// What a message looks like.
    AmqpFormat {
        /// A CloudEvent in binary mode with Warren's headers, as on `jobs.<kind>`.
        CloudEvents = "cloudevents",
        /// The payload as it was accepted, with AMQP properties and no header.
        Raw = "raw",
    }
}

words! {
    /// When a job is done.
    AmqpCompletion {
        /// When its consumer reports on `warren.results`.
        Report = "report",
        /// When the broker has confirmed its message.
        Handoff = "handoff",
    }
}

impl AmqpTarget {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let exchange = section.get("exchange", Name(String::new())).0;
        let key: Option<Name> = section.required("routing_key", "say with which key its messages are published");
        if key.as_ref().is_some_and(|Name(key)| key.is_empty()) {
            section.problem("routing_key", "must have 1 to 255 bytes");
        }
        let queue: Option<Name> = section.opt("queue");
        if queue.as_ref().is_some_and(|Name(queue)| queue.is_empty()) {
            section.problem("queue", "must have 1 to 255 bytes: name it, or leave it out");
        }
        let (format, completion) =
            (section.get("format", AmqpFormat::CloudEvents), section.get("completion", AmqpCompletion::Report));
        let Name(routing_key) = key?;
        let of_default = exchange.is_empty().then(|| routing_key.clone());
        Some(Self { exchange, queue: queue.map(|Name(queue)| queue).or(of_default), routing_key, format, completion })
    }
}

/// A name or a key on the broker.
struct Name(String);

impl FromValue for Name {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = String::from_value(value)?;
        if text.len() > 255 {
            return Err(format!("has {} bytes, AMQP carries 255 at most", text.len()));
        }
        if text.contains('\0') {
            return Err("holds a NUL".to_owned());
        }
        Ok(Self(text))
    }
}
