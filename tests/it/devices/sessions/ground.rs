//! What every test stands on: exchanges, tables, and processes that serve devices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use broker_topology::{Names, TierLimits, definitions, devices};
use bytes::Bytes;
use database::{Database, clock};
use door::auth::{AUDIENCE, Algorithm, Grant, KeySpec, Material, Verifier, mint};
use messaging::connection::{BrokerOptions, Link};
use messaging::devices::{Lanes, LanesOptions};
use messaging::publisher::{Publisher, PublisherOptions};
use mobile_delivery::follow::Follow;
use mobile_delivery::processes::Processes;
use mobile_delivery::relay::{self, Relay, RelayOptions, Wake};
use mobile_delivery::sessions::{Notices, Options, Parts, Sessions};
use mobile_delivery::store::{
    Device, Limit, Limits, Message, NewMessage, Number, Priority, Put, Registration, Sent, Stores, TABLES, Target, Tier, Via,
};
use prometheus::Registry;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::postgres::Postgres;

pub(super) const TENANT: &str = "acme";
const ISSUER: &str = "tests";

/// A vhost with what devices share, and a database with their tables.
pub(super) struct Ground {
    pub(super) vhost: Vhost,
    url: String,
    database: String,
    pub(super) stores: Stores,
}

impl Ground {
    pub(super) async fn set() -> Self {
        Self::on(Broker::shared().await).await
    }

    pub(super) async fn on(broker: &Broker) -> Self {
        let vhost = broker.vhost().await;
        let names = Names::default();
        let shared = definitions(&devices(&names, &TierLimits::default()), vhost.name());
        let path = format!("/api/definitions/{}", vhost.name().replace('/', "%2F"));
        broker.management().call("POST", &path, Some(shared)).await;
        vhost.declare_exchange(&names.notices(), "fanout", json!({})).await;
        let database = Postgres::shared().await.database().await;
        let stores = open(&database).await;
        Self { url: vhost.url(), vhost, database, stores }
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
        match self.stores.devices.put(&registration, clock::now()).await.unwrap() {
            Put::Done { device, .. } => device,
            refused => panic!("a user of one new device has room: {refused:?}"),
        }
    }

    /// Sends messages to a device in one commit, and tells the processes of it as the one that accepted them does.
    pub(super) async fn send(&self, process: &Process, id: &str, bodies: &[Bytes]) -> Vec<Uuid> {
        self.send_all(process, id, bodies.iter().map(|body| message(id, body.clone())).collect()).await
    }

    /// Sends one message of any content type and kind.
    pub(super) async fn send_of(&self, process: &Process, id: &str, content_type: &str, kind: &str, body: Bytes) {
        let mut one = message(id, body);
        (one.message.content_type, one.message.kind) = (content_type.to_owned(), kind.to_owned());
        self.send_all(process, id, vec![one]).await;
    }

    async fn send_all(&self, process: &Process, id: &str, messages: Vec<NewMessage>) -> Vec<Uuid> {
        let ids = messages.iter().map(|message| message.message.id).collect();
        let sent = self.stores.messages.send(&messages, &Limits::default(), clock::now()).await.unwrap();
        let placed = |sent| match sent {
            Sent::Accepted { placed, .. } => placed,
            other => panic!("{id}: {other:?}"),
        };
        let placed: Vec<_> = sent.into_iter().flat_map(placed).collect();
        process.wake.placed(&placed);
        process.sessions.placed(&placed);
        ids
    }

    pub(super) async fn send_texts(&self, process: &Process, id: &str, count: usize) -> Vec<Uuid> {
        let bodies: Vec<Bytes> = (0..count).map(|n| Bytes::from(format!("message {n}"))).collect();
        self.send(process, id, &bodies).await
    }

    pub(super) async fn look(&self, id: &str) -> Device {
        self.stores.devices.get(TENANT, id).await.unwrap().unwrap()
    }

    /// What the device has still to get.
    pub(super) async fn pending(&self, device: Number) -> Vec<i64> {
        let all = Limit { messages: 10_000, bytes: i64::MAX };
        let pending = self.stores.sessions.pending(device, 0, all, clock::now()).await.unwrap();
        pending.messages.iter().map(|given| given.seq).collect()
    }
}

fn message(id: &str, body: Bytes) -> NewMessage {
    let message = Message {
        id: Uuid::now_v7(),
        sender: "tester".to_owned(),
        kind: "note".to_owned(),
        content_type: "text/plain".to_owned(),
        body,
        traceparent: None,
        collapse_key: None,
        priority: Priority::Normal,
        created_at: clock::now(),
    };
    let target = Target::Devices(vec![id.to_owned()]);
    NewMessage {
        tenant: TENANT.to_owned(),
        target,
        message,
        publisher: None,
        ttl: None,
        not_before: None,
        receipt: false,
        key: None,
    }
}

