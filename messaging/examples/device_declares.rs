//! How fast devices get their queues: `cargo run --release -p messaging --example device_declares -- <lanes|raw> <amqp url> <devices>`.
//!
//! Each device gets a queue, and bindings by its own key, by that of its user and to broadcasts. `lanes` declares through
//! [`messaging::devices`], without a pace; `raw` over 16 plain connections, one declare and one binding after the other on each. The clock
//! runs once all connections are there. Prints `{"seconds": ...}`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_topology::{Argument, Device, Names, Tier, TierLimits, device_bindings, device_queue, devices};
use futures::future::join_all;
use futures::stream::iter;
use futures::{StreamExt, TryStreamExt};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use messaging::apply::{Mode, apply};
use messaging::connection::{BrokerOptions, Link};
use messaging::devices::{Lane, Lanes, LanesOptions};
use messaging::metrics::Metrics;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CONNECTIONS: u64 = 16;

fn lane(number: u64) -> Lane {
    let device = Device { number, tier: Tier::Standard };
    Lane { device, keys: vec![Names::user_key("bench", &format!("user-{number}"))], broadcast: true }
}

async fn by_lanes(broker: &Arc<BrokerOptions>, count: u64) -> Duration {
    let (tasks, stop, registry) = (TaskTracker::new(), CancellationToken::new(), Registry::new());
    let wire = Arc::new(Metrics::new(&registry).unwrap());
    let options = LanesOptions { declares_per_second: 1_000_000, declares_waiting: 1_000_000, ..LanesOptions::default() };
    let lanes = Lanes::start(broker, Names::default(), options, &tasks, &stop, &wire, &registry).unwrap();
    // Until each connection was used.
    join_all((0..CONNECTIONS).map(|at| lanes.ensure(lane(count + 1 + at)))).await.into_iter().for_each(Result::unwrap);
    let begun = Instant::now();
    iter((1..=count).map(|number| lanes.ensure(lane(number)))).buffer_unordered(256).try_collect::<Vec<()>>().await.unwrap();
    begun.elapsed()
}

async fn by_hand(url: &str, count: u64) -> Duration {
    let opened = (0..CONNECTIONS).map(|_| async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    });
    let opened = join_all(opened).await;
    let names = Names::default();
    let begun = Instant::now();
    let shares = opened.iter().zip(1..).map(async |((_connection, channel), first)| {
        for number in (first..=count).step_by(CONNECTIONS as usize) {
            let lane = lane(number);
            let queue = device_queue(&names, lane.device);
            let mut arguments = FieldTable::default();
            for (name, value) in queue.arguments() {
                let value = match value {
                    Argument::Text(text) => AMQPValue::LongString(text.into()),
                    Argument::Integer(number) => AMQPValue::LongLongInt(number),
                    Argument::Bool(flag) => AMQPValue::Boolean(flag),
                };
                arguments.insert(name.into(), value);
            }
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.name.clone().into(), durable, arguments).await.unwrap();
            for binding in device_bindings(&names, lane.device, lane.keys.iter().map(String::as_str), lane.broadcast) {
                let (source, key) = (binding.source.into(), binding.key.into());
                let bound = channel.queue_bind(queue.name.clone().into(), source, key, Default::default(), FieldTable::default());
                bound.await.unwrap();
            }
        }
    });
    join_all(shares).await;
    begun.elapsed()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, way, url, count] = arguments.as_slice() else { panic!("device_declares <lanes|raw> <amqp url> <devices>") };
    let count = count.parse().expect("a number of devices");
    let broker = Arc::new(BrokerOptions::new(url.as_str(), "bench"));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let link = Link::start(broker.clone(), "bench", &tasks, stop.clone(), Arc::new(Metrics::new(&Registry::new()).unwrap()));
    apply(&link, &devices(&Names::default(), &TierLimits::default()), Mode::Declare).await.unwrap();
    let took = match way.as_str() {
        "lanes" => by_lanes(&broker, count).await,
        "raw" => by_hand(url, count).await,
        other => panic!("`{other}` is neither lanes nor raw"),
    };
    println!("{{\"seconds\": {}}}", took.as_secs_f64());
}
