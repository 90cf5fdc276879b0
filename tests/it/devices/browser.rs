//! The device of `docs/examples/device-web`: its own tests, and its page in a real Chromium.
//!
//! What happens in the browser is told in `tests/browser`. Here are the hub and the network to it, which a script has killed and cut by a
//! word on a connection.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use warren_tests::free_port;
use warren_tests::hub::token;
use warren_tests::process::{Process, folder, workspace};
use warren_tests::proxy::{Mode, Proxy};

use super::fleet::{OWNER, address, hub};
use crate::workers::examples::tool;
use crate::world::{Keep, World};

/// For one script, on a busy machine.
const SCRIPT: Duration = Duration::from_secs(600);

/// The files of a folder, and of the folders in it, but what npm and the compiler make.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (name, path) = (entry.file_name(), entry.path());
        if path.is_file() {
            std::fs::copy(&path, to.join(&name)).unwrap();
        } else if name != "node_modules" && name != "dist" {
            copy(&path, &to.join(&name));
        }
    }
}

/// A folder of the workspace in a place of its own, with the packages that its `package-lock.json` names.
fn copied(from: &str, to: PathBuf, packages: &str) -> PathBuf {
    copy(&workspace().join(from), &to);
    symlink(tool(&format!("{packages}/node_modules")), to.join("node_modules")).unwrap();
    to
}

/// The example as it stands.
pub(crate) fn example(within: &Path) -> PathBuf {
    copied("docs/examples/device-web", within.join("device-web"), "device-web")
}

async fn npm(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder);
    command.env("WARREN_VECTORS", workspace().join("docs/device-protocol/vectors.json"));
    let mut npm = Process::start("npm", command);
    let status = npm.wait(SCRIPT).await;
    assert!(status.success(), "npm {arguments:?}\n{}{}", npm.stdout(), npm.stderr());
}

/// Runs a script of `tests/browser` with this environment; does what it orders, a word at a time, until it ends.
pub(crate) async fn runs(script: &str, env: &[(&str, String)], mut obey: impl AsyncFnMut(&str)) {
    let folder = folder("pages");
    let scripts = copied("tests/browser", folder.path().join("browser"), "browser");
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec", script]).current_dir(scripts).envs(env.iter().cloned());
    command.env("WARREN_CONTROL", control.local_addr().unwrap().to_string());
    let mut playing = Process::start("browser", command);
    let status = loop {
        let mut from = tokio::select! {
            accepted = control.accept() => accepted.unwrap().0,
            status = playing.wait(SCRIPT) => break status,
        };
        let mut order = String::new();
        BufReader::new(&mut from).read_line(&mut order).await.unwrap();
        obey(order.trim()).await;
        from.write_all(b"done\n").await.unwrap();
    };
    assert!(status.success(), "{}", playing.stdout());
}

/// Runs a script with a hub of its own, which it may kill, and a network that it may cut.
async fn plays(script: &str) {
    let folder = folder("device-web");
    let example = example(folder.path());
    npm(&example, &["run", "build"]).await;
    let world = World::new(Keep::Postgres).await;
    let page = free_port();
    let mut hub = hub(&world, &format!("[cors]\norigins = [\"http://127.0.0.1:{page}\"]\n")).await;
    let network = Proxy::to(address(&hub)).await;
    let url = format!("http://{}", network.addr());
    let mut serve = Command::new("node");
    serve.arg(example.join("serve.mjs")).args([&page.to_string(), &url]);
    let _serve = Process::start("serve", serve);
    let env = [
        ("WARREN_HUB", hub.public_url()),
        ("WARREN_NETWORK", url),
        ("WARREN_OWNER", token("acme", "app", OWNER)),
        ("WARREN_PAGE", format!("http://127.0.0.1:{page}")),
        ("WARREN_CLIENT", example.join("dist/index.js").display().to_string()),
    ];
    let obey = async |order: &str| match order {
        "kill" => hub.kill9(),
        "start" => hub.start_again().await,
        "pass" => network.set(Mode::Pass).await,
        "refuse" => network.set(Mode::Refuse).await,
        "hang" => network.set(Mode::BLACKHOLE).await,
        "mute" => network.set(Mode::Blackhole { client_to_server: true, server_to_client: false }).await,
        "deaf" => network.set(Mode::Blackhole { client_to_server: false, server_to_client: true }).await,
        other => panic!("nobody knows how to `{other}`"),
    };
    runs(script, &env, obey).await;
}

#[tokio::test]
async fn the_device_in_typescript_is_built_and_keeps_to_the_protocol() {
    let folder = folder("device-web");
    npm(&example(folder.path()), &["test"]).await;
}

#[tokio::test]
async fn a_page_shows_each_message_once_whatever_becomes_of_its_network_its_tabs_and_its_hub() {
    plays("device.test.mjs").await;
}

#[tokio::test]
async fn people_in_a_chat_room_see_the_same_whatever_breaks_between_them() {
    plays("chat.test.mjs").await;
}

#[tokio::test]
async fn the_same_device_works_in_node() {
    plays("node.test.mjs").await;
}
