use std::os::unix::fs::symlink;
use std::process::Command;

use warren_tests::dev::{DevPorts, DevProcess};
use warren_tests::process::{Process, folder, workspace};

use super::tour::{clone, moved};
use super::{Typed, block, type_in};
use crate::world::LONG;

const SECTION: &str = "Bring your own worker";

#[tokio::test]
async fn the_readmes_own_worker_works_as_it_stands() {
    let folder = folder("own worker");
    clone(folder.path());
    let ports = DevPorts::free();
    let here = |language| moved(&block(SECTION, language), &ports);
    std::fs::write(folder.path().join("warren.toml"), here("toml")).unwrap();
    // What its first two lines would fetch is there.
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into);
    let tool = target.join("tools/worker-python");
    assert!(tool.exists(), "{} is missing: run scripts/install-test-tools", tool.display());
    std::fs::create_dir_all(folder.path().join(".warren")).unwrap();
    symlink(tool, folder.path().join(".warren/venv")).unwrap();
    let starting = here("bash");
    let fetching = starting.lines().take_while(|line| line.contains("venv .warren/venv") || line.contains("pip install")).count();
    assert_eq!(fetching, 2, "{starting}");
    let starting: Vec<&str> = starting.lines().skip(fetching).collect();

    let mut dev = DevProcess::start(folder.path(), &ports).await;
    let mut worker = Command::new("bash");
    worker.args(["-euo", "pipefail", "-c", &starting.join("\n")]).current_dir(folder.path());
    let mut worker = Process::start("worker", worker);
    let admin = format!("http://127.0.0.1:{}", ports.admin);
    let typed = type_in(folder.path(), &["-euo", "pipefail"], &here("sh"), &[("WARREN_ADMIN_URL", &admin)]).await;
    let Typed { ok, stdout, stderr } = typed;
    assert!(ok, "--- stdout\n{stdout}\n--- stderr\n{stderr}");
    assert!(stdout.contains("{\"pages\":3}") && stdout.contains("printer-busy"), "{stdout}");
    assert_eq!(worker.terminate(LONG).await.code(), Some(0));
    assert_eq!(dev.ctrl_c().await.code(), Some(0));
}
