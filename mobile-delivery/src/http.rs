//! The HTTP side for those who own devices and send to them: who asks, what they may, what is refused, what is answered.
//!
//! | request | scope | answers |
//! |---|---|---|
//! | `PUT /v1/devices/{id}` | `devices:write` | 201 or 200: the device as it was said, with tokens for it |
//! | `GET /v1/devices` | `devices:read` | devices in pages: by user, group, label, presence, backlog |
//! | `GET /v1/devices/{id}` | `devices:read`, `device` | the device |
//! | `DELETE /v1/devices/{id}` | `devices:write`, `device` | 204: it is gone, and so are its messages |
//! | `POST /v1/devices/{id}/revoke` | `devices:write` | 200: it is not let in any more |
//! | `POST /v1/devices/{id}/token` | a refresh token | 200: the next token and refresh token |
//! | `POST /v1/devices/{id}/messages` | `messages:send` | 202 once the message is on disk |
//! | `POST /v1/users/{user}/messages` | `messages:send` | the same, to all devices of the user |
//! | `POST /v1/groups/{group}/messages` | `messages:send` | the same, to all devices of the group: one entry for all |
//! | `POST /v1/broadcasts` | `messages:broadcast` | the same, to all devices, or to those with a label |
//! | `PUT /v1/groups/{group}` | `devices:write` | 200: whether its devices publish to it, and what they read back |
//! | `GET /v1/groups/{group}` | `devices:read` | the same, and how many are in it |
//! | `PUT`, `DELETE /v1/groups/{group}/members/{device}` | `devices:write` | 204: the device is in the group, or is not |
//! | `POST /v1/messages` | `messages:send` | many messages, each with its own status |
//! | `GET /v1/messages/{id}` | `messages:read` | what became of it, by device or counted |
//! | `DELETE /v1/messages/{id}` | `messages:send` | 200: what is not delivered is withdrawn |
//! | `POST /v1/messages/{id}/pause`, `/resume` | `messages:send` | 200: what goes to many is given to nobody more for now, or is again |
//!
//! Every refusal is a problem document ([`door::problem`]), and of what is refused nothing is stored. A header that would change what
//! a message means and is not understood is refused as `not-supported-yet`, never ignored. What a device itself does, being
//! connected and acking, is no part of this: the transports have it.
//!
//! This module binds no port and has no fallbacks: whoever serves the router has them, as well as limits on connections and heads, and
//! `X-Request-Id` ([`door::current`]).

mod batch;
mod caller;
mod devices;
mod groups;
pub(crate) mod items;
mod listing;
mod messages;
mod metrics;
pub(crate) mod refusals;
mod registering;
mod send;
mod tokens;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::middleware::map_response_with_state;
use axum::response::Response;
use broker_topology::Names;
use database::Micros;
use door::auth::Verifier;
use door::problem::Code;
use door::rates::{RateLimits, Rates};
use messaging::trace::Tracer;
use prometheus::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use caller::admit;
pub(crate) use caller::group_of;
use metrics::Metrics;

use crate::follow::Follow;
use crate::sending::Sender;
use crate::store::{DeviceStore, GroupStore, MessageStore};
use crate::tokens::Tokens;

/// The largest body of a message that can be configured, in bytes.
pub const BODY_MAX: usize = 256 << 10;

/// Limits of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiOptions {
    /// The largest body of a message, in bytes; 64 KiB by default, [`BODY_MAX`] at most.
    pub body_limit: usize,
    /// How long a body may take to arrive; 30 s by default.
    pub body_deadline: Duration,
    /// How long ended messages are kept; 7 days by default. An id that is not there and is older than this is `purged`.
    pub retention: Duration,
    /// How fast devices may be registered and messages sent, together; as fast as one can by default.
    pub rates: RateLimits,
    /// How long the refresh token before the newest still counts once; 1 hour by default. It is only for a hub whose key was changed
    /// meanwhile: with the same key the same is answered again in any case.
    pub refresh_grace: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            body_limit: 64 << 10,
            body_deadline: Duration::from_secs(30),
            retention: Duration::from_secs(7 * 24 * 3600),
            rates: RateLimits::default(),
            refresh_grace: Duration::from_secs(3600),
        }
    }
}

/// The broker, as devices find it that it serves.
#[derive(Clone, Debug)]
pub struct AtBroker {
    /// The virtual host.
    pub vhost: String,
    /// How things are named there.
    pub names: Names,
}

/// What the API works on.
#[derive(Clone)]
pub struct Parts {
    /// Who devices are.
    pub devices: Arc<dyn DeviceStore>,
    /// What became of messages.
    pub messages: Arc<dyn MessageStore>,
    /// What is said of groups.
    pub groups: Arc<dyn GroupStore>,
    /// How messages get there.
    pub sender: Sender,
    /// Who hears of sessions that are to end.
    pub follow: Arc<dyn Follow>,
    /// Who is believed.
    pub verifier: Arc<Verifier>,
    /// What makes tokens for devices; `None` where the hub has no key to sign with: then devices bring tokens of another issuer.
    pub tokens: Option<Tokens>,
    /// The broker, where it lets devices in; `None`: none may be registered that it serves.
    pub broker: Option<AtBroker>,
    /// What is told of what is taken.
    pub tracer: Tracer,
}

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    parts: Parts,
    options: ApiOptions,
    rates: Rates,
    metrics: Metrics,
}

impl Api {
    /// An API over these parts; its metrics are registered with `registry`.
    ///
    /// # Errors
    /// When `registry` has one of the metrics already.
    pub fn new(parts: Parts, options: ApiOptions, registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = ApiOptions { body_limit: options.body_limit.min(BODY_MAX), ..options };
        Ok(Self(Arc::new(Inner { parts, options, rates: Rates::new(options.rates), metrics: Metrics::new(registry)? })))
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
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
        Arc::clone(&api.0.parts.verifier)
    }
}

/// The routes, and what describes them. They have no fallbacks.
pub fn router(api: Api) -> (Router, utoipa::openapi::OpenApi) {
    let (router, openapi) = OpenApiRouter::new()
        .routes(routes!(registering::put, devices::get, devices::remove))
        .routes(routes!(listing::devices))
        .routes(routes!(devices::revoke))
        .routes(routes!(tokens::refresh))
        .routes(routes!(send::to_device))
        .routes(routes!(send::to_user))
        .routes(routes!(send::to_group))
        .routes(routes!(send::to_all))
        .routes(routes!(groups::put, groups::get))
        .routes(routes!(groups::join, groups::leave))
        .routes(routes!(batch::send))
        .routes(routes!(messages::get, messages::cancel))
        .routes(routes!(messages::pause))
        .routes(routes!(messages::resume))
        .split_for_parts();
    let router = router.route_layer(map_response_with_state(api.clone(), count)).with_state(api);
    (router, openapi)
}

/// Counts what is refused, whoever of the handlers refused it.
async fn count(State(api): State<Api>, response: Response) -> Response {
    if let Some(code) = response.extensions().get::<Code>() {
        api.metrics().refused(*code);
    }
    response
}

/// A length of time as stores take it.
fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}
