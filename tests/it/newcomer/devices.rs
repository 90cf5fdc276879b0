//! The README's device, as it stands.

use std::os::unix::fs::symlink;

use warren_tests::dev::{DevPorts, DevProcess};
use warren_tests::process::folder;

use super::tour::{clone, moved};
use super::{Typed, block, type_in};
use crate::workers::examples::tool;

const SECTION: &str = "Deliver to devices";

#[tokio::test]
async fn the_readmes_device_gets_its_messages() {
    let folder = folder("a phone");
    clone(folder.path());
    let ports = DevPorts::free();
    let here = |language| moved(&block(SECTION, language), &ports);
    // What the first two lines of the device would fetch is there.
    std::fs::create_dir_all(folder.path().join(".warren")).unwrap();
    symlink(tool("device-python"), folder.path().join(".warren/device")).unwrap();
    let coming = here("bash");
    let fetching = coming.lines().take_while(|line| line.contains("venv .warren/device") || line.contains("pip install")).count();
    assert_eq!(fetching, 2, "{coming}");
    let coming: Vec<&str> = coming.lines().skip(fetching).collect();

    let mut dev = DevProcess::start(folder.path(), &ports).await;
    for lines in [here("sh"), coming.join("\n")] {
        let Typed { ok, stdout, stderr } = type_in(folder.path(), &["-euo", "pipefail"], &lines, &[]).await;
        assert!(ok, "--- stdout\n{stdout}\n--- stderr\n{stderr}");
        if lines.contains("device_client.py") {
            let parcel = stdout.find("your parcel is here").expect(&stdout);
            let next = stdout.find("and so is the next one").expect(&stdout);
            assert!(parcel < next && stdout.contains(r#""state":"delivered""#), "{stdout}");
        }
    }
    assert_eq!(dev.ctrl_c().await.code(), Some(0));
}
