use std::time::{Duration, Instant};

use lapin::options::{BasicNackOptions, BasicRejectOptions};
use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, HubClient, token};
use warren_tests::wait::{until, until_true};

use super::{KIND, QUEUE, Stage, outcomes};
use crate::world::LONG;

fn done() -> Value {
    json!({"outcome": "succeeded", "result": 1})
}

#[tokio::test]
async fn a_start_is_shown_and_told_again_or_late_it_changes_nothing() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let held = hand.take().await;
    let start = held.report(&json!({"worker": "first", "started_at": "2026-01-01T00:00:00Z"}));
    stage.say("warren.started", &start).await;
    let running = client.wait_state(&id, "running", LONG).await;
    assert_eq!((&running["started_at"], &running["attempts"][0]["worker"]), (&start["started_at"], &json!("first")), "{running}");
    stage.say("warren.started", &start).await;
    let earlier = held.report(&json!({"worker": "second", "started_at": "2025-01-01T00:00:00Z"}));
    stage.say("warren.started", &earlier).await;
    stage.counted("late", 2).await;
    assert_eq!(client.job(&id).await.unwrap().body, running);
    // The message came to another one, which began later.
    let later = held.report(&json!({"worker": "second", "started_at": "2026-01-01T00:00:09Z"}));
    stage.say("warren.started", &later).await;
    let renewed = stage.job_once(&id, "the second start", |job| job["started_at"] == later["started_at"]).await;
    assert_eq!((&renewed["interrupted"], &renewed["attempt"]), (&json!(1), &json!(1)), "{renewed}");

    // What the result leaves out, the start has said.
    stage.say("warren.result", &held.report(&done())).await;
    let ended = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&ended["attempts"][0]["worker"], &ended["started_at"]), (&json!("second"), &later["started_at"]), "{ended}");
    stage.say("warren.started", &held.report(&json!({"started_at": "2026-01-01T00:01:00Z"}))).await;
    stage.counted("late", 3).await;
    assert_eq!(client.job(&id).await.unwrap().body, ended);
}

#[tokio::test]
async fn who_begins_and_never_ends_is_out_of_time_and_another_attempt_is_made() {
    let stage = Stage::with("timeout = \"2s\"", &[]).await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let first = hand.take().await;
    stage.say("warren.started", &first.report(&json!({"worker": "slow", "started_at": "2026-01-01T00:00:00Z"}))).await;
    let second = hand.take().await;
    assert_eq!(second.message.run.unwrap().attempt, 2);
    let job = client.job(&id).await.unwrap().body;
    let past = &job["attempts"][0];
    assert_eq!(
        (&past["outcome"], &past["reason"], &past["worker"]),
        (&json!("failed"), &json!("timed-out"), &json!("slow")),
        "{job}"
    );
    // It ends after all, when nobody waits for it any more.
    stage.say("warren.result", &first.report(&done())).await;
    stage.counted("late", 1).await;
    stage.say("warren.result", &second.report(&done())).await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((job["attempt"].as_i64(), outcomes(&job)), (Some(2), vec!["failed", "late", "succeeded"]), "{job}");
}

/// The hub is away for longer than the attempt may take, which ends meanwhile.
#[tokio::test]
async fn what_ended_while_the_hub_was_away_was_not_out_of_time() {
    let limit = Duration::from_secs(2);
    let mut stage = Stage::with("timeout = \"2s\"", &[]).await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let held = hand.take().await;
    let begun = Instant::now();
    stage.say("warren.started", &held.report(&json!({}))).await;
    client.wait_state(&id, "running", LONG).await;
    stage.hub.kill9();
    stage.say("warren.result", &held.report(&done())).await;
    until_true(LONG, "its time to be over", async || begun.elapsed() > limit * 2).await;
    stage.hub.start_again_with(&[]).await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["attempt"], outcomes(&job)), (&json!(1), vec!["succeeded"]), "{job}");
}

/// It takes half a minute, as told in docs/worker-contract.md.
#[tokio::test]
async fn what_is_acked_without_a_report_comes_again() {
    let stage = Stage::with("timeout = \"1s\"\nprefetch = 1\nconcurrency = 1", &[]).await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let first = hand.take().await;
    first.ack().await;
    let again = hand.take().await;
    assert_eq!(
        (again.message.id.as_str(), again.message.run, again.message.token()),
        (id.as_str(), first.message.run, first.message.token())
    );
    stage.say("warren.result", &again.report(&done())).await;
    again.ack().await;
    assert_eq!(client.wait_state(&id, "succeeded", LONG).await["attempt"], 1);
}

