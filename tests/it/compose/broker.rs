//! `warren topology import` and `warren health`: what the one-shot service and the health checks of the deployment call.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::free_port;
use warren_tests::hub::{HubOptions, HubProcess, Until};
use warren_tests::process::{binary, folder};
use warren_tests::wait::until_true;

use crate::world::LONG;

fn warren(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary("warren")).args(arguments).env_clear().current_dir(folder).output().unwrap()
}

/// What was said, and the exit code.
fn said(output: &Output) -> (String, i32) {
    (String::from_utf8_lossy(&output.stderr).trim_end().to_owned(), output.status.code().unwrap())
}

/// A configuration for this virtual host whose management API is asked as administrator.
fn configured(broker: &Broker, vhost: &Vhost) -> TempDir {
    let folder = folder("import");
    let (user, password) = broker.management().credentials();
    let management = broker.management().url().replace("http://", &format!("http://{user}:{password}@"));
    let url = vhost.url();
    let text = format!("[broker]\nurl = \"{url}\"\nmanagement_url = \"{management}\"\n[[kind]]\nname = \"inventory.reserve\"\n");
    std::fs::write(folder.path().join("warren.toml"), text).unwrap();
    let exported = warren(folder.path(), &["topology", "export", "--output", "definitions.json"]);
    assert!(exported.status.success(), "{}", said(&exported).0);
    folder
}

#[tokio::test]
async fn an_import_that_changed_nothing_is_no_success() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let folder = configured(broker, &vhost);
    let import = || warren(folder.path(), &["topology", "import", "definitions.json"]);
    vhost.declare_queue("jobs.inventory.reserve", json!({"x-queue-type": "classic", "x-max-length": 5})).await;

    let (text, code) = said(&import());
    assert_eq!(code, 1, "{text}");
    for line in [
        "changed  queue     jobs.inventory.reserve  ",
        "x-max-length from 5 to nothing",
        "x-queue-type from `classic` to `quorum`",
        "has not become what definitions.json says",
    ] {
        assert!(text.contains(line), "{text}");
    }
    // The rest is there all the same, as was said.
    assert_eq!(vhost.queue_depth("warren.lost").await, Some(0));

    vhost.delete_queue("jobs.inventory.reserve").await;
    let (text, code) = said(&import());
    assert_eq!(code, 0, "{text}");
    assert_eq!(vhost.queue_arguments("jobs.inventory.reserve").await["x-queue-type"], "quorum");
    let again = warren(folder.path(), &["topology", "import", "definitions.json", "--json"]);
    let counts: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(counts["queues"], 10, "{counts}");
}

#[tokio::test]
async fn words_that_describe_an_object_stop_no_deployment() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let folder = configured(broker, &vhost);
    let import = || said(&warren(folder.path(), &["topology", "import", "definitions.json"]));
    assert_eq!(import().1, 0);
    // A later version has other words for what it declares; RabbitMQ keeps those that an object was made with.
    let path = folder.path().join("definitions.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for sort in ["queues", "exchanges"] {
        for object in file[sort].as_array_mut().unwrap() {
            object["arguments"]["warren-description"] = "in other words".into();
        }
    }
    std::fs::write(&path, file.to_string()).unwrap();
    let (text, code) = import();
    assert_eq!(code, 0, "{text}");
    let arguments = vhost.queue_arguments("jobs.inventory.reserve").await;
    assert_ne!(arguments["warren-description"], "in other words");
}

