//! What operators do to devices, on the command line of a hub that runs.

use std::net::SocketAddr;

use jiff::Timestamp;
use mobile_delivery::protocol::{ClientFrame, Message, ServerFrame, Window};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::Broker;
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, token};
use warren_tests::process::binary;
use warren_tests::wait::until_true;

use super::sessions::socket::{Said, Socket};
use crate::world::{Keep, LONG, World, settled};

const OWNER: &str = "devices:write devices:read messages:send messages:read";

struct Scene {
    _world: World,
    hub: HubProcess,
}

/// What a command has printed.
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

impl Scene {
    async fn set() -> Self {
        let world = World::new(Keep::Sqlite).await;
        let management = Broker::shared().await.management().url().to_owned();
        let options = world.options();
        let extra_toml = format!("[devices]\nenabled = true\n{}", options.extra_toml);
        let env = vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), management)];
        let hub = HubProcess::start(&HubOptions { env, extra_toml, ..options }).await;
        settled(&hub).await;
        Self { _world: world, hub }
    }

    /// `warren devices ...` by the operator of all tenants.
    async fn devices(&self, arguments: &[&str]) -> Told {
        told(&self.hub, arguments).await
    }

    fn owner(&self, tenant: &str) -> HubClient {
        self.hub.client_as(tenant, "app", OWNER)
    }

    /// Answers the device's token.
    async fn register(&self, tenant: &str, device: &str) -> String {
        let owner = self.owner(tenant);
        let put = owner.request(Method::PUT, &format!("/v1/devices/{device}")).json(&json!({"user": "ann"}));
        let registered = owner.send(put).await.unwrap();
        assert_eq!(registered.status, 201, "{}", registered.body);
        registered.body["token"].as_str().unwrap().to_owned()
    }

    /// Answers the message's id.
    async fn send(&self, tenant: &str, device: &str) -> String {
        let owner = self.owner(tenant);
        let post = owner.request(Method::POST, &format!("/v1/devices/{device}/messages")).json(&json!({"n": 1}));
        let sent = owner.send(post).await.unwrap();
        assert_eq!(sent.status, 202, "{}", sent.body);
        sent.body["id"].as_str().unwrap().to_owned()
    }

    async fn state(&self, tenant: &str, message: &str) -> (String, String) {
        let found = self.owner(tenant).get(&format!("/v1/messages/{message}")).await.unwrap().body;
        let text = |name: &str| found["devices"][0][name].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }

    async fn open(&self, device: &str, token: &str) -> Socket {
        let address: SocketAddr = self.hub.public_url().trim_start_matches("http://").parse().unwrap();
        let mut socket = Socket::open(address, Some(token)).await;
        socket.hello(device, Window::default()).await;
        socket
    }

    async fn connect(&self, device: &str, token: &str) -> Socket {
        let mut socket = self.open(device, token).await;
        match socket.next().await {
            Said::Frame(ServerFrame::Welcome(_)) => socket,
            other => panic!("{other:?} came instead of a welcome"),
        }
    }
}

async fn told(hub: &HubProcess, arguments: &[&str]) -> Told {
    let mut command = tokio::process::Command::new(binary("warren"));
    command.arg("devices").args(arguments).env_clear().current_dir(hub.folder());
    command.env("WARREN_ADMIN_URL", hub.admin_url()).env("WARREN_TOKEN", token("*", "olga", ALL_SCOPES));
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The names of listed devices.
fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| format!("{}/{}", item["tenant"].as_str().unwrap(), item["id"].as_str().unwrap())).collect()
}

async fn gap(socket: &mut Socket) -> (u64, String, Option<u64>) {
    match socket.next().await {
        Said::Frame(ServerFrame::Gap(gap)) => (gap.number, gap.reason, gap.count),
        other => panic!("{other:?} came instead of a gap"),
    }
}

async fn acks(socket: &mut Socket, message: &Message, gap: Option<u64>) {
    socket.say(&ClientFrame::Ack { up_to: Some(message.seq), seqs: Vec::new(), entry: None, gap }).await;
}

