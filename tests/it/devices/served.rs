//! Devices of a hub that runs, as a team meets them: over HTTP, and with the device of `docs/examples`.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{HubClient, HubOptions, HubProcess, Until};
use warren_tests::process::{Process, workspace};
use warren_tests::wait::until_true;

use super::fleet::{OWNER, hub, options, put};
use crate::workers::examples::tool;
use crate::world::{Keep, LONG, World};

/// Answers the message's id.
pub(crate) async fn send(owner: &HubClient, device: &str, number: u32) -> String {
    let path = format!("/v1/devices/{device}/messages");
    let sent = owner.send(owner.request(Method::POST, &path).json(&json!({"number": number}))).await.unwrap();
    assert_eq!((sent.status, &sent.body["state"]), (202, &json!("queued")), "{}", sent.body);
    sent.body["id"].as_str().unwrap().to_owned()
}

/// The example device at `url`, until it has got `count` messages or, without a count, all.
pub(crate) fn device(url: &str, token: &str, count: Option<u32>) -> Process {
    let mut command = Command::new(tool("device-python/bin/python"));
    command.arg(workspace().join("docs/examples/device-client/device_client.py"));
    command.args(["--url", &url.replace("http://", "ws://"), "--device", "phone-1", "--json"]);
    match count {
        Some(count) => command.args(["--count", &count.to_string()]),
        None => command.arg("--until-idle"),
    };
    command.env_clear().env("WARREN_DEVICE_TOKEN", token);
    Process::start("device", command)
}

/// What it got once it has ended, by number.
pub(crate) async fn got(mut device: Process) -> Vec<u64> {
    let status = device.wait(LONG).await;
    assert!(status.success(), "{}", device.stderr());
    let lines = device.stdout();
    let messages = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    messages.map(|message| message["data"]["number"].as_u64().expect("the message as it was sent")).collect()
}

#[tokio::test]
async fn a_device_gets_what_was_sent_while_it_was_away_and_while_it_is_there_and_while_the_hub_was_killed() {
    let world = World::new(Keep::Postgres).await;
    let mut hub = hub(&world, "").await;
    let owner = hub.client_as("acme", "app", OWNER);
    let registered = put(&owner, "phone-1", "olga").await;
    assert_eq!(registered.status, 201, "{}", registered.body);
    let token = registered.body["token"].as_str().unwrap().to_owned();

    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(send(&owner, "phone-1", number).await);
    }
    assert_eq!(got(device(&hub.public_url(), &token, None)).await, [1, 2, 3]);

    let there = device(&hub.public_url(), &token, Some(4));
    until_true(LONG, "it to be there", async || {
        owner.get("/v1/devices/phone-1").await.is_ok_and(|device| device.body["presence"] == "online")
    })
    .await;
    ids.push(send(&owner, "phone-1", 4).await);
    ids.push(send(&owner, "phone-1", 5).await);
    hub.kill9();
    hub.start_again().await;
    ids.push(send(&owner, "phone-1", 6).await);
    ids.push(send(&owner, "phone-1", 7).await);
    assert_eq!(got(there).await, [4, 5, 6, 7], "once each in its eyes, in order");

    for id in ids {
        until_true(LONG, "its receipt", async || {
            let message = owner.get(&format!("/v1/messages/{id}")).await.unwrap().body;
            message["devices"][0]["state"] == "delivered"
        })
        .await;
    }
    let stranger = hub.client_as("other", "app", OWNER);
    assert_eq!(stranger.get("/v1/devices/phone-1").await.unwrap().status, 404, "devices are their tenant's");
}

#[tokio::test]
async fn no_device_is_let_in_while_its_queue_would_have_no_limits_and_messages_wait() {
    let world = World::new(Keep::Sqlite).await;
    let hub = HubProcess::start(&HubOptions { until: Until::Live, ..options(&world, "") }).await;
    let owner = hub.client_as("acme", "app", OWNER);
    let token = put(&owner, "phone-1", "olga").await.body["token"].as_str().unwrap().to_owned();
    send(&owner, "phone-1", 1).await;
    let device = HubClient::new(hub.public_url(), Some(token));
    let refused = device.get("/v1/device/messages?wait=0").await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, Some("devices-not-ready")), "{}", refused.body);
    let health = HubClient::new(hub.internal_url(), None).get("/health").await.unwrap().body;
    let reason = health["dependencies"]["devices"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("cannot be seen"), "{health}");
}
