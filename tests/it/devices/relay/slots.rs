//! Who relays which part of all devices.

use sqlx::{Connection as _, PgConnection};
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, Process};

/// How many slots each process has that has some, fewest first.
pub(super) async fn shares(ground: &Ground) -> Vec<i64> {
    let mut connection = PgConnection::connect(&ground.database).await.unwrap();
    let counted = "SELECT count(*) FROM device_slots WHERE process IS NOT NULL GROUP BY process ORDER BY 1";
    sqlx::query_scalar(counted).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn slots_are_shared_out_and_come_back_from_who_drains_and_who_dies() {
    let ground = Ground::set().await;
    let one = Process::start(&ground).await;
    until_true(SOON, "the first to have all", async || shares(&ground).await == [64]).await;
    let two = Process::start(&ground).await;
    until_true(SOON, "each to have half", async || shares(&ground).await == [32, 32]).await;
    let mut three = Process::start(&ground).await;
    until_true(SOON, "each to have a third", async || shares(&ground).await == [20, 22, 22]).await;
    one.drain().await;
    until_true(SOON, "two to have half each", async || shares(&ground).await == [32, 32]).await;
    three.kill();
    ground.lapse(three.me).await;
    until_true(SOON, "the last to have all", async || shares(&ground).await == [64]).await;
    two.drain().await;
    assert_eq!(shares(&ground).await, [0_i64; 0]);
}
