//! The AsyncAPI 3.0 document: what goes over the broker, for those who meet Warren there. `/openapi.json` is its sister for HTTP.
//!
//! Operations are Warren's: it *receives* submissions and reports, and *sends* jobs and dead letters. Rungs, notices and the way back
//! are its own affair and are left out. The document fetches nothing and holds no credentials.

mod messages;
mod payloads;

use std::sync::Arc;

use api_ack::kinds::{Existing, Format, KindSpec, Kinds};
use broker_topology::{Exchange, HUB, Names, Priority, Queue, Topology};
use serde_json::{Map, Value, json};

use crate::config::{Broker, percent_encoded};

/// The version of AsyncAPI's AMQP bindings that is written.
const BINDING: &str = "0.3.0";

/// What a document is made of, beside the kinds.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) names: Names,
    pub(crate) topology: Topology,
    pub(crate) vhost: String,
    pub(crate) servers: Map<String, Value>,
}

impl Ground {
    /// Of what is configured; without `servers`, for those who are not to be told where the broker is.
    pub(crate) fn new(broker: &Broker, topology: Topology, servers: bool) -> Self {
        let servers = if servers { self::servers(broker) } else { Map::new() };
        Self { names: Names::new(&broker.prefix), topology, vhost: broker.vhost_name(), servers }
    }

    /// The document, for these kinds.
    pub(crate) fn document(&self, kinds: &Kinds) -> Value {
        let mut document = Document {
            ground: self,
            channels: Map::new(),
            operations: Map::new(),
            components: Map::new(),
            schemas: payloads::shared(&self.names),
        };
        document.inlets();
        document.of_devices();
        let kinds: Vec<Arc<KindSpec>> = kinds.iter().collect();
        for spec in &kinds {
            document.kind(spec);
        }
        document.of_the_team(&kinds);
        document.whole()
    }
}

/// Where the broker is: nodes of one cluster have one entry each.
fn servers(broker: &Broker) -> Map<String, Value> {
    let path = format!("/{}", percent_encoded(&broker.vhost_name()));
    let server = |(number, url): (usize, &crate::config::BrokerUrl)| {
        let name = if number == 0 { "broker".to_owned() } else { format!("broker{}", number + 1) };
        let protocol = if url.is_tls() { "amqps" } else { "amqp" };
        let server = json!({ "host": url.authority(), "pathname": path, "protocol": protocol, "protocolVersion": "0-9-1" });
        (name, server)
    };
    broker.urls.iter().enumerate().map(server).collect()
}

struct Document<'a> {
    ground: &'a Ground,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    /// Messages by name.
    components: Map<String, Value>,
    schemas: Map<String, Value>,
}

