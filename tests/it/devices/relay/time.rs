//! What time does: messages become due, are over, and are forgotten.

use std::time::Duration;

use database::clock;
use mobile_delivery::store::{Limits, Sent, State};
use mobile_delivery::upkeep::UpkeepOptions;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, message};
use super::phone::Phone;

#[tokio::test]
async fn a_scheduled_message_goes_out_at_its_time() {
    let ground = Ground::set().await;
    // Only what is said wakes it.
    let upkeep = UpkeepOptions { every: Duration::from_secs(3600), ..UpkeepOptions::default() };
    let process = Process::with(&ground, How { upkeep, ..How::default() }).await;
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    let due_at = clock::now() + 300_000;
    let mut later = message("phone");
    later.not_before = Some(due_at);
    ground.stores.messages.send(&[later], &Limits::default(), clock::now()).await.unwrap();
    process.wake.scheduled(due_at);
    phone.until(1).await;
    assert!(clock::now() >= due_at);
}

#[tokio::test]
async fn what_another_process_scheduled_is_found_and_what_is_over_is_ended_and_forgotten() {
    let ground = Ground::set().await;
    let upkeep = UpkeepOptions { ended: Duration::ZERO, every: Duration::from_millis(100), ..UpkeepOptions::default() };
    let process = Process::with(&ground, How { upkeep, ..How::default() }).await;
    let mut phone = Phone::connect(&ground, &process, "phone", 0).await;
    let mut later = message("phone");
    later.not_before = Some(clock::now() + 50_000);
    ground.stores.messages.send(&[later], &Limits::default(), clock::now()).await.unwrap();
    phone.until(1).await;
    ground.device("away").await;
    let mut short = message("away");
    short.ttl = Some(1000);
    let sent = ground.stores.messages.send(&[short], &Limits::default(), clock::now()).await.unwrap();
    let Sent::Accepted { message: id, .. } = sent[0] else { panic!("{sent:?}") };
    until_true(SOON, "it to be expired, or forgotten already", async || {
        let record = ground.stores.messages.record("acme", id).await.unwrap();
        record.is_none_or(|record| record.fates.iter().all(|fate| fate.state == State::Expired))
    })
    .await;
    assert!(ground.pending(ground.device("away").await).await.is_empty());
}
