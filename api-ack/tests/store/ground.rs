//! What every test stands on: a fresh database, seen by two hub processes, and the jobs to put into it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use api_ack::store::{
    Attempt, Bookmark, CallbackStore, Change, DeadLetterStore, DestinationStore, Job, JobStore, Key, Lane, Micros, NewJob, Old,
    Outlet, PauseStore, Payload, Portion, PostgresStore, Priority, ProcessId, STEPS, SecretStore, SelectionStore, SqliteStore,
    State, Status, StoreError, Stores,
};
use api_ack::tags::Tags;
use bytes::Bytes;
use database::postgres::Postgres;
use database::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::schema;
use crate::server::Server;

/// Two processes of the hub.
pub const ME: ProcessId = ProcessId(11);
pub const OTHER: ProcessId = ProcessId(22);

/// A moment in the past; ids made for it sort by it.
pub const T0: Micros = 1_760_000_000_000_000;
pub const SECOND: Micros = 1_000_000;

/// A fresh database.
pub struct Ground {
    pub jobs: Arc<dyn JobStore>,
    /// The same database as another hub process sees it. SQLite takes only one: there it is the same store.
    pub jobs_of_another: Arc<dyn JobStore>,
    pub dead: Arc<dyn DeadLetterStore>,
    pub pauses: Arc<dyn PauseStore>,
    pub selections: Arc<dyn SelectionStore>,
    pub destinations: Arc<dyn DestinationStore>,
    /// As `jobs_of_another`.
    pub destinations_of_another: Arc<dyn DestinationStore>,
    pub callbacks: Arc<dyn CallbackStore>,
    /// As `jobs_of_another`.
    pub callbacks_of_another: Arc<dyn CallbackStore>,
    pub secrets: Arc<dyn SecretStore>,
    /// As `jobs_of_another`.
    pub secrets_of_another: Arc<dyn SecretStore>,
    /// Postgres: its URL. SQLite: its file.
    pub place: Place,
}

pub enum Place {
    Postgres(String),
    Sqlite(PathBuf, #[allow(dead_code, reason = "removes the folder at the end")] TempDir),
}

/// A store on Postgres; with `migrate`, its schema is brought up to date first.
pub async fn postgres(url: &str, connections: u32, migrate: bool) -> Result<PostgresStore, StoreError> {
    Ok(PostgresStore::on(Arc::new(Postgres::open(url, &[STEPS], connections, migrate).await?)))
}

/// A store in a file; with `migrate`, its schema is brought up to date first.
pub async fn sqlite(file: &Path, migrate: bool) -> Result<SqliteStore, StoreError> {
    SqliteStore::on(Arc::new(Sqlite::open(file, &[STEPS], migrate).await?)).await
}

impl Ground {
    pub async fn postgres() -> Self {
        Self::postgres_at(empty_postgres().await).await
    }

    /// On the empty database at `url`.
    pub async fn postgres_at(url: String) -> Self {
        Self::postgres_over(url, 8).await
    }

    /// On the empty database at `url`, over this many connections.
    pub async fn postgres_over(url: String, connections: u32) -> Self {
        let store = Arc::new(postgres(&url, connections, true).await.unwrap());
        let another = Arc::new(postgres(&url, connections, false).await.unwrap());
        Self {
            jobs: store.clone(),
            jobs_of_another: another.clone(),
            dead: store.clone(),
            pauses: store.clone(),
            selections: store.clone(),
            destinations: store.clone(),
            destinations_of_another: another.clone(),
            callbacks: store.clone(),
            callbacks_of_another: another.clone(),
            secrets: store,
            secrets_of_another: another,
            place: Place::Postgres(url),
        }
    }

    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warren.db");
        let store = Arc::new(sqlite(&file, true).await.unwrap());
        Self {
            jobs: store.clone(),
            jobs_of_another: store.clone(),
            dead: store.clone(),
            pauses: store.clone(),
            selections: store.clone(),
            destinations: store.clone(),
            destinations_of_another: store.clone(),
            callbacks: store.clone(),
            callbacks_of_another: store.clone(),
            secrets: store.clone(),
            secrets_of_another: store,
            place: Place::Sqlite(file, folder),
        }
    }

    /// The same while a newer version's migration has been at it: more columns, indexes and tables, as every step may add.
    pub async fn grown(self) -> Self {
        self.execute(&schema::growth(&self.place).await).await;
        self
    }

    /// Does what the store has no method for, past the store.
    pub async fn execute(&self, sql: &str) {
        self.place.execute(sql).await;
    }

    /// All of its stores.
    pub fn stores(&self) -> Stores {
        Stores {
            jobs: self.jobs.clone(),
            dead: self.dead.clone(),
            pauses: self.pauses.clone(),
            selections: self.selections.clone(),
            destinations: self.destinations.clone(),
            callbacks: self.callbacks.clone(),
            secrets: self.secrets.clone(),
        }
    }

    /// Purges up to `limit` jobs of each kind that ended before this time, dead ones or not; answers how many went.
    pub async fn purge(&self, before: Micros, limit: u32) -> u64 {
        let mut gone = 0;
        for kind in self.jobs.ended_kinds().await.unwrap() {
            let old = Old { kind: &kind, before, dead_before: before };
            gone += self.jobs.purge_ended(&old, Bookmark::START, limit).await.unwrap().gone;
        }
        gone
    }