impl Document<'_> {
    fn whole(self) -> Value {
        let servers = &self.ground.servers;
        let mut document = json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": "Warren",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Messages between Warren, its workers and those who submit jobs over RabbitMQ. Delivery is at least once; \
                                messages are CloudEvents 1.0 in AMQP binary mode, persistent, with `message_id` always set.",
            },
            "defaultContentType": "application/json",
            "channels": self.channels,
            "operations": self.operations,
            "components": { "messages": self.components, "schemas": self.schemas },
        });
        if !servers.is_empty() {
            document["servers"] = servers.clone().into();
        }
        document
    }

    /// What others publish to.
    fn inlets(&mut self) {
        let names = &self.ground.names;
        for (name, says) in
            [("warren.started", "A run has begun"), ("warren.progress", "How far a run is"), ("warren.result", "A run has ended")]
        {
            self.components.insert(name.to_owned(), messages::report(name, says));
        }
        self.components.insert("event".to_owned(), messages::event());
        self.components.insert("dead-letter".to_owned(), messages::dead_letter());
        let for_devices = self.ground.topology.exchanges.iter().any(|exchange| exchange.name == names.devices());
        let (submitted, also) = match for_devices {
            false => ("Jobs submitted by message; `message_id` is the idempotency key", vec![]),
            true => (
                "Jobs, and messages for devices, submitted by message; `message_id` is the idempotency key",
                vec!["device-message"],
            ),
        };
        if for_devices {
            self.components.insert("device-message".to_owned(), messages::to_devices());
        }
        let exchanges = [
            (names.submit(), submitted, also),
            (names.results(), "What workers report of their runs", vec!["warren.started", "warren.progress", "warren.result"]),
            (names.events(), "Events of services, by `<domain>.<event>`", vec!["event"]),
        ];
        for (name, summary, messages) in exchanges {
            if let Some(exchange) = self.ground.topology.exchanges.iter().find(|exchange| exchange.name == name) {
                self.exchange(exchange, summary, &messages);
            }
        }
        self.operation(
            "submit",
            "receive",
            &names.submit(),
            "Warren makes jobs of what is submitted, and sends to devices what is for them",
        );
        self.operation("report", "receive", &names.results(), "Warren hears what workers report");
        self.dead_letters(&names.lost(), "Messages whose queue of origin is gone");
    }

    /// What subscribers hear of devices, where these are served.
    fn of_devices(&mut self) {
        let (names, exchanges) = (&self.ground.names, &self.ground.topology.exchanges);
        let events = names.events();
        if !exchanges.iter().any(|exchange| exchange.name == names.devices()) || !self.channels.contains_key(&events) {
            return;
        }
        for (name, schema) in payloads::of_devices() {
            self.schemas.insert(name.to_owned(), schema);
        }
        for (name, message) in messages::of_devices() {
            self.channels[&events]["messages"][&name] = reference("components/messages", &name);
            self.components.insert(name, message);
        }
        self.operation("tell", "send", &events, "Warren tells what became of messages to devices, and who is connected");
    }

    fn kind(&mut self, spec: &KindSpec) {
        let (names, kind) = (&self.ground.names, spec.kind.as_str());
        let schema = spec.schema.as_ref().filter(|_| api_ack::kinds::is_json(&spec.content_types[0]));
        let payload = format!("payload.{kind}");
        let schema = schema.and_then(|schema| payloads::hosted(schema.document(), &format!("#/components/schemas/{payload}")));
        let schema = schema.map(|schema| {
            self.schemas.insert(payload.clone(), schema);
            reference("components/schemas", &payload)
        });
        self.components.insert(format!("submit.{kind}"), messages::submission(spec, schema.as_ref()));
        let submit = format!("submit.{kind}");
        if let Some(channel) = self.channels.get_mut(&names.submit()) {
            channel["messages"][&submit] = reference("components/messages", &submit);
        }
        let raw = spec.existing.as_ref().is_some_and(|existing| existing.format == Format::Raw);
        self.components.insert(format!("job.{kind}"), messages::job(spec, schema.as_ref(), raw));
        let job = format!("job.{kind}");
        match &spec.existing {
            Some(existing) => {
                let id = format!("outlet.{kind}");
                let channel = self.outlet(existing, kind, &job);
                self.channels.insert(id.clone(), channel);
                self.operation(&format!("run.{kind}"), "send", &id, &format!("Warren hands over jobs of the kind {kind}"));
            }
            None => {
                self.work(&names.work_queue(&spec.kind), &format!("run.{kind}"), &format!("Jobs of the kind {kind}"), &job);
            }
        }
        if spec.priority.is_some() {
            let queue = names.queue_of(&spec.kind, Priority::High);
            self.work(&queue, &format!("run.{kind}.high"), &format!("Jobs of the kind {kind} that go first"), &job);
        }
        self.dead_letters(
            &names.dead_queue(&names.work_queue(&spec.kind)),
            &format!("Dead letters of the kind {kind}, until the keeper takes them"),
        );
    }

    /// Exchanges and queues that belong to somebody else than the hub, and are no kind's.
    fn of_the_team(&mut self, kinds: &[Arc<KindSpec>]) {
        let ground = self.ground;
        for exchange in ground.topology.exchanges.iter().filter(|exchange| exchange.owner != HUB) {
            if !self.channels.contains_key(&exchange.name) {
                self.exchange(exchange, &exchange.description, &["event"]);
            }
        }
        let own: Vec<String> = kinds.iter().map(|spec| ground.names.work_queue(&spec.kind)).collect();
        for queue in ground.topology.queues.iter().filter(|queue| queue.owner != HUB && !own.contains(&queue.name)) {
            let dead = queue.name.ends_with(".dead");
            let id = if self.channels.contains_key(&queue.name) { format!("{}.queue", queue.name) } else { queue.name.clone() };
            let channel = self.queue(queue, &queue.description, if dead { "dead-letter" } else { "event" });
            self.channels.entry(id).or_insert(channel);
        }
    }

    fn exchange(&mut self, exchange: &Exchange, summary: &str, messages: &[&str]) {
        let binding = json!({
            "is": "routingKey",
            "exchange": { "name": exchange.name, "type": exchange.kind.as_str(), "durable": true, "autoDelete": false, "vhost": self.ground.vhost },
            "bindingVersion": BINDING,
        });
        let messages: Map<String, Value> =
            messages.iter().map(|name| ((*name).to_owned(), reference("components/messages", name))).collect();
        let channel = json!({
            "address": exchange.name,
            "title": format!("exchange {}", exchange.name),
            "summary": summary,
            "messages": messages,
            "bindings": { "amqp": binding },
        });
        self.channels.insert(exchange.name.clone(), channel);
    }

    fn work(&mut self, name: &str, operation: &str, summary: &str, message: &str) {
        let Some(queue) = self.ground.topology.queues.iter().find(|queue| queue.name == name) else { return };
        let channel = self.queue(queue, summary, message);
        self.channels.insert(name.to_owned(), channel);
        self.operation(operation, "send", name, "Warren publishes what is due; a worker consumes, reports, then acks");
    }

    fn dead_letters(&mut self, name: &str, summary: &str) {
        let Some(queue) = self.ground.topology.queues.iter().find(|queue| queue.name == name) else { return };
        let channel = self.queue(queue, summary, "dead-letter");
        self.channels.insert(name.to_owned(), channel);
        self.operation(&format!("bury.{name}"), "send", name, "Warren, or the broker, gives up a message");
    }

    fn queue(&self, queue: &Queue, summary: &str, message: &str) -> Value {
        json!({
            "address": queue.name,
            "title": format!("queue {}", queue.name),
            "summary": summary,
            "messages": { message: reference("components/messages", message) },
            "bindings": { "amqp": self.queue_binding(&queue.name) },
        })
    }

    fn queue_binding(&self, name: &str) -> Value {
        let queue = json!({ "name": name, "durable": true, "exclusive": false, "autoDelete": false, "vhost": self.ground.vhost });
        json!({ "is": "queue", "queue": queue, "bindingVersion": BINDING })
    }

    /// An exchange and a queue that somebody else declares.
    fn outlet(&self, existing: &Existing, kind: &str, message: &str) -> Value {
        let binding = match existing.exchange.as_str() {
            // The default exchange: the key is the name of a queue.
            "" => self.queue_binding(&existing.routing_key),
            exchange => {
                json!({ "is": "routingKey", "exchange": { "name": exchange, "vhost": self.ground.vhost }, "bindingVersion": BINDING })
            }
        };
        json!({
            "address": existing.routing_key,
            "title": format!("where jobs of the kind {kind} go"),
            "summary": "Declared by somebody else; Warren publishes there",
            "messages": { message: reference("components/messages", message) },
            "bindings": { "amqp": binding },
        })
    }

    fn operation(&mut self, name: &str, action: &str, channel: &str, summary: &str) {
        if !self.channels.contains_key(channel) {
            return;
        }
        let binding = match action {
            "send" => json!({ "deliveryMode": 2, "mandatory": true, "bindingVersion": BINDING }),
            _ => json!({ "ack": true, "bindingVersion": BINDING }),
        };
        let operation = json!({
            "action": action,
            "channel": reference("channels", channel),
            "summary": summary,
            "bindings": { "amqp": binding },
        });
        self.operations.insert(name.to_owned(), operation);
    }
}

/// A pointer into this document.
fn reference(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/{place}/{}", name.replace('~', "~0").replace('/', "~1")) })
}

#[cfg(test)]
mod tests;
