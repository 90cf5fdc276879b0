//! Processes die, leave or stand still in the middle of long work.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::postgres::Postgres;
use warren_tests::wait::until_true;

use super::{BUILD, called, calls, options, start};
use crate::world::LONG;

/// Long work whose process is gone is under way again after so long.
const TAKEOVER: Duration = Duration::from_secs(12);

fn built() -> Reply {
    Reply::Status(200, vec![], "\"built\"")
}

/// A hub with a job whose call hangs, the service, and the options for a second hub.
async fn in_the_middle(more: &str) -> (Vhost, Downstream, HubProcess, String, HubOptions) {
    let vhost = Broker::shared().await.vhost().await;
    let store_url = Postgres::shared().await.database().await;
    let service = Downstream::start(Reply::Hang).await;
    let options = options(&vhost, &store_url, &service, more);
    let hub = start(&options).await;
    let id = hub.client().accepted(BUILD, &json!({})).await;
    called(&service, &id, 1).await;
    (vhost, service, hub, id, options)
}

async fn metric(hub: &HubProcess, series: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0)
}

/// It has succeeded with the second call of its first attempt, and nothing of it is left anywhere.
async fn taken_over_once(client: &HubClient, vhost: &Vhost, service: &Downstream, id: &str) -> Value {
    let job = client.wait_state(id, "succeeded", LONG).await;
    assert_eq!((&job["attempt"], &job["interrupted"], &job["result"]), (&json!(1), &json!(1), &json!("built")), "{job}");
    until_true(LONG, "the queue to be empty", async || vhost.queue_depth("jobs.reports.build").await == Some(0)).await;
    let calls = calls(service, id);
    let seen: Vec<_> = calls.iter().map(|call| (call.header("warren-attempt"), call.header("idempotency-key"))).collect();
    let key = format!("\"{id}\"");
    assert_eq!(seen, [("1", key.as_str()), ("1", key.as_str())], "once more, as the same attempt");
    job
}

#[tokio::test]
async fn a_process_killed_in_the_middle_is_taken_over_within_12_s_and_once() {
    let (vhost, service, mut doomed, id, options) = in_the_middle("").await;
    let heir = start(&options).await;
    service.set(built());
    doomed.kill9();
    let killed = Instant::now();
    called(&service, &id, 2).await;
    let took = calls(&service, &id)[1].at - killed;
    assert!(took < TAKEOVER, "the takeover took {took:?}");
    taken_over_once(&heir.client(), &vhost, &service, &id).await;
}

#[tokio::test]
async fn a_process_killed_before_the_ack_calls_once_all_the_same() {
    let vhost = Broker::shared().await.vhost().await;
    let service = Downstream::start(built()).await;
    let mut options = options(&vhost, "", &service, "");
    options.env.push(("WARREN_CRASH_POINT".to_owned(), "K13".to_owned()));
    let mut hub = HubProcess::start(&options).await;
    let id = hub.client().accepted(BUILD, &json!({})).await;
    hub.crashed(LONG).await;
    assert!(calls(&service, &id).is_empty());
    options.env.pop();
    hub.start_again_with(&options.env).await;
    // The row is published again, and the delivery comes back besides.
    let job = hub.client().wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["attempt"], &job["interrupted"]), (&json!(1), &json!(1)), "{job}");
    until_true(LONG, "both copies to be gone", async || {
        vhost.queue_depth("jobs.reports.build").await == Some(0) && vhost.queue_depth("warren.retry.1s").await == Some(0)
    })
    .await;
    assert_eq!(calls(&service, &id).len(), 1);
}

#[tokio::test]
async fn what_a_drain_cuts_short_goes_on_elsewhere_at_once() {
    let (vhost, service, mut leaver, id, options) = in_the_middle("").await;
    let other = start(&options).await;
    service.set(built());
    assert!(leaver.terminate(LONG).await.success());
    let left = Instant::now();
    called(&service, &id, 2).await;
    let took = calls(&service, &id)[1].at.saturating_duration_since(left);
    assert!(took < Duration::from_secs(5), "nobody waits for a lapse: {took:?}");
    taken_over_once(&other.client(), &vhost, &service, &id).await;
}

#[tokio::test]
async fn a_process_that_stood_still_ends_its_run_too_late() {
    let (vhost, service, mut sleeper, id, options) = in_the_middle("").await;
    let other = start(&options).await;
    service.set(built());
    sleeper.process().signal(Signal::SIGSTOP);
    let client = other.client();
    let before = taken_over_once(&client, &vhost, &service, &id).await;
    sleeper.process().signal(Signal::SIGCONT);
    // Its call is answered now, with 503.
    service.let_go();
    until_true(LONG, "the late end to be on record", async || {
        let job = client.job(&id).await.unwrap().body;
        job["attempts"].as_array().unwrap().iter().any(|attempt| attempt["outcome"] == "late")
    })
    .await;
    let after = client.job(&id).await.unwrap().body;
    for field in ["state", "attempt", "result", "ended_at"] {
        assert_eq!(after[field], before[field], "{after}");
    }
    assert_eq!(calls(&service, &id).len(), 2);
}

/// What one crash hits goes on at once, side by side; what two have hit goes one by one, so that the third hits one of it.
#[tokio::test]
async fn what_was_hit_twice_goes_one_by_one() {
    let vhost = Broker::shared().await.vhost().await;
    let service = Downstream::start(Reply::Hang).await;
    let mut hub = start(&options(&vhost, "", &service, "concurrency = 4")).await;
    let client = hub.client();
    let ids = [client.accepted(BUILD, &json!({})).await, client.accepted(BUILD, &json!({})).await];
    for crash in 1..=2 {
        for id in &ids {
            called(&service, id, crash).await;
        }
        hub.kill9();
        hub.start_again().await;
    }
    let busy = "warren_deliveries_total{queue=\"jobs.reports.build\",verdict=\"busy\"}";
    until_true(LONG, "one of them to wait for the other", async || service.asked().len() == 5 && metric(&hub, busy).await >= 2)
        .await;
    assert_eq!(service.asked().len(), 5);
    // A fresh one waits for nobody.
    let fresh = client.accepted(BUILD, &json!({})).await;
    called(&service, &fresh, 1).await;
    service.set(built());
    until_true(LONG, "all of them to be through", async || {
        service.let_go();
        let mut through = 0;
        for id in ids.iter().chain([&fresh]) {
            let job = client.job(id).await.unwrap();
            assert_ne!(job.state(), Some("dead"), "{}", job.body);
            through += usize::from(job.state() == Some("succeeded"));
        }
        through == 3
    })
    .await;
}
