//! Messages for devices, submitted by message.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::Broker;
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::wait::{until, until_true};

use super::{headers, open_letter, publish, redrive};
use crate::edge::metric;
use crate::world::{Keep, LONG, World, settled};

const OWNER: &str = "devices:write devices:read messages:send messages:read";

/// A hub with these roles that serves devices, or is to.
async fn hub(world: &World, roles: &[&str]) -> HubProcess {
    let management = Broker::shared().await.management().url().to_owned();
    let options = world.options();
    let options = HubOptions {
        extra_toml: format!("[devices]\nenabled = true\n{}", options.extra_toml),
        env: vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), management)],
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..options
    };
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    hub
}

/// Answers the device's client.
async fn register(hub: &HubProcess, device: &str) -> HubClient {
    let owner = hub.client_as("acme", "app", OWNER);
    let put = owner.request(Method::PUT, &format!("/v1/devices/{device}")).json(&json!({"user": "olga"}));
    let registered = owner.send(put).await.unwrap();
    assert!(registered.status < 300, "{}", registered.body);
    HubClient::new(hub.public_url(), registered.body["token"].as_str().map(str::to_owned))
}

/// What a device gets, acked as it comes, until there are `count`; and whatever comes in one look more.
async fn got(device: &HubClient, count: usize) -> Vec<Value> {
    let (mut messages, until) = (Vec::new(), Instant::now() + LONG);
    loop {
        assert!(Instant::now() < until, "{} of {count} messages came: {messages:?}", messages.len());
        let answer = device.get("/v1/device/messages?wait=1").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let page = answer.body["messages"].as_array().cloned().unwrap_or_default();
        let Some(last) = page.last() else {
            if messages.len() >= count {
                return messages;
            }
            continue;
        };
        let acks = json!({"up_to": last["seq"]});
        let acked = device.send(device.request(Method::POST, "/v1/device/acks").json(&acks)).await.unwrap();
        assert!(acked.status < 300, "{}", acked.body);
        messages.extend(page);
    }
}

