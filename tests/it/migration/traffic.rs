//! Strangers at work: publishers that wait for confirms, and a consumer that comes back when its queue does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use warren_tests::broker::Vhost;
use warren_tests::ledger::{Ledger, Observed, Verdict};
use warren_tests::wait::within;

use crate::world::LONG;

/// How many publish at one time.
const PUBLISHERS: usize = 3;

/// Publishes without a confirm at one time, of one publisher.
const WINDOW: usize = 16;

/// How far each publisher has come.
#[derive(Debug, Default)]
struct Progress {
    /// All numbers below have been published, or are being.
    begun: AtomicUsize,
    /// All numbers below have been answered.
    answered: AtomicUsize,
}

/// How far all have come at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Mark([(usize, usize); PUBLISHERS]);

impl Mark {
    /// Whether a message may have been routed between this moment and `end`: it was not answered before, and had begun by then.
    pub fn may_have_seen(&self, end: &Self, id: &str) -> bool {
        let (publisher, number) = id.split_once('-').expect("publisher and number");
        let (publisher, number): (usize, usize) = (publisher.parse().unwrap(), number.parse().unwrap());
        (self.0[publisher].1..end.0[publisher].0).contains(&number)
    }
}

pub struct Traffic {
    progress: Arc<[Progress; PUBLISHERS]>,
    ledger: Arc<Ledger>,
    returned: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    enough: CancellationToken,
    publishing: JoinSet<()>,
    consuming: JoinSet<()>,
}

async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.unwrap()
}

impl Traffic {
    /// Publishes to `exchange` with `key`, and consumes from `queue`, until [`Traffic::verdict`].
    pub fn start(vhost: &Vhost, exchange: &str, key: &str, queue: &str) -> Self {
        let mut traffic = Self {
            progress: Arc::default(),
            ledger: Arc::default(),
            returned: Arc::default(),
            received: Arc::default(),
            stop: CancellationToken::new(),
            enough: CancellationToken::new(),
            publishing: JoinSet::new(),
            consuming: JoinSet::new(),
        };
        for number in 0..PUBLISHERS {
            let (ledger, returned, stop) = (traffic.ledger.clone(), traffic.returned.clone(), traffic.stop.clone());
            let progress = traffic.progress.clone();
            let (url, exchange, key) = (vhost.url(), exchange.to_owned(), key.to_owned());
            traffic
                .publishing
                .spawn(async move { publish(&url, &exchange, &key, number, &progress[number], &ledger, &returned, &stop).await });
        }
        let (url, queue) = (vhost.url(), queue.to_owned());
        let (received, enough) = (traffic.received.clone(), traffic.enough.clone());
        traffic.consuming.spawn(async move {
            tokio::select! {
                () = consume(&url, &queue, &received) => {}
                () = enough.cancelled() => {}
            }
        });
        traffic
    }

    /// How far it has come.
    pub fn mark(&self) -> Mark {
        let of = |progress: &Progress| (progress.begun.load(Ordering::SeqCst), progress.answered.load(Ordering::SeqCst));
        Mark(self.progress.each_ref().map(of))
    }

    /// Stops, waits until all that was confirmed has come, and compares.
    pub async fn verdict(mut self) -> Verdict {
        self.stop.cancel();
        while let Some(ended) = self.publishing.join_next().await {
            ended.unwrap();
        }
        let confirmed = self.ledger.jobs();
        // Only what is new is looked at: the consumer has the same thread, and much to do.
        let open = Mutex::new((confirmed.clone(), 0));
        let left = || {
            let (open, seen) = &mut *open.lock().unwrap();
            let received = self.received.lock().unwrap();
            for id in &received[*seen..] {
                open.remove(id);
            }
            *seen = received.len();
            open.len()
        };
        let mut before = left();
        while before > 0 {
            let fewer = within(LONG, async || Some(left()).filter(|now| *now < before)).await;
            before = fewer.unwrap_or_else(|| {
                let first: Vec<String> = open.lock().unwrap().0.iter().take(10).cloned().collect();
                panic!("{before} of {} never came, such as {first:?}", confirmed.len())
            });
        }
        self.enough.cancel();
        while self.consuming.join_next().await.is_some() {}
        assert_eq!(self.returned.load(Ordering::SeqCst), 0, "nothing was unroutable at any moment");
        let effects = self.received.lock().unwrap().clone();
        let verdict = self.ledger.verdict(async || Observed { effects, ..Observed::default() }).await;
        eprintln!("verdict: accepted {} lost {} duplicate {}", verdict.accepted, verdict.lost.len(), verdict.duplicate.len());
        verdict
    }
}

#[allow(clippy::disallowed_methods, clippy::too_many_arguments)]
async fn publish(
    url: &str,
    exchange: &str,
    key: &str,
    publisher: usize,
    progress: &Progress,
    ledger: &Ledger,
    returned: &AtomicUsize,
    stop: &CancellationToken,
) {
    let connection = connect(url).await;
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut number = 0;
    // A pace that a busy machine keeps up with.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        pace.tick().await;
        let mut flight = Vec::new();
        for _ in 0..WINDOW {
            let id = format!("{publisher}-{number}");
            number += 1;
            progress.begun.store(number, Ordering::SeqCst);
            ledger.sent(&id);
            let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(id.as_str().into());
            let sent = channel.basic_publish(exchange.into(), key.into(), options, b"stranger", properties).await.unwrap();
            flight.push((id, sent));
        }
        for (id, sent) in flight {
            match sent.await.unwrap() {
                Confirmation::Ack(None) => ledger.answered(&id, 202, Some(&id)),
                Confirmation::Ack(Some(_)) => {
                    returned.fetch_add(1, Ordering::SeqCst);
                }
                // A broker may say no; then it is nobody's.
                other => assert!(matches!(other, Confirmation::Nack(_)), "{other:?}"),
            }
        }
        progress.answered.store(number, Ordering::SeqCst);
    }
    connection.close(200, "done".into()).await.unwrap();
}

async fn consume(url: &str, queue: &str, received: &Mutex<Vec<String>>) {
    loop {
        // A new one each time: a broker may end the connection of whoever subscribes to a quorum queue that is just being made.
        let connection = connect(url).await;
        let subscribed = async {
            let channel = connection.create_channel().await?;
            channel.basic_qos(50, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            let mut deliveries = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
            while let Some(delivery) = deliveries.next().await {
                let delivery = delivery?;
                let id = delivery.properties.message_id().as_ref().map_or("", |id| id.as_str()).to_owned();
                received.lock().unwrap().push(id);
                delivery.ack(BasicAckOptions::default()).await?;
            }
            Ok::<_, lapin::Error>(())
        };
        // Its queue is gone, and will be there again.
        let ended: Result<(), lapin::Error> = subscribed.await;
        if let Err(error) = ended
            && !error.to_string().contains("NOT-FOUND")
        {
            eprintln!("the consumer of {queue} comes back: {error}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
