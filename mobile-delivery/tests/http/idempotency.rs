//! The same send again is the same message.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::ground::{ALL, accepted, problem, start, token};

#[tokio::test]
async fn the_same_request_again_is_answered_the_same() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let send = || ground.sending("pixel-7").header("idempotency-key", "k").header("warren-ttl", "1h").send();
    let first = send().await.unwrap();
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let first = first.text().await.unwrap();
    let again = send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.text().await.unwrap(), first, "to the byte");
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 1);
    assert_eq!(ground.counter("warren_device_messages_replayed_total", ""), 1.0);
    // Also when it has ended, and when the device is gone.
    let id = serde_json::from_str::<Value>(&first).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(ground.delete(&format!("/v1/messages/{id}"), &crate::ground::shop()).await.status(), 200);
    assert_eq!(send().await.unwrap().text().await.unwrap(), first);
    assert_eq!(ground.delete("/v1/devices/pixel-7", &crate::ground::shop()).await.status(), 204);
    assert_eq!(send().await.unwrap().text().await.unwrap(), first);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let send = || ground.sending("pixel-7").header("idempotency-key", "k");
    accepted(send().send().await.unwrap()).await;
    for other in [
        send().body("{\"n\":2}"),
        send().header("warren-ttl", "1h"),
        send().header("warren-type", "t"),
        send().header("warren-collapse-key", "c"),
        send().header("warren-priority", "high"),
        send().header("warren-delay", "1h"),
        send().header("warren-receipt", "true"),
        ground.post("/v1/devices/pixel-7/messages").header("idempotency-key", "k").body("{\"n\":1}"),
    ] {
        problem(other.send().await.unwrap(), 422, "idempotency-key-reused").await;
    }
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 1);
}

#[tokio::test]
async fn a_key_is_its_senders_and_its_targets() {
    let ground = start().await;
    ground.register("pixel-7").await;
    ground.register("pixel-8").await;
    let first = accepted(ground.sending("pixel-7").header("idempotency-key", "k").send().await.unwrap()).await;
    let elsewhere = accepted(ground.sending("pixel-8").header("idempotency-key", "k").send().await.unwrap()).await;
    let user = ground.post("/v1/users/ada/messages").header("idempotency-key", "k").body("x").send().await.unwrap();
    let user = accepted(user).await;
    let request = ground.client.post(ground.url("/v1/devices/pixel-7/messages")).bearer_auth(token("acme", "other", ALL));
    let other = accepted(request.header("idempotency-key", "k").body("x").send().await.unwrap()).await;
    assert_eq!(BTreeSet::from([first, elsewhere, user, other]).len(), 4);
    // There and in a batch it is the same.
    let item = json!({"device": "pixel-7", "data": {"n": 1}, "key": "k"}).to_string().replace("\"n\": 1", "\"n\":1");
    let batch = ground.post("/v1/messages").header("content-type", "application/json").body(format!("[{item}]"));
    let batch: Value = batch.send().await.unwrap().json().await.unwrap();
    assert_eq!((&batch["items"][0]["id"], &batch["items"][0]["replayed"]), (&json!(first.to_string()), &json!(true)));
}

#[tokio::test]
async fn many_at_once_send_one() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let all = join_all((0..32).map(|_| ground.sending("pixel-7").header("idempotency-key", "k").send())).await;
    let mut ids = BTreeSet::new();
    let mut fresh = 0;
    for response in all {
        let response = response.unwrap();
        fresh += u32::from(!response.headers().contains_key("idempotency-replayed"));
        ids.insert(accepted(response).await);
    }
    assert_eq!((ids.len(), fresh), (1, 1));
    assert_eq!(ground.pending("acme", "pixel-7").await.len(), 1);
}

#[tokio::test]
async fn a_time_that_went_by_does_not_part_a_repetition_from_its_answer() {
    let ground = start().await;
    ground.register("pixel-7").await;
    let send = || {
        let request = ground.sending("pixel-7").header("idempotency-key", "k");
        request.header("warren-run-at", "2026-01-01T00:00:00Z").send()
    };
    let first = accepted(send().await.unwrap()).await;
    assert_eq!(accepted(send().await.unwrap()).await, first);
}
