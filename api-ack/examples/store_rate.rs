//! How fast the store is: `cargo run --release -p api-ack --example store_rate`.
//!
//! For each database: batches of 256 jobs of 1 KiB, stored with a key each, marked as published, then loaded and changed
//! twice (`begin`, `finish`), as the hub does, by one caller and by two at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/store/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Instant;

use api_ack::store::{
    Change, Job, JobStore, Key, NewJob, Outlet, Payload, PostgresStore, ProcessId, STEPS, SqliteStore, State, Status,
};
use bytes::Bytes;
use database::postgres::Postgres;
use database::sqlite::Sqlite;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

const BATCH: usize = 256;
const BATCHES: usize = 200;

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn jobs(keyed: bool) -> Vec<Vec<NewJob>> {
    let body = Bytes::from(vec![b'x'; 1024]);
    let job = || {
        let id = Uuid::now_v7();
        let status = Status {
            state: State::Accepted,
            epoch: 1,
            attempt: 1,
            spent: 0,
            starts: 0,
            interrupted: 0,
            lease: 0,
            owner: Some(ProcessId(1)),
            due_at: now(),
            outlet: Some(Outlet::Jobs),
            deadline: now() + 3_600_000_000,
            started_at: None,
            ended_at: None,
            updated_at: now(),
            reason: None,
            error: None,
            cancel_epoch: None,
            worker: None,
            http_status: None,
        };
        let payload = Payload {
            subject: "anna".into(),
            content_type: "application/json".into(),
            body: body.clone(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        };
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(&scattered(id));
        let key = keyed.then_some(Key { hash, fingerprint: [1; 32] });
        NewJob {
            job: Job { id, kind: "orders.place".into(), tenant: "acme".into(), version: 1, priority: Default::default(), status },
            payload,
            key,
            tags: Default::default(),
            callback: None,
        }
    };
    (0..BATCHES).map(|_| (0..BATCH).map(|_| job()).collect()).collect()
}

/// Sixteen bytes as scattered as a hash of the id.
fn scattered(id: Uuid) -> [u8; 16] {
    let mixed = (id.as_u128() ^ (id.as_u128() >> 61)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (mixed ^ (mixed >> 67)).to_be_bytes()
}

/// Does `work` for every batch, shared by the callers, and prints jobs per second.
async fn measure<F: Future<Output = ()>>(what: &str, batches: &[Vec<NewJob>], callers: usize, work: impl Fn(Vec<NewJob>) -> F) {
    let started = Instant::now();
    let work = &work;
    let shares = batches.chunks(batches.len().div_ceil(callers)).map(|share| async move {
        for batch in share {
            work(batch.clone()).await;
        }
    });
    futures::future::join_all(shares).await;
    let rate = (batches.len() * BATCH) as f64 / started.elapsed().as_secs_f64();
    println!("  {what:<34} {callers} caller(s) {rate:>9.0} jobs/s");
}

async fn change(store: &dyn JobStore, batch: &[NewJob], edit: impl Fn(&mut Status)) {
    let ids: Vec<Uuid> = batch.iter().map(|new| new.job.id).collect();
    let loaded = store.load(&ids).await.unwrap();
    let changes = loaded.into_iter().map(|job| {
        let mut to = job.status;
        edit(&mut to);
        Change { id: job.id, from: job.version, to, history: None, result: None }
    });
    let applied = store.apply(&changes.collect::<Vec<_>>()).await.unwrap();
    assert!(applied.len() == BATCH && applied.into_iter().all(|applied| applied));
}

fn begin(status: &mut Status) {
    (status.state, status.starts, status.lease) = (State::Running, 1, 1);
    (status.owner, status.started_at) = (Some(ProcessId(1)), Some(now()));
}

fn finish(status: &mut Status) {
    (status.state, status.starts, status.owner, status.ended_at) = (State::Succeeded, 0, None, Some(now()));
}

async fn probe(store: &dyn JobStore) {
    store.beat(ProcessId(1)).await.unwrap();
    for callers in [1, 2] {
        for keyed in [false, true] {
            let all = jobs(keyed);
            let what = if keyed { "insert, each with a key" } else { "insert" };
            measure(what, &all, callers, |batch| async move {
                store.insert(&batch).await.unwrap();
            })
            .await;
            measure("mark_published", &all, callers, |batch| async move {
                let rows: Vec<_> = batch.iter().map(|new| (new.job.id, 1)).collect();
                assert_eq!(store.mark_published(&rows, now()).await.unwrap(), BATCH as u64);
            })
            .await;
            measure("begin (load + apply)", &all, callers, |batch| async move { change(store, &batch, begin).await }).await;
            measure("finish (load + apply)", &all, callers, |batch| async move { change(store, &batch, finish).await }).await;
        }
    }
}

#[tokio::main]
async fn main() {
    let server = server::Server::start(&[("shared_buffers", "256MB"), ("max_wal_size", "4GB")]);
    let store = PostgresStore::on(Arc::new(Postgres::open(&server.url("postgres"), &[STEPS], 8, true).await.unwrap()));
    println!("Postgres, {BATCHES} batches of {BATCH} jobs of 1 KiB");
    probe(&store).await;
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'";
    let (all, hot): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap();
    println!("  {hot} of {all} updates were hot; `begin` is a third of them");

    let folder = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::on(Arc::new(Sqlite::open(&folder.path().join("warren.db"), &[STEPS], true).await.unwrap())).await.unwrap();
    println!("SQLite, the same");
    probe(&store).await;
}
