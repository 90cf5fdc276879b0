//! The admin API: jobs and dead letters for those who operate the hub, on the admin listener.
//!
//! | route | does |
//! |---|---|
//! | `GET /admin/jobs?kind=&state=&tenant=&cursor=&limit=` | lists jobs, newest first |
//! | `GET /admin/jobs/{id}` | shows all about one: state, history, result, what its payload is |
//! | `GET /admin/destinations` | lists what kinds call, and which of it is held back; with the tenant `*` only |
//! | `GET /admin/dead-letters?queue=&kind=&reason=&state=&tenant=&cursor=&limit=` | lists dead letters, newest first |
//! | `GET /admin/dead-letters/{id}` | shows all about one: headers, body, what was done to it |
//! | `GET /admin/dead-letters/{id}/body` | the exact bytes |
//! | `POST /admin/dead-letters/{id}/redrive` `{"note","force"}` | moves it back to its queue |
//! | `POST /admin/dead-letters/{id}/discard` `{"reason"}` | gives it up for good |
//!
//! Every route asks for a token with the scope `jobs:admin`; its subject is the actor on record. A token acts within its own
//! `tenant`: what is another's is answered 404, and left out of lists. The tenant `*` means all tenants, and dead letters that
//! carry none. Lists are paged: `next` is the `cursor` of the following page, absent on the last one. Refusals are problem
//! documents with the codes of the public API.
//!
//! It decides nothing about jobs: [`api_ack::dead`] does. What it answers is in [`view`], which the CLI reads.

mod base64;
mod caller;
mod dead_letters;
mod destinations;
mod jobs;
pub mod view;

use std::sync::Arc;

use api_ack::dead::DeadLetters;
use api_ack::destinations::Destinations;
use api_ack::http::auth::Verifier;
use api_ack::http::problem::{Code, Problem};
use api_ack::kinds::Kinds;
use api_ack::store::Stores;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post};

pub use destinations::DestinationLine;

/// What the admin API works on.
#[derive(Clone)]
pub struct AdminApi {
    /// Where jobs and dead letters are.
    pub stores: Stores,
    /// The kinds of this hub.
    pub kinds: Kinds,
    /// What moves dead letters.
    pub dead: DeadLetters,
    /// How destinations of calls stand.
    pub destinations: Arc<Destinations>,
    /// Whose tokens are believed.
    pub verifier: Arc<Verifier>,
}

impl FromRef<AdminApi> for Arc<Verifier> {
    fn from_ref(api: &AdminApi) -> Self {
        Self::clone(&api.verifier)
    }
}

/// Notes and reasons are short.
const BODY_LIMIT: usize = 16 * 1024;

/// The routes.
pub fn router(api: AdminApi) -> Router {
    Router::new()
        .route("/admin/jobs", get(jobs::list))
        .route("/admin/jobs/{id}", get(jobs::show))
        .route("/admin/destinations", get(destinations::list))
        .route("/admin/dead-letters", get(dead_letters::list))
        .route("/admin/dead-letters/{id}", get(dead_letters::show))
        .route("/admin/dead-letters/{id}/body", get(dead_letters::body))
        .route("/admin/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/admin/dead-letters/{id}/discard", post(dead_letters::discard))
        .fallback(async || Problem::new(Code::NotFound, "the admin API has nothing at this address"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "the address does not take this method"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(api)
}
