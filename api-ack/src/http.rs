//! The HTTP side: who asks, what they may, what is refused, what is answered.
//!
//! | request | answers |
//! |---|---|
//! | `POST /v1/kinds/{kind}/jobs`, or an address that is mapped to a kind | 202 once the job is on disk |
//! | `POST /v1/jobs` | many jobs, each with its own status |
//! | `GET /v1/jobs` | jobs, newest first, in pages |
//! | `GET /v1/jobs/{id}` | the job |
//! | `GET /v1/jobs/{id}/events` | its changes as they happen |
//! | `POST /v1/jobs/{id}/cancel` | 200 once it is cancelled, 202 while it runs |
//! | `PATCH /v1/jobs/{id}` | the job, due at another time |
//! | `PUT /v1/jobs/{id}/result` | how a run that goes on elsewhere ended, from who holds its token |
//! | `POST /v1/jobs/{id}/progress` | how far such a run is |
//! | `GET /v1/kinds/{kind}/events` | the changes of all jobs of a kind as they happen |
//! | `GET /v1/kinds`, `GET /v1/kinds/{kind}` | what can be submitted |
//! | `GET /problems/{code}` | what a refusal means and what to do |
//!
//! Every refusal is a problem document ([`door::problem`]), and of what is refused nothing is stored. A header that
//! would change what a job means and is not understood is refused as `not-supported-yet`, never ignored.
//!
//! This module binds no port. Limits on connections, headers and idle time belong to whoever serves the router, and so does
//! `X-Request-Id` ([`door::current`]); the limits on bodies and on the rate of submissions ([`door::rates`]) are asked for here.

mod batch;
mod changing;
mod completing;
mod describe;
mod events;
mod headers;
mod kind_events;
mod listing;
mod metrics;
mod read;
mod refusals;
mod search;
mod submit;
pub mod view;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use prometheus::Registry;
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accept::Acceptor;
use crate::changing::Changing;
use crate::completions::Completions;
use crate::feed::Feed;
use crate::pauses::Pauses;
use crate::run_token::RunTokens;
use crate::store::JobStore;
use crate::watch::Watch;
pub use describe::Description;
use door::auth::Verifier;
use door::pages;
use door::rates::{RateLimits, Rates};
pub(crate) use headers::no_tags;
use metrics::Metrics;
pub use submit::check_payload;
pub(crate) use submit::store;
pub(crate) use view::split as split_result;

/// Limits of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiOptions {
    /// How long ended jobs are kept whose kind does not say it; 7 days by default. An id that is not there and is older than this,
    /// or than the shortest time that any kind says, is `purged`.
    pub retention: Duration,
    /// The largest body, in bytes; 1 MiB by default.
    pub body_limit: usize,
    /// How long a body may take to arrive; 30 s by default.
    pub body_deadline: Duration,
    /// How fast jobs may be submitted; as fast as one can by default.
    pub rates: RateLimits,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(7 * 24 * 3600),
            body_limit: 1 << 20,
            body_deadline: Duration::from_secs(30),
            rates: RateLimits::default(),
        }
    }
}

/// What the API shares with the rest of the process. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    /// Cancels and moves jobs.
    pub changing: Changing,
    /// Waits for jobs.
    pub watch: Watch,
    /// Follows kinds.
    pub feed: Feed,
    /// Which kinds are paused.
    pub pauses: Pauses,
    /// Ends runs that go on elsewhere.
    pub completions: Completions,
    /// Who may end them.
    pub tokens: RunTokens,
}

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    acceptor: Acceptor,
    store: Arc<dyn JobStore>,
    live: Live,
    verifier: Arc<Verifier>,
    options: ApiOptions,
    rates: Rates,
    metrics: Metrics,
}

impl Api {
    /// An API in front of `acceptor` and `store`; its metrics are registered with `registry`.
    ///
    /// # Errors
    /// When `registry` has one of the metrics already.
    pub fn new(
        acceptor: Acceptor,
        store: Arc<dyn JobStore>,
        live: Live,
        verifier: Arc<Verifier>,
        options: ApiOptions,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry, acceptor.kinds())?;
        Ok(Self(Arc::new(Inner { acceptor, store, live, verifier, options, rates: Rates::new(options.rates), metrics })))
    }

    fn acceptor(&self) -> &Acceptor {
        &self.0.acceptor
    }

    fn store(&self) -> &dyn JobStore {
        &*self.0.store
    }

    fn live(&self) -> &Live {
        &self.0.live
    }

    fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    fn rates(&self) -> &Rates {
        &self.0.rates
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl FromRef<Api> for Arc<Verifier> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.0.verifier)
    }
}

/// The routes, and what describes them. The router has its own fallbacks: of two that are merged, only one may.
pub fn router(api: Api) -> (Router, utoipa::openapi::OpenApi) {
    let (router, mut openapi) = OpenApiRouter::new()
        .routes(routes!(submit::submit))
        .routes(routes!(batch::submit, search::jobs))
        .routes(routes!(read::job, changing::patch))
        .routes(routes!(changing::cancel))
        .routes(routes!(completing::result))
        .routes(routes!(completing::progress))
        .routes(routes!(events::job))
        .routes(routes!(kind_events::kind))
        .routes(routes!(listing::kinds))
        .routes(routes!(listing::kind))
        .routes(routes!(pages::problem))
        .split_for_parts();
    describe(&mut openapi);

    let router = router.fallback(submit::mapped).method_not_allowed_fallback(pages::method_not_allowed).with_state(api);
    (router, openapi)
}

/// What is true of every route of the public listener, whichever of them `openapi` tells of.
pub fn describe(openapi: &mut utoipa::openapi::OpenApi) {
    openapi.info.title = "Warren".to_owned();
    env!("CARGO_PKG_VERSION").clone_into(&mut openapi.info.version);
    let description = "Critical endpoints that answer at once; the work runs behind a queue.\n\n\
        Every answer carries `X-Request-Id`: the request's own, if it brings one of 1 to 128 visible ASCII characters, else a new \
        one. Before it comes to a route, any request may be refused as malformed-request (400), head-too-slow (408), \
        head-too-large (431) or too-many-connections (503).";
    openapi.info.description = Some(description.to_owned());
    openapi.info.license = None;
    openapi.info.contact = None;
    let token = SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build());
    let run = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`Warren-Token` of the call that gave the run away, as it came: good for one attempt of one job"))
            .build(),
    );
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("token", token);
    components.add_security_scheme("run", run);
}
