//! One verdict per destination, shared by all processes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::{HubClient, HubProcess};
use warren_tests::wait::until_true;

use super::{Stage, kind};
use crate::world::{Keep, LONG, settled};

const PLACE: &str = "orders.place";

/// How a hub sees a destination, by its metric.
async fn state(hub: &HubProcess, service: &Downstream) -> i64 {
    let metrics = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    let series = format!("warren_destination_state{{destination=\"{}\"}} ", service.origin());
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("{series}\n{metrics}")).parse().unwrap()
}

async fn accept(client: &HubClient, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(client.accepted(PLACE, &json!({"n": n})).await);
    }
    ids
}

fn failures(job: &Value) -> usize {
    job["attempts"].as_array().unwrap().iter().filter(|attempt| attempt["outcome"] == "failed").count()
}

fn careful(service: &Downstream, breaker: &str) -> String {
    format!("[[destination]]\nname = \"{}\"\nbreaker = {{ {breaker} }}\n", service.origin())
}

#[tokio::test]
async fn a_sick_destination_is_left_alone_tried_once_by_two_hubs_and_released_slowly() {
    let service = Downstream::start(Downstream::status(500)).await;
    let stage = Stage::set(Keep::Postgres).await;
    let toml = kind(PLACE, &service, "concurrency = 8") + &careful(&service, "min_calls = 4, open = \"8s\"");
    // The first ones spend attempts before it is held, and probes spend them too.
    let toml = toml.replace("max_attempts = 2", "max_attempts = 9");
    let hubs = [stage.hub(&toml).await, stage.hub(&toml).await];
    let clients = hubs.each_ref().map(HubProcess::client);

    let sick = accept(&clients[0], 12).await;
    for hub in &hubs {
        until_true(LONG, "both to know that it is held", async || state(hub, &service).await == 1).await;
    }
    let known = service.asked().len();
    let held = accept(&clients[1], 40).await;

    // Each probe is one call over both hubs, and none comes early.
    until_true(LONG, "two probes that fail", async || service.asked().len() >= known + 2).await;
    service.set(Reply::Status(200, vec![], "1"));
    let failed = service.asked();
    let gap = |n: usize| failed[n].at.duration_since(failed[n - 1].at);
    assert_eq!(failed.len(), known + 2, "one call each");
    assert!(
        gap(known) >= Duration::from_secs(5) && gap(known + 1) >= Duration::from_secs(7),
        "{:?}",
        [gap(known), gap(known + 1)]
    );

    for id in sick.iter().chain(&held) {
        clients[0].wait_state(id, "succeeded", LONG).await;
    }
    let well = service.asked().split_off(failed.len());
    let took = well[well.len() - 1].at.duration_since(well[0].at);
    assert!(took >= Duration::from_secs(2), "released slowly: {took:?}");
    assert!(well[1].at.duration_since(failed[known + 1].at) >= Duration::from_secs(7), "the probe that works is alone too");
    for hub in &hubs {
        until_true(LONG, "both to know that it works", async || state(hub, &service).await == 0).await;
    }
    // Being held costs no attempt: only the two probes that failed did.
    let mut spent = 0;
    for id in &held {
        spent += failures(&clients[0].job(id).await.unwrap().body);
    }
    assert!(spent <= 2, "{spent} attempts were spent while it was held");
    let called: BTreeSet<&str> = well.iter().map(|asked| asked.header("ce-id")).collect();
    assert_eq!(called.len(), well.len(), "no job was called twice");
}

#[tokio::test]
async fn a_429_with_a_time_holds_the_destination_until_then() {
    let service = Downstream::start(Reply::Status(429, vec![("retry-after", "5".to_owned())], "slow down")).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&kind(PLACE, &service, "concurrency = 1")).await;
    let client = hub.client();
    let ids = accept(&client, 5).await;
    until_true(LONG, "it to be held", async || state(&hub, &service).await == 1).await;
    service.set(Downstream::status(200));
    for id in &ids {
        client.wait_state(id, "succeeded", LONG).await;
    }
    let asked = service.asked();
    assert_eq!(asked.len(), 6, "one answer was enough");
    assert!(asked[1].at.duration_since(asked[0].at) >= Duration::from_millis(4900), "not before its time");
}

