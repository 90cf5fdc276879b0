//! What every test stands on: exchanges, tables, processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker_topology::{Names, Topology};
use bytes::Bytes;
use database::{Database, clock};
use messaging::connection::{BrokerOptions, Link};
use messaging::devices::{Lanes, LanesOptions};
use messaging::publisher::{Publisher, PublisherOptions};
use mobile_delivery::follow::{Follow, Fresh};
use mobile_delivery::processes::Processes;
use mobile_delivery::receipts::{self, Outlet, Receipts};
use mobile_delivery::relay::{self, Notices, Relay, RelayOptions, Wake};
use mobile_delivery::shards::{Shard, Shards};
use mobile_delivery::store::{
    Key, Limit, Limits, Message, NewMessage, Number, Placed, Priority, ProcessId, Put, Registration, Sent, StoreError, Stores,
    TABLES, Target, Temperature, Tier, Via,
};
use mobile_delivery::upkeep::{self, Upkeep, UpkeepOptions};
use prometheus::Registry;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::postgres::Postgres;

const TENANT: &str = "acme";

/// A vhost with what devices share, and a database with their tables.
pub(super) struct Ground {
    pub(super) vhost: Vhost,
    pub(super) url: String,
    pub(super) database: String,
    /// As an outsider sees the tables.
    pub(super) stores: Stores,
    /// Sends go one after the other, as those of a writer do: the store has one connection for them.
    sending: tokio::sync::Mutex<()>,
}

impl Ground {
    pub(super) async fn set() -> Self {
        Self::on(Broker::shared().await).await
    }

    pub(super) async fn on(broker: &Broker) -> Self {
        let vhost = shared(broker).await;
        let database = Postgres::shared().await.database().await;
        let stores = open(&database).await;
        Self { url: vhost.url(), vhost, database, stores, sending: tokio::sync::Mutex::default() }
    }

    /// A registered device.
    pub(super) async fn device(&self, id: &str) -> Number {
        let registration = Registration {
            tenant: TENANT.to_owned(),
            id: id.to_owned(),
            user: format!("user-of-{id}"),
            groups: BTreeSet::from(["all".to_owned()]),
            labels: BTreeMap::new(),
            tier: Tier::Standard,
            via: Via::Hub,
        };
        match again(|| self.stores.devices.put(&registration, clock::now())).await {
            Put::Done { device, .. } => device,
            refused => panic!("a user of one new device has room: {refused:?}"),
        }
    }

    /// Sends `count` messages to a device, in one commit, and tells the relay of `process`, with the messages: in the order of commits, as who commits them does.
    pub(super) async fn send(&self, process: &Process, id: &str, count: usize) -> Vec<Placed> {
        let sends: Vec<NewMessage> = (0..count).map(|_| message(id)).collect();
        let (limits, now) = (Limits::default(), clock::now());
        let _in_line = self.sending.lock().await;
        let sent = again(|| self.stores.messages.send(&sends, &limits, now)).await;
        let mut all = Vec::new();
        for (send, sent) in sends.into_iter().zip(sent) {
            let message = Arc::new(send.message);
            let placed = match sent {
                Sent::Accepted { placed, .. } => placed,
                // The answer was lost.
                Sent::Existing { .. } => vec![Placed { device: self.device(id).await, seq: 0, expires_at: None }],
                other => panic!("{id}: {other:?}"),
            };
            all.extend(placed.into_iter().map(|placed| Fresh { placed, message: message.clone() }));
        }
        process.wake.stored(&all);
        all.iter().map(|fresh| fresh.placed).collect()
    }

    /// What the device has still to get.
    pub(super) async fn pending(&self, device: Number) -> Vec<i64> {
        let all = Limit { messages: 10_000, bytes: i64::MAX };
        let pending = again(|| self.stores.sessions.pending(device, 0, all, clock::now())).await;
        pending.messages.iter().map(|given| given.seq).collect()
    }

    pub(super) async fn temperature(&self, id: &str) -> Temperature {
        again(|| self.stores.devices.get(TENANT, id)).await.unwrap().temperature
    }

