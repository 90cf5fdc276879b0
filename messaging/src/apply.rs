//! A topology on a live broker, over AMQP alone: what exists is left as it is, what is missing is made.
//!
//! A passive check comes first, so that a start needs no declare when nothing is missing: a broker that has lost its majority
//! can still be worked with. What exists with other arguments is not seen here; comparing them needs the management API.

use std::time::Duration;

use broker_topology::{Argument, Arguments, Destination, ExchangeKind, Topology};
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection};

use crate::connection::{Link, Stopped};

/// Longer than this for one declare, and the broker is in no state to declare anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`apply`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Make what is missing.
    Declare,
    /// Only look; what is missing is an error.
    Check,
}

/// Why a topology is not on the broker.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Looked for, and not there.
    #[error("missing on the broker: {}; let Warren declare it (topology.manage = \"declare\") or have it made", .0.join(", "))]
    Missing(Vec<String>),
    /// The broker refused; most often because it exists with other arguments, or the user may not configure it.
    #[error("the broker refuses {object}: {why}")]
    Refused {
        /// What was to be made.
        object: String,
        /// The broker's words.
        why: String,
    },
    /// No answer.
    #[error("the broker does not answer about {0}")]
    Silent(String),
    /// The process drains.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// Names of exchanges and queues that were missing and are there now.
    pub created: Vec<String>,
    /// How many were there already.
    pub present: usize,
    /// Bindings sent; the broker knows most of them already.
    pub bindings: usize,
}

/// Makes sure that everything in `topology` exists.
///
/// # Errors
/// As [`ApplyError`]. What was made before the error stays; calling again goes on from there.
pub async fn apply(link: &Link, topology: &Topology, mode: Mode) -> Result<Applied, ApplyError> {
    let live = link.live().await?;
    let mut scratch = Scratch { connection: &live.connection, channel: None };
    let mut applied = Applied::default();
    let mut missing = Vec::new();
    for exchange in &topology.exchanges {
        let object = format!("exchange `{}`", exchange.name);
        let kind = kind_of(exchange.kind);
        let declare = |passive: bool| {
            let (name, kind, arguments) = (name(&exchange.name), kind.clone(), table(&exchange.arguments()));
            let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
            async move |channel: Channel| {
                channel.exchange_declare(name?, kind, options, arguments).await.map_err(|e| e.to_string())
            }
        };
        if scratch.run(&object, declare(true)).await.is_ok() {
            applied.present += 1;
        } else if mode == Mode::Check {
            missing.push(object);
        } else {
            scratch.run(&object, declare(false)).await?;
            applied.created.push(exchange.name.clone());
        }
    }
    for queue in &topology.queues {
        let object = format!("queue `{}`", queue.name);
        let declare = |passive: bool| {
            let (name, arguments) = (name(&queue.name), table(&queue.arguments()));
            let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
            async move |channel: Channel| {
                channel.queue_declare(name?, options, arguments).await.map(drop).map_err(|e| e.to_string())
            }
        };
        if scratch.run(&object, declare(true)).await.is_ok() {
            applied.present += 1;
        } else if mode == Mode::Check {
            missing.push(object);
        } else {
            scratch.run(&object, declare(false)).await?;
            applied.created.push(queue.name.clone());
        }
    }
    if !missing.is_empty() {
        return Err(ApplyError::Missing(missing));
    }
    if mode == Mode::Declare {
        for binding in &topology.bindings {
            let object = format!("binding `{}` -> `{}` ({})", binding.source, binding.destination.name(), binding.key);
            let (source, key, arguments) = (name(&binding.source), name(&binding.key), table(&binding.arguments));
            let destination = name(binding.destination.name());
            let to_queue = matches!(binding.destination, Destination::Queue(_));
            let bind = async move |channel: Channel| {
                let (destination, source, key) = (destination?, source?, key?);
                let bound = if to_queue {
                    channel.queue_bind(destination, source, key, QueueBindOptions::default(), arguments).await
                } else {
                    channel.exchange_bind(destination, source, key, ExchangeBindOptions::default(), arguments).await
                };
                bound.map_err(|e| e.to_string())
            };
            scratch.run(&object, bind).await?;
            applied.bindings += 1;
        }
    }
    Ok(applied)
}

/// What a passive look at a queue tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLook {
    /// Messages ready for delivery; those a consumer holds are not among them.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// Looks at queues, in the order asked; `None` for one that is not there.
///
/// # Errors
/// When the broker is away.
pub async fn look(link: &Link, queues: &[String]) -> Result<Vec<Option<QueueLook>>, ApplyError> {
    let live = link.live().await?;
    let mut scratch = Scratch { connection: &live.connection, channel: None };
    let mut looks = Vec::with_capacity(queues.len());
    for queue in queues {
        let asked = name(queue);
        let options = QueueDeclareOptions { durable: true, passive: true, ..QueueDeclareOptions::default() };
        let look = async move |channel: Channel| {
            channel.queue_declare(asked?, options, FieldTable::default()).await.map_err(|e| e.to_string())
        };
        looks.push(match scratch.run(queue, look).await {
            Ok(queue) => Some(QueueLook { ready: queue.message_count(), consumers: queue.consumer_count() }),
            Err(ApplyError::Silent(what)) => return Err(ApplyError::Silent(what)),
            Err(_) => None,
        });
    }
    Ok(looks)
}

/// A channel for questions; one that fails takes its channel with it, and the next question opens another.
struct Scratch<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl Scratch<'_> {
    async fn run<T>(&mut self, object: &str, ask: impl AsyncFnOnce(Channel) -> Result<T, String>) -> Result<T, ApplyError> {
        let asking = async {
            let channel = match self.channel.take() {
                Some(channel) if channel.status().connected() => channel,
                _ => self.connection.create_channel().await.map_err(|e| e.to_string())?,
            };
            self.channel = Some(channel.clone());
            ask(channel).await
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(ApplyError::Refused { object: object.to_owned(), why }),
            Err(_) => Err(ApplyError::Silent(object.to_owned())),
        }
    }
}

fn name(text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("the name has {} bytes, AMQP carries 255 at most", text.len()))
}

fn kind_of(kind: ExchangeKind) -> lapin::ExchangeKind {
    match kind {
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Headers => lapin::ExchangeKind::Headers,
    }
}

fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let Ok(name) = ShortString::try_new(name.as_str()) else { continue };
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Integer(number) => AMQPValue::LongLongInt(*number),
            Argument::Bool(flag) => AMQPValue::Boolean(*flag),
        };
        table.insert(name, value);
    }
    table
}
