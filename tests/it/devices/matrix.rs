//! A hundred devices of four tenants against each other: each gets its own, whatever it shows wherever, and nothing of anybody else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::{StreamExt, iter};
use mobile_delivery::protocol::{ServerFrame, Window};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::fleet::{Owner, Registered, address, hub, register};
use super::sessions::socket::{Said, Socket};
use crate::world::{Keep, World};

const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];

/// In each tenant, under the same ids.
const DEVICES: usize = 25;

/// At one time.
const TOGETHER: usize = 24;

struct Party {
    device: Registered,
    /// Ids of messages of its own.
    own: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_devices_none_gets_anything_of_another() {
    let world = World::new(Keep::Sqlite).await;
    // A stranger's refresh token counts as a bad one.
    let hub = hub(&world, "[limits]\nbad_tokens_per_client = \"1000000/s\"").await;
    let (to, url, http) = (address(&hub), hub.public_url(), Client::new());
    let owners: BTreeMap<&str, Owner> =
        TENANTS.into_iter().map(|tenant| (tenant, Owner::of(tenant, std::slice::from_ref(&url)))).collect();
    let everybody = (0..DEVICES).flat_map(|n| TENANTS.map(|tenant| (tenant, format!("phone-{n}"))));
    let parties: Vec<Party> = iter(everybody)
        .map(async |(tenant, id)| {
            let device = register(&hub, tenant, &id).await;
            let mut own = Vec::new();
            for number in 0..3 {
                own.push(owners[tenant].send(&id, number).await);
            }
            Party { device, own }
        })
        .buffer_unordered(TOGETHER)
        .collect()
        .await;
    assert_eq!(parties.len(), TENANTS.len() * DEVICES);

    // One message by a socket, one by a poll; the third is left for the end.
    iter(&parties)
        .for_each_concurrent(TOGETHER, async |Party { device, own }| {
            let mut socket = Socket::open(to, Some(&device.token)).await;
            socket.hello(&device.id, Window { messages: 1, ..Window::default() }).await;
            let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
            assert_eq!(socket.message().await.id.to_string(), own[0], "{device:?}");
            socket.ack(1).await;
            assert_eq!(socket.message().await.id.to_string(), own[1], "{device:?}");
            drop(socket);
            assert_eq!(polled(&http, &url, device).await, own[1..], "{device:?}");
            let acked = ack(&http, &url, device, &own[1..2]).await;
            assert_eq!(acked, 204);
        })
        .await;

    // Everybody against everybody else, at one address of four: each device shows itself at each, and is met at each, by a quarter of the others.
    let pairs =
        (0..parties.len()).flat_map(|one| (0..parties.len()).map(move |other| (one, other))).filter(|(one, other)| one != other);
    let refused = AtomicUsize::new(0);
    iter(pairs)
        .for_each_concurrent(TOGETHER, async |(one, other)| {
            let (device, theirs, address) = (&parties[one].device, &parties[other].device, (one + other) % 4);
            let who = || format!("{}/{} at {}/{}", device.tenant, device.id, theirs.tenant, theirs.id);
            let ask = async |method: Method, path: String, body: Value| {
                let request = http.request(method, format!("{url}{path}")).bearer_auth(&device.token).json(&body);
                request.send().await.unwrap().status().as_u16()
            };
            // A device of that id in its own tenant is itself: then it asks for what became of the other's messages.
            match address {
                0 if device.id != theirs.id => {
                    let mut socket = Socket::open(to, Some(&device.token)).await;
                    socket.hello(&theirs.id, Window::default()).await;
                    assert_eq!(socket.closes().await, Some(4103), "{}", who());
                }
                1 if device.id != theirs.id => {
                    let shown = json!({"refresh_token": device.refresh});
                    assert_eq!(ask(Method::POST, format!("/v1/devices/{}/token", theirs.id), shown).await, 401, "{}", who());
                }
                2 if device.id != theirs.id => {
                    assert_eq!(ask(Method::GET, format!("/v1/devices/{}", theirs.id), Value::Null).await, 403, "{}", who());
                }
                _ => {
                    let message = &parties[other].own[0];
                    assert_eq!(ask(Method::GET, format!("/v1/messages/{message}"), Value::Null).await, 403, "{}", who());
                }
            }
            refused.fetch_add(1, Ordering::Relaxed);
        })
        .await;
    assert_eq!(refused.into_inner(), parties.len() * (parties.len() - 1));
    // An ack of what is not one's own is an ack of nothing.
    iter(&parties)
        .for_each_concurrent(TOGETHER, async |Party { device, own }| {
            let others: Vec<String> = parties.iter().map(|other| other.own[2].clone()).filter(|id| *id != own[2]).collect();
            assert_eq!(ack(&http, &url, device, &others).await, 204);
        })
        .await;
    iter(&parties)
        .for_each_concurrent(TOGETHER, async |Party { device, own }| {
            // Leases of the poll before are still held; a socket gives what is not acked.
            let mut socket = Socket::open(to, Some(&device.token)).await;
            socket.hello(&device.id, Window::default()).await;
            let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
            let left = socket.message().await;
            assert_eq!(left.id.to_string(), own[2], "{device:?}");
            socket.ack(left.seq).await;
            socket.is_idle().await;
        })
        .await;
}

async fn polled(http: &Client, url: &str, device: &Registered) -> Vec<String> {
    let polling = http.get(format!("{url}/v1/device/messages")).bearer_auth(&device.token);
    let polled: Value = polling.send().await.unwrap().json().await.unwrap();
    let messages = polled["messages"].as_array().unwrap_or_else(|| panic!("{polled}"));
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

async fn ack(http: &Client, url: &str, device: &Registered, ids: &[String]) -> u16 {
    let acking = http.post(format!("{url}/v1/device/acks")).bearer_auth(&device.token).body(json!({"ids": ids}).to_string());
    acking.send().await.unwrap().status().as_u16()
}