fn to(more: Value) -> Value {
    let mut properties = headers(more);
    properties["content_type"] = json!("application/json");
    properties
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_message_goes_to_devices_once_and_what_never_can_is_kept_with_its_reason() {
    let world = World::new(Keep::Postgres).await;
    let hub = hub(&world, &[]).await;
    let (first, second) = (register(&hub, "phone-1").await, register(&hub, "phone-2").await);

    for _ in 0..3 {
        publish(&world, "order.shipped", "m-1", to(json!({"warren-device": "phone-1", "warren-priority": "high"})), b"{\"n\":1}")
            .await;
    }
    let except = json!({"warren-user": "olga", "warren-except": "phone-1"});
    publish(&world, "order.shipped", "m-2", to(except), b"{\"n\":2}").await;
    publish(&world, "order.shipped", "m-3", to(json!({"warren-device": "phone-1, phone-2"})), b"{\"n\":3}").await;
    // It is no job, though there is such a kind; and a job is none of theirs.
    publish(&world, "demo.echo", "m-4", to(json!({"warren-device": "phone-1"})), b"{\"n\":4}").await;
    publish(&world, "demo.echo", "j-1", headers(json!({})), b"{}").await;

    let bad: [(&str, &str, Value, &[u8]); 11] = [
        ("device-not-found", "device-not-found", to(json!({"warren-device": "phone-9"})), b"{\"n\":9}"),
        ("no-devices", "no-devices", to(json!({"warren-user": "nobody"})), b"{}"),
        ("idempotency-key-reused", "m-1", to(json!({"warren-device": "phone-1"})), b"{\"n\":2}"),
        ("invalid-timing", "timing", to(json!({"warren-device": "phone-1", "warren-delay": "-1s"})), b"{}"),
        ("invalid-priority", "priority", to(json!({"warren-device": "phone-1", "warren-priority": "urgent"})), b"{}"),
        ("malformed-json", "json", to(json!({"warren-device": "phone-1"})), b"{\0"),
        ("invalid-message", "both", to(json!({"warren-device": "phone-1", "warren-user": "olga"})), b"{}"),
        ("invalid-message", "ttl", to(json!({"warren-device": "phone-1", "warren-ttl": "0s"})), b"{}"),
        ("invalid-message", "except", to(json!({"warren-device": "phone-1", "warren-except": "phone-2"})), b"{}"),
        ("invalid-message", "no text", to(json!({"warren-device": "phone-1", "warren-receipt": true})), b"{}"),
        ("body-too-large", "large", to(json!({"warren-device": "phone-1"})), &[b' '; (64 << 10) + 1]),
    ];
    for (_, id, properties, body) in &bad {
        publish(&world, "order.shipped", id, properties.clone(), body).await;
    }
    let admin = hub.admin();
    let letters = until(LONG, "every message of no use to be a dead letter", async || {
        let page = admin.get("/admin/dead-letters?queue=warren.submit&limit=100").await.ok()?.body;
        let letters = page["items"].as_array()?.clone();
        (letters.len() == bad.len()).then_some(letters)
    })
    .await;
    for (code, id, ..) in &bad {
        let letter = letters.iter().find(|letter| letter["message_id"] == *id).unwrap_or_else(|| panic!("{id}: {letters:?}"));
        assert_eq!(letter["reason"], *code, "{letter}");
    }

    let messages = got(&first, 3).await;
    assert_eq!(numbers(&messages), [1, 3, 4], "once each, in order: {messages:?}");
    assert_eq!((&messages[0]["type"], &messages[0]["priority"]), (&json!("order.shipped"), &json!("high")));
    assert_eq!(numbers(&got(&second, 2).await), [2, 3]);
    until_true(LONG, "the one job", async || {
        let jobs = admin.get("/admin/jobs?kind=demo.echo").await.unwrap().body;
        jobs["items"].as_array().is_some_and(|jobs| jobs.len() == 1 && jobs[0]["state"] == "succeeded")
    })
    .await;

    let late = register(&hub, "phone-9").await;
    let letter = letters.iter().find(|letter| letter["reason"] == "device-not-found").unwrap();
    redrive(&hub, letter).await;
    assert_eq!(numbers(&got(&late, 1).await), [9], "once its cause is gone it can be put back");
}

#[tokio::test]
async fn what_is_submitted_while_the_hub_is_killed_arrives_once_and_in_order() {
    const COUNT: usize = 300;
    let world = World::new(Keep::Sqlite).await;
    let mut hub = hub(&world, &[]).await;
    register(&hub, "phone-1").await;
    for n in 0..COUNT {
        let body = json!({"n": n}).to_string();
        publish(&world, "", &format!("m-{n}"), to(json!({"warren-device": "phone-1"})), body.as_bytes()).await;
        if n == COUNT / 2 {
            hub.kill9();
            hub.start_again().await;
        }
    }
    settled(&hub).await;
    let device = register(&hub, "phone-1").await;
    let expected: Vec<u64> = (0..COUNT as u64).collect();
    assert_eq!(numbers(&got(&device, COUNT).await), expected);
    assert_eq!(world.vhost.queue_depth("warren.submit").await, Some(0));
}

#[tokio::test]
async fn a_process_that_serves_no_devices_takes_messages_for_them_and_wakes_those_that_do() {
    let world = World::new(Keep::Postgres).await;
    let (taking, serving) = (hub(&world, &["api"]).await, hub(&world, &["devices"]).await);
    let device = register(&serving, "phone-1").await;
    publish(&world, "", "m-1", to(json!({"warren-device": "phone-1"})), b"{\"n\":1}").await;
    assert_eq!(numbers(&got(&device, 1).await), [1]);
    until_true(LONG, "the relay to have been told", async || {
        metric(&taking, "warren_device_notices_total{result=\"told\"}").await.total_cmp(&1.0).is_eq()
    })
    .await;
}

#[tokio::test]
async fn on_a_hub_without_devices_a_message_for_one_is_no_job() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    publish(&world, "demo.echo", "m-1", to(json!({"warren-device": "phone-1"})), b"{}").await;
    let letter = open_letter(&hub).await;
    assert_eq!(letter["reason"], "not-supported-yet", "{letter}");
    assert!(letter["error"].as_str().unwrap_or_default().contains("devices.enabled"), "{letter}");
}
