//! Queues of the team's own.

use broker_topology::{Arguments, Names, Queue, QueueKind, Topology, known_argument, subscriber};
use serde::Serialize;

use super::{Declared, arguments, description, key_at, on_broker, owner};
use crate::config::section::Section;
use crate::config::value::words;

/// One `[[queue]]`: durable, never deleted by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueConfig {
    /// Its name without `broker.prefix`; required.
    pub name: String,
    /// How it keeps its messages; default `quorum`.
    #[serde(rename = "type")]
    pub kind: QueueType,
    /// The team or service it belongs to, 1 to 100 bytes; required.
    pub owner: String,
    /// What it is for, 500 bytes at most; empty by default.
    pub description: String,
    /// Patterns of events. With some it is the queue of a subscriber, which Warren makes: bound to `warren.events` with each, with
    /// retries through the rungs and a queue `<name>.dead`; it takes neither `dead_letter` nor `arguments`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
    /// Where its dead letters go; default nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Arguments as RabbitMQ calls them; none by default.
    #[serde(skip_serializing_if = "Arguments::is_empty")]
    pub arguments: Arguments,
}

/// Where dead letters of a queue go: to an exchange, or straight to a queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// The exchange, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// the queue; one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The routing key, only with `exchange`; default: the one each message came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

words! {
    /// How a queue keeps its messages.
    QueueType {
        /// Replicated: what must not be lost.
        Quorum = "quorum",
        /// On one node.
        Classic = "classic",
        /// A log that many read, and nobody empties.
        Stream = "stream",
    }
}

/// Arguments that have keys of their own.
const ELSEWHERE: [(&str, &str); 3] =
    [("x-queue-type", "type"), ("x-dead-letter-exchange", "dead_letter"), ("x-dead-letter-routing-key", "dead_letter")];

impl Declared for QueueConfig {
    const KEY: &'static str = "queue";
    const MOST: usize = 2_000;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name", "give the queue its name");
        let kind = section.get("type", QueueType::Quorum);
        let (owner, description) = (owner(section), description(section));
        let subscribe: Vec<String> = section.get("subscribe", Vec::new());
        let dead_letter = section.maybe("dead_letter").and_then(|mut section| DeadLetter::read(&mut section));
        let arguments = arguments(section, "arguments", known_argument);
        for (argument, key) in ELSEWHERE.into_iter().filter(|(argument, _)| arguments.contains_key(*argument)) {
            section.problem(&format!("arguments.{argument}"), format!("has a key of its own: write `{key}`"));
        }
        if !subscribe.is_empty() && (kind != QueueType::Quorum || dead_letter.is_some() || !arguments.is_empty()) {
            let why =
                "makes a queue as Warren needs it: leave `type`, `dead_letter` and `arguments` out, or write [[binding]] instead";
            section.problem("subscribe", why);
        }
        Some(Self { name: name?, kind, owner: owner?, description, subscribe, dead_letter, arguments })
    }

    fn own(&self, names: &Names) -> Topology {
        let kind = match self.kind {
            QueueType::Quorum => QueueKind::Quorum,
            QueueType::Classic => QueueKind::Classic,
            QueueType::Stream => QueueKind::Stream,
        };
        let queue = Queue::new(on_broker(names, &self.name), kind, &self.owner, &self.description);
        let arguments = self.dead_letter.as_ref().map(|target| target.arguments(names, kind)).unwrap_or_default();
        // What is written goes before what follows from `dead_letter`.
        Topology::default().queue(Queue { arguments: arguments.into_iter().chain(self.arguments.clone()).collect(), ..queue })
    }

    fn fragment(&self, names: &Names) -> Topology {
        if self.subscribe.is_empty() {
            return self.own(names);
        }
        let patterns: Vec<&str> = self.subscribe.iter().map(String::as_str).collect();
        let made = subscriber(names, &self.name, &patterns, &self.owner);
        let described = |queue: Queue| match queue.name == names.on_broker(&self.name) && !self.description.is_empty() {
            true => Queue { description: self.description.clone(), ..queue },
            false => queue,
        };
        Topology { queues: made.queues.into_iter().map(described).collect(), ..made }
    }
}

impl QueueConfig {
    /// The queue of its dead letters, if Warren makes one.
    pub fn letters(&self, names: &Names) -> Option<String> {
        (!self.subscribe.is_empty()).then(|| names.dead_queue(&names.on_broker(&self.name)))
    }
}

impl DeadLetter {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let target = Self { exchange: section.opt("exchange"), queue: section.opt("queue"), key: section.opt("key") };
        match (&target.exchange, &target.queue, &target.key) {
            (Some(_), None, _) | (None, Some(_), None) => return Some(target),
            (None, Some(_), Some(_)) => {
                section.problem("key", "is of no use beside `queue`, which is the key itself: remove one of the two")
            }
            _ => section.problem("exchange", "or `queue` is needed, and only one of them: say where the dead letters go"),
        }
        None
    }

    fn arguments(&self, names: &Names, kind: QueueKind) -> Arguments {
        let (exchange, key) = match (&self.exchange, &self.queue) {
            (Some(exchange), _) => (on_broker(names, exchange), self.key.as_ref()),
            (None, queue) => (String::new(), queue.as_ref()),
        };
        let key = key.map(|key| key_at(names, &exchange, key));
        let mut found = Arguments::from([("x-dead-letter-exchange".to_owned(), exchange.into())]);
        found.extend(key.map(|key| ("x-dead-letter-routing-key".to_owned(), key.into())));
        if kind == QueueKind::Quorum {
            // Otherwise a dead letter is gone from here before it has arrived.
            found.insert("x-dead-letter-strategy".to_owned(), "at-least-once".into());
            found.insert("x-overflow".to_owned(), "reject-publish".into());
        }
        found
    }
}
