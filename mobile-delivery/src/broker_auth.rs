//! Devices at the door of the broker: RabbitMQ asks before it lets one in, and before it lets it touch anything.
//!
//! ```text
//! device -- user <tenant>/<id>, its token --> RabbitMQ -- POST /auth/user      token, registration, client id
//!                                                      -- POST /auth/vhost     the hub's virtual host
//!                                                      -- POST /auth/resource  its own queue
//!                                                      -- POST /auth/topic     its own topic
//! ```
//!
//! | device | may | and nothing else |
//! |---|---|---|
//! | `via` = `amqp` | read its queue `device.<tier>.<number>` | configure, bind or publish anywhere |
//! | `via` = `mqtt` | have its own queue for QoS 1, bind it to its own topic `device/<number>`, read it | publish, subscribe to anything else |
//!
//! Owns who is let in and what he may. Refuses to own the connection: what a device was let do once, the broker goes on doing until the connection ends or is closed.
//!
//! Guarantees, each with its limit:
//!
//! * A name is believed on `/auth/user` alone, for a token of the hub's that is that very device's; the other three go by the name that the broker says it has believed, and look the
//!   device up. So a hub that was just started answers as one that runs for long, and a device that was revoked or removed is refused after 5 s at the latest.
//! * Whatever goes wrong is a refusal: a form that cannot be read, a store that does not answer, a broker that is not known to be fit.
//! * Once a device has subscribed over MQTT, what waits for it is relayed.
//!
//! Whoever can reach these routes can ask what a device may, and learns whether there is one: they belong on the internal listener, behind a firewall.

mod form;
mod memory;
mod metrics;
mod rules;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use broker_topology::Names;
use door::auth::{Caller, Verifier};
use door::body;
use door::problem::Code;
use messaging::devices::Lanes;
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::admit;
use crate::relay::Wake;
use crate::store::{Stores, Via};
use form::Form;
use memory::Memory;
use metrics::Metrics;
use rules::{Ask, Known, Wants, Why, asked, named};
use ways::Ways;

/// The largest question, in bytes: a token has 8 KiB at most, and names 255.
const FORM: usize = 32 << 10;

/// How long a question may take to arrive, and its answer to be found. RabbitMQ waits for 15 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a device that comes waits for its queue. It is declared all the same when that takes longer, and the device comes back.
const QUEUE: Duration = Duration::from_secs(3);

/// What it works on.
pub struct Parts {
    /// Devices and their lanes.
    pub stores: Stores,
    /// The queues.
    pub lanes: Lanes,
    /// Who is told that a queue is there.
    pub wake: Wake,
    /// Who is believed.
    pub verifier: Arc<Verifier>,
    /// How things are named on the broker.
    pub names: Names,
    /// Where.
    pub vhost: String,
    /// Why no device is let in, while none is.
    pub unfit: watch::Receiver<Option<String>>,
    /// Where its tasks run, until `stop`.
    pub tasks: TaskTracker,
    /// See there.
    pub stop: CancellationToken,
}

/// Answers RabbitMQ. Cheap to clone.
#[derive(Clone)]
pub struct BrokerAuth(Arc<Inner>);

struct Inner {
    stores: Stores,
    verifier: Arc<Verifier>,
    names: Names,
    vhost: String,
    unfit: watch::Receiver<Option<String>>,
    memory: Memory,
    ways: Ways,
    metrics: Metrics,
}

impl BrokerAuth {
    /// Over these parts; its metrics are registered with `registry`.
    ///
    /// # Errors
    /// When `registry` has one of the metrics already.
    pub fn new(parts: Parts, registry: &Registry) -> Result<Self, prometheus::Error> {
        let Parts { stores, lanes, wake, verifier, names, vhost, unfit, tasks, stop } = parts;
        let ways = Ways::new(stores.clone(), lanes, wake, tasks, stop);
        let (memory, metrics) = (Memory::default(), Metrics::new(registry)?);
        Ok(Self(Arc::new(Inner { stores, verifier, names, vhost, unfit, memory, ways, metrics })))
    }

