//! A session at the queue of its device: what comes, acks, and the way out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_topology::Device;
use bytes::Bytes;
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Consumer};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Lanes;
use super::cohorts::Seat;
use super::refusal::{Failed, LaneError, short};
use super::scratch::{Tries, backoff};
use crate::message::{Message, header};
use crate::wire;

/// For a cancel, or for acks to be written.
const ANSWER: Duration = Duration::from_secs(10);

/// Which delivery. Of no meaning once its session was attached again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    attached: u64,
    delivery: u64,
}

/// A message that came by the queue.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To ack it by.
    pub tag: Tag,
    /// Its place among those of the device; `None` of what was not published by a [`super::Line`], as to a group.
    pub seq: Option<i64>,
    /// The seq that was published to the device before it.
    pub after: Option<i64>,
    /// Whether somebody may have had it before.
    pub redelivered: bool,
    /// What it says; empty id if a stranger gave it none.
    pub message: Message,
}

/// What a session hears.
// Nearly all of them are deliveries.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Event {
    /// A message.
    Delivery(Delivery),
    /// The channel was lost and the session is attached again: what was not acked comes once more, and tags of before mean nothing. Look
    /// into the store, since something may have been lost with a node.
    Reattached,
    /// The queue is not there any more, or is refused: this is the last event. Declare it and attach again.
    Gone(LaneError),
}

/// A session attached to the queue of its device. Dropped, it is detached in the background.
pub struct Attachment {
    lanes: Lanes,
    device: Device,
    prefetch: u16,
    state: State,
    /// How often it was attached.
    attached: u64,
    /// Whether it is now.
    consumes: Arc<AtomicBool>,
    /// Without an ack, by delivery tag.
    held: BTreeMap<u64, Acker>,
}

enum State {
    At(Berth),
    Opening(oneshot::Receiver<Opened>),
    Over,
}

type Opened = Result<Berth, LaneError>;

/// A consumer and the place it has.
struct Berth {
    consumer: Consumer,
    seat: Seat,
    attached: prometheus::IntGauge,
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.attached.dec();
    }
}

impl Lanes {
    /// Attaches a session to the queue of `device`, which is there; at most `prefetch` (from 1) deliveries are without an ack. Of several
    /// sessions of a device the first one gets deliveries, the next once that is detached.
    ///
    /// # Errors
    /// [`LaneError::Gone`] when there is no queue, [`LaneError::Refused`], [`LaneError::Away`], [`LaneError::Busy`],
    /// [`LaneError::Stopped`].
    pub async fn attach(&self, device: Device, prefetch: u16) -> Result<Attachment, LaneError> {
        let patience = self.inner.patience;
        let berth = self.open(device, prefetch, Some(patience)).await.unwrap_or(Err(LaneError::Stopped));
        let metrics = &self.inner.metrics;
        match berth {
            Ok(berth) => {
                metrics.attaches("attached").inc();
                let (lanes, state, held) = (self.clone(), State::At(berth), BTreeMap::new());
                let consumes = Arc::new(AtomicBool::new(true));
                Ok(Attachment { lanes, device, prefetch, state, attached: 1, consumes, held })
            }
            Err(error) => {
                metrics.attaches(word(&error)).inc();
                Err(error)
            }
        }
    }

    /// Opens in a task of its own, so that whoever stops waiting leaves no consumer behind. Without `patience` for as long as somebody waits.
    fn open(&self, device: Device, prefetch: u16, patience: Option<Duration>) -> oneshot::Receiver<Opened> {
        let (sender, receiver) = oneshot::channel();
        let this = self.clone();
        self.inner.tasks.spawn(async move {
            let opening = this.open_patiently(device, prefetch.max(1), patience, &sender);
            let berth = tokio::select! {
                biased;
                () = this.inner.stop.cancelled() => Err(LaneError::Stopped),
                berth = opening => berth,
            };
            // Nobody waits for it any more: whatever it was given goes back.
            if let Err(Ok(berth)) = sender.send(berth) {
                this.leave_berth(berth, BTreeMap::new()).await;
            }
        });
        receiver
    }

