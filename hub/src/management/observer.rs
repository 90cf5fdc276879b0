//! What a migration must know of a queue and AMQP does not tell: its arguments, its bindings, what it has beside the messages that are
//! ready, and what policies set for it. And the one thing that AMQP cannot be asked for: to remove the binding whose arguments look so.

use async_trait::async_trait;
use broker_topology::{Argument, Arguments, LiveBinding};
use messaging::migration::{LiveQueue, Observer};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Management, ManagementError};

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    arguments: Value,
    #[serde(rename = "type", default = "classic")]
    sort: String,
    durable: bool,
    #[serde(default)]
    exclusive: bool,
    auto_delete: bool,
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    message_bytes: u64,
    messages_unacknowledged: Option<u64>,
    #[serde(default)]
    messages_dlx: u64,
    effective_policy_definition: Option<Value>,
}

fn classic() -> String {
    "classic".to_owned()
}

#[async_trait]
impl Observer for Management {
    async fn queue(&self, name: &str) -> Result<Option<LiveQueue>, String> {
        let found = self.find::<Found>(&["queues", self.vhost(), name]).await.map_err(|error| error.to_string())?;
        Ok(found.map(Found::live))
    }

    async fn bindings(&self, queue: &str) -> Result<Vec<LiveBinding>, String> {
        let path = ["queues", self.vhost(), queue, "bindings"];
        let found = self.find::<Vec<LiveBinding>>(&path).await.map_err(|error| error.to_string())?.unwrap_or_default();
        // Every queue is bound to the default exchange, and nobody can change that.
        Ok(found.into_iter().filter(|bound| !bound.source.is_empty()).collect())
    }

    async fn unbind(&self, binding: &LiveBinding) -> Result<(), String> {
        self.remove_binding(binding).await.map(drop).map_err(|error| error.to_string())
    }
}

impl Management {
    /// Removes exactly that binding, whatever sorts of numbers are in its arguments; false when it was not there.
    pub(crate) async fn remove_binding(&self, binding: &LiveBinding) -> Result<bool, ManagementError> {
        let sort = if binding.destination_type == "queue" { "q" } else { "e" };
        let path = ["bindings", self.vhost(), "e", &binding.source, sort, &binding.destination, &binding.properties_key];
        self.delete(&path, &[]).await
    }
}

impl Found {
    fn live(self) -> LiveQueue {
        let mut arguments = arguments(&self.arguments);
        // One that was declared without a type has the broker's default.
        arguments.entry("x-queue-type".to_owned()).or_insert_with(|| self.sort.into());
        LiveQueue {
            arguments,
            durable: self.durable,
            exclusive: self.exclusive,
            auto_delete: self.auto_delete,
            messages: self.messages,
            bytes: self.message_bytes,
            held: self.messages_unacknowledged.map(|unacked| unacked + self.messages_dlx),
            policy: self.effective_policy_definition.as_ref().map(self::arguments),
        }
    }
}

/// An empty table is an empty list to some versions.
fn arguments(table: &Value) -> Arguments {
    let empty = Map::new();
    table.as_object().unwrap_or(&empty).iter().map(|(name, value)| (name.clone(), argument(value))).collect()
}

fn argument(value: &Value) -> Argument {
    // No argument of a queue that means anything: it is shown, and differs.
    Argument::of_json(value).unwrap_or_else(|| value.to_string().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_is_read_whatever_its_version_leaves_out() {
        let fresh = json!({"arguments": {}, "durable": true, "auto_delete": false});
        let live = serde_json::from_value::<Found>(fresh).unwrap().live();
        assert_eq!((live.held, live.policy), (None, None), "no figure is not none");

        let old = json!({"arguments": {"x-delivery-limit": 5, "x-single-active-consumer": true}, "type": "quorum", "durable": true,
            "auto_delete": false, "effective_policy_definition": []});
        let live = serde_json::from_value::<Found>(old).unwrap().live();
        let expected: [(&str, Argument); 3] =
            [("x-delivery-limit", 5.into()), ("x-queue-type", "quorum".into()), ("x-single-active-consumer", true.into())];
        assert_eq!(live.arguments, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(live.policy, Some(Arguments::new()));
        let new = json!({"arguments": [], "durable": true, "auto_delete": false, "messages_unacknowledged": 3, "messages_dlx": 2,
            "effective_policy_definition": {"max-length": 5, "queue-leader-locator": "balanced"}});
        let live = serde_json::from_value::<Found>(new).unwrap().live();
        let policy: [(&str, Argument); 2] = [("max-length", 5.into()), ("queue-leader-locator", "balanced".into())];
        assert_eq!((live.held, live.policy), (Some(5), Some(policy.map(|(name, value)| (name.to_owned(), value)).into())));
    }
}