#[tokio::test]
async fn backlogs_are_listed_and_purged_and_every_device_is_told_of_it() {
    let scene = Scene::set().await;
    let here = scene.register("acme", "here").await;
    let away = scene.register("acme", "away").await;
    scene.register("zoo", "bear").await;
    let mut phone = scene.connect("here", &here).await;
    phone.is_idle().await;
    let held = scene.send("acme", "here").await;
    let in_hands = phone.message().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(scene.send("acme", "away").await);
    }
    let others = [scene.send("zoo", "bear").await, scene.send("zoo", "bear").await];

    let listed = async |arguments: &[&str]| names(&scene.devices(&[&["list", "--json"], arguments].concat()).await.json());
    assert_eq!(listed(&[]).await, ["acme/here", "acme/away", "zoo/bear"]);
    assert_eq!(listed(&["--by", "messages"]).await, ["acme/away", "zoo/bear", "acme/here"]);
    assert_eq!(listed(&["--by", "age"]).await, ["acme/here", "acme/away", "zoo/bear"]);
    assert_eq!(listed(&["--by", "bytes", "--tenant", "acme", "--presence", "offline"]).await, ["acme/away"]);
    assert_eq!(listed(&["--tenant", "acme", "--user", "ann", "--backlog", "2"]).await, ["acme/away"]);
    let page = scene.devices(&["list", "--by", "messages", "--limit", "1"]).await;
    let cursor = page.err.split("--cursor ").nth(1).expect("there are more").trim();
    assert_eq!(listed(&["--by", "messages", "--limit", "1", "--cursor", cursor]).await, ["zoo/bear"]);
    let refused = scene.devices(&["list", "--user", "ann"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("name a `tenant`"), "{}", refused.err);

    let shown = scene.devices(&["show", "acme/here", "--json"]).await.json();
    assert_eq!((&shown["transport"], &shown["temperature"], &shown["backlog"]), (&json!("socket"), &json!("hot"), &json!(1)));
    assert_eq!((&shown["waiting"][0]["id"], &shown["waiting"][0]["seq"]), (&json!(held), &json!(1)));
    // As somebody has found it in the management UI.
    let queue = shown["queue"].as_str().unwrap();
    assert_eq!(scene.devices(&["show", queue, "--json"]).await.json()["id"], "here");
    assert!(scene.devices(&["show", "acme/here"]).await.out.contains(queue));

    // Many are not dropped by the way: somebody says yes.
    let purge = ["purge", "--tenant", "acme", "--reason", "a flood"];
    let asked = scene.devices(&purge).await;
    assert_eq!(asked.code, Some(2), "{}", asked.err);
    assert!(asked.err.contains("drop 4 messages of 2 devices") && asked.err.contains("--yes"), "{}", asked.err);
    let tried = scene.devices(&["purge", "acme/away", "--dry-run", "--json"]).await.json();
    assert_eq!((&tried["items"][0]["messages"], &tried["items"][0]["backlog"]), (&json!(3), &json!(3)));
    let purged = scene.devices(&[&purge[..], &["--yes", "--json"]].concat()).await.json();
    let dropped: i64 = purged["items"].as_array().unwrap().iter().map(|item| item["messages"].as_i64().unwrap()).sum();
    assert_eq!(dropped, 4, "{purged}");

    // Who is there hears it at once; what he does with the one in his hands changes nothing.
    assert_eq!(gap(&mut phone).await, (1, "purged".to_owned(), Some(1)));
    acks(&mut phone, &in_hands, Some(1)).await;
    phone.is_idle().await;
    let next = scene.send("acme", "here").await;
    let given = phone.message().await;
    assert_eq!((given.seq, given.id.to_string()), (2, next.clone()));
    acks(&mut phone, &given, None).await;
    phone.is_idle().await;
    // Who was away hears it when he comes, once.
    let polling = HubClient::new(scene.hub.public_url(), Some(away));
    let polled = polling.get("/v1/device/messages?wait=0").await.unwrap().body;
    assert_eq!(polled, json!({"messages": [], "more": false, "gap": {"number": 3, "reason": "purged", "count": 3}}));
    let acked = polling.send(polling.request(Method::POST, "/v1/device/acks").json(&json!({"gap": 3}))).await.unwrap();
    assert_eq!(acked.status, 204, "{}", acked.body);
    let shown = scene.devices(&["show", "acme/away", "--json"]).await.json();
    assert_eq!((&shown["gap"], &shown["backlog"]), (&Value::Null, &json!(0)));

    for message in waiting.iter().chain([&held]) {
        assert_eq!(scene.state("acme", message).await, ("dropped".to_owned(), "purged".to_owned()));
    }
    assert_eq!(scene.state("acme", &next).await.0, "delivered");
    for message in &others {
        assert_eq!(scene.state("zoo", message).await.0, "queued", "nobody else's is dropped");
    }
}

#[tokio::test]
async fn a_kicked_device_comes_back_and_a_revoked_one_with_another_token_alone() {
    let scene = Scene::set().await;
    let first = scene.register("acme", "phone").await;
    let made = Timestamp::now().as_second();
    let mut phone = scene.connect("phone", &first).await;
    phone.is_idle().await;
    let message = scene.send("acme", "phone").await;
    assert_eq!(phone.message().await.id.to_string(), message);

    let kicked = scene.devices(&["kick", "acme/phone", "acme/nobody", "--note", "stuck"]).await;
    assert!(kicked.code == Some(1) && kicked.err.contains("1 of 2 were refused"), "{}", kicked.err);
    assert!(kicked.err.contains("there is no") || kicked.err.contains("has no device `nobody`"), "{}", kicked.err);
    assert_eq!(phone.closes().await, Some(4205));
    let mut phone = scene.connect("phone", &first).await;
    let again = phone.message().await;
    assert_eq!(again.id.to_string(), message, "what was not acked comes again");
    acks(&mut phone, &again, None).await;
    phone.is_idle().await;

    // A token says when it was made to the second.
    until_true(LONG, "the token to be of another second", async || Timestamp::now().as_second() > made + 1).await;
    let revoked = scene.devices(&["kick", "acme/phone", "--revoke", "--json"]).await.json();
    assert!(revoked["items"][0]["session"].is_string() && revoked["items"][0]["revoked_at"].is_string(), "{revoked}");
    assert_eq!(phone.closes().await, Some(4105));
    let refused = scene.devices(&["token", "acme/phone"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("device-revoked"), "{}", refused.err);
    let made = scene.devices(&["token", "acme/phone", "--rotate"]).await;
    let (token, refresh) = made.out.trim().split_once('\n').unwrap();
    assert!(refresh.starts_with("phone."), "{}", made.err);
    let refused = scene.open("phone", &first).await.closes().await;
    assert_eq!(refused, Some(4102), "a token from before the revocation");
    scene.connect("phone", token).await.is_idle().await;
    let public = scene.hub.client_without_token();
    let next = public.request(Method::POST, "/v1/devices/phone/token").json(&json!({"refresh_token": refresh}));
    let next = public.send(next).await.unwrap();
    assert_eq!(next.status, 200, "{}", next.body);
    let plain = scene.devices(&["token", "acme/phone", "--json"]).await.json();
    assert!(plain["token"].is_string() && plain["refresh_token"].is_null());
}

#[tokio::test]
async fn a_hub_without_devices_says_so() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    let refused = told(&hub, &["list"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("devices.enabled = true") && refused.err.contains("devices-not-served"), "{}", refused.err);
}