#[tokio::test]
async fn an_import_that_is_refused_half_way_says_what_is_missing() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let folder = configured(broker, &vhost);
    let path = folder.path().join("definitions.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let mut file: Value = serde_json::from_str(&whole).unwrap();
    let queues = file["queues"].as_array_mut().unwrap();
    queues.push(
        json!({"name": "odd", "vhost": vhost.name(), "durable": true, "auto_delete": false, "arguments": {"x-max-length": -1}}),
    );
    std::fs::write(&path, file.to_string()).unwrap();
    let import = || said(&warren(folder.path(), &["topology", "import", "definitions.json"]));
    let (text, code) = import();
    assert_eq!(code, 1, "{text}");
    for line in [
        "missing  queue     odd",
        "RabbitMQ refuses to post definitions",
        "invalid arg 'x-max-length' for queue 'odd'",
        "import again, which goes on",
    ] {
        assert!(text.contains(line), "{text}");
    }
    std::fs::write(&path, whole).unwrap();
    let (text, code) = import();
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn what_is_wrong_with_an_import_is_said_in_one_sentence() {
    let broker = Broker::shared().await;
    let (vhost, other) = (broker.vhost().await, broker.vhost().await);
    let folder = configured(broker, &vhost);
    let import = |more: &[&str]| said(&warren(folder.path(), &[&["topology", "import", "definitions.json"], more].concat()));

    let (text, code) = import(&["--set", &format!("broker.url={}", other.url())]);
    assert_eq!(code, 2);
    assert!(text.contains(&format!("definitions.json is not for the virtual host `{}`", other.name())), "{text}");

    // The virtual host's own user is no administrator.
    let url = vhost.url();
    let user = url.strip_prefix("amqp://").unwrap().split('@').next().unwrap();
    let management = broker.management().url().replace("http://", &format!("http://{user}@"));
    let (text, code) = import(&["--set", &format!("broker.management_url={management}")]);
    assert_eq!(code, 1);
    assert!(text.contains(&format!("`{}`", vhost.user())) && !text.contains("canary"), "{text}");

    let (text, code) = import(&["--set", &format!("broker.management_url=http://127.0.0.1:{}", free_port())]);
    assert_eq!(code, 1);
    assert!(text.contains("no management API answers at http://127.0.0.1:"), "{text}");

    for (content, expected) in [("{", "holds no definitions"), (r#"{"queues":[{"name":"q"}]}"#, "missing field `vhost`")] {
        std::fs::write(folder.path().join("definitions.json"), content).unwrap();
        let (text, code) = import(&[]);
        assert!(code == 2 && text.contains(expected) && text.lines().count() == 1, "{text}");
    }
    std::fs::remove_file(folder.path().join("definitions.json")).unwrap();
    let (text, code) = import(&[]);
    assert!(code == 2 && text.contains("cannot read definitions.json"), "{text}");
}

#[tokio::test]
async fn health_is_whether_a_process_can_do_its_roles() {
    let folder = folder("health");
    let health = |url: &str| warren(folder.path(), &["health", "--url", url]);
    let vhost = Broker::shared().await.vhost().await;
    let ready = HubProcess::start(&HubOptions { broker_url: vhost.url(), ..HubOptions::default() }).await;
    until_true(LONG, "the hub to be healthy", async || health(&ready.internal_url()).stdout == b"ready\n").await;
    // As a container has it: from the configuration alone.
    let own = warren(ready.folder(), &["health"]);
    assert!(own.status.success(), "{}", said(&own).0);

    let away = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
    let start = async |role: &str| {
        let options =
            HubOptions { broker_url: away.clone(), roles: vec![role.to_owned()], until: Until::Live, ..HubOptions::default() };
        HubProcess::start(&options).await
    };
    let (api, worker) = (start("api").await, start("worker").await);
    let degraded = health(&api.internal_url());
    assert!(degraded.status.success() && degraded.stdout.starts_with(b"degraded\n"), "{degraded:?}");
    let (text, code) = said(&health(&worker.internal_url()));
    assert_eq!(code, 1);
    assert!(text.starts_with(&format!("warren: the hub at {} is not ready: ", worker.internal_url())), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (text, code) = said(&health(&nobody));
    assert_eq!((text.as_str(), code), (&*format!("warren: no hub answers at {nobody} in 4s: start it, or look at its log"), 1));
    let stranger = Broker::shared().await.management().url();
    let (text, code) = said(&health(stranger));
    assert!(code == 1 && text.contains("is no hub (status 404)"), "{text}");
    assert_eq!(said(&health("ftp://x")).1, 2);
}
