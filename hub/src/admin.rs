//! The admin API: jobs, dead letters and devices for those who operate the hub, on the admin listener.
//!
//! | route | does |
//! |---|---|
//! | `GET /admin/jobs?kind=&state=&tenant=&cursor=&limit=` | lists jobs, newest first |
//! | `GET /admin/jobs/{id}` | shows all about one: state, history, result, what its payload is |
//! | `POST /admin/jobs/{id}/cancel` | cancels it: 200, or 202 while it runs |
//! | `GET /admin/kinds` | lists the kinds, and which are paused |
//! | `POST /admin/kinds/{kind}/pause` `{"note"}` | delivers no more of it; for the tenant `*` only |
//! | `POST /admin/kinds/{kind}/resume` `{"note"}` | delivers it again; for the tenant `*` only |
//! | `GET /admin/destinations` | lists what kinds call, and which of it is held back; for the tenant `*` only |
//! | `GET /admin/topology/pending?kinds=a,b` | counts jobs that have not ended, by kind (100 at most) and state; for the tenant `*` only |
//! | `GET /admin/topology/keys` | routing keys published in the last hour, by all processes as far as they tell, and since when they are known; for the tenant `*` only |
//! | `GET /admin/devices?tenant=&user=&group=&label=&presence=&backlog=&order=&cursor=&limit=` | lists devices, by registration, or by what they have to get: `messages`, `bytes`, `age` |
//! | `GET /admin/devices/{number}` | shows all about one, by the number in the name of its queue |
//! | `GET /admin/devices/{tenant}/{id}` | shows all about one: session, queue, what it has to get |
//! | `POST /admin/devices/{tenant}/{id}/purge` `{"reason","dry_run"}` | drops what it has to get |
//! | `POST /admin/devices/{tenant}/{id}/kick` `{"note","revoke"}` | ends its session; it comes back, unless it is revoked |
//! | `POST /admin/devices/{tenant}/{id}/token` `{"rotate"}` | makes a token for it, and a refresh token |
//! | `GET /admin/callbacks?state=&tenant=&cursor=&limit=` | lists callbacks, newest job first |
//! | `GET /admin/callbacks/{job}` | shows all about one: its calls, what was done to it |
//! | `POST /admin/callbacks/{job}/redrive` `{"note"}` | calls again what was delivered or given up |
//! | `GET /admin/callbacks/disabled?tenant=` | lists the addresses that have answered 410 |
//! | `POST /admin/callbacks/enable` `{"tenant","url","note"}` | lets one of them be called again |
//! | `GET /admin/dead-letters?queue=&kind=&reason=&code=&fingerprint=&state=&tenant=&since=&until=&text=&cursor=&limit=` | lists dead letters, newest first |
//! | `GET /admin/dead-letters/groups?kind=&reason=&tenant=&cursor=&limit=` | groups the open ones by what they died of |
//! | `POST /admin/dead-letters/selections` `{"kind",...}` | freezes the open ones that match; tells how many |
//! | `GET /admin/dead-letters/selections/{id}?after=&limit=` | how far it has come, and what was refused |
//! | `POST /admin/dead-letters/selections/{id}/redrive` `{"note","force","rate"}` | moves all of them back |
//! | `POST /admin/dead-letters/selections/{id}/discard` `{"reason","rate"}` | gives all of them up |
//! | `GET /admin/dead-letters/{id}` | shows all about one: headers, body, what was done to it |
//! | `GET /admin/dead-letters/{id}/body` | the exact bytes |
//! | `POST /admin/dead-letters/{id}/redrive` `{"note","force"}` | moves it back to its queue |
//! | `POST /admin/dead-letters/{id}/discard` `{"reason"}` | gives it up for good |
//! | `POST /admin/dead-letters/{id}/edit?note=` and the new body, `Idempotency-Key` | a new job in its place |
//! | `GET /admin/audit?letter=&actor=&tenant=&since=&cursor=&limit=` | who did what, newest first |
//!
//! Every route asks for a token with the scope `jobs:admin`; its subject is the actor on record. A token acts within its own
//! `tenant`: what is another's is answered 404, and left out of lists. The tenant `*` means all tenants, and dead letters that
//! carry none. Lists are paged: `next` is the `cursor` of the following page, absent on the last one. A page may be shorter than
//! its `limit` and still have a `next`: a search looks at so many letters and no more. Refusals are problem documents with the
//! codes of the public API.
//!
//! It decides nothing about jobs: [`api_ack::dead`] and [`api_ack::changing`] do; nor about devices: [`mobile_delivery::operating`] does. What it answers is in [`view`], which the CLI reads.

