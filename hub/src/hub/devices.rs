//! Mobile delivery in a hub process: its parts, wired, started in order and drained in order.
//!
//! ```text
//! until the drain   sessions (they end themselves), upkeep
//! then              relay, receipts, notices, heartbeat
//! last              lanes
//! ```

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use broker_topology::Names;
use database::Micros;
use database::writer::WriterOptions;
use door::auth::Verifier;
use door::problem::{Code, Problem};
use door::rates::{Rate, RateLimits};
use messaging::connection::{BrokerOptions, Link};
use messaging::devices::{Lanes, LanesOptions};
use messaging::publisher::Publisher;
use messaging::submission::Submit;
use mobile_delivery::broker_auth::{self, BrokerAuth};
use mobile_delivery::follow::{Follow, Fresh, NewEntry};
use mobile_delivery::http::{Api, ApiOptions, AtBroker, Parts};
use mobile_delivery::lane::broker_name;
use mobile_delivery::operating::Operating;
use mobile_delivery::processes::Processes;
use mobile_delivery::receipts::{self, Receipts};
use mobile_delivery::relay::{self, Relay, RelayOptions, Wake};
use mobile_delivery::rooms::RoomOptions;
use mobile_delivery::sending::Sender;
use mobile_delivery::sessions::{self, Sessions};
use mobile_delivery::shards::Shards;
use mobile_delivery::store::{Limits, Number, Placed, Recalled, Session, StoreError, Stores, Withdrawn};
use mobile_delivery::tokens::Tokens;
use mobile_delivery::upkeep::{self, Upkeep, UpkeepOptions};
use mobile_delivery::{http, poll};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use utoipa::openapi::OpenApi;

use super::broker_closing::{self, Closing};
use super::shards::AtShard;
use super::{HubError, Stages, Wiring};
use super::{broker_fitness, device_policies, device_submissions, shards};
use crate::config;

const TWICE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The rows of devices, and this process among those that serve them.
pub(crate) struct Devices {
    stores: Stores,
    processes: Arc<Processes>,
}

/// What devices are served over, once it runs.
pub(crate) struct Served {
    /// For those who own devices, and for devices themselves.
    pub(crate) routes: Router,
    /// What describes them.
    pub(crate) openapi: OpenApi,
    /// For the broker, if it may ask.
    pub(crate) broker_auth: Option<Router>,
    /// For those who operate the hub.
    pub(crate) operating: Operating,
    /// Takes what is submitted for devices by message.
    pub(crate) submissions: Arc<dyn Submit>,
    /// Why devices cannot connect, while they cannot.
    pub(crate) unfit: watch::Receiver<Option<String>>,
    /// The brokers that their queues are at.
    pub(crate) shards: Shards,
    /// The ways to them but the main one.
    pub(crate) ways: Vec<AtShard>,
}

/// What the parts run on.
pub(super) struct Ground<'a> {
    pub(super) broker: &'a Arc<BrokerOptions>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) rates: RateLimits,
    /// The way to other processes, and to who hears of receipts.
    pub(super) publisher: &'a dyn Fn() -> Publisher,
    pub(super) listening: Link,
    pub(super) declared: watch::Receiver<bool>,
    pub(super) stages: &'a Stages,
    pub(super) intake: &'a TaskTracker,
    pub(super) outlet: &'a TaskTracker,
    pub(super) links: &'a TaskTracker,
}

/// Everybody who follows a commit.
struct Followers {
    wake: Wake,
    sessions: Sessions,
    /// Where the broker lets devices in.
    closing: Option<Closing>,
}

impl Follow for Followers {
    fn placed(&self, deliveries: &[Placed]) {
        self.wake.placed(deliveries);
        self.sessions.placed(deliveries);
    }

    fn stored(&self, deliveries: &[Fresh]) {
        self.wake.stored(deliveries);
        self.sessions.stored(deliveries);
    }

    fn logged(&self, entries: &[NewEntry]) {
        self.sessions.logged(entries);
    }

    fn recalled(&self, recalled: &Recalled) {
        self.sessions.recalled(recalled);
    }

    fn regrouped(&self, tenant: &str, group: &str) {
        self.sessions.regrouped(tenant, group);
    }

    fn scheduled(&self, due_at: Micros) {
        self.wake.scheduled(due_at);
    }

    fn put_out(&self, device: Number, session: &Session) {
        self.sessions.put_out(device, session);
    }

    fn shut_out(&self, tenant: &str, id: &str) {
        if let Some(closing) = &self.closing {
            closing.close(broker_name(tenant, id));
        }
    }

    fn withdrawn(&self, deliveries: &[Withdrawn]) {
        self.sessions.withdrawn(deliveries);
    }
}

