//! The three listeners, apart so that a firewall can tell them apart.
//!
//! What no route of theirs takes is refused with a problem document on each of them.

mod docs;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use api_ack::accept::Acceptor;
use api_ack::changing::Changing;
use api_ack::completions::Completions;
use api_ack::feed::Feed;
use api_ack::http::{Api, ApiOptions, Description, Live};
use api_ack::kinds::Kinds;
use api_ack::selections::Selections;
use api_ack::watch::Watch;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use door::pages::{self, method_not_allowed};
use door::problem::{Code, Problem};
use door::rates::{Rate, RateLimits};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admin::{self, AdminApi, DevicesAdmin};
use crate::asyncapi::Ground;
use crate::auth::Verifier;
use crate::config::{self, Limits, Listen};
use crate::edge::{self, Edge};
use crate::health::{Audience, Health};
use crate::hub::devices::Served;
use crate::hub::{Addresses, HubError, Wiring};

/// Listeners that are bound and do not yet answer.
pub(crate) struct Bound {
    public: TcpListener,
    admin: TcpListener,
    internal: TcpListener,
    addresses: Addresses,
}

impl Bound {
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }
}

/// Binds all three, before anything else is started: a taken port is the most common mistake.
pub(crate) async fn bind(listen: &Listen) -> Result<Bound, HubError> {
    let (public, public_address) = bind_one("public", listen.public).await?;
    let (admin, admin_address) = bind_one("admin", listen.admin).await?;
    let (internal, internal_address) = bind_one("internal", listen.internal).await?;
    let addresses = Addresses { public: public_address, admin: admin_address, internal: internal_address };
    Ok(Bound { public, admin, internal, addresses })
}

async fn bind_one(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), HubError> {
    let failed = |source| HubError::Listen { what, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves all three until `drain`.
#[allow(clippy::too_many_arguments, reason = "called once; each is a part of its own")]
pub(crate) fn serve(
    bound: Bound,
    wiring: &Wiring,
    acceptor: Option<Acceptor>,
    verifier: Arc<Verifier>,
    selections: Arc<Selections>,
    changing: Changing,
    watch: Watch,
    feed: Feed,
    completions: Completions,
    devices: Option<Served>,
    health: Arc<Health>,
    tasks: &TaskTracker,
    drain: &CancellationToken,
) -> Result<(), HubError> {
    let body_limit = usize::try_from(wiring.config.limits.body).unwrap_or(usize::MAX);
    let public = health.clone().router(Audience::Public);
    // Addresses that are mapped to kinds are described where jobs are accepted.
    let (mut public, mut openapi, kinds) = if let Some(acceptor) = acceptor {
        let options = ApiOptions {
            retention: wiring.config.retention.jobs,
            body_limit,
            rates: rates(&wiring.config.limits),
            ..ApiOptions::default()
        };
        let live = Live {
            changing: changing.clone(),
            watch,
            feed,
            pauses: wiring.pauses.clone(),
            completions,
            tokens: wiring.tokens.clone(),
        };
        let api = Api::new(acceptor, wiring.stores.jobs.clone(), live, verifier.clone(), options, &wiring.registry)?;
        let (routes, openapi) = api_ack::http::router(api);
        // The API has a fallback of its own: addresses that are mapped to kinds.
        (routes.merge(public), Some(openapi), wiring.kinds.clone())
    } else {
        (public.fallback(nothing), None, Kinds::new([]))
    };
    let (mut operated, mut broker_auth) = (None, None);
    if let Some(devices) = devices {
        broker_auth = devices.broker_auth;
        public = public.merge(devices.routes);
        operated = Some(DevicesAdmin { operating: devices.operating, names: wiring.names.clone() });
        match &mut openapi {
            Some(openapi) => openapi.merge(devices.openapi),
            None => {
                let (pages, described) = OpenApiRouter::new().routes(routes!(pages::problem)).split_for_parts();
                public = public.merge(pages);
                let alone = openapi.insert(devices.openapi);
                alone.merge(described);
                api_ack::http::describe(alone);
            }
        }
    }
    if let Some(openapi) = openapi {
        let description = Arc::new(Description::new(openapi, kinds));
        // Anybody may read this: it does not say where the broker is.
        let ground = Ground::new(&wiring.config.broker, wiring.topology.clone(), false);
        let messages = Arc::new(Description::made_by(wiring.kinds.clone(), move |kinds| ground.document(kinds)));
        let json = |description: Arc<Description>| get(async move || ([(CONTENT_TYPE, "application/json")], description.json()));
        public = public.route("/openapi.json", json(description)).route("/asyncapi.json", json(messages)).merge(docs::page());
    }
    // After all routes: only those that are there have it.
    public = public.method_not_allowed_fallback(method_not_allowed);
    let admin = admin::router(AdminApi {
        stores: wiring.stores.clone(),
        kinds: wiring.kinds.clone(),
        dead: selections.dead().clone(),
        selections,
        changing,
        pauses: wiring.pauses.clone(),
        destinations: wiring.destinations.clone(),
        devices: operated,
        keys: wiring.metrics.messaging.keys.clone(),
        body_limit,
        verifier,
    });
    let internal = Router::new().route("/metrics", get(metrics)).with_state(wiring.registry.clone());
    let internal = broker_auth.into_iter().fold(internal, Router::merge);
    let inner = |routes: Router| {
        let routes = health.clone().router(Audience::Operators).merge(routes);
        routes.fallback(nothing).method_not_allowed_fallback(method_not_allowed)
    };
    if let Some(cors) = edge::cors(&wiring.config.cors) {
        public = public.layer(cors);
    }
    let listen = &wiring.config.listen;
    let edge = Edge {
        head_deadline: listen.head_deadline,
        idle: listen.idle,
        trusted: listen.trusted_proxies.as_slice().into(),
        metrics: Arc::new(edge::Metrics::new(&wiring.registry)?),
        tasks: tasks.clone(),
        drain: drain.clone(),
    };
    edge::make_room(listen.max_connections);
    edge.open("public", bound.public, public, usize::try_from(listen.max_connections).unwrap_or(usize::MAX));
    edge.open("admin", bound.admin, inner(admin), edge::INNER_CONNECTIONS);
    edge.open("internal", bound.internal, inner(internal), edge::INNER_CONNECTIONS);
    Ok(())
}

async fn nothing() -> Problem {
    Problem::new(Code::NotFound, "this listener has nothing at this address")
}

pub(crate) fn rates(limits: &Limits) -> RateLimits {
    RateLimits {
        tenant: limits.rate_per_tenant.map(|per| rate(per, limits.burst_per_tenant)),
        subject: limits.rate_per_subject.map(|per| rate(per, limits.burst_per_subject)),
    }
}

pub(crate) fn rate(config::Rate { count, per }: config::Rate, burst: Option<NonZeroU32>) -> Rate {
    Rate { count, per, burst: burst.unwrap_or(count) }
}

async fn metrics(State(registry): State<Registry>) -> Response {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
