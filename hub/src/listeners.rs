//! The three listeners, apart so that a firewall can tell them apart.

use std::net::SocketAddr;
use std::sync::Arc;

use api_ack::accept::Acceptor;
use api_ack::dead::DeadLetters;
use api_ack::http::{Api, ApiOptions};
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, AdminApi};
use crate::auth::Verifier;
use crate::config::Listen;
use crate::health::Health;
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
    verifier: Verifier,
    dead: DeadLetters,
    health: Arc<Health>,
    tasks: &TaskTracker,
    drain: &CancellationToken,
) -> Result<(), HubError> {
    let verifier = Arc::new(verifier);
    let mut public = health.clone().router();
    if let Some(acceptor) = acceptor {
        let options = ApiOptions {
            retention: wiring.config.retention.jobs,
            body_limit: usize::try_from(wiring.config.limits.body).unwrap_or(usize::MAX),
            ..ApiOptions::default()
        };
        let api = Api::new(acceptor, wiring.stores.jobs.clone(), verifier.clone(), options, &wiring.registry)?;
        let (routes, openapi) = api_ack::http::router(api);
        let document = openapi.to_json().unwrap_or_default();
        let answer = async move || ([(CONTENT_TYPE, "application/json")], document.clone());
        // The API's own fallback answers everything else with a problem document.
        public = routes.merge(public).route("/openapi.json", get(answer));
    }
    let admin = admin::router(AdminApi {
        stores: wiring.stores.clone(),
        kinds: wiring.kinds.clone(),
        dead,
        destinations: wiring.destinations.clone(),
        verifier,
    });
    let internal = Router::new().route("/metrics", get(metrics)).with_state(wiring.registry.clone());
    run(bound.public, public, tasks, drain);
    run(bound.admin, health.clone().router().merge(admin), tasks, drain);
    run(bound.internal, health.router().merge(internal), tasks, drain);
    Ok(())
}

fn run(listener: TcpListener, routes: Router, tasks: &TaskTracker, drain: &CancellationToken) {
    let drain = drain.clone();
    // Answers are small and written at once: nothing is gained by holding them back.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tasks.spawn(async move {
        let serving = axum::serve(listener, routes).with_graceful_shutdown(drain.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(error = %error, "a listener failed");
        }
    });
}

async fn metrics(State(registry): State<Registry>) -> Response {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