async fn open(url: &str) -> Stores {
    let database = Database::open(url, &[TABLES], true).await.unwrap();
    Stores::on(&database).await.unwrap()
}

fn key() -> KeySpec {
    KeySpec { id: "k".to_owned(), algorithm: Algorithm::Hs256, material: Material::Secret(vec![7; 32]) }
}

/// A token of a device.
pub(super) fn token(id: &str) -> String {
    token_with(id, "device")
}

pub(super) fn token_with(subject: &str, scope: &str) -> String {
    let (tenant, subject) = (TENANT.to_owned(), subject.to_owned());
    let grant = Grant { tenant, subject, scopes: vec![scope.to_owned()], valid: std::time::Duration::from_secs(600) };
    mint(&key(), ISSUER, AUDIENCE, &grant).unwrap()
}

/// How a process works.
#[derive(Clone, Default)]
pub(super) struct How {
    pub(super) options: Options,
    /// Whether it neither hears nor tells notices.
    pub(super) mute: bool,
}

/// A process that serves devices.
pub(super) struct Process {
    runtime: Option<Runtime>,
    pub(super) address: SocketAddr,
    pub(super) sessions: Sessions,
    pub(super) wake: Wake,
    pub(super) registry: Registry,
    /// What ends before the lanes.
    work: TaskTracker,
    stop: CancellationToken,
}

impl Process {
    pub(super) async fn start(ground: &Ground) -> Self {
        Self::with(ground, How::default()).await
    }

    pub(super) async fn with(ground: &Ground, how: How) -> Self {
        let (url, database) = (ground.url.clone(), ground.database.clone());
        let starting = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let mut started = runtime.block_on(begin(url, &database, how));
            started.runtime = Some(runtime);
            started
        };
        tokio::task::spawn_blocking(starting).await.unwrap()
    }

    /// Takes everything from it at once, as a `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops it in good order.
    pub(super) async fn drain(&self) {
        self.stop.cancel();
        self.work.close();
        tokio::time::timeout(super::SOON, self.work.wait()).await.expect("the work ends");
    }

    /// What a counter or gauge shows, of all labels or of one.
    pub(super) fn metric(&self, name: &str, label: Option<&str>) -> i64 {
        let families = self.registry.gather();
        // One that has counted nothing yet is not there.
        let Some(family) = families.iter().find(|family| family.name() == name) else { return 0 };
        let wanted =
            |one: &&prometheus::proto::Metric| label.is_none_or(|label| one.get_label().iter().any(|l| l.value() == label));
        let value = |one: &prometheus::proto::Metric| one.get_counter().get_value() + one.get_gauge().get_value();
        family.get_metric().iter().filter(wanted).map(value).sum::<f64>() as i64
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn begin(url: String, database: &str, how: How) -> Process {
    let (names, stores) = (Names::default(), open(database).await);
    let (work, others) = (TaskTracker::new(), TaskTracker::new());
    let (stop, last) = (CancellationToken::new(), CancellationToken::new());
    let registry = Registry::new();
    let wire = Arc::new(messaging::metrics::Metrics::new(&registry).unwrap());
    let broker = Arc::new(BrokerOptions::new(url, "test"));
    let options = LanesOptions { declares_per_second: 100_000, ..LanesOptions::default() };
    let lanes = Lanes::start(&broker, names.clone(), options, &others, &last, &wire, &registry).unwrap();
    let link = Link::start(broker, "devices", &others, last.clone(), wire.clone());
    let publisher = Publisher::start(link.clone(), PublisherOptions::default(), &others, last.clone(), wire);
    let processes = Processes::join(stores.sessions.clone()).await.unwrap();
    others.spawn(processes.clone().run(last.clone()));
    let (wake, metrics) = (Wake::default(), Arc::new(relay::Metrics::new(&registry).unwrap()));
    let relay = Relay {
        stores: stores.clone(),
        processes: processes.clone(),
        shards: lanes.clone().into(),
        wake: wake.clone(),
        metrics: metrics.clone(),
        options: RelayOptions { look: std::time::Duration::from_millis(500), ..RelayOptions::default() },
    };
    work.spawn(relay.run(stop.clone()));
    let told = relay::Notices {
        wake: wake.clone(),
        processes: Some(processes.clone()),
        publisher: publisher.clone(),
        link: link.clone(),
        names: names.clone(),
        metrics,
    };
    others.spawn(told.run(last.clone()));
    let notices = (!how.mute).then_some(Notices { publisher, link, names });
    let verifier = Arc::new(Verifier::new(&[key()], ISSUER, AUDIENCE).unwrap());
    let parts = Parts { stores, shards: lanes.into(), verifier, me: processes.me(), notices, outlet: None };
    let sessions = Sessions::start(parts, how.options, &work, stop.clone(), &registry).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, _) = mobile_delivery::poll::router(sessions.clone());
    others.spawn(async move { axum::serve(listener, router).await });
    Process { runtime: None, address, sessions, wake, registry, work, stop }
}
