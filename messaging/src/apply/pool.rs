//! Channels for questions and declares: one that fails takes its channel with it, and the next question opens another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker_topology::{Argument, Arguments, Binding, Destination, ExchangeKind};
use futures::future::BoxFuture;
use futures::stream::iter;
use futures::{FutureExt, StreamExt};
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind};

use super::{ApplyError, Declare, QueueLook, Sight};
use crate::connection::Live;

/// Questions at one time: more gain nothing on a broker of a few cores.
pub const CHANNELS: usize = 16;

/// Longer than this for one declare, and the broker is in no state to declare anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// What AMQP says of what is not there.
const NOT_FOUND: u16 = 404;

/// What it says of what is kept from us.
const ACCESS_REFUSED: u16 = 403;

/// Channels of one connection that nobody uses at the moment.
pub(super) struct Pool {
    connection: Arc<Connection>,
    idle: Mutex<Vec<Channel>>,
}

/// What a channel is asked for.
#[derive(Clone, Copy)]
enum Question<'a> {
    /// Make it, if it is not there.
    Make(Declare<'a>),
    /// Whether the exchange or the queue is there.
    Look(Declare<'a>),
    /// What is in a queue.
    Depth(&'a str),
}

/// A refusal: the reply code, or 0, and the words.
type Refusal = (u16, String);

impl Pool {
    pub(super) fn of(live: Live) -> Self {
        Self { connection: live.connection, idle: Mutex::default() }
    }

    /// Declares; what was not begun because another was refused is `None`.
    pub(super) async fn declare(&self, objects: &[Declare<'_>]) -> Vec<Option<Result<(), ApplyError>>> {
        let refused = AtomicBool::new(false);
        let declaring = objects.iter().map(|object| self.unless(&refused, Question::Make(*object)).boxed());
        let all: Vec<BoxFuture<'_, _>> = declaring.collect();
        iter(all).buffered(CHANNELS).collect().await
    }

    /// Whether exchanges and queues are there.
    pub(super) async fn there(&self, objects: &[Declare<'_>]) -> Vec<Result<bool, ApplyError>> {
        let questions = objects.iter().map(|object| Question::Look(*object));
        let answers = self.all(questions).await.into_iter();
        answers.map(|answer| known(answer.map(|_| true), false)).collect()
    }

    /// Depths and consumers.
    pub(super) async fn sight(&self, queues: &[String]) -> Result<Vec<Sight>, ApplyError> {
        self.all(queues.iter().map(|queue| Question::Depth(queue))).await.into_iter().map(seen).collect()
    }

    async fn all<'a>(&self, questions: impl Iterator<Item = Question<'a>>) -> Vec<Result<Option<QueueLook>, ApplyError>> {
        let all: Vec<BoxFuture<'_, _>> = questions.map(|question| self.ask(question).boxed()).collect();
        iter(all).buffered(CHANNELS).collect().await
    }

    async fn unless(&self, refused: &AtomicBool, question: Question<'_>) -> Option<Result<(), ApplyError>> {
        if refused.load(Ordering::Relaxed) {
            return None;
        }
        let done = self.ask(question).await.map(drop);
        refused.fetch_or(done.is_err(), Ordering::Relaxed);
        Some(done)
    }

    async fn ask(&self, question: Question<'_>) -> Result<Option<QueueLook>, ApplyError> {
        let asking = async {
            let idle = self.idle().pop();
            let channel = match idle {
                Some(channel) if channel.status().connected() => channel,
                _ => self.connection.create_channel().await.map_err(refusal)?,
            };
            let answer = answer(&channel, question).await?;
            self.idle().push(channel);
            Ok(answer)
        };
        let object = || match question {
            Question::Make(object) | Question::Look(object) => object.to_string(),
            Question::Depth(queue) => format!("queue `{queue}`"),
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err((code, why))) => Err(ApplyError::Refused { object: object(), code, why }),
            Err(_) => Err(ApplyError::Silent(object())),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is not there is an answer as well.
fn known<T>(found: Result<T, ApplyError>, absent: T) -> Result<T, ApplyError> {
    match found {
        Err(ApplyError::Refused { code: NOT_FOUND, .. }) => Ok(absent),
        found => found,
    }
}

/// Only what the broker calls not found is missing: of a connection that broke, or of any other refusal, nothing follows.
fn seen(answer: Result<Option<QueueLook>, ApplyError>) -> Result<Sight, ApplyError> {
    match answer {
        Ok(look) => Ok(look.map_or(Sight::Missing, Sight::There)),
        Err(ApplyError::Refused { code: NOT_FOUND, .. }) => Ok(Sight::Missing),
        Err(ApplyError::Refused { code: ACCESS_REFUSED, why, .. }) => Ok(Sight::Kept(why)),
        Err(error) => Err(error),
    }
}

async fn answer(channel: &Channel, question: Question<'_>) -> Result<Option<QueueLook>, Refusal> {
    let passive = !matches!(question, Question::Make(_));
    let queue = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
    let (queue_name, arguments) = match question {
        Question::Make(Declare::Exchange(exchange)) | Question::Look(Declare::Exchange(exchange)) => {
            let internal = exchange.internal;
            let options = ExchangeDeclareOptions { durable: true, internal, passive, ..ExchangeDeclareOptions::default() };
            let arguments = table(&exchange.arguments());
            let declared = channel.exchange_declare(named(&exchange.name)?, kind_of(exchange.kind), options, arguments).await;
            return declared.map(|()| None).map_err(refusal);
        }
        Question::Make(Declare::Binding(binding)) | Question::Look(Declare::Binding(binding)) => {
            return bind(channel, binding).await.map(|()| None);
        }
        Question::Make(Declare::Queue(queue)) | Question::Look(Declare::Queue(queue)) => {
            (named(&queue.name)?, table(&queue.arguments()))
        }
        Question::Depth(queue) => (named(queue)?, FieldTable::default()),
    };
    let found = channel.queue_declare(queue_name, queue, arguments).await.map_err(refusal)?;
    Ok(Some(QueueLook { ready: found.message_count(), consumers: found.consumer_count() }))
}

async fn bind(channel: &Channel, binding: &Binding) -> Result<(), Refusal> {
    let (source, key, arguments) = (named(&binding.source)?, named(&binding.key)?, table(&binding.arguments));
    let destination = named(binding.destination.name())?;
    let bound = match binding.destination {
        Destination::Queue(_) => channel.queue_bind(destination, source, key, QueueBindOptions::default(), arguments).await,
        Destination::Exchange(_) => {
            channel.exchange_bind(destination, source, key, ExchangeBindOptions::default(), arguments).await
        }
    };
    bound.map_err(refusal)
}

fn refusal(error: lapin::Error) -> Refusal {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => (refusal.get_id(), error.to_string()),
        _ => (0, error.to_string()),
    }
}

fn named(text: &str) -> Result<ShortString, Refusal> {
    name(text).map_err(|why| (0, why))
}

pub(crate) fn name(text: &str) -> Result<ShortString, String> {
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

pub(crate) fn table(arguments: &Arguments) -> FieldTable {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_not_found_is_missing() {
        let refused = |code| seen(Err(ApplyError::Refused { object: "queue `q`".to_owned(), code, why: "words".to_owned() }));
        assert_eq!(refused(NOT_FOUND).unwrap(), Sight::Missing);
        assert_eq!(refused(ACCESS_REFUSED).unwrap(), Sight::Kept("words".to_owned()));
        // The connection broke or was closed (320), the queue is somebody's alone (405), its node is away (541).
        for code in [0, 320, 405, 541] {
            assert!(matches!(refused(code), Err(ApplyError::Refused { code: passed, .. }) if passed == code), "{code}");
        }
        let look = QueueLook { ready: 1, consumers: 2 };
        assert_eq!(seen(Ok(Some(look))).unwrap(), Sight::There(look));
        assert!(matches!(seen(Err(ApplyError::Silent("queue `q`".to_owned()))), Err(ApplyError::Silent(_))));
    }
}
