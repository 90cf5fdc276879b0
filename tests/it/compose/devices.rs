//! Devices through the nginx that is deployed: over sockets and by polls, also while one of two processes leaves.

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::Broker;
use warren_tests::free_port;
use warren_tests::hub::{HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::until_true;

use super::nginx::Nginx;
use crate::devices::fleet::{OWNER, options, put};
use crate::devices::served::{device, got, send};
use crate::devices::sessions::stream::Listener;
use crate::world::{Keep, LONG, World, settled};

/// A process that does nothing but serve devices, and has declared what they need.
async fn hub(world: &World) -> HubProcess {
    let management = Broker::shared().await.management().url().to_owned();
    let env = vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), management)];
    let hub = HubProcess::start(&HubOptions { env, roles: vec!["devices".to_owned()], ..options(world, "") }).await;
    settled(&hub).await;
    hub
}

fn port(hub: &HubProcess) -> u16 {
    hub.public_url().rsplit(':').next().unwrap().parse().unwrap()
}

/// How many devices are connected to a process by sockets.
async fn sockets(hub: &HubProcess) -> u32 {
    let metrics = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("warren_device_sessions{transport=\"socket\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn devices_come_through_nginx_by_each_transport_and_a_drain_of_their_hub_costs_them_nothing() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = tokio::join!(hub(&world), hub(&world));
    let mut hubs = [one, two];
    let nginx = Nginx::start(&[free_port()], &hubs.each_ref().map(port)).await;
    let owner = HubClient::new(nginx.url(""), Some(token("acme", "app", OWNER)));
    let document = owner.get("/devices/openapi.json").await.unwrap();
    let paths = document.body["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v1/device/socket") && !paths.contains_key("/v1/jobs"), "{}", document.body);

    let mut tokens = Vec::new();
    for device in ["phone-1", "phone-2"] {
        let registered = put(&owner, device, "olga").await;
        assert_eq!(registered.status, 201, "{}", registered.body);
        tokens.push(registered.body["token"].as_str().unwrap().to_owned());
    }

    // A poll is there before its message, and has it long before its time is over.
    let polling = HubClient::new(nginx.url(""), Some(tokens[1].clone()));
    let poll = |wait: u32| {
        let (polling, path) = (polling.clone(), format!("/v1/device/messages?wait={wait}"));
        async move { polling.get(&path).await.unwrap() }
    };
    let waiting = tokio::spawn(poll(25));
    until_true(LONG, "the poll to wait", async || {
        owner.get("/v1/devices/phone-2").await.is_ok_and(|device| device.body["presence"] == "online")
    })
    .await;
    send(&owner, "phone-2", 1).await;
    let answer = waiting.await.unwrap();
    let numbers = |answer: &Value| -> Vec<u64> {
        let all = answer["messages"].as_array().unwrap_or_else(|| panic!("{answer}"));
        all.iter().map(|message| message["data"]["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&answer.body), [1]);
    let ids = json!({"ids": [answer.body["messages"][0]["id"]]});
    let acked = polling.send(polling.request(Method::POST, "/v1/device/acks").json(&ids)).await.unwrap();
    assert!(acked.status < 300, "{} {}", acked.status, acked.body);
    assert_eq!(numbers(&poll(0).await.body), [0; 0]);

    // A stream is passed on as it is written, and its acks go to whichever process.
    let (through, page) = (nginx.url("").trim_start_matches("http://").parse().unwrap(), Listener::new(tokens[1].clone()));
    let mut stream = page.welcome(through, "").await;
    stream.is_idle().await;
    for number in 2..=4 {
        send(&owner, "phone-2", number).await;
        let message = stream.message().await;
        assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap()["number"], number);
        assert_eq!(page.ack(through, json!({"ids": [message.id]})).await, 204);
        stream.is_idle().await;
    }
    drop(stream);

    // The process that has the socket leaves, and the device goes on with the other one.
    let there = device(&nginx.url(""), &tokens[0], Some(4));
    until_true(LONG, "it to be there", async || sockets(&hubs[0]).await + sockets(&hubs[1]).await == 1).await;
    send(&owner, "phone-1", 1).await;
    if sockets(&hubs[1]).await == 1 {
        hubs.swap(0, 1);
    }
    let [leaves, stays] = &mut hubs;
    let (status, _) = tokio::join!(leaves.terminate(LONG), async {
        send_again(&owner, 2).await;
        send_again(&owner, 3).await;
    });
    assert!(status.success(), "{status}");
    until_true(LONG, "it to be at the other one", async || sockets(stays).await == 1).await;
    send_again(&owner, 4).await;
    assert_eq!(got(there).await, [1, 2, 3, 4], "once each in its eyes, in order");
    let answer = poll(0).await;
    assert_eq!((answer.status, numbers(&answer.body)), (200, Vec::new()));
}

/// Under a key, until it is accepted: a request that is under way while its process leaves may go unanswered.
async fn send_again(owner: &HubClient, number: u32) {
    until_true(LONG, "a message to be accepted", async || {
        let request = owner.request(Method::POST, "/v1/devices/phone-1/messages").json(&json!({"number": number}));
        let sent = owner.send(request.header("idempotency-key", format!("message-{number}"))).await;
        sent.is_ok_and(|sent| sent.status == 202)
    })
    .await;
}