#[tokio::test]
async fn slow_answers_count_against_the_destination_and_what_is_held_survives_a_restart() {
    let service = Downstream::start(Reply::Late(Duration::from_millis(400))).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let breaker = "min_calls = 3, open = \"1h\", slow = \"100ms\"";
    let mut hub = stage.hub(&(kind(PLACE, &service, "concurrency = 1") + &careful(&service, breaker))).await;
    let client = hub.client();
    for id in accept(&client, 3).await {
        assert_eq!(client.wait_state(&id, "succeeded", LONG).await["result"], "late", "the job succeeds all the same");
    }
    until_true(LONG, "it to be held", async || state(&hub, &service).await == 1).await;
    let answer = client.submit(PLACE, &json!({}), Some("one")).await.unwrap();
    let start: jiff::Timestamp = answer.header("warren-estimated-start").unwrap().parse().unwrap();
    let in_minutes = start.duration_since(jiff::Timestamp::now()).as_mins();
    assert!((50..=60).contains(&in_minutes), "{start}");
    let id = answer.job_id().unwrap().to_owned();
    let again = client.submit(PLACE, &json!({}), Some("one")).await.unwrap();
    assert_eq!((again.job_id(), again.header("warren-estimated-start")), (Some(id.as_str()), None));
    hub.kill9();
    hub.start_again().await;
    settled(&hub).await;
    until_true(LONG, "it to be held still", async || state(&hub, &service).await == 1).await;
    let job = client.job(&id).await.unwrap().body;
    assert_ne!(job["state"], "succeeded");
    assert_eq!(service.asked().len(), 3);
}

#[tokio::test]
async fn a_job_that_would_wait_too_long_is_refused_and_one_accepted_before_is_not() {
    let service = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = kind(PLACE, &service, "concurrency = 1\nmax_wait = \"30s\"");
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    let first = client.submit(PLACE, &json!({}), Some("first")).await.unwrap();
    assert_eq!((first.status, first.header("warren-estimated-start")), (202, None), "it starts at once");
    client.wait_state(first.job_id().unwrap(), "succeeded", LONG).await;
    service.set(Reply::Status(429, vec![("retry-after", "600".to_owned())], ""));
    client.accepted(PLACE, &json!({})).await;
    until_true(LONG, "it to be held", async || state(&hub, &service).await == 1).await;
    let list = async |tenant: &str| {
        let token = warren_tests::hub::token(tenant, "operator", "jobs:admin");
        HubClient::new(hub.admin_url(), Some(token)).get("/admin/destinations").await.unwrap().body["items"].clone()
    };
    let shown = list("*").await;
    assert_eq!((&shown[0]["name"], &shown[0]["kinds"]), (&json!(service.origin()), &json!([PLACE])), "{shown}");
    assert_eq!((&shown[0]["state"], &shown[0]["reason"]), (&json!("held"), &json!("throttled")), "{shown}");
    assert_eq!(list("acme").await, json!([]), "no tenant's own");
    let refused = client.submit(PLACE, &json!({}), Some("second")).await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, Some("overloaded")), "{}", refused.body);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((500..=600).contains(&seconds), "{seconds}");
    let replayed = client.submit(PLACE, &json!({}), Some("first")).await.unwrap();
    assert_eq!((replayed.status, replayed.job_id()), (202, first.job_id()));

    // Nobody waits for the answer to a message: it becomes a job that waits, and no dead letter.
    let headers = json!({"cloudEvents_source": "ada", "warren-tenant": "acme"});
    let properties = json!({"type": PLACE, "message_id": "third", "delivery_mode": 2, "headers": headers});
    assert!(stage.vhost.publish("warren.submit", "warren.submit", properties, b"{}").await, "no queue took it");
    let admin = hub.admin();
    until_true(LONG, "the message to be a job that waits", async || {
        let jobs = admin.get(&format!("/admin/jobs?kind={PLACE}")).await.unwrap().body;
        jobs["items"].as_array().unwrap().iter().filter(|job| job["state"] != "succeeded").count() == 2
    })
    .await;
    assert_eq!(admin.get("/admin/dead-letters?queue=warren.submit").await.unwrap().body["items"], json!([]));
}

