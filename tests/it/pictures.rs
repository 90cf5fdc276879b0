//! What is drawn and described of the topology: read by the programs it is meant for, and as fresh as the configuration it is made of.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::process::{binary, workspace};

use crate::workers::examples::tool;
use crate::world::{Keep, World};

const KINDS: &str = r##"
[devices]
enabled = true

[[kind]]
name = "orders.place"
worker = "amqp"
priority = "normal"
schema = "order.json"
description = "Places \"orders\" & <more>"
content_types = ["application/json", "text/plain"]

[[kind]]
name = "images.scan"
worker = "amqp"
content_types = ["image/png"]

[[kind]]
name = "mails.send"
worker = "amqp"
[kind.amqp]
exchange = "post"
routing_key = "mail/out"
queue = "mails"
format = "raw"
completion = "handoff"

[[kind]]
name = "old.way"
worker = "amqp"
schema = "old.json"
[kind.amqp]
routing_key = "mails"
queue = "mails"
"##;

const ORDER: &str = r##"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["sku"],
    "$defs": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}, "all": {"type": "array", "items": {"$ref": "#"}}},
    "properties": {"sku": {"$ref": "#/$defs/sku"}, "parts": {"$ref": "#/$defs/all"}}}"##;

const OLD: &str =
    r#"{"$schema": "http://json-schema.org/draft-04/schema#", "type": "number", "minimum": 1, "exclusiveMinimum": true}"#;

/// A folder with a configuration, for `warren topology`.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("warren.toml", KINDS), ("order.json", ORDER), ("old.json", OLD)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary("warren"));
        command.arg("topology").args(words).current_dir(self.0.path()).env_clear();
        command.output().unwrap()
    }

    /// What a command writes into a file.
    fn made(&self, words: &[&str]) -> PathBuf {
        let file = self.0.path().join("made");
        let done = self.run(&[words, &["--output", "made"]].concat());
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        file
    }
}

/// Has a script of `tests/parsers` read a file.
fn parsed(script: &str, file: &PathBuf) -> (bool, String) {
    // Node looks for packages beside the script.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tool("parsers/node_modules"), folder.path().join("node_modules")).unwrap();
    let copy = folder.path().join(script);
    std::fs::copy(workspace().join("tests/parsers").join(script), &copy).unwrap();
    let done = Command::new("node").arg(copy).arg(file).output().expect("node: run scripts/install-test-tools");
    (done.status.success(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
}

#[test]
fn mermaid_draws_what_is_meant_for_it() {
    let desk = Desk::new();
    for words in [&["graph", "--format", "mermaid"][..], &["graph", "--format", "mermaid", "--focus", "orders.place"]] {
        let (good, said) = parsed("mermaid.mjs", &desk.made(words));
        assert!(good && said.contains("flowchart"), "{said}");
    }
    let broken = desk.0.path().join("broken");
    std::fs::write(&broken, "flowchart LR\n  a[\"b\" --> c\n").unwrap();
    assert!(!parsed("mermaid.mjs", &broken).0, "the parser takes anything");
}

#[test]
fn graphviz_draws_what_is_meant_for_it() {
    let desk = Desk::new();
    let dot = |file: PathBuf| Command::new("dot").arg("-Tsvg").arg(file).output().expect("dot: run scripts/install-test-tools");
    let drawn = dot(desk.made(&["graph", "--format", "dot"]));
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    for name in ["warren.return", "jobs.orders.place.high", "x&#45;delivery&#45;limit = 100"] {
        assert!(drawn.contains(name), "{name} is not in the drawing");
    }
}

#[test]
fn the_parser_of_asyncapi_finds_nothing_wrong() {
    let desk = Desk::new();
    let (good, said) = parsed("asyncapi.mjs", &desk.made(&["asyncapi", "--set", "broker.prefix=acme."]));
    assert!(good, "{said}");
    let found: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let holds = |list: &str, name: &str| found[list].as_array().unwrap().iter().any(|one| one == name);
    for channel in ["acme.warren.submit", "acme.jobs.orders.place.high", "outlet.mails.send", "acme.jobs.images.scan.dead"] {
        assert!(holds("channels", channel), "{channel}: {said}");
    }
    for operation in ["submit", "report", "run.orders.place", "run.mails.send", "bury.acme.warren.lost"] {
        assert!(holds("operations", operation), "{operation}: {said}");
    }
    let text = std::fs::read_to_string(desk.0.path().join("made")).unwrap();
    for (good, bad) in [
        ("\"action\": \"send\"", "\"action\": \"shout\""),
        ("payload.orders.place/$defs/sku\"", "payload.orders.place/$defs/nothing\""),
    ] {
        let broken = desk.0.path().join("broken");
        assert!(text.contains(good), "{good}");
        std::fs::write(&broken, text.replace(good, bad)).unwrap();
        assert!(!parsed("asyncapi.mjs", &broken).0, "the parser takes {bad}");
    }
}

#[tokio::test]
async fn a_hub_serves_its_document_without_saying_where_the_broker_is() {
    let world = World::new(Keep::Sqlite).await;
    let hub = HubProcess::start(&HubOptions { ..world.options() }).await;
    let document = hub.client_without_token().get("/asyncapi.json").await.unwrap();
    assert_eq!(document.status, 200);
    let document = document.body;
    assert!(document["channels"]["jobs.demo.echo"].is_object() && document.get("servers").is_none(), "{document}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, document.to_string()).unwrap();
    let (good, said) = parsed("asyncapi.mjs", &file.path().to_owned());
    assert!(good, "{said}");
}

#[test]
fn the_picture_in_the_documentation_is_fresh() {
    let mut command = Command::new(binary("warren"));
    command.args(["topology", "graph", "--config", "deploy/compose.toml", "--check", "docs/topology.svg"]);
    let done = command.current_dir(workspace()).env_clear().output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The blocks of a fence between `<!-- run -->` and `<!-- /run -->`.
fn blocks<'a>(page: &'a str, fence: &str) -> Vec<&'a str> {
    let parts = page.split("<!-- run -->").skip(1).map(|part| part.split("<!-- /run -->").next().unwrap());
    let opening = format!("```{fence}\n");
    let inside = parts.flat_map(|part| part.split(&opening).skip(1).collect::<Vec<_>>());
    inside.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_commands_of_the_page_on_topology_work() {
    let desk = Desk::new();
    let folder = desk.0.path();
    let page = std::fs::read_to_string(workspace().join("docs/topology.md")).unwrap();
    for block in blocks(&page, "toml") {
        let name = block.lines().next().unwrap().trim_start_matches("# ");
        std::fs::write(folder.join(name), block).unwrap();
    }
    for user in ["ops", "reports"] {
        std::fs::write(folder.join(format!("{user}.password")), "canary\n").unwrap();
    }
    let programs = format!("{}:{}", binary("warren").parent().unwrap().display(), std::env::var("PATH").unwrap());
    for block in blocks(&page, "sh") {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", block]).current_dir(folder).env_clear().env("PATH", &programs);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{block}{}", String::from_utf8_lossy(&done.stderr));
    }
    for made in ["topology.svg", "orders.svg", "topology.pdf", "definitions-with-users.json"] {
        assert!(folder.join(made).metadata().unwrap().len() > 0, "{made}");
    }
}

#[test]
fn what_is_not_there_is_not_drawn() {
    let desk = Desk::new();
    let done = desk.run(&["graph", "--focus", "orders.plaice"]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("`orders.plaice`") && said.contains("--focus"), "{said}");
    assert_eq!(done.stdout, b"");
}
