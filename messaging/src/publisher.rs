//! Confirmed publishing: persistent, mandatory, pipelined, one task per channel.
//!
//! A publish succeeds only when the broker has confirmed it and has not returned it. Nack, return, lost channel and time-out are
//! four different errors, since they call for different answers: after a lost channel or a time-out the broker may have the
//! message, and whoever sends it again sends it under the same id.
//!
//! One task owns the channel, because lapin pairs confirms with publishes by order of calls. Commands wait in a bounded queue
//! while the link is down or blocked, each no longer than its own deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Link;
use crate::message::Route;
use crate::metrics::Metrics;
use crate::trace::{Span, Tracer};
use crate::wire::{Outbound, Unsendable};

/// Why a publish did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No queue took it: the binding or the queue is missing.
    #[error("no queue took the message: {code} {text}")]
    Returned {
        /// AMQP reply code, 312 for no route.
        code: u16,
        /// The broker's words.
        text: String,
    },
    /// A queue refused it (full, or its leader is away). Nothing has it.
    #[error("the broker refused the message")]
    Nacked,
    /// The channel closed before the confirm: the broker may have it.
    #[error("the channel closed before the confirm: {0}")]
    Closed(String),
    /// No confirm in time: the broker may have it.
    #[error("no confirm within {0:?}")]
    TimedOut(Duration),
    /// It was never sent.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
}

/// Sends messages and says what became of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    commands: mpsc::Sender<Command>,
    deadline: Duration,
}

/// Messages that were handed in together, and the tally they share.
#[derive(Debug)]
struct Command {
    outbounds: Vec<Outbound>,
    expires: Instant,
    tally: Arc<Tally>,
}

type Verdict = Result<(), PublishError>;

/// What became of messages that were handed in together. One wake-up for all of them.
#[derive(Debug)]
struct Tally {
    verdicts: Mutex<Verdicts>,
    done: Notify,
}

#[derive(Debug)]
struct Verdicts {
    known: Vec<Option<Verdict>>,
    open: usize,
}

impl Tally {
    fn new(count: usize) -> Arc<Self> {
        let verdicts = Verdicts { known: vec![None; count], open: count };
        Arc::new(Self { verdicts: Mutex::new(verdicts), done: Notify::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Verdicts> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, at: usize, verdict: Verdict) {
        let mut verdicts = self.lock();
        if let Some(place @ None) = verdicts.known.get_mut(at) {
            *place = Some(verdict);
            verdicts.open -= 1;
        }
        if verdicts.open == 0 {
            self.done.notify_one();
        }
    }

    /// What is known; what is not counts as `otherwise`.
    fn take(&self, otherwise: &PublishError) -> Vec<Verdict> {
        let known = std::mem::take(&mut self.lock().known);
        known.into_iter().map(|verdict| verdict.unwrap_or_else(|| Err(otherwise.clone()))).collect()
    }
}

/// How a publisher works.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// Publishes without a confirm at one time, 1024 by default; messages handed in together may overshoot it.
    pub window: usize,
    /// How long one publish may take, from the call; also how long the channel may stay without any confirm. 15 s by default.
    pub deadline: Duration,
    /// Tells of each publish; off by default.
    pub tracer: Tracer,
    /// Whether its keys count among those that a plan of the topology looks at ([`crate::keys`]); so by default. Keys that are ids do not.
    pub keys: bool,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self { window: 1024, deadline: Duration::from_secs(15), tracer: Tracer::default(), keys: true }
    }
}

impl Publisher {
    /// Starts a publisher on `link`. It ends when `stop` is cancelled and nothing is in flight.
    pub fn start(
        link: Link,
        options: PublisherOptions,
        tasks: &TaskTracker,
        stop: CancellationToken,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (commands, receiver) = mpsc::channel(options.window);
        let deadline = options.deadline;
        tasks.spawn(Task { link, options, stop, metrics, commands: receiver }.run());
        Self { commands, deadline }
    }

    /// Publishes one message and waits for the confirm. Many calls at once share the window.
    ///
    /// # Errors
    /// As [`PublishError`].
    ///
    /// # Cancel safety
    /// A dropped call may still publish.
    pub async fn publish(&self, outbound: Outbound) -> Result<(), PublishError> {
        let closed = || Err(PublishError::Closed("the publisher lost count".into()));
        self.publish_all(vec![outbound]).await.pop().unwrap_or_else(closed)
    }

