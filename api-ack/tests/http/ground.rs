//! One hub's HTTP side, and a client for it.

use std::sync::Arc;
use std::time::Duration;

use api_ack::accept::{Acceptor, Backlog, BacklogLimits, Writer, WriterOptions};
use api_ack::callbacks::{CallbackRules, CallbackSettings, SigningSecret};
use api_ack::changing::Changing;
use api_ack::completions::Completions;
use api_ack::destinations::Destinations;
use api_ack::feed::{Feed, FeedOptions};
use api_ack::http::{Api, ApiOptions, Live, router};
use api_ack::kinds::{KindSpec, Kinds, Worker};
use api_ack::ledger::StoreLedger;
use api_ack::metrics::Metrics;
use api_ack::pauses::Pauses;
use api_ack::processes::Processes;
use api_ack::progress::Hearing;
use api_ack::relay::{HandedOver, Windows, hand_over};
use api_ack::run_token::RunTokens;
use api_ack::schema::Schema;
use api_ack::store::{Change, Job, JobFilter, JobSearch, JobStore, Priority, ProcessId, STEPS, SqliteStore, Status};
use api_ack::watch::{Watch, WatchOptions};
use broker_topology::Kind;
use database::sqlite::Sqlite;
use door::auth::{AUDIENCE, Algorithm, Grant, KeySpec, Material, Verifier, mint};
use messaging::consumer::Running;
use prometheus::Registry;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub const ISSUER: &str = "https://issuer.test";
pub const ECHO: &str = "/v1/kinds/demo.echo/jobs";

pub struct Ground {
    pub address: String,
    pub client: Client,
    pub store: Arc<SqliteStore>,
    pub kinds: Kinds,
    pub pauses: Pauses,
    pub callbacks: CallbackRules,
    pub tokens: RunTokens,
    pub registry: Registry,
    pub openapi: utoipa::openapi::OpenApi,
    /// Ends what waits for jobs.
    pub drain: CancellationToken,
    _handed: HandedOver,
    folder: tempfile::TempDir,
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

/// Ada of acme, who submits and reads.
pub fn ada() -> String {
    token("acme", "ada", "jobs:submit jobs:read")
}

pub async fn start() -> Ground {
    start_with(&[key()], ApiOptions::default(), BacklogLimits::default()).await
}

pub async fn start_with(keys: &[KeySpec], options: ApiOptions, limits: BacklogLimits) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let file = Sqlite::open(&folder.path().join("warren.db"), &[STEPS], true).await.unwrap();
    let store = Arc::new(SqliteStore::on(Arc::new(file)).await.unwrap());
    let kinds = Kinds::new(["demo.echo", "demo.flaky"].map(kind).into_iter().chain([orders(), scans(), rush()]));
    let pauses = Pauses::load(store.clone()).await.unwrap();
    let drain = CancellationToken::new();
    let feed = Feed::start(
        store.clone(),
        FeedOptions { buffer: 8, subscribers: 4, ..FeedOptions::default() },
        &TaskTracker::new(),
        drain.clone(),
    );
    let windows = Windows::new(kinds.clone(), Destinations::open(store.clone(), []).await.unwrap(), pauses.clone());
    let (hand_over, handed) = hand_over(ProcessId(1), Default::default(), windows);
    let hand_over = hand_over.feeding(feed.clone());
    handed.count(&*store, 1).await;
    let writer = Writer::start(store.clone(), WriterOptions::default(), hand_over.clone(), &TaskTracker::new());
    let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None).unwrap();
    let secrets = [("acme".to_owned(), vec![secret])].into();
    let callbacks = CallbackRules::new(CallbackSettings { secrets, ..CallbackSettings::default() });
    let acceptor = Acceptor::new(kinds.clone(), Arc::new(Backlog::new(limits)), writer).with_callbacks(callbacks.clone());
    let registry = Registry::new();
    let verifier = Arc::new(Verifier::new(keys, ISSUER, AUDIENCE).unwrap());
    let watch = Watch::start(store.clone(), WatchOptions::default(), &TaskTracker::new(), drain.clone()).feeding(feed.clone());
    let changing = Changing::new(store.clone(), Running::default(), watch.clone(), hand_over.clone());
    let metrics = Arc::new(Metrics::new(&registry).unwrap());
    let processes = Processes::join(store.clone()).await.unwrap();
    let ledger = Arc::new(StoreLedger::new(store.clone(), processes, kinds.clone(), hand_over).watched_by(watch.clone()));
    let hearing = Hearing::new(store.clone(), watch.clone(), metrics.clone());
    let completions = Completions::start(store.clone(), ledger, hearing, metrics, &TaskTracker::new());
    let tokens = RunTokens::open(&*store).await.unwrap();
    let live = Live { changing, watch, feed, pauses: pauses.clone(), completions, tokens: tokens.clone() };
    let api = Api::new(acceptor, store.clone(), live, verifier, options, &registry).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (router, openapi) = router(api);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ground {
        address,
        client: Client::new(),
        store,
        kinds,
        pauses,
        callbacks,
        tokens,
        registry,
        openapi,
        drain,
        _handed: handed,
        folder,
    }
}

