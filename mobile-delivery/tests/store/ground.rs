//! What every test stands on: a fresh database, seen by two hub processes, and what to put into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use database::Database;
use database::postgres::Postgres;
use database::sqlite::Sqlite;
use mobile_delivery::store::{
    Claim, Claimed, Fate, Filter, Given, Key, Limit, Limits, Message, Micros, NewMessage, Number, Pending, Priority, ProcessId,
    Put, Receipt, Registration, Sent, State, Stores, TABLES, Target, Tier, Transport, Via,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::server::Server;

/// Two processes of the hub.
pub const ME: ProcessId = ProcessId(11);
pub const OTHER: ProcessId = ProcessId(22);

/// A moment in the past.
pub const T0: Micros = 1_760_000_000_000_000;
pub const SECOND: Micros = 1_000_000;
pub const DAY: Micros = 24 * 3600 * SECOND;

/// More than any test asks for.
pub const ALL: Limit = Limit { messages: 1000, bytes: 1 << 30 };

/// A fresh database.
pub struct Ground {
    pub stores: Stores,
    /// The same database as another hub process sees it. SQLite takes only one: there it is the same.
    pub another: Stores,
    place: Place,
}

enum Place {
    Postgres(String),
    Sqlite(PathBuf, #[allow(dead_code, reason = "removes the folder at the end")] TempDir),
}

impl Ground {
    pub async fn postgres() -> Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(|| Server::start(&[]));
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        Self::postgres_over(server.url(&name), 4).await
    }

    /// On the empty database at `url`, over this many connections.
    pub async fn postgres_over(url: String, connections: u32) -> Self {
        let open = async |migrate| {
            let database = Postgres::open(&url, &[TABLES], connections, migrate).await.unwrap();
            Stores::on(&Database::Postgres(Arc::new(database))).await.unwrap()
        };
        Self { stores: open(true).await, another: open(false).await, place: Place::Postgres(url) }
    }

    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warren.db");
        let database = Sqlite::open(&file, &[TABLES], true).await.unwrap();
        let stores = Stores::on(&Database::Sqlite(Arc::new(database))).await.unwrap();
        Self { another: stores.clone(), stores, place: Place::Sqlite(file, folder) }
    }

    /// Runs statements past the store.
    pub async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.place {
            Place::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
            Place::Sqlite(file, _) => {
                let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            }
        }
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        match &self.place {
            Place::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            Place::Sqlite(file, _) => {
                let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Registers a device of `acme` and of user `ann`.
    pub async fn device(&self, id: &str) -> Number {
        self.put(&registration(id)).await
    }

    pub async fn put(&self, registration: &Registration) -> Number {
        match self.stores.devices.put(registration, T0).await.unwrap() {
            Put::Done { device, .. } => device,
            refused => panic!("{registration:?}: {refused:?}"),
        }
    }

    /// Sends one message and expects it to be accepted.
    pub async fn send(&self, send: &NewMessage) -> Uuid {
        match self.try_send(send).await {
            Sent::Accepted { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    pub async fn try_send(&self, send: &NewMessage) -> Sent {
        self.send_within(send, &Limits::default()).await
    }

    pub async fn send_within(&self, send: &NewMessage, limits: &Limits) -> Sent {
        self.stores.messages.send(std::slice::from_ref(send), limits, T0).await.unwrap().remove(0)
    }

    pub async fn pending(&self, device: Number) -> Pending {
        self.stores.sessions.pending(device, 0, ALL, T0).await.unwrap()
    }

    /// The places of what a device has to get.
    pub async fn places(&self, device: Number) -> Vec<i64> {
        self.pending(device).await.messages.iter().map(|given| given.seq).collect()
    }

    /// Connects a device to `ME`; answers the fence.
    pub async fn connect(&self, device: Number) -> i64 {
        match self.claim(device, ME).await {
            Claimed::Yours { fence, .. } => fence,
            other => panic!("{other:?}"),
        }
    }

    pub async fn claim(&self, device: Number, process: ProcessId) -> Claimed {
        let claim = Claim { device, process, session: Uuid::now_v7(), transport: Transport::Socket };
        self.stores.sessions.claim(&[claim], T0).await.unwrap().remove(0)
    }

    /// What became of a message for a device of `acme`.
    pub async fn fate(&self, message: Uuid, device: &str) -> Fate {
        let record = self.stores.messages.record("acme", message).await.unwrap().unwrap();
        record.fates.into_iter().find(|fate| fate.device == device).unwrap()
    }

    pub async fn state(&self, message: Uuid, device: &str) -> State {
        self.fate(message, device).await.state
    }

    pub async fn receipts(&self) -> Vec<Receipt> {
        self.stores.messages.receipts(0, 1000).await.unwrap()
    }

    /// What the counters of all devices say, and what is there.
    pub async fn check_counters(&self) {
        let page = self.stores.devices.list(&Filter::of("acme")).await.unwrap();
        for device in page.devices {
            let waiting = self.stores.sessions.pending(device.number, 0, ALL, 0).await.unwrap().messages;
            let bytes: usize = waiting.iter().map(|given| given.message.body.len()).sum();
            let counted = (device.backlog, device.backlog_bytes);
            assert_eq!(counted, (number(waiting.len()), number(bytes)), "of {}", device.registration.id);
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

/// A device of `acme` and of user `ann`.
pub fn registration(id: &str) -> Registration {
    Registration {
        tenant: "acme".into(),
        id: id.into(),
        user: "ann".into(),
        groups: BTreeSet::new(),
        labels: BTreeMap::new(),
        tier: Tier::Standard,
        via: Via::Hub,
    }
}

/// A message to a device of `acme`.
pub fn to(device: &str) -> NewMessage {
    to_all(Target::Devices(vec![device.into()]))
}

pub fn to_user(user: &str) -> NewMessage {
    to_all(Target::User { user: user.into(), except: None })
}

pub fn to_all(target: Target) -> NewMessage {
    NewMessage {
        tenant: "acme".into(),
        target,
        message: Message {
            id: Uuid::now_v7(),
            sender: "shop".into(),
            kind: "order.sent".into(),
            content_type: "application/json".into(),
            body: Bytes::from_static(b"{\"n\":1}"),
            traceparent: None,
            collapse_key: None,
            priority: Priority::Normal,
            created_at: T0,
        },
        publisher: None,
        ttl: None,
        not_before: None,
        receipt: true,
        key: None,
    }
}

pub fn key(hash: u8, fingerprint: u8) -> Key {
    Key { hash: [hash; 32], fingerprint: [fingerprint; 32] }
}

pub fn keyed(send: NewMessage, key: Key) -> NewMessage {
    NewMessage { key: Some(key), ..send }
}

/// The same with a collapse key.
pub fn collapsing(mut send: NewMessage, key: &str) -> NewMessage {
    send.message.collapse_key = Some(key.into());
    send
}

pub fn ids(given: &[Given]) -> Vec<Uuid> {
    given.iter().map(|given| given.message.id).collect()
}
