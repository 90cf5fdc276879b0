//! How fast the tables of devices are: `cargo run --release -p mobile-delivery --example store_devices -- [cold devices]`.
//!
//! On each database, at 1,000 cold devices and at as many as named (100,000 without): registering one by one; sending batches of 256 messages of 512 bytes,
//! one device each; reading what 256 devices have to get, one by one; acks of 256 devices in one call; connecting 256 in one call and one alone; a page of 100.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../../api-ack/tests/store/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use database::Database;
use database::postgres::Postgres;
use database::sqlite::Sqlite;
use mobile_delivery::store::{
    Ack, After, Claim, Claimed, Filter, Limit, Limits, Message, NewMessage, Number, Order, Outcome, Priority, ProcessId, Put,
    Registration, Sent, Stores, TABLES, Target, Tier, Transport, Via, Which,
};
use uuid::Uuid;

const BATCH: usize = 256;
const ROUNDS: usize = 20;
const NOW: i64 = 1_760_000_000_000_000;

fn registration(n: usize) -> Registration {
    Registration {
        tenant: "acme".into(),
        id: format!("d{n}"),
        user: format!("u{}", n / 2),
        groups: ["all".to_owned()].into(),
        labels: [("os".to_owned(), "ios".to_owned())].into(),
        tier: Tier::Standard,
        via: Via::Hub,
    }
}

fn message(n: usize) -> NewMessage {
    NewMessage {
        tenant: "acme".into(),
        target: Target::Devices(vec![format!("d{n}")]),
        message: Message {
            id: Uuid::now_v7(),
            sender: "bench".into(),
            kind: "bench".into(),
            content_type: "application/octet-stream".into(),
            body: Bytes::from(vec![7; 512]),
            traceparent: None,
            collapse_key: None,
            priority: Priority::Normal,
            created_at: NOW,
        },
        publisher: None,
        ttl: None,
        not_before: None,
        receipt: true,
        key: None,
    }
}

/// Makes `count` devices past the store: numbers from 1 on.
fn cold(count: usize, sqlite: bool) -> String {
    let series = match sqlite {
        true => format!("(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)"),
        false => format!("generate_series(1, {count}) AS s(n)"),
    };
    format!(
        "INSERT INTO devices (tenant, id, user_id, groups, labels, tier, created_at, updated_at) \
         SELECT 'acme', 'd' || (n - 1), 'u' || ((n - 1) / 2), '[\"all\"]', '{{\"os\":\"ios\"}}', 0, 0, 0 FROM {series}; \
         INSERT INTO device_states SELECT number, 'acme', 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL FROM devices; \
         INSERT INTO device_tags SELECT 'acme', 'g:all', number FROM devices; \
         INSERT INTO device_tags SELECT 'acme', 'u:' || user_id, number FROM devices; \
         INSERT INTO device_tags SELECT 'acme', '*', number FROM devices; \
         INSERT INTO device_tags SELECT 'acme', 'l:os=ios', number FROM devices;"
    )
}

