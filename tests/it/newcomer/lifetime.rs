use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use warren_tests::dev::{DevPorts, DevProcess, node_of};
use warren_tests::hub::HubClient;
use warren_tests::process::folder;
use warren_tests::wait::until_true;

use super::obstacles::refusal;
use crate::world::LONG;

/// Those of the jobs that are submitted here.
const QUEUES: [&str; 4] = ["jobs.demo.echo", "jobs.demo.flaky", "warren.retry.1s", "warren.retry.5s"];

async fn nothing_is_left(folder: &Path, ports: &DevPorts) {
    // Erlang's own helpers notice a moment later that their node is gone.
    until_true(LONG, "every process of the node to be gone", async || node_of(folder).is_empty()).await;
    assert_eq!(ports.taken(), Vec::<&str>::new());
}

async fn submit(client: &HubClient, kind: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(client.accepted(kind, &json!({"n": number})).await);
    }
    ids
}

async fn all_succeed(client: &HubClient, ids: &[String]) {
    for id in ids {
        client.wait_state(id, "succeeded", LONG).await;
    }
}

/// Another cookie, as when the file was deleted or came out of a backup.
fn change_cookie(folder: &Path) {
    let cookie = folder.join(".warren/rabbitmq/home/.erlang.cookie");
    std::fs::remove_file(&cookie).unwrap();
    std::fs::write(&cookie, "ANOTHERCOOKIE").unwrap();
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400)).unwrap();
}

#[tokio::test]
async fn data_and_accepted_jobs_outlive_every_way_to_end() {
    let (folder, ports) = (folder("newcomer"), DevPorts::free());
    let folder = folder.path();
    let mut dev = DevProcess::start(folder, &ports).await;
    let client = dev.client();
    let mut jobs = submit(&client, "demo.echo", 1).await;

    // A second one, here: neither its ports nor other ones help.
    for ports in [ports, DevPorts::free()] {
        let said = refusal(folder, &ports, |_| {}).await;
        assert!(said.starts_with(&format!("warren: another `warren dev` runs in {}", folder.display())), "{said}");
        assert!(said.contains("stop it first"), "{said}");
    }

    // The broker dies: the hub goes on answering, the broker comes back, and what was accepted meanwhile ends.
    let killed = dev.kill_broker(&QUEUES).await;
    jobs.extend(submit(&client, "demo.echo", 20).await);
    all_succeed(&client, &jobs).await;
    dev.watch_node();
    let broker = dev.broker();
    assert_ne!(broker, killed);
    assert!(dev.said().contains("RabbitMQ runs again"), "{}", dev.said());

    // The hub dies: the broker stays, and the next hub takes it over, whatever became of the cookie.
    jobs.extend(submit(&client, "demo.flaky", 20).await);
    dev.kill9();
    assert_eq!(dev.broker(), broker);
    change_cookie(folder);
    let mut dev = DevProcess::start(folder, &ports).await;
    assert!(dev.said().contains("took over the RabbitMQ that was left running"), "{}", dev.said());
    assert_eq!(dev.broker(), broker);
    jobs.extend(submit(&client, "demo.echo", 1).await);
    all_succeed(&client, &jobs).await;

    // Ctrl-C ends all of it.
    assert_eq!(dev.ctrl_c().await.code(), Some(0), "{}", dev.said());
    nothing_is_left(folder, &ports).await;

    // The next start has the data, the secret and, with the new cookie, a broker. Ctrl-C pressed twice leaves nothing either.
    let mut dev = DevProcess::start(folder, &ports).await;
    assert!(!dev.said().contains("took over"), "{}", dev.said());
    all_succeed(&client, &jobs).await;
    let more = submit(&client, "demo.echo", 1).await;
    all_succeed(&client, &more).await;
    dev.press_ctrl_c();
    until_true(LONG, "the drain", async || dev.said().contains("draining")).await;
    let status = dev.ctrl_c().await;
    assert!(matches!(status.code(), Some(0 | 130)), "{status}: {}", dev.said());
    nothing_is_left(folder, &ports).await;
}

#[tokio::test]
async fn ctrl_c_in_the_middle_of_a_start_leaves_nothing_behind() {
    let (folder, ports) = (folder("newcomer"), DevPorts::free());
    let mut dev = DevProcess::start_only(folder.path(), &ports);
    let started = async || node_of(folder.path()).iter().any(|(_, name)| name == "beam.smp");
    until_true(LONG, "the broker to be started", started).await;
    assert_eq!(dev.ctrl_c().await.code(), Some(0), "{}", dev.said());
    assert_eq!(dev.banner(), "");
    nothing_is_left(folder.path(), &ports).await;
}
