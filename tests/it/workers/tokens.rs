use serde_json::{Value, json};
use warren_tests::wait::until;

use super::{Stage, outcomes};
use crate::world::{LONG, run_tokens, token_of};

fn succeeded() -> Value {
    json!({"outcome": "succeeded", "result": {"pages": 1}, "worker": "w"})
}

#[tokio::test]
async fn who_does_not_show_the_token_of_a_run_does_not_speak_for_it() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let (one, other) = (client.accepted(super::KIND, &json!({})).await, client.accepted(super::KIND, &json!({})).await);
    let (first, second) = (hand.take().await, hand.take().await);
    assert_eq!(first.message.id, one);
    let tokens = run_tokens(&stage.hub, &stage.store_url).await;
    assert_eq!(first.message.token(), Some(token_of(&tokens, &one, 1, 1).as_str()));
    assert!(first.message.headers["warren-deadline"].parse::<jiff::Timestamp>().is_ok());

    // Swapped between jobs, of another run, none at all, and a flood of it.
    let swapped = first.report(&json!({"token": second.message.token(), "outcome": "rejected", "worker": "mallory"}));
    stage.say("warren.result", &swapped).await;
    stage.say("warren.started", &swapped).await;
    stage.say("warren.result", &first.report(&json!({"attempt": 2, "outcome": "failed"}))).await;
    stage.counted("wrong-token", 3).await;
    for n in 0..50 {
        let claim = json!({"job": one, "epoch": 1 + n % 7, "attempt": n, "outcome": "succeeded", "worker": format!("m{n}")});
        stage.say("warren.result", &claim).await;
    }
    stage.counted("no-token", 50).await;
    let job = client.job(&one).await.unwrap().body;
    assert_eq!((&job["state"], outcomes(&job)), (&json!("queued"), vec!["forged"]), "one record stands for all: {job}");
    let forged = &job["attempts"][0];
    assert_eq!((&forged["reason"], &forged["worker"]), (&json!("wrong-token"), &json!("mallory")), "{job}");

    // They do their work all the same.
    for held in [&first, &second] {
        stage.say("warren.result", &held.report(&succeeded())).await;
        held.ack().await;
    }
    for id in [&one, &other] {
        let job = client.wait_state(id, "succeeded", LONG).await;
        assert_eq!(job["result"], json!({"pages": 1}), "{job}");
        assert_eq!(job["attempts"].as_array().unwrap().last().unwrap()["worker"], "w", "{job}");
    }
    stage.counted("applied", 2).await;
}

#[tokio::test]
async fn each_run_has_a_token_of_its_own_also_after_a_rung_and_a_redrive() {
    let stage = Stage::set().await;
    let (client, hand) = (stage.client(), stage.hand().await);
    let id = client.accepted(super::KIND, &json!({})).await;
    let tokens = run_tokens(&stage.hub, &stage.store_url).await;
    let first = hand.take().await;
    stage.say("warren.result", &first.report(&json!({"outcome": "failed"}))).await;
    first.ack().await;
    // One of the run that is over is a right token of a run that is over.
    let second = hand.take().await;
    assert_eq!(second.message.token(), Some(token_of(&tokens, &id, 1, 2).as_str()), "by a rung");
    stage.say("warren.result", &first.report(&succeeded())).await;
    stage.counted("late", 1).await;
    stage.say("warren.result", &second.report(&json!({"outcome": "rejected"}))).await;
    second.ack().await;
    client.wait_state(&id, "dead", LONG).await;

    let admin = stage.hub.admin();
    let letter = until(LONG, "its letter", async || {
        let letter = admin.get("/admin/dead-letters?limit=10").await.ok()?.body["items"][0].clone();
        letter["id"].is_string().then_some(letter)
    })
    .await;
    let path = format!("/admin/dead-letters/{}", letter["id"].as_str().unwrap());
    let shown = admin.get(&path).await.unwrap().body;
    assert!(shown.to_string().contains("warren-deadline") && !shown.to_string().contains("warren-token"), "{shown}");
    let moved = admin.send(admin.request(reqwest::Method::POST, &format!("{path}/redrive")).json(&json!({}))).await.unwrap();
    assert_eq!(moved.status, 200, "{}", moved.body);
    let third = hand.take().await;
    assert_eq!(third.message.token(), Some(token_of(&tokens, &id, 2, 3).as_str()), "by a redrive");
    stage.say("warren.result", &third.report(&succeeded())).await;
    third.ack().await;
    client.wait_state(&id, "succeeded", LONG).await;
}