impl Devices {
    /// Enters this process.
    pub(super) async fn open(database: &database::Database, broker: &config::Broker) -> Result<Self, StoreError> {
        let stores = Stores::on(database).await?;
        let shards = broker.shards.iter().map(|shard| shard.name.clone()).collect();
        let processes = Processes::join_with(stores.sessions.clone(), shards).await?;
        Ok(Self { stores, processes })
    }

    /// Leaves: what is left of this process is for others at once.
    pub(super) async fn leave(&self) {
        self.processes.leave().await;
    }

    /// Starts all parts.
    pub(super) fn start(&self, wiring: &Wiring, ground: &Ground<'_>) -> Result<Served, HubError> {
        let (settings, names, registry) = (&wiring.config.devices, &wiring.names, &wiring.registry);
        let (stores, processes) = (&self.stores, &self.processes);
        let Ground { stages, intake, outlet, .. } = ground;
        let lanes_options = LanesOptions { declares_per_second: settings.declares_per_second, ..LanesOptions::default() };
        let wire = &wiring.metrics.messaging;
        let (links, stop) = (ground.links, &stages.links);
        let main = Lanes::start(ground.broker, names.clone(), lanes_options.clone(), links, stop, wire, registry)?;
        let (shards, ways) = shards::start(wiring, ground, main.clone(), &lanes_options, processes)?;
        // With as many before it as may wait.
        let per_second = lanes_options.declares_per_second.max(1);
        let waiting = u32::try_from(lanes_options.declares_waiting).unwrap_or(u32::MAX);
        let longest_declare = lanes_options.patience + Duration::from_secs((waiting / per_second).into());
        let limits = limits(settings);

        let wake = Wake::default();
        let told = Arc::new(receipts::Metrics::new(registry)?);
        let publisher = (ground.publisher)();
        let (receipts, hears) = Receipts::new(stores.clone(), processes.clone(), publisher, names, &wiring.topology, told);
        // Each is a connection: one bound, told in the configuration, is enough.
        let options = sessions::Options {
            sessions: usize::try_from(wiring.config.listen.max_connections).unwrap_or(usize::MAX),
            drain_within: wiring.config.drain.grace,
            rooms: rooms(settings),
            ..sessions::Options::default()
        };
        let sessions = Sessions::start(
            sessions::Parts {
                stores: stores.clone(),
                shards: shards.clone(),
                verifier: ground.verifier.clone(),
                me: processes.me(),
                notices: Some(sessions_notices(ground, names)),
                outlet: Some(hears),
            },
            options,
            intake,
            stages.drain.clone(),
            registry,
        )?;
        let counted = Arc::new(relay::Metrics::new(registry)?);
        let relay = Relay {
            stores: stores.clone(),
            processes: processes.clone(),
            shards: shards.clone(),
            wake: wake.clone(),
            metrics: counted.clone(),
            options: RelayOptions::default(),
        };
        let notices = relay::Notices {
            wake: wake.clone(),
            processes: Some(processes.clone()),
            publisher: (ground.publisher)(),
            link: ground.listening.clone(),
            names: names.clone(),
            metrics: counted,
        };
        let followers: Arc<dyn Follow> = Arc::new(Followers {
            wake: wake.clone(),
            sessions: sessions.clone(),
            closing: settings.broker_auth.then(|| broker_closing::start(&wiring.config.broker, intake, &stages.drain)),
        });
        let broker_auth = settings.broker_auth.then(|| {
            let parts = broker_auth::Parts {
                stores: stores.clone(),
                lanes: main.clone(),
                wake: wake.clone(),
                verifier: ground.verifier.clone(),
                names: names.clone(),
                vhost: wiring.config.broker.vhost_name(),
                unfit: broker_fitness::watch(ground.broker, settings.trusted_network, intake, &stages.drain),
                tasks: (*intake).clone(),
                stop: stages.drain.clone(),
            };
            BrokerAuth::new(parts, registry).map(BrokerAuth::router)
        });
        let broker_auth = broker_auth.transpose()?;
        let upkeep = Upkeep {
            stores: stores.clone(),
            processes: processes.clone(),
            shards: shards.clone(),
            wake,
            follow: followers.clone(),
            limits,
            metrics: Arc::new(upkeep::Metrics::new(registry)?),
            options: UpkeepOptions {
                ended: settings.retention,
                keys: wiring.config.retention.keys,
                cool_after: settings.cool_after,
                left_for: UpkeepOptions::default().left_for.max(longest_declare),
                ..UpkeepOptions::default()
            },
        };
        // What publishes waits for the exchanges; rows are taken meanwhile.
        let later = |work| once(ground.declared.clone(), work);
        intake.spawn(later(Box::pin(upkeep.run(stages.drain.clone())) as Work));
        outlet.spawn(later(Box::pin(relay.run(stages.relay.clone()))));
        outlet.spawn(later(Box::pin(receipts.run(stages.relay.clone()))));
        outlet.spawn(later(Box::pin(notices.run(stages.relay.clone()))));
        outlet.spawn(processes.clone().run(stages.relay.clone()));

        let (fits, unfit) = watch::channel(Some("it was not looked at yet".to_owned()));
        intake.spawn(device_policies::watch(
            config::MAIN.to_owned(),
            wiring.config.broker.clone(),
            wiring.config.topology.manage,
            wiring.names.clone(),
            settings.queue_limits(),
            fits,
            stages.drain.clone(),
        ));

        // The writer ends by itself when the last request is gone; nothing waits for it but requests.
        let writers = TaskTracker::new();
        let sender = Sender::start(stores.messages.clone(), limits, WriterOptions::default(), followers.clone(), &writers);
        sessions.publish_by(sender.clone());
        let tokens = tokens(&wiring.config).map_err(HubError::Auth)?;
        let operating = Operating::new(stores.clone(), sessions.clone(), tokens.clone(), followers.clone());
        let submissions = device_submissions::submissions(sender.clone(), settings.payload);
        let api = Api::new(
            Parts {
                devices: stores.devices.clone(),
                messages: stores.messages.clone(),
                groups: stores.groups.clone(),
                sender,
                follow: followers,
                verifier: ground.verifier.clone(),
                tokens,
                broker: settings.broker_auth.then(|| AtBroker { vhost: wiring.config.broker.vhost_name(), names: names.clone() }),
                tracer: wiring.tracer.clone(),
            },
            ApiOptions {
                body_limit: usize::try_from(settings.payload).unwrap_or(usize::MAX),
                retention: settings.retention,
                rates: ground.rates,
                ..ApiOptions::default()
            },
            registry,
        )?;
        let (owners, mut openapi) = http::router(api);
        let (connecting, described) = poll::router(sessions);
        openapi.merge(described);
        let routes = owners.merge(guarded(connecting, unfit.clone()));
        Ok(Served { routes, openapi, broker_auth, operating, submissions, unfit, shards, ways })
    }
}

