//! `definitions.json`: what is exported, imported into a broker that has nothing, and read back, is what was exported; and the main job
//! runs on it.
//!
//! What RabbitMQ adds when it is asked, and is left out of the comparison: its version and product, the virtual host's own metadata,
//! global and runtime parameters, and a `type` beside the argument `x-queue-type`. 4.3 leaves out an `internal` that is false.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use tempfile::TempDir;
use warren_tests::broker::{Broker, BrokerOptions, Vhost};
use warren_tests::downstream::Downstream;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::process::{binary, workspace};

use crate::http_worker::kind;
use crate::world::{LONG, settled};

/// The kind of `deploy/compose.toml`.
const KIND: &str = "inventory.reserve";

const PARTS: [&str; 4] = ["bindings", "exchanges", "policies", "queues"];

fn export(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(binary("warren"));
    command.args(["topology", "export", "--config"]).arg(workspace().join("deploy/compose.toml")).args(words);
    command.current_dir(folder).env_clear().output().unwrap()
}

/// The definitions of `deploy/compose.toml` for `vhost`, as a file.
fn exported(folder: &TempDir, vhost: &str) -> (PathBuf, Value) {
    let made = export(folder.path(), &["--output", "definitions.json", "--set", &format!("broker.vhost={vhost}")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = folder.path().join("definitions.json");
    let value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    (file, value)
}

/// Each part, sorted, without what says the same twice.
fn plain(definitions: &Value) -> Value {
    let part = |name: &str| {
        let mut objects = definitions[name].as_array().unwrap_or_else(|| panic!("no {name} in {definitions}")).clone();
        for object in &mut objects {
            let fields = object.as_object_mut().unwrap();
            fields.remove("vhost");
            // 4.3 does not tell what is false.
            if fields.get("internal") == Some(&json!(false)) {
                fields.remove("internal");
            }
            if name == "queues"
                && let Some(sort) = fields.remove("type")
            {
                assert_eq!(sort, fields["arguments"]["x-queue-type"], "{}", fields["name"]);
            }
        }
        // The one queue that a process makes for itself is exclusive and not told; 4.3 tells its binding for a moment after it is gone.
        objects.retain(|object| !object["destination"].as_str().is_some_and(|name| name.starts_with("warren.notices.")));
        objects.sort_by_key(Value::to_string);
        (name.to_owned(), Value::from(objects))
    };
    PARTS.map(part).into_iter().collect::<serde_json::Map<_, _>>().into()
}

fn same(exported: &Value, read: &Value) {
    let (exported, read) = (plain(exported), plain(read));
    for name in PARTS {
        let (ours, theirs) = (exported[name].as_array().unwrap(), read[name].as_array().unwrap());
        let missing: Vec<&Value> = ours.iter().filter(|one| !theirs.contains(one)).collect();
        let extra: Vec<&Value> = theirs.iter().filter(|one| !ours.contains(one)).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{name}: exported and not read back {missing:#?}, read back only {extra:#?}"
        );
    }
}

/// A hub that may declare nothing finds all it needs and does a job.
async fn does_the_main_job(url: &str) {
    let service = Downstream::start(Downstream::status(200)).await;
    let extra_toml = format!("{}\n[topology]\nmanage = \"check\"\n", kind(KIND, &service, ""));
    let hub = HubProcess::start(&HubOptions { broker_url: url.to_owned(), extra_toml, ..HubOptions::default() }).await;
    settled(&hub).await;
    let id = hub.client().accepted(KIND, &json!({"order": 7})).await;
    hub.client().wait_state(&id, "succeeded", LONG).await;
    assert_eq!(service.asked().len(), 1);
}

async fn came_through(vhost: &Vhost, exported: &Value) {
    same(exported, &vhost.definitions().await);
    does_the_main_job(&vhost.url()).await;
    // A hub that only looks has made nothing: what it made for itself is gone with its connection, or exclusive and not told.
    same(exported, &vhost.definitions().await);
}

#[tokio::test]
async fn definitions_come_through_the_management_api_as_they_were() {
    let broker = Broker::shared().await;
    let (folder, vhost) = (tempfile::tempdir().unwrap(), broker.vhost().await);
    let (_, definitions) = exported(&folder, vhost.name());
    broker.management().call("POST", "/api/definitions", Some(definitions.clone())).await;
    came_through(&vhost, &definitions).await;
    // Twice is as once.
    broker.management().call("POST", "/api/definitions", Some(definitions.clone())).await;
    same(&definitions, &vhost.definitions().await);
}

#[tokio::test]
async fn definitions_come_through_the_api_of_one_virtual_host_as_they_were() {
    let broker = Broker::shared().await;
    let (folder, vhost) = (tempfile::tempdir().unwrap(), broker.vhost().await);
    // Made for another one: the address decides.
    let (_, definitions) = exported(&folder, "/");
    let path = format!("/api/definitions/{}", vhost.name().replace('/', "%2F"));
    broker.management().call("POST", &path, Some(definitions.clone())).await;
    came_through(&vhost, &definitions).await;
}

#[tokio::test]
async fn definitions_come_through_rabbitmqctl_as_they_were() {
    let broker = Broker::shared().await;
    let (folder, vhost) = (tempfile::tempdir().unwrap(), broker.vhost().await);
    let (file, definitions) = exported(&folder, vhost.name());
    let seen = broker.put("definitions.json", &std::fs::read_to_string(file).unwrap());
    broker.ctl(&["import_definitions", &seen]).await;
    came_through(&vhost, &definitions).await;
}

/// A blank node with `load_definitions`: it has what the file says, and no user but those of the file.
#[tokio::test]
async fn a_blank_node_that_loads_the_file_has_that_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (admin, password) = {
        let (admin, password) = Broker::shared().await.management().credentials();
        (admin.to_owned(), password.to_owned())
    };
    std::fs::write(folder.path().join("admin"), format!("{password}\n")).unwrap();
    std::fs::write(folder.path().join("worker"), "canary-worker-ü").unwrap();
    let users = format!(
        "[[user]]\nname = '{admin}'\npassword_file = 'admin'\ntags = ['administrator']\nconfigure = '.*'\nwrite = '.*'\nread = '.*'\n\
         [[user]]\nname = 'reports'\npassword_file = 'worker'\nwrite = '^warren\\.results$'\nread = '^jobs\\.inventory\\.reserve$'\n"
    );
    std::fs::write(folder.path().join("users.toml"), users).unwrap();
    let made = export(folder.path(), &["--with-users", "users.toml", "--output", "definitions.json"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = folder.path().join("definitions.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds hashes of passwords");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("canary") && !text.contains(&password), "a password is in the file");

    let definitions = Some(text.clone());
    let broker = Broker::dedicated_with(BrokerOptions { definitions, ..BrokerOptions::default() }).await;
    let listed = broker.ctl(&["list_users", "--silent"]).await;
    let mut users: Vec<&str> = listed.lines().filter_map(|line| line.split('\t').next()).filter(|name| *name != "user").collect();
    users.sort_unstable();
    assert_eq!(users, ["reports", &admin], "nobody else, no guest: {listed}");
    let vhosts = broker.management().get("/api/vhosts").await;
    assert_eq!((vhosts.as_array().unwrap().len(), &vhosts[0]["name"]), (1, &json!("/")));
    let read = broker.management().get("/api/definitions/%2F").await;
    same(&serde_json::from_str(&text).unwrap(), &read);

    // The user of a worker gets in, and may do what it needs and no more.
    let url = format!("amqp://reports:canary-worker-%C3%BC@{}/%2F", broker.amqp_addr());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = async || connection.create_channel().await.unwrap();
    let get = async |queue: &str| channel().await.basic_get(queue.into(), lapin::options::BasicGetOptions::default()).await;
    assert!(get("jobs.inventory.reserve").await.is_ok());
    let refused = get("jobs.inventory.reserve.dead").await.unwrap_err().to_string();
    assert!(refused.contains("ACCESS_REFUSED") || refused.contains("ACCESS-REFUSED"), "{refused}");
    let wrong = format!("amqp://reports:canary@{}/%2F", broker.amqp_addr());
    assert!(Connection::connect(&wrong, ConnectionProperties::default()).await.is_err(), "any password does");
    does_the_main_job(&broker.admin_url()).await;
}
