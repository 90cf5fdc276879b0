//! Jobs by the clock: each tick one job, however many processes there are.

use serde_json::Value;
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::wait::until;

use crate::world::{Keep, LONG, World, settled};

/// Nobody works on these, so the first job never ends.
const EVERY_MINUTE: &str = r#"
[[kind]]
name = "test.idle"
worker = "amqp"

[[cron]]
name = "all"
schedule = "* * * * *"
kind = "test.idle"
tenant = "acme"
data = { n = 1, list = ["a"] }
catch_up = "2m"

[[cron]]
name = "one.at.a.time"
schedule = "* * * * *"
timezone = "Asia/Kolkata"
kind = "test.idle"
tenant = "acme"
overlap = "skip"
catch_up = "2m"
"#;

async fn jobs(admin: &HubClient, subject: &str) -> Vec<Value> {
    let listed = admin.get("/admin/jobs?kind=test.idle&limit=100").await.unwrap().body["items"].as_array().unwrap().clone();
    let mut found = Vec::new();
    for job in listed {
        let whole = admin.get(&format!("/admin/jobs/{}", job["id"].as_str().unwrap())).await.unwrap().body;
        if whole["payload"]["subject"] == subject {
            found.push(whole);
        }
    }
    found
}

#[tokio::test]
async fn each_tick_is_one_job_over_two_processes_and_a_restart() {
    let world = World::new(Keep::Postgres).await;
    let options = HubOptions { extra_toml: format!("{}{EVERY_MINUTE}", world.options().extra_toml), ..world.options() };
    let (mut one, two) = (HubProcess::start(&options).await, HubProcess::start(&options).await);
    settled(&one).await;
    settled(&two).await;
    let admin = two.admin();
    // What nobody saw before they started is made up for, once.
    let first =
        until(LONG, "the tick before the start", async || Some(jobs(&admin, "cron:all").await).filter(|jobs| !jobs.is_empty()))
            .await;
    one.kill9();
    let later =
        until(LONG, "a further tick", async || Some(jobs(&admin, "cron:all").await).filter(|jobs| jobs.len() > first.len()))
            .await;
    one.start_again().await;
    settled(&one).await;
    let minutes: std::collections::BTreeSet<String> =
        later.iter().map(|job| job["accepted_at"].as_str().unwrap()[..16].to_owned()).collect();
    assert!(later.len() <= minutes.len() + 1, "one per minute, and the one made up for: {later:?}");
    assert_eq!(jobs(&admin, "cron:all").await.len(), later.len(), "a process that comes back makes no tick again");
    assert_eq!(jobs(&admin, "cron:one.at.a.time").await.len(), 1, "its first job has not ended");
    assert!(later.iter().all(|job| job["tenant"] == "acme" && job["payload"]["size"] == 20), "{later:?}");
}