/// Tells a rate, of so many things in so many steps.
async fn measure(name: &str, things: usize, steps: usize, mut step: impl AsyncFnMut(usize)) {
    let begun = Instant::now();
    for n in 0..steps {
        step(n).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let rate = (things * steps) as f64 / took;
    println!("  {name:<28} {rate:>10.0}/s   {:>8.2} ms a call", took * 1000.0 / steps as f64);
}

async fn probe(stores: &Stores, cold: usize) {
    // Spread over all there are, in an order that is not theirs.
    let at = |n: usize| (n * 7919 + 13) % cold;
    let number = |n: usize| Number(i64::try_from(at(n) + 1).unwrap());
    measure("register", 1, 300, async |n| {
        let put = stores.devices.put(&registration(cold + n), NOW).await.unwrap();
        assert!(matches!(put, Put::Done { made: true, .. }));
    })
    .await;
    let send = async |sends: Vec<NewMessage>| {
        let sent = stores.messages.send(&sends, &Limits::default(), NOW).await.unwrap();
        assert!(sent.iter().all(|sent| matches!(sent, Sent::Accepted { .. })));
    };
    measure("send, 256 a call", BATCH, ROUNDS, async |round| {
        send((0..BATCH).map(|n| message(at(round * BATCH + n))).collect()).await;
    })
    .await;
    measure("send, one a call", 1, 300, async |n| send(vec![message(at(n))]).await).await;
    let claim =
        |n: usize| Claim { device: number(n), process: ProcessId(1), session: Uuid::now_v7(), transport: Transport::Socket };
    let mut fences = vec![0; BATCH];
    measure("connect, one a call", 1, 300, async |n| {
        stores.sessions.claim(&[claim(n)], NOW).await.unwrap();
    })
    .await;
    let distinct = BATCH.min(cold);
    measure("connect, 256 a call", distinct, ROUNDS, async |_| {
        let claims: Vec<Claim> = (0..distinct).map(claim).collect();
        for (fence, claimed) in fences.iter_mut().zip(stores.sessions.claim(&claims, NOW).await.unwrap()) {
            let Claimed::Yours { fence: mine, .. } = claimed else { panic!("{claimed:?}") };
            *fence = mine;
        }
    })
    .await;
    measure("pending, one a call", 1, 1000, async |n| {
        let limit = Limit { messages: 64, bytes: 1 << 20 };
        assert!(!stores.sessions.pending(number(n), 0, limit, NOW).await.unwrap().messages.is_empty());
    })
    .await;
    measure("send and settle, 256 a call", distinct, ROUNDS, async |round| {
        // What is acked was sent just now.
        if round > 0 {
            send((0..distinct).map(|n| message(at(n))).collect()).await;
        }
        let ack = |n: usize| Ack {
            device: number(n),
            fence: fences[n],
            which: Which::UpTo { seq: i64::MAX, given: i64::MAX },
            outcome: Outcome::Delivered,
        };
        let acks: Vec<Ack> = (0..distinct).map(ack).collect();
        stores.sessions.settle(&acks, NOW).await.unwrap();
    })
    .await;
    measure("list, 100 a page", 100, 100, async |n| {
        let after = Some(After::Device(Number(i64::try_from(at(n) / 2).unwrap())));
        let page = stores.devices.list(&Filter { after, ..Filter::of("acme") }).await.unwrap();
        assert_eq!(page.devices.len(), 100);
    })
    .await;
    for (name, order) in [
        ("list by messages, a page", Order::Messages),
        ("list by bytes, a page", Order::Bytes),
        ("list by age, a page", Order::Age),
    ] {
        let filter = Filter { tenant: None, order, limit: 50, scan: 5000, ..Filter::of("acme") };
        measure(name, 1, 20, async |_| assert_eq!(stores.devices.list(&filter).await.unwrap().devices.len(), 50)).await;
    }
    measure("expire and idle, nothing to do", 1, 300, async |_| {
        stores.messages.expire(NOW, 512).await.unwrap();
        stores.lanes.idle(&[mobile_delivery::store::MAIN], NOW - 1, 100).await.unwrap();
    })
    .await;
}

#[tokio::main]
async fn main() {
    let most = std::env::args().nth(1).map_or(100_000, |text| text.parse().expect("a number of devices"));
    let server = server::Server::start(&[("shared_buffers", "512MB"), ("max_wal_size", "4GB")]);
    for (at, count) in [1_000, most].into_iter().enumerate() {
        use sqlx::{AssertSqlSafe, Connection};
        let mut admin = sqlx::PgConnection::connect(&server.url("postgres")).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE d{at}"))).execute(&mut admin).await.unwrap();
        let url = server.url(&format!("d{at}"));
        let database = Postgres::open(&url, &[TABLES], 4, true).await.unwrap();
        let mut admin = sqlx::PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(cold(count, false))).execute(&mut admin).await.unwrap();
        sqlx::raw_sql("ANALYZE").execute(&mut admin).await.unwrap();
        println!("Postgres, {count} cold devices");
        probe(&Stores::on(&Database::Postgres(Arc::new(database))).await.unwrap(), count).await;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warren.db");
        let database = Sqlite::open(&file, &[TABLES], true).await.unwrap();
        let mut admin = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(cold(count, true))).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        println!("SQLite, {count} cold devices");
        probe(&Stores::on(&Database::Sqlite(Arc::new(database))).await.unwrap(), count).await;
    }
}