    /// Publishes messages in order and waits for all their confirms; answers in order. Cheaper than as many calls.
    ///
    /// # Cancel safety
    /// A dropped call may still publish.
    pub async fn publish_all(&self, outbounds: Vec<Outbound>) -> Vec<Result<(), PublishError>> {
        if outbounds.is_empty() {
            return Vec::new();
        }
        let expires = Instant::now() + self.deadline;
        let tally = Tally::new(outbounds.len());
        let command = Command { outbounds, expires, tally: tally.clone() };
        let settled = async {
            if self.commands.send(command).await.is_err() {
                return Err(PublishError::Closed("the publisher has stopped".into()));
            }
            tally.done.notified().await;
            Ok(())
        };
        match tokio::time::timeout_at(expires, settled).await {
            Ok(Err(error)) => tally.take(&error),
            Ok(Ok(())) | Err(_) => tally.take(&PublishError::TimedOut(self.deadline)),
        }
    }
}

struct Task {
    link: Link,
    options: PublisherOptions,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    commands: mpsc::Receiver<Command>,
}

/// One message on the wire. Dropped without a verdict, it has none: the broker may have it.
struct InFlight {
    id: String,
    route: Route,
    at: usize,
    tally: Arc<Tally>,
    span: Option<Span>,
}

impl InFlight {
    fn settle(&mut self, verdict: Verdict) {
        if let Some(mut span) = self.span.take()
            && let Err(error) = &verdict
        {
            span.unpublished(error);
        }
        self.tally.settle(self.at, verdict);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.settle(Err(PublishError::Closed("the channel was replaced".into())));
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            let live = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                live = self.link.live() => match live { Ok(live) => live, Err(_) => return },
            };
            match open(&live.connection, self.options.deadline).await {
                Ok(channel) => {
                    if self.serve(&channel).await.is_none() {
                        let _ = tokio::time::timeout(Duration::from_secs(2), channel.close(200, "done".into())).await;
                        return;
                    }
                }
                Err(error) => tracing::warn!(error = %error, "cannot open a channel to publish on"),
            }
            // A channel that dies at once (an exchange is missing) must not spin.
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    /// Publishes on one channel until it is of no more use, or (`None`) until the process stops.
    async fn serve(&mut self, channel: &Channel) -> Option<()> {
        let mut flight = FuturesUnordered::new();
        let mut returned = Returned::default();
        let mut last_confirm = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(500));
        let mut closed = false;
        loop {
            let blocked = self.link.is_blocked();
            tokio::select! {
                biased;
                Some(first) = flight.next(), if !flight.is_empty() => {
                    let mut settled = vec![first];
                    // lapin hangs a returned message on whichever confirm resolves next, so a return may sit on a neighbour that
                    // resolved before. Whatever resolved before what we have seen is ready by now: look twice, then judge.
                    for _ in 0..2 {
                        while let Some(Some(next)) = flight.next().now_or_never() {
                            settled.push(next);
                        }
                    }
                    last_confirm = Instant::now();
                    self.settle(settled, &mut returned);
                    if !channel.status().connected() && flight.is_empty() {
                        return Some(());
                    }
                }
                command = self.commands.recv(), if !blocked && !closed && flight.len() < self.options.window => {
                    let mut next = Some(command?);
                    if flight.is_empty() {
                        last_confirm = Instant::now();
                    }
                    while let Some(Command { outbounds, expires, tally }) = next.take() {
                        // Nobody waits any more: sending it now would only make a duplicate.
                        if Instant::now() < expires {
                            for (at, outbound) in outbounds.into_iter().enumerate() {
                                let (id, route) = (outbound.id.clone(), outbound.route.clone());
                                let span = self.options.tracer.publish(&outbound);
                                let in_flight = InFlight { id, route, at, tally: tally.clone(), span };
                                flight.push(publish(channel, outbound, in_flight));
                            }
                        }
                        if flight.len() < self.options.window {
                            next = self.commands.try_recv().ok();
                        }
                    }
                }
                () = self.link.unblocked(), if blocked => last_confirm = Instant::now(),
                () = self.stop.cancelled(), if flight.is_empty() => return None,
                _ = look.tick() => {
                    let silent = !flight.is_empty() && !blocked && last_confirm.elapsed() > self.options.deadline;
                    if silent {
                        tracing::warn!(in_flight = flight.len(), "no confirms, replacing the channel");
                    }
                    // The library tells each publish why the channel closed; what it forgets is not waited for longer than a look.
                    let seen_closed = std::mem::replace(&mut closed, !channel.status().connected());
                    if silent || closed && (seen_closed || flight.is_empty()) {
                        return Some(());
                    }
                }
            }
        }
    }

    fn settle(&self, settled: Vec<(InFlight, Result<Confirmation, lapin::Error>)>, returned: &mut Returned) {
        let mut judged = Vec::with_capacity(settled.len());
        for (publish, result) in settled {
            let (verdict, message) = match result {
                Ok(Confirmation::Ack(message)) => (Ok(()), message),
                Ok(Confirmation::Nack(message)) => (Err(PublishError::Nacked), message),
                Ok(Confirmation::NotRequested) => (Err(PublishError::Closed("confirms are not on".into())), None),
                Err(error) => (Err(PublishError::Closed(error.to_string())), None),
            };
            if let Some(message) = message {
                returned.note(&message);
            }
            judged.push((publish, verdict));
        }
        for (publish, verdict) in &mut judged {
            if let (Some(error), true) = (returned.take(publish), verdict.is_ok()) {
                *verdict = Err(error);
            }
        }
        // One lock for all of them: the keys are those of the whole process.
        if self.options.keys {
            let arrived = judged.iter().filter(|(_, verdict)| matches!(verdict, Ok(()) | Err(PublishError::Returned { .. })));
            self.metrics.keys.saw(arrived.map(|(publish, _)| (publish.route.exchange.as_str(), publish.route.key.as_str())));
        }
        for (mut publish, verdict) in judged {
            let result = match &verdict {
                Ok(()) => "ack",
                Err(PublishError::Returned { .. }) => "return",
                Err(PublishError::Nacked) => "nack",
                Err(_) => "closed",
            };
            self.metrics.confirms.with_label_values(&[result]).inc();
            publish.settle(verdict);
        }
    }
}