pub(super) type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `work` once the topology is there; a process that leaves before has nothing to do.
pub(super) async fn once(mut declared: watch::Receiver<bool>, work: Work) {
    if declared.wait_for(|declared| *declared).await.is_ok() {
        work.await;
    }
}

fn sessions_notices(ground: &Ground<'_>, names: &Names) -> sessions::Notices {
    sessions::Notices { publisher: (ground.publisher)(), link: ground.listening.clone(), names: names.clone() }
}

/// Devices connect only while their queues would have limits.
fn guarded(routes: Router, unfit: watch::Receiver<Option<String>>) -> Router {
    routes.route_layer(from_fn(move |request: Request, next: Next| {
        let why = unfit.borrow().clone();
        async move {
            match why {
                None => next.run(request).await,
                Some(why) => {
                    Problem::new(Code::DevicesNotReady, format!("devices cannot connect: {why}")).retry_after(5).into_response()
                }
            }
        }
    }))
}

/// Twice as much at once as in the time of a rate.
fn rooms(settings: &config::Devices) -> RoomOptions {
    let rate = |rate: config::Rate| Rate { count: rate.count, per: rate.per, burst: rate.count.saturating_mul(TWICE) };
    RoomOptions {
        device: rate(settings.publish_rate),
        room: rate(settings.room_rate),
        payload: usize::try_from(settings.payload).unwrap_or(usize::MAX),
    }
}

pub(super) fn limits(settings: &config::Devices) -> Limits {
    let micros = |time: std::time::Duration| Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX);
    Limits {
        device_messages: settings.backlog_messages.into(),
        device_bytes: i64::try_from(settings.backlog_bytes).unwrap_or(i64::MAX),
        tenant_messages: settings.backlog_per_tenant.into(),
        ttl_standard: micros(settings.ttl_standard),
        ttl_lite: micros(settings.ttl_lite),
        ..Limits::default()
    }
}

/// Tokens of devices are signed with the last HS256 key, as those of `warren token` are; without one devices bring tokens of another
/// issuer.
fn tokens(config: &config::Config) -> Result<Option<Tokens>, String> {
    let issuer = crate::auth::issuer(&config.auth);
    let signer = crate::auth::signer(&config.auth);
    let made = signer.map(|key| Tokens::new(&key, issuer, &config.auth.audience, config.devices.token_ttl));
    made.transpose().map_err(|error| error.to_string())
}