    async fn open_patiently(
        &self,
        device: Device,
        prefetch: u16,
        patience: Option<Duration>,
        waiting: &oneshot::Sender<Opened>,
    ) -> Result<Berth, LaneError> {
        let queue = self.inner.names.device_queue(device);
        let what = || format!("consume from the queue `{queue}`");
        let mut tries = Tries::new(what(), patience.unwrap_or(self.inner.patience));
        let opened = loop {
            match tries.once(self.open_once(device, &queue, prefetch)).await {
                None | Some(Err(LaneError::Away { .. } | LaneError::Busy(_))) if waiting.is_closed() => {
                    break Err(LaneError::Stopped);
                }
                None => {}
                // Of places there are enough for those who had one, once dead channels are cleared away.
                Some(Err(LaneError::Away { .. } | LaneError::Busy(_))) if patience.is_none() => {
                    tokio::time::sleep(backoff().next().unwrap_or_default()).await;
                    tries = Tries::new(what(), self.inner.patience);
                }
                Some(opened) => break opened,
            }
        };
        opened.map_err(|error| match error {
            LaneError::Refused { code: 404, why, .. } => LaneError::Gone { queue: queue.clone(), why },
            error => error,
        })
    }

    async fn open_once(&self, device: Device, queue: &str, prefetch: u16) -> Result<Berth, Failed> {
        let inner = &self.inner;
        let _under_way = inner.outstanding.begin_unfenced(device.number).await;
        let name = short(queue)?;
        let channel = inner.scratch.lease().await?;
        // Consuming from what is not there would take the channel from all who are on it.
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.clone(), passive, FieldTable::default()).await?;
        channel.keep();
        let seat = inner.cohorts.seat().await?;
        let consumer = seat.consume(name, prefetch).await?;
        let attached = inner.metrics.attached();
        attached.inc();
        Ok(Berth { consumer, seat, attached })
    }

    /// Cancels, waits for the answer, and gives back all that is held, and all that came meanwhile; how many that were.
    async fn leave_berth(&self, mut berth: Berth, mut held: BTreeMap<u64, Acker>) -> usize {
        let leaving = async {
            let channel = berth.seat.channel();
            channel.basic_cancel(berth.consumer.tag(), BasicCancelOptions::default()).await?;
            while let Some(Some(Ok(delivery))) = berth.consumer.next().now_or_never() {
                held.insert(delivery.delivery_tag, delivery.acker);
            }
            let count = held.len();
            give_back(std::mem::take(&mut held)).await;
            // Whoever comes next finds all of it there.
            if count > 0 {
                berth.seat.flush().await?;
            }
            Ok::<_, lapin::Error>(count)
        };
        match tokio::time::timeout(ANSWER, leaving).await {
            Ok(Ok(count)) => count,
            // The channel is gone: the broker has given back all of it.
            Ok(Err(_)) => 0,
            Err(_) => {
                berth.seat.abandon();
                0
            }
        }
    }
}

impl Attachment {
    /// The device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The broker that its queue is at.
    pub fn shard(&self) -> &str {
        self.lanes.shard()
    }

    /// Whether it consumes, as it goes: not between the loss of a channel and [`Event::Reattached`]. For whoever looks after what comes to nobody
    /// meanwhile.
    pub fn consumes(&self) -> Arc<AtomicBool> {
        self.consumes.clone()
    }