    /// Stores jobs that must all be new.
    pub async fn store(&self, jobs: &[NewJob]) {
        let inserted = self.jobs.insert(jobs).await.unwrap();
        assert!(inserted.iter().all(|became| *became == api_ack::store::Inserted::New), "{inserted:?}");
    }

    /// The row, which must be there.
    pub async fn job(&self, id: Uuid) -> Job {
        self.jobs.load(&[id]).await.unwrap().pop().expect("the job is stored")
    }

    /// Applies a change that must find its row unmoved.
    pub async fn change(&self, change: Change) {
        assert_eq!(self.jobs.apply(&[change]).await.unwrap(), [true]);
    }
}

impl Place {
    /// Where a hub finds it.
    pub fn url(&self) -> String {
        match self {
            Self::Postgres(url) => url.clone(),
            Self::Sqlite(file, _) => format!("sqlite://{}", file.display()),
        }
    }

    /// Runs statements on a connection of their own.
    pub async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
            Self::Sqlite(..) => {
                let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
        }
    }
}

/// A database without tables on the one server of this test run.
pub async fn empty_postgres() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(|| Server::start(&[]));
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    server.url(&name)
}

/// A job accepted at `at` and due at once.
pub fn accepted_at(at: Micros, kind: &str, tenant: &str) -> NewJob {
    let seconds = u64::try_from(at / SECOND).unwrap();
    let nanos = u32::try_from(at % SECOND).unwrap() * 1000;
    NewJob {
        job: Job {
            id: Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)),
            kind: kind.into(),
            tenant: tenant.into(),
            version: 1,
            priority: Priority::Normal,
            status: Status {
                state: State::Accepted,
                epoch: 1,
                attempt: 1,
                spent: 0,
                starts: 0,
                interrupted: 0,
                lease: 0,
                owner: None,
                due_at: at,
                outlet: Some(Outlet::Jobs),
                deadline: at + 3600 * SECOND,
                started_at: None,
                ended_at: None,
                updated_at: at,
                reason: None,
                error: None,
                cancel_epoch: None,
                worker: None,
                http_status: None,
            },
        },
        payload: Payload {
            subject: "anna".into(),
            content_type: "application/json".into(),
            body: Bytes::from_static(b"{\"n\":1}"),
            traceparent: None,
        },
        key: None,
        tags: Tags::default(),
        callback: None,
    }
}

/// As [`accepted_at`], now-ish.
pub fn accepted(kind: &str, tenant: &str) -> NewJob {
    accepted_at(T0, kind, tenant)
}

/// A key that differs from others by `n`.
pub fn key(n: u32) -> Key {
    let mut hash = [7; 32];
    // Spread, so that the order of the hashes is not the order of the numbers.
    hash[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    hash[4..8].copy_from_slice(&n.to_be_bytes());
    Key { hash, fingerprint: [9; 32] }
}

pub fn lane(kind: &str, tenant: &str) -> Lane {
    Lane { kind: kind.into(), tenant: tenant.into(), priority: Priority::Normal }
}

/// That of the high ones.
pub fn high_lane(kind: &str, tenant: &str) -> Lane {
    Lane { priority: Priority::High, ..lane(kind, tenant) }
}

/// As [`accepted`], of the high class.
pub fn high(kind: &str, tenant: &str) -> NewJob {
    let mut new = accepted(kind, tenant);
    new.job.priority = Priority::High;
    new
}

/// So many rows, however large.
pub fn rows(rows: u32) -> Portion {
    Portion { rows, bytes: u64::MAX }
}

/// A change of `job` as it is, made by `edit`.
pub fn change(job: &Job, edit: impl FnOnce(&mut Status)) -> Change {
    let mut to = job.status.clone();
    edit(&mut to);
    Change { id: job.id, from: job.version, to, history: None, result: None }
}

/// What `begin` does to a row: the broker has it, now a worker does.
pub fn begin(status: &mut Status, at: Micros) {
    status.state = State::Running;
    status.starts += 1;
    status.lease += 1;
    status.owner = Some(ME);
    status.started_at = Some(at);
    status.worker = Some("here:11".into());
    status.updated_at = at;
}

/// What the relay does to a row.
pub fn publish(status: &mut Status) {
    status.state = State::Queued;
    (status.owner, status.outlet) = (None, None);
}

/// What the end of a job does to a row.
pub fn end(status: &mut Status, state: State, at: Micros) {
    publish(status);
    status.state = state;
    status.ended_at = Some(at);
    status.updated_at = at;
}

pub fn attempt(number: i32) -> Attempt {
    Attempt {
        epoch: 1,
        attempt: number,
        lease: i64::from(number),
        started_at: Some(T0 + 1),
        ended_at: T0 + 2,
        outcome: "failed".into(),
        reason: Some("timeout".into()),
        error: Some("no answer in 30 s".into()),
        worker: Some("north:7".into()),
        http_status: Some(503),
        times: 1,
    }
}