mod audit;
mod callbacks;
mod caller;
mod dead_letters;
mod destinations;
mod devices;
mod edit;
mod filter;
mod groups;
mod jobs;
mod kinds;
mod selections;
pub mod topology;
pub mod view;

use std::sync::Arc;

use api_ack::changing::Changing;
use api_ack::dead::DeadLetters;
use api_ack::destinations::Destinations;
use api_ack::kinds::Kinds;
use api_ack::pauses::Pauses;
use api_ack::selections::Selections;
use api_ack::store::Stores;
use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use door::auth::Verifier;
use messaging::keys::Keys;

pub use destinations::DestinationLine;
pub use devices::DevicesAdmin;

/// What the admin API works on.
#[derive(Clone)]
pub struct AdminApi {
    /// Where jobs and dead letters are.
    pub stores: Stores,
    /// The kinds of this hub.
    pub kinds: Kinds,
    /// What moves dead letters.
    pub dead: DeadLetters,
    /// What cancels jobs.
    pub changing: Changing,
    /// Which kinds are paused.
    pub pauses: Pauses,
    /// What moves many of them.
    pub selections: Arc<Selections>,
    /// The largest body of a job, in bytes.
    pub body_limit: usize,
    /// How destinations of calls stand.
    pub destinations: Arc<Destinations>,
    /// Devices; `None` where this process does not serve them.
    pub devices: Option<DevicesAdmin>,
    /// Which routing keys are published.
    pub keys: Keys,
    /// Whose tokens are believed.
    pub verifier: Arc<Verifier>,
}

impl FromRef<AdminApi> for Arc<Verifier> {
    fn from_ref(api: &AdminApi) -> Self {
        Self::clone(&api.verifier)
    }
}

/// The routes, without fallbacks: whoever serves them beside others gives them theirs.
pub fn router(api: AdminApi) -> Router {
    Router::new()
        .route("/admin/jobs", get(jobs::list))
        .route("/admin/jobs/{id}", get(jobs::show))
        .route("/admin/jobs/{id}/cancel", post(jobs::cancel))
        .route("/admin/kinds", get(kinds::list))
        .route("/admin/kinds/{kind}/pause", post(kinds::pause))
        .route("/admin/kinds/{kind}/resume", post(kinds::resume))
        .route("/admin/destinations", get(destinations::list))
        .route("/admin/devices", get(devices::list))
        .route("/admin/devices/{number}", get(devices::numbered))
        .route("/admin/devices/{tenant}/{id}", get(devices::show))
        .route("/admin/devices/{tenant}/{id}/purge", post(devices::purge))
        .route("/admin/devices/{tenant}/{id}/kick", post(devices::kick))
        .route("/admin/devices/{tenant}/{id}/token", post(devices::token))
        .route("/admin/topology/pending", get(topology::pending))
        .route("/admin/topology/keys", get(topology::keys))
        .route("/admin/callbacks", get(callbacks::list))
        .route("/admin/callbacks/disabled", get(callbacks::stops))
        .route("/admin/callbacks/enable", post(callbacks::enable))
        .route("/admin/callbacks/{id}", get(callbacks::show))
        .route("/admin/callbacks/{id}/redrive", post(callbacks::redrive))
        .route("/admin/dead-letters", get(dead_letters::list))
        .route("/admin/dead-letters/groups", get(groups::list))
        .route("/admin/dead-letters/selections", post(selections::freeze))
        .route("/admin/dead-letters/selections/{id}", get(selections::show))
        .route("/admin/dead-letters/selections/{id}/redrive", post(selections::redrive))
        .route("/admin/dead-letters/selections/{id}/discard", post(selections::discard))
        .route("/admin/audit", get(audit::list))
        .route("/admin/dead-letters/{id}", get(dead_letters::show))
        .route("/admin/dead-letters/{id}/body", get(dead_letters::body))
        .route("/admin/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/admin/dead-letters/{id}/discard", post(dead_letters::discard))
        .route("/admin/dead-letters/{id}/edit", post(edit::edit))
        .with_state(api)
}
