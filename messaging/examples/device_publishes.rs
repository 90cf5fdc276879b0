//! What the broker alone takes from a publish to a consumer: `cargo run --release -p messaging --example device_publishes -- <amqp url> <queues>
//! <messages per second> <seconds>`, the yardstick of `device_load send`.
//!
//! So many queues of devices, each bound by its key and with a consumer, 64 of them on a channel; persistent messages of 1 KiB to one queue after the other at
//! a constant rate, with confirms, after 2 s that are not counted. Prints how long it took from the moment a publish was due to the
//! delivery, and to the confirm.
//!
//! With `<amqp url> <queues>` alone: how long it takes until one message is confirmed that goes to all of them by a fanout exchange, the yardstick of a broadcast.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// It is what the hub is measured against: bare AMQP, without what Warren adds.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use broker_topology::{Device, Names, Tier, TierLimits, device_queue, devices};
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use messaging::apply::{Mode, apply};
use messaging::connection::{BrokerOptions, Link};
use messaging::metrics::Metrics;
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const WARM_UP: usize = 2;
const PER_CHANNEL: usize = 64;
const LAST: Duration = Duration::from_secs(20);

fn device(number: usize) -> Device {
    Device { number: u64::try_from(number).unwrap() + 1, tier: Tier::Standard }
}

async fn consumed(channel: &Channel, names: &Names, number: usize) -> lapin::Consumer {
    let queue = device_queue(names, device(number));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.name.clone().into(), durable, arguments).await.unwrap();
    let (exchange, key) = (names.devices().into(), Names::device_key(device(number).number).into());
    channel
        .queue_bind(queue.name.clone().into(), exchange, key, QueueBindOptions::default(), FieldTable::default())
        .await
        .unwrap();
    channel.basic_consume(queue.name.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await.unwrap()
}

/// p50, p99 and the longest, in milliseconds.
fn told(after: &[AtomicU64]) -> [f64; 3] {
    let mut all: Vec<u64> = after.iter().map(|after| after.load(Ordering::Relaxed)).collect();
    all.sort_unstable();
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize] as f64 / 1e6;
    [at(0.5), at(0.99), at(1.0)]
}

/// One persistent message of 1 KiB to so many queues of devices by a fanout exchange: seconds to the confirm, five times.
async fn fanout(url: &str, queues: usize) {
    let names = Names::default();
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (exchange, kind) = (names.broadcast(), lapin::ExchangeKind::Fanout);
    let durable = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.as_str().into(), kind, durable, FieldTable::default()).await.unwrap();
    for number in 0..queues {
        let name = device_queue(&names, device(number)).name;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.clone().into(), durable, arguments).await.unwrap();
        let bound = QueueBindOptions::default();
        channel.queue_bind(name.into(), exchange.as_str().into(), "".into(), bound, FieldTable::default()).await.unwrap();
    }
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let body = vec![b'x'; 1024];
    let mut all = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish(exchange.as_str().into(), "".into(), options, &body, properties).await.unwrap();
        confirm.await.unwrap();
        all.push(begun.elapsed().as_secs_f64());
    }
    all.sort_by(f64::total_cmp);
    println!(r#"{{"seconds": {}, "shortest_seconds": {}, "longest_seconds": {}}}"#, all[2], all[0], all[4]);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, url, queues] = arguments.as_slice() {
        return fanout(url, queues.parse().expect("a number")).await;
    }
    let [_, url, queues, rate, seconds] = arguments.as_slice() else {
        panic!("device_publishes <amqp url> <queues> [<messages per second> <seconds>]")
    };
    let [queues, rate, seconds] = [queues, rate, seconds].map(|text| text.parse::<usize>().expect("a number"));
    let names = Names::default();
    let broker = Arc::new(BrokerOptions::new(url.as_str(), "bench"));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let link = Link::start(broker, "bench", &tasks, stop, Arc::new(Metrics::new(&Registry::new()).unwrap()));
    apply(&link, &devices(&names, &TierLimits::default()), Mode::Declare).await.unwrap();

    let consuming = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let publishing = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let count = rate * (seconds + WARM_UP);
    let times = || -> Arc<Vec<AtomicU64>> { Arc::new((0..count).map(|_| AtomicU64::new(0)).collect()) };
    let (got, confirmed, come) = (times(), times(), Arc::new(AtomicUsize::new(0)));
    let every = Duration::from_secs(1) / u32::try_from(rate).unwrap();
    let begun = Arc::new(std::sync::OnceLock::<Instant>::new());
    let after = move |n: usize, begun: Instant| u64::try_from((begun + every * n as u32).elapsed().as_nanos()).unwrap().max(1);

    let mut consumers = Vec::new();
    for first in (0..queues).step_by(PER_CHANNEL) {
        let channel = consuming.create_channel().await.unwrap();
        for number in first..(first + PER_CHANNEL).min(queues) {
            consumers.push(consumed(&channel, &names, number).await);
        }
    }
    for mut consumer in consumers {
        let (got, come, begun) = (got.clone(), come.clone(), begun.clone());
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                let n = usize::from_be_bytes(delivery.data[..8].try_into().unwrap());
                got[n].store(after(n, *begun.get().unwrap()), Ordering::Relaxed);
                come.fetch_add(1, Ordering::Relaxed);
                delivery.ack(BasicAckOptions::default()).await.unwrap();
            }
        });
    }
    let channel = publishing.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let start = Instant::now() + Duration::from_millis(100);
    begun.set(start).unwrap();
    let (tick, mut ticks) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for n in 0..count {
            std::thread::sleep((start + every * n as u32).saturating_duration_since(Instant::now()));
            let _ = tick.send(n);
        }
    });
    let mut confirms = JoinSet::new();
    while let Some(n) = ticks.recv().await {
        let mut body = vec![b'x'; 1024];
        body[..8].copy_from_slice(&n.to_be_bytes());
        let (exchange, key) = (names.devices().into(), Names::device_key(device(n % queues).number).into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let confirm = channel.basic_publish(exchange, key, options, &body, persistent).await.unwrap();
        let confirmed = confirmed.clone();
        confirms.spawn(async move {
            assert!(confirm.await.unwrap().is_ack());
            confirmed[n].store(after(n, start), Ordering::Relaxed);
        });
        while confirms.try_join_next().is_some() {}
    }
    while confirms.join_next().await.is_some() {}
    let until = Instant::now() + LAST;
    while come.load(Ordering::Relaxed) < count && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(come.load(Ordering::Relaxed), count, "messages that came");
    let first = rate * WARM_UP;
    let ([p50, p99, max], [taken_p50, taken_p99, _]) = (told(&got[first..]), told(&confirmed[first..]));
    println!(
        r#"{{"p50_ms": {p50}, "p99_ms": {p99}, "max_ms": {max}, "taken_p50_ms": {taken_p50}, "taken_p99_ms": {taken_p99}}}"#
    );
}
