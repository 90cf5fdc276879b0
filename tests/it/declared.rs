//! What a team declares in `warren.toml`, on a real broker beside Warren's own.

use std::process::Command;
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicRejectOptions};
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, token};
use warren_tests::process::binary;
use warren_tests::wait::{until, until_true};

use crate::world::{LONG, settled};

pub(crate) const OWN: &str = r#"
[[kind]]
name = "demo.noop"

[[exchange]]
name = "orders"
type = "topic"
owner = "fulfilment"
description = "what becomes of orders"
alternate = "strays"

[[exchange]]
name = "strays"
type = "fanout"
owner = "fulfilment"

[[exchange]]
name = "mail"
type = "direct"
owner = "mail"

[[exchange]]
name = "regions"
type = "headers"
owner = "fulfilment"
internal = true

[[queue]]
name = "orders.audit"
owner = "fulfilment"
description = "every order, for a week"
dead_letter = { queue = "orders.parked" }
arguments = { x-delivery-limit = 20, x-message-ttl = "7d" }

[[queue]]
name = "orders.parked"
owner = "fulfilment"
arguments = { x-delivery-limit = 1000000 }

[[queue]]
name = "orders.eu"
type = "classic"
owner = "fulfilment"
arguments = { x-max-length-bytes = "64MiB" }

[[queue]]
name = "orders.stray"
type = "classic"
owner = "fulfilment"

[[queue]]
name = "mail.outgoing"
type = "classic"
owner = "mail"

[[queue]]
name = "orders.log"
type = "stream"
owner = "fulfilment"
arguments = { x-max-age = "7D" }

[[queue]]
name = "mail.ends"
owner = "mail"
subscribe = ["order.*"]

[[binding]]
source = "orders"
queue = "orders.audit"
key = "order.#"

[[binding]]
source = "orders"
queue = "orders.log"
key = "order.#"

[[binding]]
source = "orders"
exchange = "regions"
key = "order.*"

[[binding]]
source = "regions"
queue = "orders.eu"
headers = { region = "eu", express = true }
match = "all"

[[binding]]
source = "strays"
queue = "orders.stray"

[[binding]]
source = "mail"
queue = "mail.outgoing"
key = "out"

[[policy]]
name = "eu-length"
pattern = '^orders\.eu'
definition = { max-length = 1000 }
"#;

struct Scene {
    vhost: Vhost,
    hub: HubProcess,
}

impl Scene {
    async fn set(prefix: &str) -> Self {
        let vhost = Broker::shared().await.vhost().await;
        let env = vec![("WARREN__BROKER__PREFIX".to_owned(), prefix.to_owned())];
        let options = HubOptions { broker_url: vhost.url(), extra_toml: OWN.to_owned(), env, ..HubOptions::default() };
        let hub = HubProcess::start(&options).await;
        settled(&hub).await;
        Self { vhost, hub }
    }

    async fn depth(&self, queue: &str, wanted: u32) {
        until_true(LONG, &format!("{queue} to hold {wanted}"), async || self.vhost.queue_depth(queue).await == Some(wanted))
            .await;
    }