    /// What happens next; `None` after [`Event::Gone`], and once the process drains.
    ///
    /// # Cancel safety
    /// A dropped call has taken nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match &mut self.state {
                State::At(berth) => match berth.consumer.next().await {
                    Some(Ok(delivery)) => {
                        self.held.insert(delivery.delivery_tag, delivery.acker.clone());
                        return Some(Event::Delivery(self.read(delivery)));
                    }
                    ended => self.lost(ended.and_then(Result::err)),
                },
                State::Opening(opening) => {
                    let opened = opening.await.unwrap_or(Err(LaneError::Stopped));
                    let metrics = &self.lanes.inner.metrics;
                    match opened {
                        Ok(berth) => {
                            metrics.attaches("reattached").inc();
                            self.attached += 1;
                            self.consumes.store(true, Ordering::Relaxed);
                            self.state = State::At(berth);
                            return Some(Event::Reattached);
                        }
                        Err(LaneError::Stopped) => self.state = State::Over,
                        Err(error) => {
                            metrics.attaches(word(&error)).inc();
                            self.state = State::Over;
                            return Some(Event::Gone(error));
                        }
                    }
                }
                State::Over => return None,
            }
        }
    }

    fn read(&self, delivery: lapin::message::Delivery) -> Delivery {
        let mut message = wire::read(&delivery.properties, Bytes::from(delivery.data));
        let mut number = |name: &str| message.headers.remove(name).and_then(|text| text.parse().ok());
        let tag = Tag { attached: self.attached, delivery: delivery.delivery_tag };
        let (seq, after) = (number(header::SEQ), number(header::AFTER));
        Delivery { tag, seq, after, redelivered: delivery.redelivered, message }
    }

    /// The channel died, or the broker ended the subscription.
    fn lost(&mut self, error: Option<lapin::Error>) {
        let queue = self.lanes.inner.names.device_queue(self.device);
        let why = error.map_or_else(|| "the broker ended the subscription".to_owned(), |error| error.to_string());
        tracing::debug!(queue, error = why, "a session lost the queue of its device, attaching it again");
        let opening = State::Opening(self.lanes.open(self.device, self.prefetch, None));
        self.consumes.store(false, Ordering::Relaxed);
        let held = std::mem::take(&mut self.held);
        if let State::At(berth) = std::mem::replace(&mut self.state, opening)
            && berth.seat.channel().status().connected()
            && !held.is_empty()
        {
            // A subscription may end alone, and then what it had is still ours.
            self.lanes.inner.tasks.spawn(async move {
                let _ = tokio::time::timeout(ANSWER, give_back(held)).await;
                drop(berth);
            });
        }
    }

    /// Acks: the broker forgets them. Tags of before a [`Event::Reattached`] are passed over, since those come again.
    ///
    /// # Cancel safety
    /// A dropped call may have acked some.
    pub async fn ack(&mut self, tags: &[Tag]) {
        let ackers = self.take(tags);
        let _ = tokio::time::timeout(ANSWER, join_all(ackers.iter().map(|acker| acker.ack(BasicAckOptions::default())))).await;
    }

    /// Gives deliveries back to the queue: they come again, in their old order and before what is there, at once.
    ///
    /// # Cancel safety
    /// As [`Attachment::ack`].
    pub async fn nack(&mut self, tags: &[Tag]) {
        let ackers = self.take(tags);
        let back = ackers.into_iter().enumerate().map(|(at, acker)| (at as u64, acker)).collect();
        let _ = tokio::time::timeout(ANSWER, give_back(back)).await;
    }

    fn take(&mut self, tags: &[Tag]) -> Vec<Acker> {
        let own = tags.iter().filter(|tag| tag.attached == self.attached);
        own.filter_map(|tag| self.held.remove(&tag.delivery)).collect()
    }

    /// Deliveries without an ack.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Ends the subscription and gives back what was not acked, in order; it is all there for the next session when this returns, unless
    /// the broker does not answer: then it is there once the channel is gone. How many were given back.
    ///
    /// A session that waits beside this one is given what is ready before what this one gives back: order is by `seq`, not by arrival.
    pub async fn detach(mut self) -> usize {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Over) {
            State::At(berth) => self.lanes.leave_berth(berth, held).await,
            State::Opening(_) | State::Over => 0,
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        if let State::At(berth) = std::mem::replace(&mut self.state, State::Over) {
            let lanes = self.lanes.clone();
            // Once the runtime is gone its connections are too, and the broker gives back what they held.
            if let Ok(runtime) = Handle::try_current() {
                self.lanes.inner.tasks.spawn_on(async move { lanes.leave_berth(berth, held).await }, &runtime);
            }
        }
    }
}

/// In the order in which they came.
async fn give_back(held: BTreeMap<u64, Acker>) {
    let requeue = BasicNackOptions { requeue: true, multiple: false };
    join_all(held.values().map(|acker| acker.nack(requeue))).await;
}

fn word(error: &LaneError) -> &'static str {
    match error {
        LaneError::Gone { .. } => "gone",
        LaneError::Away { .. } => "away",
        LaneError::Busy(_) => "busy",
        _ => "refused",
    }
}
