//! Whether the exchanges and queues of others are there, which kinds of job publish to. They are looked for and never made.
//!
//! To publish to an exchange that is not there closes the channel. So each such kind has a channel of its own, and nothing is
//! published to an exchange that is known to be missing: its jobs wait in the store, each with the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker_topology::{Exchange, ExchangeKind, HUB, Queue, QueueKind, Topology};
use messaging::apply::{ApplyError, Mode, apply};
use messaging::connection::{Link, Stopped};
use messaging::publisher::PublishError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::kinds::{Existing, Kinds};
use crate::rules;

/// How often is looked for what is missing.
const SOON: Duration = Duration::from_secs(5);

/// Which exchanges are missing, by kind, as last looked. Cheap to clone; the default one knows of none.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    missing: Arc<Mutex<BTreeMap<String, Missing>>>,
    doubt: Arc<Notify>,
}

/// What was not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    exchange: bool,
    text: String,
}

impl Reach {
    /// Why nothing can be published for `kind`, if that is known.
    pub fn missing(&self, kind: &str) -> Option<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.get(kind).filter(|missing| missing.exchange).map(|missing| missing.text.clone())
    }

    /// Says that a channel closed although the connection is up: an exchange may be gone.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Looks on each new connection, after a doubt, and every 5 s while something is missing, until `stop`.
    pub async fn run(self, kinds: Kinds, link: Link, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = self.keep_looking(&kinds, &link) => {}
        }
    }

    async fn keep_looking(&self, kinds: &Kinds, link: &Link) -> Result<(), Stopped> {
        loop {
            let live = link.live().await?;
            let all_there = self.look(kinds, link).await?;
            tokio::select! {
                replaced = link.replaced(&live) => drop(replaced?),
                () = self.doubt.notified() => {}
                () = tokio::time::sleep(SOON), if !all_there => {}
            }
        }
    }

    /// Looks for everything; `true` if all is there.
    async fn look(&self, kinds: &Kinds, link: &Link) -> Result<bool, Stopped> {
        let mut found = BTreeMap::new();
        for spec in kinds.iter() {
            let Some(existing) = &spec.existing else { continue };
            let names = match apply(link, &topology(existing), Mode::Check).await {
                Ok(_) => continue,
                Err(ApplyError::Missing(names)) => names,
                Err(ApplyError::Stopped(stopped)) => return Err(stopped),
                // The broker does not answer: nothing is known anew.
                Err(_) => return Ok(false),
            };
            let kind = spec.kind.as_str();
            let verb = if names.len() == 1 { "is" } else { "are" };
            let names = names.join(" and ");
            let text =
                format!("kind `{kind}`: {names} {verb} not on the broker, and Warren does not declare what is not its own");
            let exchange = names.contains("exchange `");
            found.insert(kind.to_owned(), Missing { exchange, text });
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, now) in &found {
            if missing.get(kind) != Some(now) {
                tracing::error!("{}: declare it, or correct [kind.amqp]", now.text);
            }
        }
        for kind in missing.keys().filter(|kind| !found.contains_key(*kind)) {
            tracing::info!(kind, "its exchange and queue are there");
        }
        *missing = found;
        Ok(missing.is_empty())
    }
}

/// What must be there for `existing`, by name alone: of what sort it is, is nobody's business here.
fn topology(existing: &Existing) -> Topology {
    let mut topology = Topology::default();
    if !existing.exchange.is_empty() {
        topology = topology.exchange(Exchange::new(existing.exchange.as_str(), ExchangeKind::Direct, HUB, ""));
    }
    match &existing.queue {
        Some(queue) => topology.queue(Queue::new(queue.as_str(), QueueKind::Classic, HUB, "")),
        None => topology,
    }
}

/// AMQP reply code for what is not there.
pub(super) const NOT_FOUND: u16 = 404;

/// Why a row was not taken, as its job shows it.
pub(super) struct TurnedAway {
    pub(super) reason: &'static str,
    pub(super) error: String,
}

impl TurnedAway {
    pub(super) fn of(error: &PublishError) -> Arc<Self> {
        let (reason, error) = match error {
            PublishError::Returned { code: NOT_FOUND, text } => (rules::EXCHANGE_MISSING, text.clone()),
            PublishError::Returned { .. } => (rules::UNROUTABLE, error.to_string()),
            _ => (rules::NOT_CONFIRMED, error.to_string()),
        };
        Arc::new(Self { reason, error })
    }
}
