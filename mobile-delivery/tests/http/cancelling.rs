//! Reading a message and taking it back.

use std::time::Duration;

use database::clock;
use mobile_delivery::http::ApiOptions;
use mobile_delivery::store::{Ack, Claim, Claimed, Outcome, ProcessId, Transport, Which};
use serde_json::{Value, json};
use uuid::{NoContext, Timestamp, Uuid};

use crate::ground::{ALL, How, accepted, problem, shop, start, start_with, token};

#[tokio::test]
async fn what_is_not_delivered_is_withdrawn() {
    let ground = start().await;
    ground.register("a").await;
    ground.register("b").await;
    let id = accepted(ground.post("/v1/users/ada/messages").body("x").send().await.unwrap()).await;
    let device = ground.stores.devices.get("acme", "a").await.unwrap().unwrap().number;
    ground.stores.sessions.beat(ProcessId(1), &[]).await.unwrap();
    let claim = Claim { device, process: ProcessId(1), session: Uuid::now_v7(), transport: Transport::Poll };
    let claimed = ground.stores.sessions.claim(&[claim], clock::now()).await.unwrap().remove(0);
    let Claimed::Yours { fence, .. } = claimed else { panic!("{claimed:?}") };
    let ack = Ack { device, fence, which: Which::Messages(vec![id]), outcome: Outcome::Delivered };
    ground.stores.sessions.settle(&[ack], clock::now()).await.unwrap();

    let path = format!("/v1/messages/{id}");
    let cancelled: Value = ground.delete(&path, &shop()).await.json().await.unwrap();
    assert_eq!(cancelled, json!({"id": id.to_string(), "cancelled": 1, "links": {"self": path}}));
    assert!(ground.heard.withdrawn.lock().unwrap().is_empty(), "who has it acked it, and the other is away");
    let again: Value = ground.delete(&path, &shop()).await.json().await.unwrap();
    assert_eq!(again["cancelled"], 0);
    let shown: Value = ground.get(&path, &shop()).await.json().await.unwrap();
    assert_eq!(shown["counts"], json!({"delivered": 1, "dropped": 1}));
    let fates = shown["devices"].as_array().unwrap();
    let of = |id: &str| fates.iter().find(|fate| fate["device"] == id).unwrap();
    assert_eq!((&of("a")["state"], &of("b")["reason"]), (&json!("delivered"), &json!("cancelled")));
    assert!(of("a")["ended_at"].is_string());
    assert_eq!(ground.counter("warren_device_messages_cancelled_total", ""), 1.0);
    let device: Value = ground.get("/v1/devices/a", &shop()).await.json().await.unwrap();
    assert_eq!((&device["presence"], &device["transport"]), (&json!("online"), &json!("poll")));
}

#[tokio::test]
async fn what_is_for_later_is_withdrawn_too() {
    let ground = start().await;
    ground.register("a").await;
    let id = accepted(ground.sending("a").header("warren-delay", "1h").send().await.unwrap()).await;
    let cancelled: Value = ground.delete(&format!("/v1/messages/{id}"), &shop()).await.json().await.unwrap();
    assert_eq!(cancelled["cancelled"], 1);
    let shown: Value = ground.get(&format!("/v1/messages/{id}"), &shop()).await.json().await.unwrap();
    assert_eq!(shown["counts"], json!({"dropped": 1}));
}

#[tokio::test]
async fn a_message_of_another_tenant_is_not_there() {
    let ground = start().await;
    ground.register("a").await;
    let id = accepted(ground.sending("a").send().await.unwrap()).await;
    let stranger = token("evil", "shop", ALL);
    for path in [format!("/v1/messages/{id}"), format!("/v1/messages/{}", Uuid::now_v7())] {
        problem(ground.get(&path, &stranger).await, 404, "message-not-found").await;
        problem(ground.delete(&path, &stranger).await, 404, "message-not-found").await;
    }
    assert_eq!(ground.pending("acme", "a").await.len(), 1);
    for id in ["1", "x", "%00", "67e55044-10b1-426f-9247"] {
        problem(ground.get(&format!("/v1/messages/{id}"), &shop()).await, 400, "invalid-message-id").await;
        problem(ground.delete(&format!("/v1/messages/{id}"), &shop()).await, 400, "invalid-message-id").await;
    }
}

#[tokio::test]
async fn an_id_older_than_the_retention_is_purged() {
    let options = ApiOptions { retention: Duration::from_secs(3600), ..ApiOptions::default() };
    let ground = start_with(How { options, ..How::default() }).await;
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let made = |age: u64| Uuid::new_v7(Timestamp::from_unix(NoContext, now - age, 0));
    problem(ground.get(&format!("/v1/messages/{}", made(7200)), &shop()).await, 410, "purged").await;
    problem(ground.delete(&format!("/v1/messages/{}", made(7200)), &shop()).await, 410, "purged").await;
    problem(ground.get(&format!("/v1/messages/{}", made(60)), &shop()).await, 404, "message-not-found").await;
}
