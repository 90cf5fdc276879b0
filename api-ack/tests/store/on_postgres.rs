//! What only the Postgres store promises.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api_ack::store::{
    AuditFilter, Bookmark, DeadFilter, Inserted, JobFilter, JobSearch, JobStore, NewJob, Old, Pause, Progress, STEPS, StoreError,
};
use api_ack::tags::Tags;
use database::migrate;
use sqlx::{Connection, PgConnection};

use crate::ground::{
    Ground, ME, OTHER, Place, T0, accepted, begin, change, empty_postgres, high, high_lane, key, lane, postgres, publish, rows,
};

async fn connection(ground: &Ground) -> PgConnection {
    let Place::Postgres(url) = &ground.place else { unreachable!() };
    PgConnection::connect(url).await.unwrap()
}

/// What the database has counted, once that is `enough`: statistics arrive some time after the statement.
async fn arrived<T: std::fmt::Debug>(what: &str, mut counted: impl AsyncFnMut() -> T, enough: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let counted = counted().await;
        if enough(&counted) {
            return counted;
        }
        assert!(Instant::now() < deadline, "waited 20 s for {what}, in vain: {counted:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    let kill =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
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
    let away = postgres("postgres://warren@127.0.0.1:1/warren", 1, false).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    let wrong = postgres("postgres://warren@127.0.0.1:port/warren", 1, false).await;
    assert!(matches!(wrong, Err(StoreError::Unusable(_))), "{wrong:?}");
    let missing = postgres(&empty_postgres().await.replace("/t", "/no_such_"), 1, false).await;
    assert!(matches!(missing, Err(StoreError::Unusable(_) | StoreError::Unavailable(_))), "{missing:?}");
}

#[tokio::test]
async fn an_old_schema_asks_for_migration_and_a_newer_one_is_accepted() {
    let url = empty_postgres().await;
    let old = postgres(&url, 2, false).await;
    assert!(matches!(&old, Err(StoreError::Unusable(text)) if text.contains("run `warren migrate`")), "{old:?}");
    // Two processes that start at once migrate once.
    let (one, two) = tokio::join!(migrate(&url, &[STEPS]), migrate(&url, &[STEPS]));
    one.and(two).unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let newer = "ALTER TABLE jobs ADD COLUMN later text; INSERT INTO _sqlx_migrations \
        (version, description, success, checksum, execution_time) VALUES (99, 'later', true, '', 0)";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    for migrate in [false, true] {
        let store = postgres(&url, 2, migrate).await.unwrap();
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

#[tokio::test]
async fn what_ended_is_heard_of_by_all_others_that_live() {
    let ground = Ground::postgres().await;
    let ended = |count| BTreeMap::from([("mail".to_owned(), count), ("logs".to_owned(), 1)]);
    for process in [ME, OTHER] {
        ground.jobs.beat(process).await.unwrap();
    }
    assert!(ground.jobs.share_ended(ME, &ended(1)).await.unwrap().is_empty(), "the other has said nothing yet");
    assert_eq!(ground.jobs_of_another.share_ended(OTHER, &ended(7)).await.unwrap(), [(ME, ended(1))]);
    assert_eq!(ground.jobs.share_ended(ME, &ended(2)).await.unwrap(), [(OTHER, ended(7))]);
    ground.jobs.beat(ME).await.unwrap();
    assert_eq!(ground.jobs_of_another.share_ended(OTHER, &ended(7)).await.unwrap(), [(ME, ended(2))], "a beat leaves it");
    // What another version writes is no reason to fail, and who lapsed is not asked.
    ground.execute(&format!("UPDATE processes SET ended = '[]' WHERE id = {}", OTHER.0)).await;
    assert_eq!(ground.jobs.share_ended(ME, &ended(3)).await.unwrap(), [(OTHER, BTreeMap::new())]);
    ground.execute(&format!("UPDATE processes SET beat_at = 0 WHERE id = {}", OTHER.0)).await;
    assert!(ground.jobs.share_ended(ME, &ended(3)).await.unwrap().is_empty());
}

/// The update that happens to every job must not touch an index.
#[tokio::test]
async fn begin_is_a_hot_update() {
    let ground = Ground::postgres().await;
    // As many as a page has room for twice, so that it does not matter when old versions are cleared away.
    let queued = || {
        let mut new = accepted("mail", "acme");
        publish(&mut new.job.status);
        new
    };
    let batch: Vec<_> = (0..10).map(|_| queued()).collect();
    ground.store(&batch).await;
    let changes: Vec<_> = batch.iter().map(|new| change(&new.job, |status| begin(status, T0 + 1))).collect();
    assert!(ground.jobs.apply(&changes).await.unwrap().into_iter().all(|applied| applied));

    let mut connection = connection(&ground).await;
    let counted = async || {
        let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'";
        sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(&mut connection).await.unwrap()
    };
    let (_, hot) = arrived("ten updates", counted, |(all, _)| *all == 10).await;
    assert_eq!(hot, 10);
}

/// Every statement goes by an index, even in tables that are small and were never analysed.
#[tokio::test]
async fn no_statement_reads_a_whole_table() {
    const SCANS: &str = "SELECT sum(seq_scan)::bigint, string_agg(relname, ' ') FILTER (WHERE seq_scan > 0), \
        sum(n_tup_upd) FILTER (WHERE relname = 'jobs')::bigint FROM pg_stat_user_tables WHERE relname NOT IN ('_sqlx_migrations', 'processes')";
    let ground = Ground::postgres().await;
    let mut connection = connection(&ground).await;
    // Making the indexes has read each table once.
    let scans = async |connection: &mut PgConnection, enough: fn(i64, i64) -> bool| {
        let counted = async || sqlx::query_as::<_, (i64, Option<String>, i64)>(SCANS).fetch_one(&mut *connection).await.unwrap();
        let (scans, tables, _) = arrived("scans and updates", counted, |(scans, _, updates)| enough(*scans, *updates)).await;
        (scans, tables)
    };
    scans(&mut connection, |scans, _| scans > 0).await;
    sqlx::raw_sql("SELECT pg_stat_reset()").execute(&mut connection).await.unwrap();

    let batch: Vec<_> = (0..50).map(|_| accepted("mail", "acme")).collect();
    for _ in 0..8 {
        let mut keyed = accepted("mail", "acme");
        keyed.key = Some(key(1));
        ground.jobs.insert(&[keyed]).await.unwrap();
        ground.jobs.beat(ME).await.unwrap();
        ground.jobs.claim(ME, &lane("mail", "acme"), T0, rows(10)).await.unwrap();
        ground.jobs.overdue(T0, 10).await.unwrap();
        let filter = JobFilter { tenant: Some("acme".into()), limit: 10, ..JobFilter::default() };
        let search = JobSearch { filter, subject: Some("bea".into()), since: Some(T0), scan: 20, ..JobSearch::default() };
        ground.jobs.search(&search).await.unwrap();
        let tags = Tags::of(["a", "b"]).unwrap();
        ground.jobs.search(&JobSearch { tags: tags.clone(), ..search }).await.unwrap();
        let said = Progress { epoch: 1, attempt: 1, lease: 1, percent: 1, note: String::new(), at: T0 };
        ground.jobs.put_progress(&[(batch[0].job.id, said)]).await.unwrap();
        ground.jobs.progress(&[batch[0].job.id]).await.unwrap();
        ground.jobs.tags(&[batch[0].job.id]).await.unwrap();
        ground.jobs.insert(&[NewJob { tags, ..accepted("mail", "acme") }]).await.unwrap();
        let pause = Pause { kind: "mail".into(), at: T0, paused: true, actor: "ann".into(), note: String::new() };
        ground.pauses.put_pause(&pause).await.unwrap();
        ground.pauses.pauses().await.unwrap();
        ground.jobs.ask_cancel(batch[0].job.id, 1, 1, T0).await.unwrap();
        ground.jobs.backlog(T0).await.unwrap();
        ground.jobs.lanes(T0).await.unwrap();
        ground.jobs.in_flight("mail", 10).await.unwrap();
        ground.jobs.quiet("mail", None, T0, 10).await.unwrap();
        ground.jobs.overrun("mail", T0, 10).await.unwrap();
        ground.jobs.claim(ME, &high_lane("mail", "acme"), T0, rows(10)).await.unwrap();
        ground.jobs.claim_normal(ME, &lane("mail", "acme"), T0, rows(10)).await.unwrap();
        ground.jobs.in_flight_high("mail", 10).await.unwrap();
        ground.jobs.queued("mail", 10).await.unwrap();
        ground.jobs.unended("mail", 10).await.unwrap();
        ground.jobs.share_ended(ME, &BTreeMap::new()).await.unwrap();
        ground.jobs.record_of(batch[0].job.id).await.unwrap();
        ground.jobs.leave(OTHER).await.unwrap();
        ground.jobs.release_lapsed().await.unwrap();
        ground.jobs.ended_kinds().await.unwrap();
        let old = Old { kind: "mail", before: T0, dead_before: T0 };
        ground.jobs.purge_ended(&old, Bookmark::START, 10).await.unwrap();
        ground.jobs.purge_keys(T0, 0).await.unwrap();
        ground.dead.dead_groups(Some("acme"), "", 10, 10).await.unwrap();
        ground.dead.dead_ids(&DeadFilter { limit: 10, ..DeadFilter::default() }).await.unwrap();
        ground.dead.audit_records(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
        ground.dead.print_old(10).await.unwrap();
        ground.dead.hold_redriving(T0, T0, 10).await.unwrap();
        ground.selections.acting(uuid::Uuid::nil(), 10).await.unwrap();
        ground.selections.picked(batch[0].job.id, 10).await.unwrap();
        ground.selections.purge_selections(T0, T0, 10).await.unwrap();
    }
    ground.store(&batch).await;
    let changes: Vec<_> = batch.iter().map(|new| change(&new.job, |status| begin(status, T0 + 1))).collect();
    ground.jobs.apply(&changes).await.unwrap();

    let (scans, tables) = scans(&mut connection, |_, updates| updates >= 51).await;
    assert_eq!(scans, 0, "{tables:?}");
}

#[tokio::test]
async fn normal_jobs_have_no_entry_in_the_index_of_high_ones_and_high_ones_are_found_by_it() {
    let ground = Ground::postgres().await;
    let mut connection = connection(&ground).await;
    let pages = "SELECT pg_relation_size('jobs_high') / current_setting('block_size')::bigint";
    let normal: Vec<_> = (0..2000).map(|_| accepted("mail", "acme")).collect();
    ground.store(&normal).await;
    let changes: Vec<_> = normal[..500].iter().map(|new| change(&new.job, |status| begin(status, T0))).collect();
    ground.jobs.apply(&changes).await.unwrap();
    let size: i64 = sqlx::query_scalar(pages).fetch_one(&mut connection).await.unwrap();
    assert_eq!(size, 1, "the first page of an empty index");

    ground.store(&[high("mail", "acme")]).await;
    let size: i64 = sqlx::query_scalar(pages).fetch_one(&mut connection).await.unwrap();
    assert_eq!(size, 2);

    // Whatever the planner knows of the table.
    for statistics in ["SELECT", "ANALYZE jobs"] {
        sqlx::raw_sql(statistics).execute(&mut connection).await.unwrap();
        sqlx::raw_sql("SELECT pg_stat_reset()").execute(&mut connection).await.unwrap();
        assert_eq!(ground.jobs.lanes(T0).await.unwrap().len(), 2);
        assert_eq!(ground.jobs.claim(ME, &high_lane("mail", "acme"), T0, rows(10)).await.unwrap().len(), 1);
        assert_eq!(ground.jobs.in_flight_high("mail", 10).await.unwrap(), 0);
        let looks = async || read(&mut connection, "jobs_high", "idx_scan").await;
        arrived(&format!("three looks for the high rows by their index ({statistics})"), looks, |looks| *looks >= 3).await;
        let looked_at = read(&mut connection, "jobs_waiting", "idx_tup_read").await;
        assert!(looked_at < 10, "{looked_at} rows that wait were looked at ({statistics})");
        assert_eq!(read(&mut connection, "jobs_under_way", "idx_scan").await, 0, "{statistics}");
        ground.store(&[high("mail", "acme")]).await;
    }
}

/// What the statistics say of an index.
async fn read(connection: &mut PgConnection, index: &str, what: &str) -> i64 {
    let query = format!("SELECT coalesce(sum({what}), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname = $1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(index).fetch_one(connection).await.unwrap()
}
