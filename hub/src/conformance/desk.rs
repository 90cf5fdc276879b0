//! The hub's side of a broker, without a hub: what is given to a worker, and what comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_ack::relay::SOURCE;
use api_ack::run_token::RunTokens;
use broker_topology::{HUB, Kind, Names, Topology};
use bytes::Bytes;
use database::clock;
use jiff::Timestamp;
use messaging::apply::{self, Mode, QueueLook};
use messaging::connection::Link;
use messaging::message::{Message, Route, Run, header};
use messaging::metrics::Metrics;
use messaging::publisher::{Publisher, PublisherOptions};
use messaging::tap::{Tap, Tapped};
use messaging::wire::Outbound;
use prometheus::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Unfit;
use super::book::Book;
use super::case::Stop;
use crate::config::{Config, Manage};
use crate::hub::broker;

/// How long a broker may take to give back what a connection held that is gone: on an idle one it is some milliseconds.
const RETURNS: Duration = Duration::from_secs(1);

/// Where the kit sits: links, queues, the book.
pub(super) struct Desk {
    pub(super) book: Book,
    names: Names,
    kind: Kind,
    links: Links,
    publisher: Publisher,
    results: Tap,
    dead: Tap,
    /// What is not ours: not acked, so that it goes back when the taps are closed.
    held: Vec<Tapped>,
}

/// Connections to the broker, until they are closed.
struct Links {
    publish: Link,
    consume: Link,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Who works on the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staff {
    /// The kit starts it.
    Ours,
    /// It runs already.
    Theirs,
}

impl Desk {
    /// Sits down at the broker of `config`: declares what jobs of `kind` need, and takes the hub's queues.
    ///
    /// # Errors
    /// When there is no broker, or its queues are somebody's.
    pub(super) async fn open(config: &Config, kind: &Kind, staff: Staff) -> Result<Self, Unfit> {
        let options = broker::options(&config.broker).map_err(Unfit)?;
        let remedy = "start the broker, or say where it is with --amqp-url";
        broker::reachable(&options).await.map_err(|error| Unfit(format!("{error}; {remedy}")))?;
        let metrics = Arc::new(Metrics::new(&Registry::new()).map_err(|error| Unfit(error.to_string()))?);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let options = Arc::new(options);
        let link = |purpose| Link::start(options.clone(), purpose, &tasks, stop.clone(), metrics.clone());
        let (publish, consume) = (link("publish"), link("consume"));
        let publisher = Publisher::start(publish.clone(), PublisherOptions::default(), &tasks, stop.clone(), metrics.clone());
        let names = Names::new(&config.broker.prefix);
        let taken = take_over(&consume, config.topology.manage, &names, kind, staff).await;
        let links = Links { publish, consume, tasks, stop };
        match taken {
            Ok((results, dead)) => {
                let book = Book::new(RunTokens::with(&secret()));
                Ok(Self { book, names, kind: kind.clone(), links, publisher, results, dead, held: Vec::new() })
            }
            Err(unfit) => {
                links.close().await;
                Err(unfit)
            }
        }
    }

