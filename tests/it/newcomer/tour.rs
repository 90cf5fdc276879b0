use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use warren_tests::dev::{DevPorts, DevProcess};
use warren_tests::process::{binary, folder, workspace};

use super::{Typed, type_in};
use crate::world::LONG;

/// The shell blocks of the README's tour, in order.
fn fences() -> Vec<String> {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("there is a README.md");
    let tour = readme.split_once("<!-- tour -->").expect("the tour begins").1;
    let tour = tour.split_once("<!-- /tour -->").expect("the tour ends").0;
    let fences: Vec<String> =
        tour.split("```sh\n").skip(1).map(|rest| rest.split_once("```").expect("a block ends").0.to_owned()).collect();
    assert!(fences.len() >= 3, "the tour has blocks: {fences:?}");
    fences
}

/// The tour is told with the default ports, which may be taken here.
pub(super) fn moved(text: &str, ports: &DevPorts) -> String {
    let pairs =
        [(8080, ports.public), (8081, ports.admin), (8082, ports.internal), (5682, ports.amqp), (15682, ports.management)];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(&format!("127.0.0.1:{from}"), &format!("127.0.0.1:{to}")))
}

/// A folder that looks like a clone after `make run`.
pub(super) fn clone(at: &Path) {
    std::fs::create_dir_all(at.join("target/release")).unwrap();
    symlink(binary("warren"), at.join("target/release/warren")).unwrap();
    for name in ["deploy", "definitions.json", "docs"] {
        symlink(workspace().join(name), at.join(name)).unwrap();
    }
}

async fn pasted(line: &str) -> Value {
    let Typed { ok, stdout, stderr } = type_in(Path::new("/"), &[], line, &[]).await;
    assert!(ok && stderr.is_empty(), "{line}\n{stdout}\n{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}\n{error}: {stdout}"))
}

#[tokio::test]
async fn the_banners_lines_and_the_readmes_tour_work_as_they_stand() {
    let folder = folder("a clone");
    clone(folder.path());
    let ports = DevPorts::free();
    let mut dev = DevProcess::start(folder.path(), &ports).await;

    let banner = dev.banner();
    for (name, port) in
        [("API", ports.public), ("Admin", ports.admin), ("Metrics", ports.internal), ("RabbitMQ", ports.management)]
    {
        let line = banner.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        assert!(line.contains(&format!("http://127.0.0.1:{port}")), "{banner}");
    }
    let [echo, state, flaky] = &dev.lines()[..] else { panic!("three lines to paste: {banner}") };
    for line in [echo, flaky] {
        assert!(line.contains("-d '{") && line.contains("Bearer "), "{line}");
    }
    let client = dev.client();
    let echoed = pasted(echo).await;
    let id = echoed["id"].as_str().expect("an id");
    assert_eq!((&echoed["kind"], &echoed["state"]), (&json!("demo.echo"), &json!("accepted")));
    client.wait_state(id, "succeeded", LONG).await;
    let read = pasted(state).await;
    assert_eq!((&read["id"], &read["state"]), (&json!(id), &json!("succeeded")));
    assert_eq!(read["result"], json!({"hello": "warren"}));
    let flaky = pasted(flaky).await;
    let job = client.wait_state(flaky["id"].as_str().unwrap(), "succeeded", LONG).await;
    let outcomes: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["failed", "failed", "succeeded"], "{job}");

    // The commands find the hub at its default port unless they are told otherwise.
    let admin = format!("http://127.0.0.1:{}", ports.admin);
    for fence in fences() {
        let fence = moved(&fence, &ports);
        let typed = type_in(folder.path(), &["-euo", "pipefail"], &fence, &[("WARREN_ADMIN_URL", &admin)]).await;
        let Typed { ok, stdout, stderr } = typed;
        assert!(ok, "failed:\n{fence}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        assert!(!stdout.trim().is_empty(), "says nothing:\n{fence}\n--- stderr\n{stderr}");
        assert!(!stdout.contains("/problems/"), "a problem:\n{fence}\n--- stdout\n{stdout}");
    }
    assert_eq!(dev.ctrl_c().await.code(), Some(0));
}
