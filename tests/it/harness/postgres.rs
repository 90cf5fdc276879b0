use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use warren_tests::postgres::Postgres;

async fn connect(url: &str) -> sqlx::Result<PgConnection> {
    PgConnection::connect(url).await
}

#[tokio::test]
async fn each_database_is_fresh_and_synced_to_disk() {
    let postgres = Postgres::shared().await;
    let (one, other) = (postgres.database().await, postgres.database().await);
    let mut one = connect(&one).await.unwrap();
    let mut other = connect(&other).await.unwrap();
    sqlx::raw_sql("CREATE TABLE mine (n int)").execute(&mut one).await.unwrap();
    assert!(sqlx::raw_sql("SELECT * FROM mine").execute(&mut other).await.is_err());
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut one).await.unwrap();
    assert_eq!(fsync, "on");
}

#[tokio::test]
async fn a_server_can_be_killed_and_stopped() {
    let postgres = Postgres::dedicated().await;
    let url = postgres.database().await;
    let mut session = connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").execute(&mut session).await.unwrap();

    postgres.kill_immediate().await;
    assert!(sqlx::raw_sql("SELECT 1").execute(&mut session).await.is_err(), "the session died with the server");
    assert!(connect(&url).await.is_err(), "nothing listens while the server is dead");
    postgres.start_again().await;
    let mut session = connect(&url).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut session).await.unwrap();
    assert_eq!(kept, 7);

    postgres.kill9().await;
    assert!(connect(&url).await.is_err(), "nothing listens after SIGKILL either");
    postgres.start_again().await;
    let mut session = connect(&url).await.unwrap();

    postgres.stop_signal();
    let mut query = Box::pin(sqlx::raw_sql("SELECT 1").execute(&mut session));
    let silent = tokio::time::timeout(Duration::from_secs(1), &mut query).await;
    assert!(silent.is_err(), "an open session of a stopped server says nothing");
    let silent = tokio::time::timeout(Duration::from_secs(1), connect(&url)).await;
    assert!(silent.is_err(), "and so does a new one");
    postgres.continue_signal();
    query.await.unwrap();
}
