//! `/live`, `/ready` and `/health`: what this process can do, and why not.
//!
//! Whoever asks, and however often: the store is asked once a second at most. Reasons hold addresses and words of the broker and
//! the database: they are told on the admin and the internal listener, and on the public one only which part is away.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use api_ack::store::Stores;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use messaging::connection::{Link, LinkState};
use mobile_delivery::shards::Shards;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

use crate::config::Role;

/// What health is read from.
pub struct Health {
    roles: Vec<Role>,
    stores: Stores,
    links: Vec<(&'static str, Link)>,
    topology: watch::Receiver<bool>,
    /// Why devices cannot connect, of a process that serves them.
    devices: Option<watch::Receiver<Option<String>>>,
    /// The brokers that queues of devices are at.
    shards: Option<Shards>,
    /// When the store was asked last, and what was wrong with it.
    store: Mutex<Option<(Instant, Option<String>)>>,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Anybody.
    Public,
    /// Whoever runs it.
    Operators,
}

/// For how long an answer of the store holds.
const FRESH: Duration = Duration::from_secs(1);

/// A store that takes longer does not count as there.
const PATIENCE: Duration = Duration::from_secs(2);

impl Health {
    /// Health of a process with these roles.
    pub fn new(roles: Vec<Role>, stores: Stores, links: Vec<(&'static str, Link)>, topology: watch::Receiver<bool>) -> Self {
        Self { roles, stores, links, topology, devices: None, shards: None, store: Mutex::default() }
    }

    /// The same, with what is wrong about devices.
    pub fn with_devices(self, devices: Option<watch::Receiver<Option<String>>>) -> Self {
        Self { devices, ..self }
    }

    /// The same, with the brokers that devices are spread over.
    pub fn with_shards(self, shards: Option<Shards>) -> Self {
        Self { shards, ..self }
    }

    /// The routes of a listener.
    pub fn router(self: Arc<Self>, audience: Audience) -> Router {
        let health = self.clone();
        let ready = async move || ready(&self, audience).await;
        let health = async move || tell(&health, audience).await;
        Router::new().route("/live", get(async || "ok\n")).route("/ready", get(ready)).route("/health", get(health))
    }

    async fn store_error(&self) -> Option<String> {
        // Whoever comes meanwhile waits for the same answer.
        let mut asked = self.store.lock().await;
        if let Some((at, error)) = &*asked
            && at.elapsed() < FRESH
        {
            return error.clone();
        }
        let error = match tokio::time::timeout(PATIENCE, self.stores.jobs.ping()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        };
        *asked = Some((Instant::now(), error.clone()));
        error
    }

    fn link_error(link: &Link) -> Option<String> {
        match link.state() {
            LinkState::Up(live) => live.blocked.map(|reason| format!("blocked by the broker: {reason}")),
            LinkState::Starting => Some("connecting".to_owned()),
            LinkState::Down(error) => Some(error.to_string()),
            LinkState::Lost(why) => Some(format!("lost: {why}")),
            LinkState::Stopped => Some("the process is shutting down".to_owned()),
        }
    }

    fn topology_error(&self) -> Option<String> {
        (!*self.topology.borrow()).then(|| "not declared yet: see the log".to_owned())
    }

    /// Everything, by name: `None` is good.
    async fn parts(&self) -> Vec<(&'static str, Option<String>)> {
        let mut parts = vec![("store", self.store_error().await)];
        parts.extend(self.links.iter().map(|(purpose, link)| (*purpose, Self::link_error(link))));
        parts.push(("topology", self.topology_error()));
        parts.extend(self.devices.iter().map(|unfit| ("devices", unfit.borrow().clone())));
        parts
    }

    /// Each broker that devices are spread over beside the main one: without it they go by rows, and this process is none the less ready.
    fn shards(&self) -> Vec<(String, Option<String>)> {
        let all = self.shards.iter().flat_map(Shards::faults);
        all.map(|(shard, why)| (format!("shard:{shard}"), why)).collect()
    }
}

/// 200 when this process can do its roles; an api process can with the broker away (`degraded`), a worker cannot.
async fn ready(health: &Health, audience: Audience) -> Response {
    let bad: Vec<(&str, String)> = health.parts().await.into_iter().filter_map(|(name, why)| Some((name, why?))).collect();
    let store_away = bad.iter().any(|(name, _)| *name == "store");
    let accepts = health.roles.contains(&Role::Api);
    let shards: Vec<(String, String)> = health.shards().into_iter().filter_map(|(name, why)| Some((name, why?))).collect();
    let mut text = String::new();
    for (name, why) in bad.iter().map(|(name, why)| (*name, why)).chain(shards.iter().map(|(name, why)| (name.as_str(), why))) {
        let _ = match audience {
            Audience::Operators => writeln!(text, "{name}: {why}"),
            Audience::Public => writeln!(text, "{name}"),
        };
    }
    if bad.is_empty() && !shards.is_empty() {
        (StatusCode::OK, format!("degraded\n{text}")).into_response()
    } else if bad.is_empty() {
        (StatusCode::OK, "ready\n".to_owned()).into_response()
    } else if !store_away && accepts {
        (StatusCode::OK, format!("degraded\n{text}")).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{text}")).into_response()
    }
}

/// Each dependency, with its reason.
async fn tell(health: &Health, audience: Audience) -> Json<Value> {
    let parts = health.parts().await.into_iter().map(|(name, why)| (name.to_owned(), why));
    let parts: Vec<(String, Option<String>)> = parts.chain(health.shards()).collect();
    let good = parts.iter().all(|(_, why)| why.is_none());
    let dependencies: serde_json::Map<String, Value> = parts
        .into_iter()
        .map(|(name, why)| {
            let part = match (why, audience) {
                (None, _) => json!({"ok": true}),
                (Some(why), Audience::Operators) => json!({"ok": false, "reason": why}),
                (Some(_), Audience::Public) => json!({"ok": false}),
            };
            (name, part)
        })
        .collect();
    let roles: Vec<&str> = health.roles.iter().map(|role| role.as_str()).collect();
    Json(json!({"ok": good, "roles": roles, "version": env!("CARGO_PKG_VERSION"), "dependencies": dependencies}))
}