fn kind(name: &str) -> KindSpec {
    KindSpec::new(Kind::parse(name).unwrap(), Worker::Rust)
}

/// A kind with a schema and an address of its own, whose jobs need a key.
fn orders() -> KindSpec {
    let schema = serde_json::json!({
        "type": "object",
        "required": ["sku", "count"],
        "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    });
    let schema = Some(Arc::new(Schema::compile(schema).unwrap()));
    KindSpec { schema, routes: vec!["/v1/orders".to_owned()], key_required: true, ..kind("orders.place") }
}

/// A kind that takes no JSON.
fn scans() -> KindSpec {
    KindSpec { content_types: vec!["image/png".to_owned(), "image/jpeg".to_owned()], ..kind("scans.read") }
}

/// A kind with two queues, whose jobs are normal unless they ask for more.
fn rush() -> KindSpec {
    KindSpec { priority: Some(Priority::Normal), ..kind("orders.rush") }
}

impl Ground {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A submission by Ada that would be taken as it is.
    pub fn submission(&self) -> RequestBuilder {
        self.client.post(self.url(ECHO)).bearer_auth(ada()).header("content-type", "application/json").body("{\"n\":1}")
    }

    pub async fn get(&self, path: &str, token: &str) -> Response {
        self.client.get(self.url(path)).bearer_auth(token).send().await.unwrap()
    }

    /// Changes what a kind is treated like, as a reload does.
    pub fn treat(&self, name: &str, change: impl Fn(KindSpec) -> KindSpec) {
        let specs: Vec<KindSpec> = self.kinds.iter().map(|spec| (*spec).clone()).collect();
        let changed = specs.into_iter().map(|spec| if spec.kind.as_str() == name { change(spec) } else { spec });
        self.kinds.replace(changed.collect::<Vec<_>>());
    }

    /// The rows of jobs.
    pub async fn jobs(&self) -> usize {
        self.all().await.len()
    }

    /// Every job, newest first.
    pub async fn all(&self) -> Vec<Job> {
        let filter = JobFilter { limit: 10_000, ..JobFilter::default() };
        self.store.search(&JobSearch { filter, scan: 10_000, ..JobSearch::default() }).await.unwrap().jobs
    }

    /// Runs a statement behind the hub's back.
    pub async fn tamper(&self, statement: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("warren.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Gives a job another id, behind the hub's back.
    pub async fn rename(&self, from: Uuid, to: Uuid) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("warren.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        for statement in ["UPDATE jobs SET id = ?2 WHERE id = ?1", "UPDATE job_payloads SET id = ?2 WHERE id = ?1"] {
            sqlx::query(statement).bind(from).bind(to).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    /// What a counter stands at.
    pub fn counter(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let metric = family.get_metric().iter().find(|m| m.get_label().iter().all(|l| l.value() == label)).unwrap();
        metric.get_counter().get_value()
    }

    /// The row of a job.
    pub async fn store_job(&self, id: Uuid) -> Job {
        self.store.load(&[id]).await.unwrap().remove(0)
    }

    /// Moves a job on, as the ledger would.
    pub async fn change(&self, id: Uuid, result: Option<&'static [u8]>, to: impl FnOnce(&Status) -> Status) {
        let job: Job = self.store.load(&[id]).await.unwrap().remove(0);
        let change = Change { id, from: job.version, to: to(&job.status), history: None, result: result.map(Into::into) };
        assert_eq!(self.store.apply(&[change]).await.unwrap(), [true]);
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
    assert_eq!(document["type"], format!("/problems/{code}"));
    for member in ["title", "detail", "instance"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {text}");
    }
    document
}

/// The job that a 202 names.
pub async fn accepted(response: Response) -> Uuid {
    assert_eq!(response.status().as_u16(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["retry-after"], "1");
    let body: Value = response.json().await.unwrap();
    assert!(body["state"] == "accepted" || body["state"] == "scheduled", "{body}");
    assert_eq!(body["links"]["self"], location);
    let id = body["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/jobs/{id}"));
    id.parse().unwrap()
}
