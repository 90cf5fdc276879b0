//! What only the Postgres store promises.

use std::time::{Duration, Instant};

use api_ack::store::{Inserted, JobStore, PostgresStore, StoreError, migrate};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::ground::{Ground, ME, OTHER, Place, T0, accepted, begin, change, empty_postgres, key};

async fn connection(ground: &Ground) -> PgConnection {
    let Place::Postgres(url) = &ground.place else { unreachable!() };
    PgConnection::connect(url).await.unwrap()
}

#[tokio::test]
async fn a_key_that_somebody_holds_undecided_says_so_after_two_seconds() {
    let ground = Ground::postgres().await;
    let mut held = connection(&ground).await;
    let mut tx = held.begin().await.unwrap();
    sqlx::query("INSERT INTO idempotency_keys VALUES ($1, $2, $1, 0)")
        .bind(&key(1).hash[..])
        .bind(uuid::Uuid::now_v7())
        .execute(&mut *tx)
        .await
        .unwrap();
    let mut new = accepted("mail", "acme");
    new.key = Some(key(1));
    let started = Instant::now();
    let answer = ground.jobs.insert(std::slice::from_ref(&new)).await;
    assert!(matches!(answer, Err(StoreError::Undecided(_))), "{answer:?}");
    assert!((2..4).contains(&started.elapsed().as_secs()));
    tx.rollback().await.unwrap();
    assert_eq!(ground.jobs.insert(&[new]).await.unwrap(), [Inserted::New]);
}

#[tokio::test]
async fn broken_connections_are_replaced() {
    let ground = Ground::postgres().await;
    ground.jobs.ping().await.unwrap();
    let mut other = connection(&ground).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::raw_sql(kill).execute(&mut other).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match ground.jobs.insert(&[accepted("mail", "acme")]).await {
            Ok(_) => break,
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_locked_table_is_undecided_and_no_call_hangs() {
    let ground = Ground::postgres().await;
    let mut held = connection(&ground).await;
    let mut tx = held.begin().await.unwrap();
    sqlx::query("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").execute(&mut *tx).await.unwrap();
    let started = Instant::now();
    let answer = ground.jobs.load(&[uuid::Uuid::now_v7()]).await;
    assert!(matches!(answer, Err(StoreError::Undecided(_))), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nobody_listening_or_a_wrong_url_is_told_apart() {
    let away = PostgresStore::connect("postgres://warren@127.0.0.1:1/warren", 1, false).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    let wrong = PostgresStore::connect("postgres://warren@127.0.0.1:port/warren", 1, false).await;
    assert!(matches!(wrong, Err(StoreError::Unusable(_))), "{wrong:?}");
    let missing = PostgresStore::connect(&empty_postgres().await.replace("/t", "/no_such_"), 1, false).await;
    assert!(matches!(missing, Err(StoreError::Unusable(_) | StoreError::Unavailable(_))), "{missing:?}");
}

#[tokio::test]
async fn an_old_schema_asks_for_migration_and_a_newer_one_is_accepted() {
    let url = empty_postgres().await;
    let old = PostgresStore::connect(&url, 2, false).await;
    assert!(matches!(&old, Err(StoreError::Unusable(text)) if text.contains("run `warren migrate`")), "{old:?}");
    // Two processes that start at once migrate once.
    let (one, two) = tokio::join!(migrate(&url), migrate(&url));
    one.and(two).unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let newer = "ALTER TABLE jobs ADD COLUMN later text; INSERT INTO _sqlx_migrations \
        (version, description, success, checksum, execution_time) VALUES (99, 'later', true, '', 0)";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    for migrate in [false, true] {
        let store = PostgresStore::connect(&url, 2, migrate).await.unwrap();
        assert_eq!(store.insert(&[accepted("mail", "acme")]).await.unwrap(), [Inserted::New]);
    }
}

#[tokio::test]
async fn orphans_of_a_process_nobody_knows_are_freed() {
    let ground = Ground::postgres().await;
    ground.jobs.beat(ME).await.unwrap();
    let owned = |owner| {
        let mut new = accepted("mail", "acme");
        new.job.status.owner = Some(owner);
        new
    };
    // Stored long ago by a process that had lapsed already, and by one that has yet to beat for the first time.
    let mut young = owned(OTHER);
    young.job.status.updated_at = i64::MAX;
    let batch = [owned(ME), owned(OTHER), young];
    ground.store(&batch).await;
    assert_eq!(ground.jobs.release_lapsed().await.unwrap(), 1);
    assert_eq!(ground.job(batch[1].job.id).await.status.owner, None);
    assert_eq!(ground.job(batch[2].job.id).await.status.owner, Some(OTHER));
}

/// The update that happens to every job must not touch an index.
#[tokio::test]
async fn begin_is_a_hot_update() {
    let ground = Ground::postgres().await;
    let batch: Vec<_> = (0..200).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    let rows: Vec<_> = batch.iter().map(|new| (new.job.id, 1)).collect();
    assert_eq!(ground.jobs.mark_published(&rows, T0).await.unwrap(), 200);
    let queued = ground.jobs.load(&rows.iter().map(|row| row.0).collect::<Vec<_>>()).await.unwrap();
    let changes: Vec<_> = queued.iter().map(|job| change(job, |status| begin(status, T0 + 1))).collect();
    assert!(ground.jobs.apply(&changes).await.unwrap().into_iter().all(|applied| applied));

    let mut connection = connection(&ground).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // Statistics arrive some time after the statement.
        let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'";
        let (all, hot): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap();
        if all == 400 {
            assert!(hot >= 180, "{hot} of 200 updates by `begin` were hot");
            break;
        }
        assert!(Instant::now() < deadline, "{all} updates counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every statement of the hot path goes by an index, in a table that was never analysed.
#[tokio::test]
async fn hot_statements_use_indexes() {
    let ground = Ground::postgres().await;
    let mut connection = connection(&ground).await;
    for (setting, value) in api_ack::store::postgres::SETTINGS {
        sqlx::query(AssertSqlSafe(format!("SET {setting} = '{value}'"))).execute(&mut connection).await.unwrap();
    }
    for (name, sql) in api_ack::store::postgres::HOT_STATEMENTS {
        sqlx::raw_sql(AssertSqlSafe(format!("PREPARE {name} AS {sql}"))).execute(&mut connection).await.unwrap();
        let count = sql.match_indices('$').filter_map(|(at, _)| sql[at + 1..].split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        let arguments = vec!["NULL"; count.max().unwrap_or(0usize)].join(", ");
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE {name}({arguments})"));
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut connection).await.unwrap();
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan") && !plan.contains("Hash Join") && !plan.contains("Merge Join"), "{name}:\n{plan}");
    }
}
