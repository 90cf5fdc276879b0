//! The README's chat, as it stands, in a browser.

use std::process::Command;

use warren_tests::dev::{DevPorts, DevProcess};
use warren_tests::free_port;
use warren_tests::process::{Process, folder};

use super::tour::{clone, moved};
use super::{Typed, block, blocks, type_in};
use crate::devices::browser::{example, runs};

const SECTION: &str = "Chat in ten minutes";

#[tokio::test]
async fn the_readmes_chat_is_had_in_a_browser() {
    let folder = folder("a chat");
    clone(folder.path());
    // A clone of which something is built, with what `npm ci` would fetch.
    std::fs::remove_file(folder.path().join("docs")).unwrap();
    example(&folder.path().join("docs/examples"));
    let (ports, page) = (DevPorts::free(), free_port());
    let here = |text: &str| moved(text, &ports).replace("127.0.0.1:8090", &format!("127.0.0.1:{page}"));
    std::fs::write(folder.path().join("warren.toml"), here(&block(SECTION, "toml"))).unwrap();
    let serving = block(SECTION, "bash");
    let start = format!("npm start -- {page} http://127.0.0.1:{}", ports.public);
    assert!(serving.contains("npm ci\n") && serving.contains("npm start\n"), "{serving}");
    let serving = serving.replace("npm ci\n", "").replace("npm start", &start);

    let mut dev = DevProcess::start(folder.path(), &ports).await;
    let says = blocks(SECTION, "sh");
    let Typed { ok, stdout, stderr } = type_in(folder.path(), &["-euo", "pipefail"], &here(&says[0]), &[]).await;
    let links: Vec<&str> = stdout.lines().filter(|line| line.contains("/#device=")).collect();
    assert!(ok && links.len() == 2, "--- stdout\n{stdout}\n--- stderr\n{stderr}");
    let mut serve = Command::new("bash");
    serve.args(["-euo", "pipefail", "-c", &serving]).current_dir(folder.path());
    let _serve = Process::start("serve", serve);

    let env = [("WARREN_LINKS", links.join(" "))];
    let obey = async |order: &str| match order {
        "stop" => assert_eq!(dev.ctrl_c().await.code(), Some(0)),
        "start" => dev = DevProcess::start(folder.path(), &ports).await,
        "dinner" => {
            let Typed { ok, stdout, stderr } = type_in(folder.path(), &["-euo", "pipefail"], &here(&says[1]), &[]).await;
            assert!(ok && stdout.contains("\"id\""), "--- stdout\n{stdout}\n--- stderr\n{stderr}");
        }
        other => panic!("nobody knows how to `{other}`"),
    };
    runs("newcomer.test.mjs", &env, obey).await;
    assert_eq!(dev.ctrl_c().await.code(), Some(0));
}