    pub(super) async fn remove(&self, id: &str) {
        self.stores.devices.remove(TENANT, id, clock::now()).await.unwrap().unwrap();
    }

    /// Whether the broker has its queue.
    pub(super) async fn has_queue(&self, device: Number) -> bool {
        self.vhost.queue_depth(&queue(device)).await.is_some()
    }

    /// Makes the store believe that a process has not been heard of for long.
    pub(super) async fn lapse(&self, process: ProcessId) {
        let mut connection = PgConnection::connect(&self.database).await.unwrap();
        sqlx::query("UPDATE device_processes SET beat_at = 0 WHERE id = $1")
            .bind(process.0)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

/// A vhost with what devices share.
pub(super) async fn shared(broker: &Broker) -> Vhost {
    let (vhost, names) = (broker.vhost().await, Names::new(""));
    for (exchange, kind) in [
        (names.devices(), "direct"),
        (names.groups(), "topic"),
        (names.broadcast(), "fanout"),
        (names.notices(), "fanout"),
        (names.events(), "topic"),
    ] {
        vhost.declare_exchange(&exchange, kind, json!({})).await;
    }
    vhost
}

/// Asks a store that is too busy to answer again, as those do that use it.
pub(super) async fn again<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(StoreError::Unavailable(_) | StoreError::Undecided(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(super::SOON, asking).await.expect("the store answers")
}

pub(super) fn queue(device: Number) -> String {
    format!("device.standard.{}", device.0)
}

pub(super) fn message(id: &str) -> NewMessage {
    let now = clock::now();
    let message = Message {
        id: Uuid::now_v7(),
        sender: "tester".to_owned(),
        kind: "note".to_owned(),
        content_type: "text/plain".to_owned(),
        body: Bytes::from_static(b"hello"),
        traceparent: None,
        collapse_key: None,
        priority: Priority::Normal,
        created_at: now,
    };
    let target = Target::Devices(vec![id.to_owned()]);
    let hash = std::array::from_fn(|at| message.id.as_bytes()[at % 16]);
    let key = Key { hash, fingerprint: hash };
    NewMessage {
        tenant: TENANT.to_owned(),
        target,
        message,
        publisher: None,
        ttl: None,
        not_before: None,
        receipt: false,
        key: Some(key),
    }
}

async fn open(url: &str) -> Stores {
    let database = Database::open(url, &[TABLES], true).await.unwrap();
    Stores::on(&database).await.unwrap()
}

/// How a process works.
#[derive(Clone, Default)]
pub(super) struct How {
    pub(super) relay: RelayOptions,
    pub(super) upkeep: UpkeepOptions,
    /// What is said to be declared.
    pub(super) topology: Topology,
    /// Whether it hears and tells notices.
    pub(super) mute: bool,
    /// The URL of one more broker, [`NORTH`].
    pub(super) north: Option<String>,
}

/// What the other broker is called.
pub(super) const NORTH: &str = "north";

/// A process that serves devices.
pub(super) struct Process {
    runtime: Option<Runtime>,
    pub(super) me: ProcessId,
    pub(super) wake: Wake,
    pub(super) lanes: Lanes,
    pub(super) shards: Shards,
    pub(super) outlet: Outlet,
    processes: Arc<Processes>,
    registry: Registry,
    /// What it runs, but the lanes.
    work: TaskTracker,
    stop: CancellationToken,
}

impl Process {
    pub(super) async fn start(ground: &Ground) -> Self {
        Self::with(ground, How::default()).await
    }

    pub(super) async fn with(ground: &Ground, how: How) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (url, database) = (ground.url.clone(), ground.database.clone());
        let begun = tokio::task::spawn_blocking(move || {
            let mut process = runtime.block_on(begin(url, database, how));
            process.runtime = Some(runtime);
            process
        });
        begun.await.unwrap()
    }

    /// Messages that it has put into queues, `from` its memory or the store.
    pub(super) fn relayed(&self, from: &str) -> u64 {
        let families = self.registry.gather();
        let relayed = families.iter().find(|family| family.name() == "warren_device_relayed_total");
        let of = |one: &&prometheus::proto::Metric| one.get_label().iter().any(|label| label.value() == from);
        relayed.and_then(|family| family.get_metric().iter().find(of)).map_or(0, |one| one.get_counter().get_value() as u64)
    }

    /// Takes everything from it at once, as a `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops it in good order.
    pub(super) async fn drain(self) {
        self.stop.cancel();
        self.work.close();
        tokio::time::timeout(super::SOON, self.work.wait()).await.expect("the work ends");
        let processes = self.processes.clone();
        self.runtime.as_ref().unwrap().spawn(async move { processes.leave().await }).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn publisher(link: &Link, tasks: &TaskTracker, stop: &CancellationToken, wire: &Arc<messaging::metrics::Metrics>) -> Publisher {
    Publisher::start(link.clone(), PublisherOptions::default(), tasks, stop.clone(), wire.clone())
}

async fn begin(url: String, database: String, how: How) -> Process {
    let (names, stores) = (Names::new(""), open(&database).await);
    let (work, others) = (TaskTracker::new(), TaskTracker::new());
    let (stop, last) = (CancellationToken::new(), CancellationToken::new());
    let registry = Registry::new();
    let wire = Arc::new(messaging::metrics::Metrics::new(&registry).unwrap());
    let broker = Arc::new(BrokerOptions::new(url, "test"));
    let options = LanesOptions { declares_per_second: 1000, ..LanesOptions::default() };
    let lanes = Lanes::start(&broker, names.clone(), options, &others, &last, &wire, &registry).unwrap();
    let link = Link::start(broker, "devices", &others, last.clone(), wire.clone());
    let telling = publisher(&link, &others, &last, &wire);
    let publishing = publisher(&link, &others, &last, &wire);
    let named = how.north.iter().map(|_| NORTH.to_owned()).collect();
    let processes = Processes::join_with(stores.sessions.clone(), named).await.unwrap();
    let north = how.north.map(|url| {
        let broker = Arc::new(BrokerOptions::new(url, "test"));
        let options = LanesOptions { shard: NORTH.to_owned(), ..LanesOptions::default() };
        let (lanes, (_, unfit)) = (lanes.beside(&broker, options, &others, &last, &wire), tokio::sync::watch::channel(None));
        Shard { lanes, takes: true, unfit }
    });
    let shards = Shards::new(lanes.clone(), north.into_iter().collect(), processes.clone());
    work.spawn(processes.clone().run(stop.clone()));
    let (wake, metrics) = (Wake::default(), Arc::new(relay::Metrics::new(&registry).unwrap()));
    let relay = Relay {
        stores: stores.clone(),
        processes: processes.clone(),
        shards: shards.clone(),
        wake: wake.clone(),
        metrics: metrics.clone(),
        options: how.relay,
    };
    work.spawn(relay.run(stop.clone()));
    if !how.mute {
        let notices = Notices {
            wake: wake.clone(),
            processes: Some(processes.clone()),
            publisher: telling,
            link: link.clone(),
            names: names.clone(),
            metrics,
        };
        work.spawn(notices.run(stop.clone()));
    }
    let upkeep = Upkeep {
        stores: stores.clone(),
        processes: processes.clone(),
        shards: shards.clone(),
        wake: wake.clone(),
        follow: Arc::new(wake.clone()),
        limits: Limits::default(),
        metrics: Arc::new(upkeep::Metrics::new(&registry).unwrap()),
        options: how.upkeep,
    };
    work.spawn(upkeep.run(stop.clone()));
    let metrics = Arc::new(receipts::Metrics::new(&registry).unwrap());
    let (receipts, outlet) = Receipts::new(stores, processes.clone(), publishing, &names, &how.topology, metrics);
    work.spawn(receipts.run(stop.clone()));
    Process { runtime: None, me: processes.me(), wake, lanes, shards, outlet, processes, registry, work, stop }
}
