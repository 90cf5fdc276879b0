//! The OpenAPI document against the live hub: whatever a client makes of it, the hub answers as it is described, and never 5xx.

use std::process::Command;

use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::process::workspace;

use crate::world::{Keep, World, settled};

/// The version that `scripts/install-schemathesis` installs.
const TOOL: &str = "tools/schemathesis-4.32.5/bin/schemathesis";

const DOORS: &str = r#"
[[kind]]
name = "test.order"
worker = "amqp"
routes = ["/v1/orders"]
schema = "order.json"
idempotency = "required"

[[kind]]
name = "test.scan"
worker = "amqp"
content_types = ["image/png"]
priority = "normal"
routes = ["/v1/scans"]
"#;

const SCHEMA: &str = r#"{"type": "object", "required": ["sku", "count"],
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}}}"#;

#[tokio::test]
async fn what_is_described_is_what_is_answered() {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into);
    let tool = folder.join(TOOL);
    assert!(tool.exists(), "{} is missing: run scripts/install-test-tools", tool.display());

    let world = World::new(Keep::Sqlite).await;
    let place = tempfile::tempdir().unwrap();
    let schema = place.path().join("order.json");
    std::fs::write(&schema, SCHEMA).unwrap();
    let doors = DOORS.replace("order.json", schema.to_str().unwrap());
    let options = HubOptions { extra_toml: format!("{}{doors}", world.options().extra_toml), ..world.options() };
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let token = warren_tests::hub::token("acme", "stranger", "jobs:submit jobs:read jobs:read:all jobs:cancel");

    let mut command = Command::new(tool);
    command.arg("run").arg(format!("{}/openapi.json", hub.public_url()));
    command.args(["--header", &format!("Authorization: Bearer {token}"), "--max-examples", "30", "--seed", "1"]);
    command.args(["--request-timeout", "20", "--no-color"]);
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ];
    command.args(["--checks", &checks.join(",")]);
    // A stream of events ends with its job, and these never do.
    command.args(["--exclude-path-regex", "events$"]).current_dir(place.path());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}\n{}", String::from_utf8_lossy(&done.stderr));
    for address in ["/v1/orders", "/v1/scans"] {
        let document = hub.client().get("/openapi.json").await.unwrap().body;
        assert!(document["paths"][address]["post"].is_object(), "{address} is not described");
    }
    let page = reqwest::get(format!("{}/docs", hub.public_url())).await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(settled_still(&hub).await, "the hub is up after all that");
}

async fn settled_still(hub: &HubProcess) -> bool {
    hub.client().get("/health").await.is_ok_and(|health| health.body["ok"] == true)
}
