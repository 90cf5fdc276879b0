use std::process::Command;
use std::time::Duration;

use warren_tests::dev::{DevPorts, DevProcess};
use warren_tests::free_port;
use warren_tests::process::{Process, folder};
use warren_tests::wait::until_true;

use super::tour::{clone, moved};
use super::{Typed, block, type_in};

const SECTION: &str = "Put it in front of a slow service";

#[tokio::test]
async fn the_readmes_slow_service_works_as_it_stands() {
    let folder = folder("in front");
    clone(folder.path());
    let (ports, port) = (DevPorts::free(), free_port());
    let here = |text: String| moved(&text, &ports).replace("9000", &port.to_string());
    std::fs::write(folder.path().join("warren.toml"), here(block(SECTION, "toml"))).unwrap();
    std::fs::write(folder.path().join("slow.py"), here(block(SECTION, "python"))).unwrap();
    let mut python = Command::new("python3");
    python.arg("slow.py").current_dir(folder.path());
    let _service = Process::start("slow.py", python);
    until_true(Duration::from_secs(30), "slow.py to listen", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    let mut dev = DevProcess::start(folder.path(), &ports).await;

    let admin = format!("http://127.0.0.1:{}", ports.admin);
    let typed = type_in(folder.path(), &["-euo", "pipefail"], &here(block(SECTION, "sh")), &[("WARREN_ADMIN_URL", &admin)]).await;
    let Typed { ok, stdout, stderr } = typed;
    assert!(ok, "--- stdout\n{stdout}\n--- stderr\n{stderr}");
    assert!(stdout.contains("\"state\":\"accepted\"") && stdout.contains("{\"built\":{\"pages\":3}}"), "{stdout}");
    assert!(stdout.contains(&format!("http://127.0.0.1:{port}")) && stdout.contains("free"), "{stdout}");
    assert_eq!(dev.ctrl_c().await.code(), Some(0));
}