    /// What a worker has to know.
    pub(super) fn variables(&self, config: &Config) -> Vec<(String, String)> {
        let url = config.broker.connect_urls().into_iter().next().unwrap_or_default();
        let own = [
            ("AMQP_URL", url),
            ("WARREN_QUEUE", self.names.work_queue(&self.kind)),
            ("WARREN_RESULTS", self.names.results()),
            ("WARREN_KIND", self.kind.to_string()),
        ];
        own.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Publishes the message of a run as the relay does.
    pub(super) async fn give(&mut self, job: Uuid, run: Run, body: Bytes, deadline: Timestamp) -> Result<(), Stop> {
        let token = self.book.give(job, run);
        let message = Message {
            id: job.to_string(),
            kind: self.kind.to_string(),
            source: SOURCE.to_owned(),
            time: clock::made_at(job).map_or_else(Timestamp::now, clock::timestamp),
            content_type: "application/json".to_owned(),
            traceparent: Some(format!("00-{:032x}-{:016x}-01", job.as_u128(), job.as_u64_pair().1)),
            run: Some(run),
            tenant: "conformance".to_owned(),
            headers: BTreeMap::from([(header::DEADLINE.to_owned(), deadline.to_string()), (header::TOKEN.to_owned(), token)]),
            body,
        };
        let route = Route::new(self.names.jobs(), self.kind.as_str());
        let outbound = Outbound::new(route, &message).map_err(|error| Stop::Unfit(error.to_string()))?;
        self.publisher.publish(outbound).await.map_err(|error| Stop::Unfit(format!("cannot publish a job: {error}")))
    }

    /// Takes what comes until `at`, or until one message has.
    pub(super) async fn hear(&mut self, at: Instant) -> Result<(), Stop> {
        let gone = |error: messaging::tap::TapError| Stop::Unfit(error.to_string());
        tokio::select! {
            biased;
            report = self.results.next() => {
                let report = report.map_err(gone)?;
                if self.book.hear(&report.message) {
                    report.ack().await;
                } else {
                    self.held.push(report);
                }
            }
            letter = self.dead.next() => {
                let letter = letter.map_err(gone)?;
                match self.book.own(&letter.message) {
                    Some(job) => {
                        self.book.reject(job);
                        letter.ack().await;
                    }
                    None => self.held.push(letter),
                }
            }
            () = tokio::time::sleep_until(at) => {}
        }
        Ok(())
    }

    /// How many messages nobody has taken yet.
    pub(super) async fn waiting(&self) -> Result<u32, Stop> {
        let looks = apply::look(&self.links.publish, &[self.names.work_queue(&self.kind)]).await;
        let looks = looks.map_err(|error| Stop::Unfit(error.to_string()))?;
        Ok(looks.first().and_then(Option::as_ref).map_or(0, |look| look.ready))
    }

    /// Takes away what has gone back to the queue, after its worker is gone: the jobs whose messages were not acked.
    pub(super) async fn left(&mut self) -> Result<Vec<Uuid>, Stop> {
        let gone = |error: messaging::tap::TapError| Stop::Unfit(error.to_string());
        let mut tap = Tap::open(&self.links.consume, &self.names.work_queue(&self.kind)).await.map_err(gone)?;
        let mut left = Vec::new();
        while let Ok(taken) = tokio::time::timeout(RETURNS, tap.next()).await {
            let taken = taken.map_err(gone)?;
            // What is not ours is given back with the tap.
            if let Some(job) = self.book.own(&taken.message) {
                left.push(job);
                taken.ack().await;
            }
        }
        tap.close().await;
        Ok(left)
    }

    /// Gets up: what is not ours goes back, connections are closed.
    pub(super) async fn close(self) {
        self.results.close().await;
        self.dead.close().await;
        self.links.close().await;
    }
}

impl Links {
    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Two of these ids hold over a hundred random bits, for tokens that are of worth as long as the kit runs.
fn secret() -> [u8; 32] {
    let mut secret = [0; 32];
    for half in secret.chunks_exact_mut(16) {
        half.copy_from_slice(Uuid::now_v7().as_bytes());
    }
    secret
}

/// Declares what jobs of `kind` need, and takes the hub's queues, unless they are somebody's.
async fn take_over(link: &Link, manage: Manage, names: &Names, kind: &Kind, staff: Staff) -> Result<(Tap, Tap), Unfit> {
    let unfit = |error: &dyn std::fmt::Display| Unfit(error.to_string());
    let topology = Topology::default().and(broker_topology::core(names)).and(broker_topology::work_queue(names, kind, HUB));
    match manage {
        Manage::Declare => drop(apply::apply(link, &topology, Mode::Declare).await.map_err(|error| unfit(&error))?),
        Manage::Check => drop(apply::apply(link, &topology, Mode::Check).await.map_err(|error| unfit(&error))?),
        Manage::Off => {}
    }
    let work = names.work_queue(kind);
    let queues = [names.results(), names.dead_queue(&work), work];
    let looks = apply::look(link, &queues).await.map_err(|error| unfit(&error))?;
    for (at, (queue, look)) in queues.iter().zip(looks).enumerate() {
        let look = look.ok_or_else(|| Unfit(format!("there is no queue `{queue}`: let `warren topology apply` make it")))?;
        if let Some(why) = refused(queue, look, at == 2, staff) {
            return Err(Unfit(why));
        }
    }
    let [results, dead, _] = &queues;
    Ok((
        Tap::open(link, results).await.map_err(|error| unfit(&error))?,
        Tap::open(link, dead).await.map_err(|error| unfit(&error))?,
    ))
}

/// Why a queue cannot be played with.
fn refused(queue: &str, look: QueueLook, is_work: bool, staff: Staff) -> Option<String> {
    const APART: &str = "use a vhost of its own (--amqp-url amqp://.../test) or names of its own (--prefix test.)";
    match (look, is_work, staff) {
        (QueueLook { ready: 1.., .. }, ..) => {
            Some(format!("{} messages wait in `{queue}`, which may be real work: {APART}, or empty it", look.ready))
        }
        (QueueLook { consumers: 1.., .. }, false, _) => Some(format!("somebody consumes `{queue}`, most likely a hub: {APART}")),
        (QueueLook { consumers: 1.., .. }, true, Staff::Ours) => {
            Some(format!("somebody consumes `{queue}` already: stop that worker, or {APART}"))
        }
        (QueueLook { consumers: 0, .. }, true, Staff::Theirs) => {
            Some(format!("nobody consumes `{queue}`: start the worker first, or give its command after `--`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_are_somebodys_are_refused() {
        let look = |ready, consumers| QueueLook { ready, consumers };
        let why = |look, is_work, staff| refused("q", look, is_work, staff).unwrap_or_default();
        assert!(why(look(2, 0), true, Staff::Ours).starts_with("2 messages wait in `q`"));
        assert!(why(look(0, 1), false, Staff::Theirs).contains("most likely a hub"));
        assert!(why(look(0, 1), true, Staff::Ours).contains("stop that worker"));
        assert!(why(look(0, 0), true, Staff::Theirs).contains("after `--`"));
        for (look, is_work, staff) in
            [(look(0, 0), false, Staff::Ours), (look(0, 0), true, Staff::Ours), (look(0, 1), true, Staff::Theirs)]
        {
            assert_eq!(refused("q", look, is_work, staff), None);
        }
    }
}
