//! Jobs by the clock: each tick one job, however many processes there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::wait::{until, until_true};

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

/// The ticks of `name` that the log of a hub tells of, and the job of each, oldest first: its own or that of another process.
fn ticks(hub: &HubProcess, name: &str) -> Vec<(String, String)> {
    let log = hub.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.filter(|line| line["cron"] == name && line["message"] == "a tick has its job");
    told.map(|line| (line["tick"].as_str().unwrap().to_owned(), line["job"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn each_tick_is_one_job_over_two_processes_and_a_restart() {
    let world = World::new(Keep::Postgres).await;
    let mut options = HubOptions { extra_toml: format!("{}{EVERY_MINUTE}", world.options().extra_toml), ..world.options() };
    options.env.push(("WARREN__LOG__LEVEL".to_owned(), "info,api_ack::cron=debug".to_owned()));
    let (mut one, two) = (HubProcess::start(&options).await, HubProcess::start(&options).await);
    settled(&one).await;
    settled(&two).await;
    // What nobody saw before they started is made up for; then comes one that both live to see.
    let both = async |from: usize, what: &str| {
        let done = async || Some((ticks(&one, "all"), ticks(&two, "all"))).filter(|(a, b)| a.len() >= from && b.len() >= from);
        until(LONG, what, done).await
    };
    both(1, "the tick before the start").await;
    both(2, "a tick of both").await;
    one.kill9();
    let before = ticks(&one, "all").len();
    one.start_again().await;
    settled(&one).await;
    // It looks back, and finds what has a job already.
    until_true(LONG, "the tick before the restart", async || ticks(&one, "all").len() > before).await;

    let mut jobs_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tick, job) in ticks(&one, "all").into_iter().chain(ticks(&two, "all")) {
        jobs_of.entry(tick).or_default().insert(job);
    }
    assert!(jobs_of.values().all(|jobs| jobs.len() == 1), "a tick has one job, whoever asks: {jobs_of:?}");
    let admin = two.admin();
    let made = jobs(&admin, "cron:all").await;
    let ids: BTreeSet<String> = made.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    let told: BTreeSet<String> = jobs_of.into_values().flatten().collect();
    // A further tick may come at any time, and is in the store before it is in the log.
    assert!(told.is_subset(&ids) && ids.len() <= told.len() + 1, "no job without a tick: {told:?}, {ids:?}");
    assert_eq!(jobs(&admin, "cron:one.at.a.time").await.len(), 1, "its first job has not ended");
    assert!(made.iter().all(|job| job["tenant"] == "acme" && job["payload"]["size"] == 20), "{made:?}");
}
