//! SIGHUP: a new configuration is taken whole while requests go on, or refused whole.

use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::HubOptions;
use warren_tests::wait::until_true;

use crate::http_worker::{Stage, kind};
use crate::world::{Keep, LONG, World, settled};

const BEFORE: &str = "\n[[kind]]\nname = \"test.order\"\nworker = \"amqp\"\n";

#[tokio::test]
async fn a_valid_file_is_taken_and_any_other_changes_nothing() {
    let world = World::new(Keep::Sqlite).await;
    let options = HubOptions { extra_toml: format!("{}{BEFORE}", world.options().extra_toml), ..world.options() };
    let mut hub = warren_tests::hub::HubProcess::start(&options).await;
    settled(&hub).await;
    let client = hub.client();
    let order =
        async |body: serde_json::Value| client.send(client.request(Method::POST, "/v1/orders").json(&body)).await.unwrap().status;
    assert_eq!(order(json!({"sku": "A"})).await, 404);
    assert!(client.get("/openapi.json").await.unwrap().body["paths"]["/v1/orders"].is_null());

    let path = hub.folder().join("warren.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let schema = hub.folder().join("order.json");
    std::fs::write(&schema, r#"{"required": ["sku"]}"#).unwrap();
    let door =
        format!("{BEFORE}routes = [\"/v1/orders\"]\nschema = \"{}\"\nretention = \"1d\"\nmax_wait = \"1h\"\n", schema.display());
    let good = text.replace(BEFORE, &door);
    assert_ne!(good, text);
    std::fs::write(&path, &good).unwrap();
    hub.process().signal(Signal::SIGHUP);
    until_true(LONG, "the new address", async || order(json!({"sku": "A"})).await == 202).await;
    assert_eq!(order(json!({})).await, 422);
    let document = client.get("/openapi.json").await.unwrap();
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert!(document.body["paths"]["/v1/orders"].is_object(), "it is described");
    let shown = client.get("/v1/kinds/test.order").await.unwrap().body;
    assert_eq!(shown["schema"], json!({"required": ["sku"]}), "{shown}");

    // A file with an error, and three that ask for what only a restart can give: each told, none taken.
    let log = |hub: &warren_tests::hub::HubProcess, text: &str| hub.log().contains(text);
    for (file, told) in [
        (good.replace("routes = [\"/v1/orders\"]", "routes = [\"/v1/jobs\"]"), "is Warren's own"),
        (good.replace("worker = \"amqp\"\nroutes", "worker = \"amqp\"\nprefetch = 64\nroutes"), "kind[4].prefetch cannot change"),
        (
            good.replace("worker = \"amqp\"\nroutes", "worker = \"amqp\"\npriority = \"high\"\nroutes"),
            "kind[4].priority cannot change",
        ),
        (format!("{good}\n[[kind]]\nname = \"test.new\"\nroutes = [\"/v1/new\"]\n"), "kind cannot change"),
    ] {
        assert_ne!(file, good);
        std::fs::write(&path, file).unwrap();
        hub.process().signal(Signal::SIGHUP);
        until_true(LONG, told, async || log(&hub, told)).await;
        assert_eq!(order(json!({"sku": "A"})).await, 202, "{told}");
        assert_eq!(order(json!({})).await, 422, "{told}");
    }
    hub.terminate(LONG).await;
}

#[tokio::test]
async fn a_hangup_never_ends_a_hub() {
    let service = Downstream::start(Reply::Late(Duration::from_secs(3))).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let mut hub = stage.hub(&kind("test.slow", &service, "")).await;
    let id = hub.client().accepted("test.slow", &json!({})).await;
    until_true(LONG, "the call", async || !service.asked().is_empty()).await;
    hub.process().signal(Signal::SIGTERM);
    until_true(LONG, "the drain", async || hub.log().contains("draining")).await;
    hub.process().signal(Signal::SIGHUP);
    let status = hub.process().wait(LONG).await;
    assert!(status.success(), "{status}: what ran was to be finished first");
    hub.start_again().await;
    hub.client().wait_state(&id, "succeeded", LONG).await;
    assert_eq!(service.asked().len(), 1);
}
