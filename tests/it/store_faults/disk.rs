//! The disk of an embedded store is full, and then is not.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde_json::{Value, json};
use warren_tests::hub::{Answer, HubClient, HubOptions, HubProcess};
use warren_tests::wait::until_true;

use super::assert_unavailable;
use crate::world::{Keep, LONG, World, settled};

/// Gives the hub a small disk of its own in the folder `small`, seen by it alone and gone with it.
const MOUNT: &str = r#"mkdir -p small && mount -t tmpfs -o size=12m tmpfs small && exec "$@""#;

/// A namespace of mounts; who is not root needs one of users too.
fn namespaces() -> &'static str {
    if geteuid().is_root() { "-m" } else { "-Urm" }
}

fn assert_namespaces_are_allowed() {
    let tried = Command::new("unshare").args([namespaces(), "true"]).output();
    let allowed = tried.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        allowed,
        "this test mounts a small disk for the hub alone and may not (`unshare {} true`: {tried:?}): run the tests as root, \
         or allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0)",
        namespaces()
    );
}

/// Makes the hub's disk larger, from inside its namespace.
fn enlarge(hub: &mut HubProcess) {
    let pid = hub.process().pid().to_string();
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid, "-m"]);
    if !geteuid().is_root() {
        command.args(["-U", "--preserve-credentials"]);
    }
    let place = hub.folder().join("small");
    let output = command.args(["mount", "-o", "remount,size=128m"]).arg(place).output().unwrap();
    assert!(output.status.success(), "the disk could not be enlarged: {}", String::from_utf8_lossy(&output.stderr));
}

async fn submit(client: &HubClient, key: &str, data: &Value) -> Answer {
    client.submit("demo.noop", data, Some(key)).await.expect("the hub answers")
}

#[tokio::test]
async fn a_full_disk_is_503_and_nothing_is_lost() {
    assert_namespaces_are_allowed();
    let world = World::new(Keep::Sqlite).await;
    let launcher = ["unshare", namespaces(), "sh", "-c", MOUNT, "sh"].map(str::to_owned).to_vec();
    let options = HubOptions { launcher, store_url: "sqlite://small/warren.db".to_owned(), ..world.options() };
    let mut hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let client = hub.client();
    let large = json!({"filler": "x".repeat(200_000)});
    let mut jobs = Vec::new();
    let mut refused = Vec::new();
    // More than the disk holds.
    for n in 0..100 {
        let key = format!("large-{n}");
        let answer = submit(&client, &key, &large).await;
        match answer.status {
            202 => jobs.push(answer.job_id().unwrap().to_owned()),
            _ => {
                assert_unavailable(&answer);
                refused.push(key);
            }
        }
    }
    assert!(jobs.len() > 5 && refused.len() > 5, "{} accepted, {} refused", jobs.len(), refused.len());
    // It stays so for longer than a lease, in which the hub cannot even say that it lives.
    let full = Instant::now();
    until_true(LONG, "12 s on a full disk", async || {
        let answer = submit(&client, refused.last().unwrap(), &large).await;
        assert_unavailable(&answer);
        full.elapsed() > Duration::from_secs(12)
    })
    .await;
    let seen = client.job(&jobs[0]).await.unwrap();
    assert_eq!(seen.status, 200, "what is stored can be read: {}", seen.body);
    assert!(hub.process().poll().is_none(), "the hub lives");

    enlarge(&mut hub);
    for key in &refused {
        let answer = submit(&client, key, &large).await;
        assert_eq!(answer.status, 202, "with room again: {}", answer.body);
        jobs.push(answer.job_id().unwrap().to_owned());
    }
    for id in &jobs {
        client.wait_state(id, "succeeded", LONG).await;
    }
}
