//! Names that mean more than one to a topic exchange. None of them ever is a routing key: a job's key is its kind's name, which is
//! one of those configured.

use reqwest::Method;
use serde_json::json;
use warren_tests::wait::{until, until_true};

use super::{Door, check};
use crate::world::LONG;

/// A kind whose messages nobody takes here.
const KIND: &str = "inventory.reserve";
const QUEUE: &str = "jobs.inventory.reserve";

const WILD: [&str; 7] = ["*", "#", "demo.*", "inventory.#", "*.*", "#.reserve", "demo.echo.#"];

#[tokio::test]
async fn a_wildcard_is_no_kind_by_any_door() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    for kind in WILD {
        let address = kind.replace('#', "%23");
        for (method, path) in [(Method::POST, format!("/v1/kinds/{address}/jobs")), (Method::GET, format!("/v1/kinds/{address}"))]
        {
            let request = door.client.request(method, &path).header("content-type", "application/json").body("{}");
            check(&door.client.send(request).await.unwrap(), 404, "unknown-kind", &path);
        }
        let pause = door.admin.request(Method::POST, &format!("/admin/kinds/{address}/pause")).json(&json!({}));
        check(&door.admin.send(pause).await.unwrap(), 404, "unknown-kind", kind);
        let batch = door.client.request(Method::POST, "/v1/jobs").json(&json!([{"kind": kind, "data": {}}]));
        let answer = door.client.send(batch).await.unwrap();
        assert!(answer.body.to_string().contains("unknown-kind"), "{kind}: {}", answer.body);
        // Nothing is listed under it but what has that very name.
        let listed = door.admin.get(&format!("/admin/jobs?kind={address}")).await.unwrap().body;
        assert_eq!(listed["items"], json!([]), "{kind}");
        let properties = json!({"type": kind, "message_id": format!("m-{kind}"), "delivery_mode": 2});
        assert!(door.vhost.publish("warren.submit", "warren.submit", properties, b"{}").await);
    }
    let letters = until(LONG, "each message to be a dead letter", async || {
        let page = door.admin.get("/admin/dead-letters?queue=warren.submit&limit=100").await.ok()?.body;
        let letters = page["items"].as_array()?.clone();
        (letters.len() == WILD.len()).then_some(letters)
    })
    .await;
    assert!(letters.iter().all(|letter| letter["reason"] == "unknown-kind"), "{letters:?}");
    door.is_up(before).await;
}

#[tokio::test]
async fn a_wildcard_as_tenant_subject_or_key_is_a_name_like_any_other() {
    let door = Door::new().await;
    let mine = door.client.accepted("demo.echo", &json!({})).await;
    for name in WILD {
        let client = door.hub.client_as(name, name, "jobs:submit jobs:read jobs:read:all");
        let answer = client.submit(KIND, &json!({}), Some(name)).await.unwrap();
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (202, None), "{name}: {}", answer.body);
        // All jobs of its tenant are its own alone.
        assert_eq!(client.job(&mine).await.unwrap().status, 404, "{name}");
        let listed = client.get("/v1/jobs").await.unwrap().body;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{name}: {listed}");
    }
    // Names that could be no token's are none of a message's either.
    for (id, tenant) in [("long", "t".repeat(201)), ("control", "a\nb".to_owned()), ("wild", "*".to_owned())] {
        let headers = json!({"cloudEvents_source": "/billing", "warren-tenant": tenant});
        let properties = json!({"type": KIND, "message_id": id, "delivery_mode": 2, "headers": headers});
        assert!(door.vhost.publish("warren.submit", "warren.submit", properties, b"{}").await);
    }
    let expected = WILD.len() + 1;
    until_true(LONG, "all to be published", async || door.vhost.queue_depth(QUEUE).await == u32::try_from(expected).ok()).await;
    for message in door.vhost.get_messages(QUEUE, 100).await {
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("warren.jobs", KIND));
        let tenant = message.header("warren-tenant").as_str().unwrap();
        assert!(WILD.contains(&tenant), "{tenant}");
    }
    let letters = until(LONG, "two dead letters", async || {
        let page = door.admin.get("/admin/dead-letters?limit=100").await.ok()?.body;
        let letters = page["items"].as_array()?.clone();
        (letters.len() == 2).then_some(letters)
    })
    .await;
    assert!(letters.iter().all(|letter| letter["reason"] == "invalid-parameter"), "{letters:?}");
    let definitions = door.vhost.definitions().await;
    for queue in definitions["queues"].as_array().unwrap() {
        let name = queue["name"].as_str().unwrap();
        assert_eq!(door.vhost.queue_depth(name).await, Some(0), "{name}");
    }
}
