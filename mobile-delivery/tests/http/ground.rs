//! One hub's HTTP side of devices, and a client for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_topology::Names;
use database::Database;
use database::clock;
use database::sqlite::Sqlite;
use database::writer::WriterOptions;
use door::auth::{AUDIENCE, Algorithm, Grant, KeySpec, Material, Verifier, mint};
use messaging::trace::Tracer;
use mobile_delivery::follow::Follow;
use mobile_delivery::http::{Api, ApiOptions, AtBroker, Parts, router};
use mobile_delivery::sending::Sender;
use mobile_delivery::store::{Given, Limit, Limits, Micros, Number, Placed, Session, Stores, TABLES, Withdrawn};
use mobile_delivery::tokens::Tokens;
use prometheus::Registry;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub const ISSUER: &str = "https://issuer.test";
pub const ALL: &str = "devices:write devices:read messages:send messages:read";

pub struct Ground {
    pub address: String,
    pub client: Client,
    pub stores: Stores,
    pub registry: Registry,
    pub openapi: utoipa::openapi::OpenApi,
    pub heard: Arc<Heard>,
    _folder: tempfile::TempDir,
}

/// What followed commits.
#[derive(Default)]
pub struct Heard {
    pub placed: Mutex<Vec<Placed>>,
    pub scheduled: Mutex<Vec<Micros>>,
    pub put_out: Mutex<Vec<(Number, Session)>>,
    pub withdrawn: Mutex<Vec<Withdrawn>>,
}

impl Follow for Heard {
    fn placed(&self, deliveries: &[Placed]) {
        self.placed.lock().unwrap().extend_from_slice(deliveries);
    }

    fn scheduled(&self, due_at: Micros) {
        self.scheduled.lock().unwrap().push(due_at);
    }

    fn put_out(&self, device: Number, session: &Session) {
        self.put_out.lock().unwrap().push((device, *session));
    }

    fn withdrawn(&self, deliveries: &[Withdrawn]) {
        self.withdrawn.lock().unwrap().extend_from_slice(deliveries);
    }
}

/// The key of the tests.
pub fn key() -> KeySpec {
    KeySpec { id: "test".to_owned(), algorithm: Algorithm::Hs256, material: Material::Secret(vec![7; 32]) }
}

/// A token for these scopes.
pub fn token(tenant: &str, subject: &str, scopes: &str) -> String {
    let scopes = scopes.split(' ').map(str::to_owned).collect();
    let grant = Grant { tenant: tenant.to_owned(), subject: subject.to_owned(), scopes, valid: Duration::from_secs(600) };
    mint(&key(), ISSUER, AUDIENCE, &grant).unwrap()
}

/// The back end of acme, which may everything.
pub fn shop() -> String {
    token("acme", "shop", ALL)
}

/// How a hub differs from the usual.
pub struct How {
    pub options: ApiOptions,
    pub limits: Limits,
    pub writer: WriterOptions,
    pub signs: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { options: ApiOptions::default(), limits: Limits::default(), writer: WriterOptions::default(), signs: true }
    }
}

pub async fn start() -> Ground {
    start_with(How::default()).await
}

pub async fn start_with(how: How) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let file = Sqlite::open(&folder.path().join("warren.db"), &[TABLES], true).await.unwrap();
    let stores = Stores::on(&Database::Sqlite(Arc::new(file))).await.unwrap();
    let heard = Arc::new(Heard::default());
    let registry = Registry::new();
    let sender = Sender::start(stores.messages.clone(), how.limits, how.writer, heard.clone(), &TaskTracker::new());
    let parts = Parts {
        devices: stores.devices.clone(),
        messages: stores.messages.clone(),
        groups: stores.groups.clone(),
        sender,
        follow: heard.clone(),
        verifier: Arc::new(Verifier::new(&[key()], ISSUER, AUDIENCE).unwrap()),
        tokens: how.signs.then(|| Tokens::new(&key(), ISSUER, AUDIENCE, Duration::from_secs(3600)).unwrap()),
        broker: Some(AtBroker { vhost: "/".to_owned(), names: Names::default() }),
        tracer: Tracer::default(),
    };
    let api = Api::new(parts, how.options, &registry).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (router, openapi) = router(api);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ground { address, client: Client::new(), stores, registry, openapi, heard, _folder: folder }
}

impl Ground {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request of the shop.
    pub fn put(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.put(self.url(path)).bearer_auth(shop()).json(body)
    }

    /// A request of the shop.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(shop())
    }

    pub async fn get(&self, path: &str, token: &str) -> Response {
        self.client.get(self.url(path)).bearer_auth(token).send().await.unwrap()
    }

    pub async fn delete(&self, path: &str, token: &str) -> Response {
        self.client.delete(self.url(path)).bearer_auth(token).send().await.unwrap()
    }

    /// Registers a device of Ada, and answers what that answered.
    pub async fn register(&self, id: &str) -> Value {
        let response = self.put(&format!("/v1/devices/{id}"), &json!({"user": "ada"})).send().await.unwrap();
        assert_eq!(response.status(), 201);
        response.json().await.unwrap()
    }

    /// A send by the shop that would be taken as it is.
    pub fn sending(&self, id: &str) -> RequestBuilder {
        let request = self.post(&format!("/v1/devices/{id}/messages"));
        request.header("content-type", "application/json").body("{\"n\":1}")
    }

    /// What a device has to get.
    pub async fn pending(&self, tenant: &str, id: &str) -> Vec<Given> {
        let device = self.stores.devices.get(tenant, id).await.unwrap().unwrap().number;
        let limit = Limit { messages: 2000, bytes: 1 << 30 };
        self.stores.sessions.pending(device, 0, limit, clock::now()).await.unwrap().messages
    }

    /// What a counter stands at.
    pub fn counter(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let metric = family.get_metric().iter().find(|m| m.get_label().iter().all(|l| l.value() == label)).unwrap();
        metric.get_counter().get_value()
    }
}

/// A problem document with this status and code.
pub async fn problem(response: Response, status: u16, code: &str) -> Value {
    let got = response.status().as_u16();
    let content_type = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(content_type.as_deref(), Some("application/problem+json"), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["code"], code, "{text}");
    assert_eq!(document["status"], status);
    for member in ["title", "detail", "instance"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {text}");
    }
    document
}

/// The message that a 202 names.
pub async fn accepted(response: Response) -> Uuid {
    let status = response.status().as_u16();
    let location = response.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    assert_eq!(status, 202, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert!(body["state"] == "queued" || body["state"] == "scheduled", "{body}");
    assert_eq!(body["links"]["self"].as_str(), location.as_deref());
    let id = body["id"].as_str().unwrap();
    assert_eq!(location, Some(format!("/v1/messages/{id}")));
    id.parse().unwrap()
}
