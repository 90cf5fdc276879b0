//! What a run asks of the broker: one connection, so that whoever has the lock is the only one whose questions are answered.

use std::time::Duration;

use broker_topology::{Arguments, Binding};
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};
use tokio::time::Instant;

use super::broken::Fault;
use crate::apply::{name, table};
use crate::connection::{Link, Live};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the lock of a run that was killed may outlive it.
const LINGER: Duration = Duration::from_secs(5);

pub(super) struct Session {
    live: Live,
    channel: Option<Channel>,
}

impl Session {
    pub(super) async fn open(link: &Link) -> Result<Self, Fault> {
        match tokio::time::timeout(PATIENCE, link.live()).await {
            Ok(Ok(live)) => Ok(Self { live, channel: None }),
            Ok(Err(stopped)) => Err(Fault::new(stopped.to_string())),
            Err(_) => Err(Fault::new(format!("the broker does not answer within {PATIENCE:?}"))),
        }
    }

    /// The connection it goes over.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// A refusal closes the channel, and the next question opens another. Another connection is never taken: the lock was with this one.
    async fn ask<T>(&mut self, what: &str, ask: impl AsyncFnOnce(&Channel) -> Result<T, lapin::Error>) -> Result<T, Fault> {
        let asking = async {
            let channel = match self.channel.take() {
                Some(channel) if channel.status().connected() => channel,
                _ => self.live.connection.create_channel().await?,
            };
            let answer = ask(&channel).await;
            self.channel = Some(channel);
            answer
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer.map_err(|error| Fault::of(what, &error)),
            Err(_) => Err(Fault::new(format!("the broker does not answer within {PATIENCE:?}, asked to {what}"))),
        }
    }

    /// Takes the lock of that name; `false` when another connection has it.
    pub(super) async fn lock(&mut self, lock: &str) -> Result<bool, Fault> {
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let arguments = Arguments::from([("x-queue-type".to_owned(), "classic".into())]);
        let until = Instant::now() + LINGER;
        loop {
            match self.declare_with(lock, options, &arguments).await {
                Ok(()) => return Ok(true),
                Err(fault) if !fault.is_locked() => return Err(fault),
                Err(_) if Instant::now() > until => return Ok(false),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    pub(super) async fn declare(&mut self, queue: &str, arguments: &Arguments) -> Result<(), Fault> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.declare_with(queue, options, arguments).await
    }

    async fn declare_with(&mut self, queue: &str, options: QueueDeclareOptions, arguments: &Arguments) -> Result<(), Fault> {
        let asked = name(queue).map_err(Fault::new)?;
        let arguments = table(arguments);
        let what = format!("declare the queue `{queue}`");
        self.ask(&what, async |channel| channel.queue_declare(asked, options, arguments).await.map(drop)).await
    }

    /// Messages that are ready, and consumers, at this moment; `None` when the queue is not there.
    pub(super) async fn look(&mut self, queue: &str) -> Result<Option<(u32, u32)>, Fault> {
        let asked = name(queue).map_err(Fault::new)?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let look = async |channel: &Channel| channel.queue_declare(asked, options, FieldTable::default()).await;
        match self.ask(&format!("look at the queue `{queue}`"), look).await {
            Ok(found) => Ok(Some((found.message_count(), found.consumer_count()))),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// With all that is in it.
    pub(super) async fn delete(&mut self, queue: &str) -> Result<(), Fault> {
        let asked = name(queue).map_err(Fault::new)?;
        let delete = async |channel: &Channel| channel.queue_delete(asked, QueueDeleteOptions::default()).await.map(drop);
        self.ask(&format!("delete the queue `{queue}`"), delete).await
    }

    pub(super) async fn declare_fanout(&mut self, exchange: &str) -> Result<(), Fault> {
        let asked = name(exchange).map_err(Fault::new)?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declare =
            async |channel: &Channel| channel.exchange_declare(asked, ExchangeKind::Fanout, options, FieldTable::default()).await;
        self.ask(&format!("declare the exchange `{exchange}`"), declare).await
    }

    pub(super) async fn delete_exchange(&mut self, exchange: &str) -> Result<(), Fault> {
        let asked = name(exchange).map_err(Fault::new)?;
        let delete = async |channel: &Channel| channel.exchange_delete(asked, ExchangeDeleteOptions::default()).await;
        self.ask(&format!("delete the exchange `{exchange}`"), delete).await
    }

    /// Binds `queue` as `binding` says, whatever queue that leads to.
    pub(super) async fn bind(&mut self, queue: &str, binding: &Binding) -> Result<(), Fault> {
        let (to, from, key) = ends(queue, binding)?;
        let arguments = table(&binding.arguments);
        let bind = async |channel: &Channel| channel.queue_bind(to, from, key, QueueBindOptions::default(), arguments).await;
        self.ask(&format!("bind the queue `{queue}` to the exchange `{}`", binding.source), bind).await
    }

    /// Removes the binding from `queue`; one that is not there is no fault. A number in its arguments is looked for in 64 bits only.
    pub(super) async fn unbind(&mut self, queue: &str, binding: &Binding) -> Result<(), Fault> {
        let what = format!("unbind the queue `{queue}` from the exchange `{}`", binding.source);
        let (to, from, key) = ends(queue, binding)?;
        let arguments = table(&binding.arguments);
        self.ask(&what, async |channel| channel.queue_unbind(to, from, key, arguments).await).await
    }
}

type Ends = (lapin::types::ShortString, lapin::types::ShortString, lapin::types::ShortString);

fn ends(queue: &str, binding: &Binding) -> Result<Ends, Fault> {
    let of = |text: &str| name(text).map_err(Fault::new);
    Ok((of(queue)?, of(&binding.source)?, of(&binding.key)?))
}