#[tokio::test]
async fn calls_keep_their_pace() {
    let service = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = kind(PLACE, &service, "") + &format!("[[destination]]\nname = \"{}\"\nrate = \"5/s\"\n", service.origin());
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    for id in accept(&client, 11).await {
        client.wait_state(&id, "succeeded", LONG).await;
    }
    let asked = service.asked();
    let took = asked[10].at.duration_since(asked[0].at);
    assert!(took >= Duration::from_millis(1900), "{took:?}");
}

#[tokio::test]
async fn what_lies_at_the_broker_when_a_destination_falls_sick_waits_in_the_store_without_a_start() {
    let service = Downstream::start(Reply::Hang).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = kind(PLACE, &service, "concurrency = 1\nprefetch = 4") + &careful(&service, "min_calls = 1, open = \"2s\"");
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    let ids = accept(&client, 20).await;
    for id in &ids[1..] {
        client.wait_state(id, "queued", LONG).await;
    }
    service.set(Downstream::status(200));
    service.let_go();
    for id in &ids {
        client.wait_state(id, "succeeded", LONG).await;
    }
    let mut attempts = Vec::new();
    for id in &ids {
        attempts.push(client.job(id).await.unwrap().body["attempts"].as_array().unwrap().len());
    }
    attempts.sort_unstable();
    assert_eq!((attempts[18], attempts[19]), (1, 2), "only the one that failed was started twice");
    let metrics = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    let series = format!("warren_deliveries_total{{queue=\"jobs.{PLACE}\",verdict=\"put-off\"}} ");
    let put_off = metrics.lines().find_map(|line| line.strip_prefix(&series)).map(|count| count.parse::<u32>().unwrap());
    assert!(put_off.is_some_and(|count| count >= 19), "{put_off:?}");
}

#[tokio::test]
async fn calls_from_before_a_hold_say_nothing_after_it() {
    let service = Downstream::start(Reply::Hang).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hasty = kind(PLACE, &service, "timeout = \"1s\"\nconcurrency = 4\nprefetch = 8");
    let patient = kind("orders.count", &service, "timeout = \"60s\"\nconcurrency = 4\nprefetch = 8");
    let hub = stage.hub(&(hasty + &patient + &careful(&service, "min_calls = 3, open = \"1s\""))).await;
    let client = hub.client();
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(client.accepted("orders.count", &json!({})).await);
    }
    until_true(LONG, "the patient calls", async || service.asked().len() == 4).await;
    let quick = accept(&client, 4).await;
    until_true(LONG, "it to be held", async || state(&hub, &service).await == 1).await;
    service.set(Downstream::status(200));
    for id in &quick {
        client.wait_state(id, "succeeded", LONG).await;
    }
    assert!(service.asked().iter().filter(|asked| asked.header("ce-type") == "orders.count").count() == 4, "still under way");
    service.let_go();
    for id in &slow {
        until_true(LONG, "the end of a patient call", async || failures(&client.job(id).await.unwrap().body) == 1).await;
    }
    let answer = client.submit(PLACE, &json!({}), None).await.unwrap();
    assert_eq!(answer.header("warren-estimated-start"), None, "it is not held for what was before");
    for id in &slow {
        client.wait_state(id, "succeeded", LONG).await;
    }
}
