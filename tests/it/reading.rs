//! What people read about jobs, over real processes.

mod following;
mod progress;

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, HubClient, HubProcess, token};
use warren_tests::process::binary;

use crate::world::{Keep, LONG, RESERVE, World};

/// A stream of Server-Sent Events.
struct Events(reqwest::Response, String);

impl Events {
    async fn open(client: &HubClient, path: &str) -> Self {
        let response = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self(response, String::new())
    }

    /// The next event and its data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(at) = self.1.find("\n\n") {
                let text: String = self.1.drain(..at + 2).collect();
                let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
                let Some(data) = field("data:") else { continue };
                return Some((field("event:").unwrap(), serde_json::from_str(&data).unwrap()));
            }
            let chunk = tokio::time::timeout(LONG, self.0.chunk()).await.expect("an event in time").unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

/// `warren jobs list` by the operator of all tenants.
async fn list(hub: &HubProcess, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary("warren"));
    command.args(["jobs", "list"]).args(arguments).env_clear().current_dir(hub.folder());
    command.env("WARREN_ADMIN_URL", hub.admin_url()).env("WARREN_TOKEN", token("*", "olga", ALL_SCOPES));
    command.output().await.unwrap()
}

#[tokio::test]
async fn jobs_are_listed_by_their_tags_on_the_command_line() {
    let world = World::new(Keep::Sqlite).await;
    let hub = world.hub().await;
    let client = hub.client();
    let mut ids = Vec::new();
    for tags in ["batch-7, region=eu", "batch-7"] {
        let request = client.request(Method::POST, &format!("/v1/kinds/{RESERVE}/jobs")).json(&json!({}));
        ids.push(client.send(request.header("warren-tags", tags)).await.unwrap().job_id().unwrap().to_owned());
    }
    let listed = async |arguments: &[&str]| {
        let output = list(&hub, arguments).await;
        let page: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let items = page["items"].as_array().unwrap();
        items.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--tenant", "acme", "--tag", "batch-7", "--json"]).await, [ids[1].clone(), ids[0].clone()]);
    let both = ["--tenant", "acme", "--tag", "batch-7", "--tag", "region=eu", "--kind", RESERVE, "--json"];
    assert_eq!(listed(&both).await, [ids[0].clone()]);
    assert_eq!(listed(&["--tenant", "other", "--tag", "batch-7", "--json"]).await, [""; 0]);
    let output = list(&hub, &["--tag", "batch-7"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("name a `tenant`"), "{said}");
}