/// Returned messages until their confirm comes. By id and route: one event may be on its way to several.
#[derive(Default)]
struct Returned(HashMap<(String, Route), Vec<PublishError>>);

impl Returned {
    fn note(&mut self, message: &lapin::message::BasicReturnMessage) {
        let error = PublishError::Returned { code: message.reply_code, text: message.reply_text.as_str().to_owned() };
        let id = message.delivery.properties.message_id().as_ref().map_or("", |id| id.as_str());
        let route = Route::new(message.delivery.exchange.as_str(), message.delivery.routing_key.as_str());
        self.0.entry((id.to_owned(), route)).or_default().push(error);
    }

    fn take(&mut self, publish: &InFlight) -> Option<PublishError> {
        if self.0.is_empty() {
            return None;
        }
        let key = (publish.id.clone(), publish.route.clone());
        let errors = self.0.get_mut(&key)?;
        let error = errors.pop();
        if errors.is_empty() {
            self.0.remove(&key);
        }
        error
    }
}

async fn open(connection: &lapin::Connection, patience: Duration) -> Result<Channel, String> {
    let opening = async {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<_, lapin::Error>(channel)
    };
    match tokio::time::timeout(patience, opening).await {
        Ok(opened) => opened.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

// The one place that publishes.
#[allow(clippy::disallowed_methods)]
async fn publish(channel: &Channel, outbound: Outbound, in_flight: InFlight) -> (InFlight, Result<Confirmation, lapin::Error>) {
    let Outbound { route, mut properties, body, .. } = outbound;
    if let Some(wait) = route.wait() {
        properties = properties.with_expiration(wait.as_millis().to_string().into());
    }
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    // Outbound has checked that both are short strings.
    let sent = channel.basic_publish(route.exchange.into(), route.key.into(), options, &body, properties).await;
    crate::crash_point!("K5");
    let result = match sent {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (in_flight, result)
}