    /// The four routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/auth/user", post(user))
            .route("/auth/vhost", post(vhost))
            .route("/auth/resource", post(resource))
            .route("/auth/topic", post(topic))
            .with_state(self)
    }

    /// Lets a device in by its token.
    async fn user(&self, form: &Form) -> Result<(), Why> {
        let inner = &self.0;
        let name = form.username()?;
        let (tenant, id) = named(name)?;
        if inner.unfit.borrow().is_some() {
            return Err(Why::Broker);
        }
        let token = form.get("password").ok_or(Why::Token)?;
        let caller = inner.verifier.verify(token.as_bytes()).map_err(|_| Why::Token)?;
        if (caller.tenant.as_str(), caller.subject.as_str()) != (tenant, id) {
            return Err(Why::Token);
        }
        let device = self.admitted(&caller).await?;
        let known = Known::of(&device, &inner.names);
        let client = form.get("client_id");
        match known.via {
            Via::Hub => return Err(Why::Via),
            // MQTT clients say who they are, and nobody else does.
            Via::Amqp if client.is_some() => return Err(Why::Via),
            Via::Mqtt if client.is_none() => return Err(Why::Via),
            // Its queue is named by it.
            Via::Mqtt if client != Some(name) => return Err(Why::Client),
            Via::Amqp | Via::Mqtt => {}
        }
        inner.memory.put(name, Some(Arc::new(known)));
        if device.registration.via == Via::Amqp
            && let Ok(Err(error)) = tokio::time::timeout(QUEUE, inner.ways.queue(&device)).await
        {
            tracing::warn!(error = %error, device = device.number.0, "cannot declare the queue of a device that comes over AMQP");
        }
        Ok(())
    }

    async fn admitted(&self, caller: &Caller) -> Result<crate::store::Device, Why> {
        admit(&*self.0.stores.devices, caller).await.map_err(|problem| match problem.code {
            Code::DeviceNotFound => Why::Unknown,
            Code::DeviceRevoked => Why::Revoked,
            Code::TokenInvalid | Code::ScopeMissing => Why::Token,
            _ => Why::Store,
        })
    }

    /// Lets a device do something whose name the broker believes.
    async fn may(&self, form: &Form, ask: Ask<'_>) -> Result<(), Why> {
        let inner = &self.0;
        let known = self.known(form.username()?).await?;
        let wants = asked(&inner.vhost, &known, ask)?;
        if wants == Wants::Subscription {
            inner.ways.warm_soon(known.number);
        }
        Ok(())
    }

    /// The device of that name, as it was a few seconds ago at the longest.
    async fn known(&self, name: &str) -> Result<Arc<Known>, Why> {
        let inner = &self.0;
        let (tenant, id) = named(name)?;
        let known = match inner.memory.get(name) {
            Some(known) => known,
            None => {
                let found = inner.stores.devices.get(tenant, id).await.map_err(|error| {
                    tracing::warn!(error = %error, "cannot see what a device may do at the broker");
                    Why::Store
                })?;
                let live = found.filter(|device| device.revoked_at.is_none());
                let known = live.map(|device| Arc::new(Known::of(&device, &inner.names)));
                inner.memory.put(name, known.clone());
                known
            }
        };
        known.ok_or(Why::Unknown)
    }

    /// Answers as RabbitMQ reads it: with one word, since older versions take no more, whatever was asked.
    async fn answer<A>(&self, ask: &'static str, sent: Body, decide: impl FnOnce(Self, Form) -> A) -> &'static str
    where
        A: Future<Output = (Form, Result<(), Why>)>,
    {
        let read = body::read(sent, FORM, PATIENCE).await.ok().and_then(|bytes| Form::read(&bytes));
        let (form, decided) = match read {
            None => (None, Err(Why::Form)),
            Some(form) => match tokio::time::timeout(PATIENCE, decide(self.clone(), form)).await {
                Ok((form, decided)) => (Some(form), decided),
                Err(_) => (None, Err(Why::Store)),
            },
        };
        self.0.metrics.answered(ask, decided);
        let question = form.as_ref().map(tracing::field::display);
        match decided {
            Ok(()) => {
                tracing::debug!(ask, question, "the broker may allow this");
                "allow"
            }
            Err(why) => {
                tracing::debug!(ask, why = %why, question, "the broker is to refuse this");
                "deny"
            }
        }
    }
}

async fn user(State(auth): State<BrokerAuth>, sent: Body) -> &'static str {
    let decide = |auth: BrokerAuth, form: Form| async move {
        let decided = auth.user(&form).await;
        (form, decided)
    };
    auth.answer("user", sent, decide).await
}

async fn vhost(State(auth): State<BrokerAuth>, sent: Body) -> &'static str {
    let decide = |auth: BrokerAuth, form: Form| async move {
        let decided = match form.get("vhost") {
            Some(vhost) => auth.may(&form, Ask::Vhost { vhost }).await,
            None => Err(Why::Form),
        };
        (form, decided)
    };
    auth.answer("vhost", sent, decide).await
}

async fn resource(State(auth): State<BrokerAuth>, sent: Body) -> &'static str {
    let decide = |auth: BrokerAuth, form: Form| async move {
        let parts = (form.get("vhost"), form.get("resource"), form.get("name"), form.get("permission"));
        let decided = match parts {
            (Some(vhost), Some(kind), Some(name), Some(permission)) => {
                auth.may(&form, Ask::Resource { vhost, kind, name, permission }).await
            }
            _ => Err(Why::Form),
        };
        (form, decided)
    };
    auth.answer("resource", sent, decide).await
}

async fn topic(State(auth): State<BrokerAuth>, sent: Body) -> &'static str {
    let decide = |auth: BrokerAuth, form: Form| async move {
        let parts = (form.get("vhost"), form.get("name"), form.get("permission"), form.get("routing_key"));
        let decided = match parts {
            (Some(vhost), Some(exchange), Some(permission), Some(key)) => {
                auth.may(&form, Ask::Topic { vhost, exchange, permission, key }).await
            }
            _ => Err(Why::Form),
        };
        (form, decided)
    };
    auth.answer("topic", sent, decide).await
}
