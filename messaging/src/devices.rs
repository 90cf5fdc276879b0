//! Lanes: the queue that a device has in the broker, from its first declare until it is retired.
//!
//! ```text
//! Lanes::ensure   scratch channels, own connections     queue and all bindings are there
//! Lanes::line     publisher channels, own connection    one message after the other to one device: Queued, Cold, Held, Failed
//! Lanes::attach   consumer channels, own connections    up to 64 devices share one: deliveries, Reattached, Gone
//! Lanes::retire   scratch channels                      unbound, drained, deleted; what was in it
//! ```
//!
//! All of it at one broker. Where there are several, each has lanes of its own ([`Lanes::beside`]), and shares nothing with the others but counters: one that hangs
//! holds up nobody else.
//!
//! Owns what AMQP needs for that: connections, channels, who sits on which, what is under way for a device. Refuses to own whether a device
//! should have a queue, what it was sent and what it has: that is the store's, which is the truth, and a lane is its fast way (ADR 43).
//! Nothing here is kept beyond the process.
//!
//! Guarantees, each with its limit:
//!
//! * [`Lanes::ensure`] answers `Ok` once the broker has said that queue and bindings exist. Calls for one lane at one time share a declare.
//! * A refusal (403, 404, 406) is told to the one who asked. It costs a scratch channel, and never one that others consume from: a queue
//!   is looked at there before it is consumed from. One that vanishes between look and consume takes its channel with it; the other
//!   devices on that channel are attached again at once, and told so.
//! * A [`Line`] has one message without a confirm at a time, so that nothing overtakes; devices go beside each other. After a failure the
//!   rest is [`Sent::Held`].
//! * What is in a queue is lost when the broker is restarted or killed (ADR 50); the queue is not. Whoever is attached is told
//!   `Reattached` or `Gone`, and reads the rows.
//! * [`Lanes::retire`] loses nothing that a [`Line`] of this process called queued. What another process publishes meanwhile may be lost with
//!   the queue, in the moment between its routing and its arrival: whoever retires has fenced the device in the store first.
//!
//! Everything is bounded: declares by rate and by how many wait, channels by number, devices by channels, deliveries by prefetch.

mod attach;
mod cohorts;
mod declare;
mod line;
mod metrics;
mod outstanding;
mod pace;
mod refusal;
mod retire;
mod scratch;

use std::sync::Arc;
use std::time::Duration;

use broker_topology::{Binding, Device, Names, device_bindings};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{BrokerOptions, Link};
use crate::metrics::Metrics as Wire;
use crate::publisher::{Publisher, PublisherOptions};
use cohorts::Cohorts;
use declare::Declares;
use metrics::Metrics;
use outstanding::Outstanding;
use pace::Pace;
use scratch::Scratch;

pub use attach::{Attachment, Delivery, Event, Tag};
pub use cohorts::DEVICES_PER_CHANNEL;
pub use line::{DeviceMessage, Line, Sent};
pub use refusal::LaneError;
pub use retire::Retired;

/// The keys of groups and users that one device may have beside its own.
pub const MAX_KEYS: usize = 256;

/// What is to be there for a device: its queue, and what leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The device.
    pub device: Device,
    /// Keys on `warren.groups`, as [`Names::user_key`] and [`Names::group_key`] spell them; at most [`MAX_KEYS`].
    pub keys: Vec<String>,
    /// Whether broadcasts come by its queue.
    pub broadcast: bool,
}

impl Lane {
    /// Of a device that gets only what is sent to it.
    pub fn of(device: Device) -> Self {
        Self { device, keys: Vec::new(), broadcast: false }
    }

    fn bindings(&self, names: &Names) -> Vec<Binding> {
        device_bindings(names, self.device, self.keys.iter().map(String::as_str), self.broadcast)
    }
}

/// What the broker is called that every hub has; others are called what their configuration says.
pub const MAIN: &str = "main";