    /// Takes one message off `queue` and turns it down.
    async fn reject(&self, queue: &str) {
        let connection = Connection::connect(&self.vhost.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let got = until(LONG, "a message", async || channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap());
        got.await.reject(BasicRejectOptions { requeue: false }).await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }
}

#[tokio::test]
async fn messages_go_through_every_sort_of_exchange_of_the_teams() {
    let scene = Scene::set("").await;
    let vhost = &scene.vhost;
    let sent = async |exchange: &str, key: &str, headers: Value| {
        vhost.publish(exchange, key, json!({"delivery_mode": 2, "headers": headers}), b"x").await
    };
    // Topic, and through it by headers.
    assert!(sent("orders", "order.placed", json!({"region": "eu", "express": true})).await);
    assert!(sent("orders", "order.placed", json!({"region": "eu"})).await);
    assert!(sent("orders", "order.line.added", json!({"region": "eu", "express": true})).await);
    scene.depth("orders.audit", 3).await;
    scene.depth("orders.eu", 1).await;
    // Fanout, as the alternate of the topic exchange.
    assert!(sent("orders", "refund.made", json!({})).await);
    scene.depth("orders.stray", 1).await;
    // Direct.
    assert!(sent("mail", "out", json!({})).await);
    assert!(!sent("mail", "in", json!({})).await, "nothing is bound with this key");
    scene.depth("mail.outgoing", 1).await;
    // A dead letter goes straight to the queue it is meant for.
    scene.reject("orders.audit").await;
    scene.depth("orders.parked", 1).await;
    let log = vhost.queue("orders.log").await;
    assert_eq!(log["type"], "stream");
    let arguments = vhost.queue_arguments("orders.audit").await;
    let expected = json!({
        "x-queue-type": "quorum", "x-delivery-limit": 20, "x-message-ttl": 604_800_000, "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "orders.parked", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
        "warren-owner": "fulfilment", "warren-description": "every order, for a week",
    });
    assert_eq!(arguments, expected);
    let exchanges =
        Broker::shared().await.management().get(&format!("/api/exchanges/{}", vhost.name().replace('/', "%2F"))).await;
    let regions = exchanges.as_array().unwrap().iter().find(|exchange| exchange["name"] == "regions").unwrap();
    assert_eq!((&regions["internal"], &regions["type"]), (&json!(true), &json!("headers")));
}

#[tokio::test]
async fn a_declared_subscriber_has_events_and_its_dead_letters_are_kept_and_moved_back() {
    let scene = Scene::set("acme.").await;
    let properties = json!({"delivery_mode": 2, "message_id": "0198f000-0000-7000-8000-000000000001", "type": "order.placed"});
    assert!(scene.vhost.publish("acme.warren.events", "order.placed", properties, b"{}").await);
    scene.depth("acme.mail.ends", 1).await;
    scene.reject("acme.mail.ends").await;
    // No tenant's.
    let admin = HubClient::new(scene.hub.admin_url(), Some(token("*", "olga", ALL_SCOPES)));
    let letter = until(LONG, "the letter to be kept", async || {
        let found = admin.get("/admin/dead-letters?queue=acme.mail.ends").await.ok()?;
        found.body["items"].as_array()?.first().cloned()
    });
    let letter = letter.await;
    scene.depth("acme.mail.ends.dead", 0).await;
    let path = format!("/admin/dead-letters/{}/redrive", letter["id"].as_str().unwrap());
    let answer = admin.send(admin.request(reqwest::Method::POST, &path).json(&json!({}))).await.unwrap();
    assert!(answer.status < 300, "{}", answer.body);
    scene.depth("acme.mail.ends", 1).await;
}

/// Runs `warren` with the hub's configuration.
fn warren(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("warren"));
    let file = scene.hub.folder().join("warren.toml");
    let output = command.args(arguments).arg("--config").arg(file).env_clear().output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn what_is_exported_holds_the_teams_own_and_its_policies_hold() {
    let scene = Scene::set("").await;
    let (code, exported, said) = warren(&scene, &["topology", "export"]);
    assert_eq!(code, Some(0), "{said}");
    let definitions: Value = serde_json::from_str(&exported).unwrap();
    let vhost = scene.vhost.name().replace('/', "%2F");
    let broker = Broker::shared().await.management();
    let before = scene.vhost.definitions().await;
    broker.call("POST", &format!("/api/definitions/{vhost}"), Some(definitions)).await;
    let after = scene.vhost.definitions().await;
    for part in ["exchanges", "queues", "bindings"] {
        assert_eq!(before[part].as_array().unwrap().len(), after[part].as_array().unwrap().len(), "{part}");
    }
    until_true(LONG, "the policy to hold", async || scene.vhost.queue("orders.eu").await["policy"] == "eu-length").await;
    let audit = scene.vhost.queue("orders.audit").await;
    assert!(audit["policy"].is_null(), "{audit}");
    assert_eq!(warren(&scene, &["topology", "lint"]), (Some(0), String::new(), "0 errors, 0 warnings\n".to_owned()));
}

#[tokio::test]
async fn a_service_declares_what_its_fragment_says() {
    // Nothing is connected to.
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1/none").unwrap();
    let names = broker_topology::Names::new("acme.");
    let options = messaging::connection::BrokerOptions::new("amqp://127.0.0.1", inventory::NAME);
    let service = messaging::service::Service::new(inventory::NAME, options, pool.clone(), names.clone());
    let service = inventory::register(service, &pool, messaging::service::WorkSpec::default());
    let fragment = inventory::topology(&names);
    assert_eq!(service.topology(), &fragment);
    assert!(fragment.queues.iter().all(|queue| queue.owner == "service/inventory"));
    assert_eq!(broker_topology::core(&names).and(fragment).lint(), []);
}

#[test]
fn all_findings_are_told_with_file_and_line_and_nothing_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("warren.toml");
    let text = "[[queue]]\nname = \"audit\"\nowner = \"team\"\n\n[[exchange]]\nname = \"jobs.mine\"\ntype = \"topic\"\nowner = \"team\"\n";
    std::fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary("warren"));
        let output = command.args(arguments).arg("--config").arg(&file).env_clear().output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&format!("{}/", folder.path().display()), "");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let missing = "warren.toml:1: queue audit states no `x-delivery-limit`";
    let taken = "warren.toml:5: exchange jobs.mine begins with `jobs.`";
    for command in [&["config", "check"][..], &["topology", "apply"], &["topology", "export"], &["serve"]] {
        let begun = std::time::Instant::now();
        let (code, said, talked) = run(command);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{command:?}");
        assert!(talked.contains(missing) && talked.contains(taken), "{command:?}: {talked}");
        assert!(begun.elapsed() < Duration::from_secs(30), "a broker was asked first");
    }
    let (code, said, talked) = run(&["topology", "lint"]);
    assert_eq!((code, talked.as_str()), (Some(1), "warren: 2 errors, 2 warnings\n"));
    assert!(
        said.contains(&format!("error: {missing}")) && said.contains("warning: warren.toml:1: queue audit has no binding"),
        "{said}"
    );
    for command in ["config check", "topology lint"] {
        let words: Vec<&str> = command.split(' ').chain(["--json"]).collect();
        let (code, said, _) = run(&words);
        assert_eq!(code, Some(if command == "config check" { 2 } else { 1 }));
        let found: Vec<Value> = serde_json::from_str(&said).unwrap();
        let lines: Vec<_> = found.iter().map(|one| (one["code"].as_str().unwrap(), one["line"].as_u64())).collect();
        let expected = [("name-taken", 5), ("delivery-limit-missing", 1), ("queue-unfed", 1), ("exchange-leads-nowhere", 5)];
        assert_eq!(lines, expected.map(|(code, line)| (code, Some(line))), "{command}");
        assert!(found.iter().all(|one| one["file"] == "warren.toml" && one["remedy"].is_string()), "{said}");
    }
    std::fs::write(&file, "[[queue]]\nname = \"audit\"\ntype = \"classic\"\nowner = \"team\"\n").unwrap();
    assert_eq!((run(&["topology", "lint"]).0, run(&["topology", "lint", "--strict"]).0), (Some(0), Some(1)));
    let (code, said, talked) = run(&["config", "check"]);
    assert_eq!((code, said.as_str()), (Some(0), "ok\n"));
    assert!(talked.starts_with("warning: warren.toml:1: queue audit has no binding"), "{talked}");
}