#[tokio::test]
async fn who_reports_and_never_acks_harms_nothing() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let held = hand.take().await;
    stage.say("warren.result", &held.report(&done())).await;
    let ended = client.wait_state(&id, "succeeded", LONG).await;
    hand.die().await;
    // The broker gives it to another one, who does it again and says so.
    let hand = stage.hand().await;
    let again = hand.take().await;
    assert!(again.delivery.delivery.redelivered && again.message.id == id);
    for _ in 0..20 {
        stage.say("warren.result", &again.report(&json!({"outcome": "failed"}))).await;
    }
    again.ack().await;
    stage.counted("late", 20).await;
    let after = client.job(&id).await.unwrap().body;
    assert_eq!((&after["state"], &after["result"]), (&ended["state"], &ended["result"]));
    assert_eq!(outcomes(&after), ["late", "succeeded"], "twenty are one: {after}");
}

#[tokio::test]
async fn what_a_worker_rejects_is_a_dead_letter_and_what_it_gives_back_comes_again() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let held = hand.take().await;
    held.delivery.delivery.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
    let again = hand.take().await;
    assert!(again.delivery.delivery.redelivered && again.message.run == held.message.run, "the same attempt");
    stage.say("warren.started", &again.report(&json!({}))).await;
    client.wait_state(&id, "running", LONG).await;
    again.delivery.delivery.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
    let job = client.wait_state(&id, "dead", LONG).await;
    assert_eq!((&job["reason"], outcomes(&job)), (&json!("rejected"), vec!["rejected"]), "{job}");
    let letters = stage.hub.admin().get("/admin/dead-letters?limit=10").await.unwrap().body;
    let letter = &letters["items"][0];
    assert_eq!((&letter["queue"], &letter["reason"]), (&json!(QUEUE), &json!("rejected")), "{letters}");
    let shown = stage.hub.admin().get(&format!("/admin/dead-letters/{}", letter["id"].as_str().unwrap())).await.unwrap().body;
    assert!(!shown.to_string().contains("warren-token"), "the broker's own letter does not speak for the job either: {shown}");
    stage.say("warren.result", &again.report(&done())).await;
    stage.counted("late", 1).await;
    assert_eq!(client.job(&id).await.unwrap().body["state"], "dead");
}

#[tokio::test]
async fn a_result_over_the_limit_is_not_kept_and_the_job_says_so() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    for (length, kept) in [(64 * 1024 - 2, true), (64 * 1024 - 1, false)] {
        let id = client.accepted(KIND, &json!({})).await;
        let held = hand.take().await;
        stage.say("warren.result", &held.report(&json!({"outcome": "succeeded", "result": "x".repeat(length)}))).await;
        held.ack().await;
        let job = client.wait_state(&id, "succeeded", LONG).await;
        assert_eq!(job["result"].is_string(), kept);
        let reason = if kept { Value::Null } else { json!("result-too-large") };
        assert_eq!((&job["reason"], job["error"].is_string()), (&reason, !kept));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_and_the_job_goes_on() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(KIND, &json!({})).await;
    let held = hand.take().await;
    let wrong = [
        ("warren.result", json!([])),
        ("warren.result", held.report(&json!({}))),
        ("warren.result", held.report(&json!({"outcome": "done"}))),
        ("warren.result", held.report(&json!({"outcome": "failed", "retry_after_ms": -1}))),
        ("warren.result", held.report(&json!({"outcome": "succeeded", "ended_at": "yesterday"}))),
        ("warren.result", held.report(&json!({"outcome": "succeeded", "job": "no id"}))),
        ("warren.started", held.report(&json!({"attempt": "first"}))),
    ];
    for (kind, body) in &wrong {
        stage.say(kind, body).await;
    }
    stage.counted("unreadable", wrong.len() as u64).await;
    stage.say("warren.result", &held.report(&done())).await;
    held.ack().await;
    client.wait_state(&id, "succeeded", LONG).await;
    let admin = HubClient::new(stage.hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
    let letters = until(LONG, "their letters", async || {
        let letters = admin.get("/admin/dead-letters?queue=warren.results&limit=50").await.ok()?.body["items"].clone();
        (letters.as_array()?.len() == wrong.len()).then_some(letters)
    })
    .await;
    assert!(letters.as_array().unwrap().iter().all(|letter| letter["reason"] == "undecodable"), "{letters}");
    assert!(letters[0]["error"].as_str().is_some_and(|error| error.len() > 10), "{letters}");
}
