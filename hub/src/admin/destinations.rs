//! Destinations of calls: how each stands, as this process knows it. Looked at, never changed.

use api_ack::destinations::Standing;
use axum::Json;
use axum::extract::State;
use database::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AdminApi;
use super::caller::Admin;
use super::view::Page;

/// A destination in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DestinationLine {
    /// Its name.
    pub name: String,
    /// `free`, `held`, or `due`: one call may try it.
    pub state: String,
    /// Why it is held: `failing`, `slow` or `throttled`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Since when it is held, or free again; absent when it was never held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// While it is held: when it is tried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probe_at: Option<Timestamp>,
    /// The kinds that call it.
    pub kinds: Vec<String>,
}

impl From<Standing> for DestinationLine {
    fn from(standing: Standing) -> Self {
        let held = standing.row.as_ref().filter(|row| row.held);
        let state = held.map_or("free", |row| if clock::now() < row.probe_at { "held" } else { "due" });
        Self {
            state: state.to_owned(),
            reason: held.map(|row| row.reason.clone()),
            probe_at: held.map(|row| clock::timestamp(row.probe_at)),
            since: standing.row.as_ref().map(|row| clock::timestamp(row.since)),
            name: standing.name,
            kinds: standing.kinds,
        }
    }
}

/// All of them, by name: they are few. No tenant's own, so that only a token of all tenants sees them.
pub(super) async fn list(State(api): State<AdminApi>, admin: Admin) -> Json<Page<DestinationLine>> {
    let all = if admin.sees_all() { api.destinations.standing() } else { Vec::new() };
    Json(Page { items: all.into_iter().map(DestinationLine::from).collect(), next: None })
}
