//! Streams of a hub that runs, as a team meets them: with the devices of `docs/examples` in Python and in Node, through its own listener.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mobile_delivery::protocol::ServerFrame;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use serde_json::{Value, json};
use warren_tests::broker::Broker;
use warren_tests::hub::HubProcess;
use warren_tests::network::Network;
use warren_tests::process::{Process, workspace};
use warren_tests::wait::until_true;

use super::fleet::{OWNER, address, hub, put, register};
use super::served::{got, send};
use super::sessions::socket::Said;
use super::sessions::stream::{Listener, Stream};
use crate::workers::examples::tool;
use crate::world::{Keep, LONG, World, settled};

fn example(name: &str) -> std::path::PathBuf {
    workspace().join("docs/examples/device-client").join(name)
}

/// The example in Python, until it has got `count` messages or, without a count, all.
fn python(hub: &HubProcess, token: &str, state: &Path, count: Option<u32>) -> Process {
    let mut command = Command::new(tool("device-python/bin/python"));
    command.arg(example("stream_client.py")).args(["--url", &hub.public_url(), "--json", "--state"]).arg(state);
    match count {
        Some(count) => command.args(["--count", &count.to_string()]),
        None => command.arg("--until-idle"),
    };
    command.env_clear().env("WARREN_DEVICE_TOKEN", token);
    Process::start("stream", command)
}

fn node(hub: &HubProcess, token: &str, count: u32) -> Process {
    let mut command = Command::new("node");
    command.arg(example("stream.mjs")).arg(count.to_string());
    command.env("WARREN_URL", hub.public_url()).env("WARREN_DEVICE_TOKEN", token);
    Process::start("stream", command)
}

#[tokio::test]
async fn streams_are_read_in_python_and_in_node_also_while_the_hub_is_killed() {
    let world = World::new(Keep::Postgres).await;
    let mut hub = hub(&world, "").await;
    let owner = hub.client_as("acme", "app", OWNER);
    let token = put(&owner, "phone-1", "olga").await.body["token"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("handled");
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(send(&owner, "phone-1", number).await);
    }
    assert_eq!(got(python(&hub, &token, &state, None)).await, [1, 2, 3]);

    let online = async || {
        until_true(LONG, "it to be there", async || {
            owner.get("/v1/devices/phone-1").await.is_ok_and(|device| device.body["transport"] == "stream")
        })
        .await;
    };
    let there = python(&hub, &token, &state, Some(4));
    online().await;
    ids.push(send(&owner, "phone-1", 4).await);
    ids.push(send(&owner, "phone-1", 5).await);
    hub.kill9();
    hub.start_again().await;
    ids.push(send(&owner, "phone-1", 6).await);
    ids.push(send(&owner, "phone-1", 7).await);
    assert_eq!(got(there).await, [4, 5, 6, 7], "once each in its eyes, in order");

    ids.push(send(&owner, "phone-1", 8).await);
    let there = node(&hub, &token, 2);
    online().await;
    ids.push(send(&owner, "phone-1", 9).await);
    assert_eq!(got(there).await, [8, 9]);
    for id in ids {
        until_true(LONG, "its receipt", async || {
            let message = owner.get(&format!("/v1/messages/{id}")).await.unwrap().body;
            message["devices"][0]["state"] == "delivered"
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_goes_through_the_listener_as_it_is_written_and_ends_with_the_drain() {
    let world = World::new(Keep::Sqlite).await;
    let mut hub = hub(&world, "").await;
    let device = register(&hub, "acme", "page").await;
    let (to, page) = (address(&hub), Listener::new(device.token.clone()));
    // What asks for compression gets each event at once all the same.
    let answer = page.asks(to, "").header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
    assert!(!answer.headers().contains_key(CONTENT_ENCODING), "{:?}", answer.headers());
    assert!(answer.headers().contains_key("x-request-id"));
    let mut stream = Stream::of(answer);
    let Said::Frame(ServerFrame::Welcome(_)) = stream.next().await else { panic!("no welcome") };
    stream.is_idle().await;
    let owner = hub.client_as("acme", "app", OWNER);
    let body = json!({"number": 1, "filler": "x".repeat(20_000)});
    let sent = owner.send(owner.request(reqwest::Method::POST, "/v1/devices/page/messages").json(&body)).await.unwrap();
    assert_eq!(sent.status, 202, "{}", sent.body);
    let message = stream.message().await;
    assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap(), body);
    let leaving = async {
        let Said::Frame(ServerFrame::GoAway(_)) = stream.next().await else { panic!("no goaway") };
        assert_eq!(stream.closes().await, Some(4201));
    };
    let (status, ()) = tokio::join!(hub.terminate(LONG), leaving);
    assert!(status.success(), "{status}");
    // What it did not ack waits for it.
    hub.start_again().await;
    settled(&hub).await;
    let mut stream = page.welcome(address(&hub), "").await;
    assert_eq!(stream.message().await.id, message.id);
    assert_eq!(page.ack(address(&hub), json!({"up_to": 1})).await, 204);
    stream.is_idle().await;
}

/// Its cable is pulled: nobody is told that the connection is gone, and no heartbeat can be missed.
#[tokio::test]
async fn a_stream_whose_device_has_vanished_is_noticed_by_what_is_written_to_it() {
    let world = World::new(Keep::Sqlite).await;
    let mut hub = hub(&world, "").await;
    let token = register(&hub, "acme", "page").await.token;
    let to = address(&hub);
    let network = Network::new(1);
    hub.kill9();
    let env = [
        ("WARREN__LISTEN__PUBLIC", format!("0.0.0.0:{}", to.port())),
        ("WARREN__LISTEN__IDLE", "2s".to_owned()),
        ("WARREN__BROKER__MANAGEMENT_URL", Broker::shared().await.management().url().to_owned()),
    ];
    hub.start_again_with(&env.map(|(name, value)| (name.to_owned(), value))).await;
    settled(&hub).await;
    let [a, b, c, _] = network.address(0).octets();
    let url = format!("http://{}:{}/v1/device/stream", Ipv4Addr::new(a, b, c, 1), to.port());
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &network.space(0), "curl", "-sN", "-H", &format!("Authorization: Bearer {token}"), &url]);
    let there = Process::start("curl", command);
    let owner = hub.client_as("acme", "app", OWNER);
    let presence = async || owner.get("/v1/devices/page").await.unwrap().body["presence"].clone();
    until_true(LONG, "it to be there", async || presence().await == "online" && there.stdout().contains("event: idle")).await;
    network.cut(0);
    send(&owner, "page", 1).await;
    until_true(Duration::from_secs(20), "it to be given up", async || presence().await == "offline").await;
    let mut stream = Listener::new(token).welcome(to, "").await;
    assert_eq!(stream.message().await.seq, 1);
}
