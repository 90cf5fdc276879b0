//! What only the SQLite store promises.

use std::path::Path;
use std::sync::Arc;

use api_ack::store::{Inserted, JobStore, STEPS, SqliteStore, StoreError};
use database::migrate;
use database::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::golden::open;
use crate::ground::{Ground, ME, Place, accepted, sqlite};

fn unusable<T>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("expected `unusable`, not {other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

async fn execute(file: &Path, sql: &str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_second_hub_is_refused_by_name() {
    let ground = Ground::sqlite().await;
    let Place::Sqlite(file, _folder) = &ground.place else { unreachable!() };
    for text in [unusable(sqlite(file, true).await), unusable(migrate(&format!("sqlite://{}", file.display()), &[STEPS]).await)] {
        assert!(text.contains(&file.display().to_string()) && text.contains("another Warren process"), "{text}");
    }
    let new = accepted("mail", "acme");
    ground.store(&[new]).await;
}

#[tokio::test]
async fn a_reopened_file_has_everything_and_nothing_is_owned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warren.db");
    let mut new = accepted("mail", "acme");
    new.job.status.owner = Some(ME);
    {
        let store = sqlite(&file, true).await.unwrap();
        store.beat(ME).await.unwrap();
        store.insert(std::slice::from_ref(&new)).await.unwrap();
    }
    let store = open(&format!("sqlite://{}", file.display()), false).await.unwrap();
    let job = store.jobs.load(&[new.job.id]).await.unwrap().remove(0);
    assert_eq!((job.status.owner, job.version), (None, 2), "its owner was of an earlier run");
    let other = crate::ground::OTHER;
    assert_eq!(store.jobs.beat(other).await.unwrap(), [other]);
}

#[tokio::test]
async fn a_missing_folder_or_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = unusable(sqlite(&folder.path().join("no/warren.db"), true).await);
    assert!(text.contains("no/warren.db") && text.contains("make its folder"), "{text}");
    let text = unusable(sqlite(&folder.path().join("warren.db"), false).await);
    assert!(text.contains("warren migrate"), "{text}");
    std::fs::write(folder.path().join("text.db"), "this is no database, however long it may be ".repeat(200)).unwrap();
    let text = unusable(sqlite(&folder.path().join("text.db"), true).await);
    assert!(text.contains("text.db"), "{text}");
}

#[tokio::test]
async fn an_old_schema_asks_for_migration_and_a_newer_one_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warren.db");
    execute_on_new(&file, "CREATE TABLE anything (x)").await;
    let text = unusable(sqlite(&file, false).await);
    assert!(text.contains("run `warren migrate`"), "{text}");

    Sqlite::open(&file, &[STEPS], true).await.unwrap().close().await;
    execute(
        &file,
        "ALTER TABLE jobs ADD COLUMN later TEXT; INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', true, x'00', 0)",
    )
    .await;
    for migrate in [false, true] {
        let database = Arc::new(Sqlite::open(&file, &[STEPS], migrate).await.unwrap());
        let store = SqliteStore::on(database.clone()).await.unwrap();
        assert_eq!(store.insert(&[accepted("mail", "acme")]).await.unwrap(), [Inserted::New]);
        database.close().await;
        drop(store);
    }
}

async fn execute_on_new(file: &Path, sql: &str) {
    std::fs::write(file, []).unwrap();
    execute(file, sql).await;
}

#[tokio::test]
async fn another_program_that_writes_makes_the_hub_wait() {
    let ground = Ground::sqlite().await;
    let Place::Sqlite(file, _folder) = &ground.place else { unreachable!() };
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let held = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let batch = [accepted("mail", "acme")];
    let (inserted, ()) = tokio::join!(ground.jobs.insert(&batch), async {
        // Reads go on meanwhile. Then the other program lets go.
        ground.jobs.load(&[batch[0].job.id]).await.unwrap();
        held.rollback().await.unwrap();
    });
    assert_eq!(inserted.unwrap(), [Inserted::New]);
}

#[tokio::test]
async fn the_golden_database_of_format_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warren.db");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-v1.sqlite"), &file).unwrap();
    let store = sqlite(&file, true).await.unwrap();
    crate::formats::check(&store, &store).await;
}