/// How lanes work.
#[derive(Clone, Debug)]
pub struct LanesOptions {
    /// Connections for declares, 2 by default.
    pub scratch_connections: usize,
    /// Declares at one time, over all of those connections, 16 by default: more gain nothing on a broker of a few cores.
    pub scratch_channels: usize,
    /// Declares of devices per second, 200 by default; a cluster stands a few hundred, of all processes together.
    pub declares_per_second: u32,
    /// Declares that wait at most, 10,000 by default; what comes beyond is [`LaneError::Busy`].
    pub declares_waiting: usize,
    /// Publisher channels, 4 by default. A device has always the same one, so that each meets a share of the queues only: the broker keeps
    /// something for every queue that a channel has sent to.
    pub publisher_channels: usize,
    /// Messages without a confirm on each of them, and how long one may take.
    pub publisher: PublisherOptions,
    /// Connections for consuming, 4 by default.
    pub consumer_connections: usize,
    /// Channels on each of them, 128 by default: [`DEVICES_PER_CHANNEL`] devices each, 32,768 in all.
    pub consumer_channels: usize,
    /// For one declare, attach or retire, waiting included; 20 s by default.
    pub patience: Duration,
    /// What the broker is called where there are several, in metrics and logs; [`MAIN`] by default.
    pub shard: String,
}

impl Default for LanesOptions {
    fn default() -> Self {
        Self {
            scratch_connections: 2,
            scratch_channels: 16,
            declares_per_second: 200,
            declares_waiting: 10_000,
            publisher_channels: 4,
            publisher: PublisherOptions::default(),
            consumer_connections: 4,
            consumer_channels: 128,
            patience: Duration::from_secs(20),
            shard: MAIN.to_owned(),
        }
    }
}

/// The lanes of this process at one broker. Cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    inner: Arc<Inner>,
}

struct Inner {
    names: Names,
    shard: String,
    /// What publishes goes by.
    publish: Link,
    scratch: Arc<Scratch>,
    pace: Pace,
    declares: Declares,
    publishers: Vec<Publisher>,
    cohorts: Arc<Cohorts>,
    outstanding: Arc<Outstanding>,
    metrics: Metrics,
    patience: Duration,
    /// For the drain: how long a publish may go on.
    publishing: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lanes {
    /// Starts the connections. Until `stop`; then what waits ends with [`LaneError::Stopped`], and attachments should have been detached.
    ///
    /// # Errors
    /// When `registry` has one of the metrics already.
    pub fn start(
        broker: &Arc<BrokerOptions>,
        names: Names,
        options: LanesOptions,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        wire: &Arc<Wire>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry, &options.shard)?;
        Ok(Self::on(broker, names, options, tasks, stop, wire, metrics))
    }

    /// The same at one more broker, whose name is [`LanesOptions::shard`], with connections, channels and bounds of its own; counted beside these.
    pub fn beside(
        &self,
        broker: &Arc<BrokerOptions>,
        options: LanesOptions,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        wire: &Arc<Wire>,
    ) -> Self {
        let metrics = self.inner.metrics.of(&options.shard);
        Self::on(broker, self.inner.names.clone(), options, tasks, stop, wire, metrics)
    }

    fn on(
        broker: &Arc<BrokerOptions>,
        names: Names,
        options: LanesOptions,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        wire: &Arc<Wire>,
        metrics: Metrics,
    ) -> Self {
        let shard = options.shard;
        let purpose = |purpose: &str| match shard.as_str() {
            MAIN => purpose.to_owned(),
            shard => format!("{purpose}:{shard}"),
        };
        let link = |what: &str| Link::start(broker.clone(), purpose(what), tasks, stop.clone(), wire.clone());
        let links = |count: usize, what: &str| (0..count.max(1)).map(|_| link(what)).collect::<Vec<_>>();
        let publishing = PublisherOptions { keys: false, ..options.publisher };
        let publish = link("devices-publish");
        let publisher = |_| Publisher::start(publish.clone(), publishing.clone(), tasks, stop.clone(), wire.clone());
        let (consume, channels) = (links(options.consumer_connections, "devices-consume"), options.consumer_channels.max(1));
        Self {
            inner: Arc::new(Inner {
                names,
                scratch: Scratch::new(links(options.scratch_connections, "devices-declare"), options.scratch_channels.max(1)),
                pace: Pace::new(options.declares_per_second),
                declares: Declares::new(options.declares_waiting),
                publishers: (0..options.publisher_channels.max(1)).map(publisher).collect(),
                cohorts: Cohorts::new(consume, channels, tasks.clone()),
                outstanding: Arc::default(),
                metrics,
                publish,
                patience: options.patience,
                publishing: publishing.deadline,
                tasks: tasks.clone(),
                stop: stop.clone(),
                shard,
            }),
        }
    }

    /// What its broker is called.
    pub fn shard(&self) -> &str {
        &self.inner.shard
    }

    /// Whether the broker is there to publish to, and takes it.
    pub fn is_up(&self) -> bool {
        self.inner.publish.is_usable()
    }
}
