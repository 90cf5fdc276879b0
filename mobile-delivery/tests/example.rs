//! The device in docs/examples keeps to the test vectors: its own tests, with plain Python.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_client_keeps_to_the_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/device-client");
    let words = ["-B", "-m", "unittest", "-v", "test_device_client.py"];
    let run = Command::new("python3").args(words).current_dir(folder).output();
    let output = run.unwrap_or_else(|error| panic!("python3: {error}: run scripts/install-test-tools"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.matches("... ok").count() > 10, "the tests were not found: {told}");
}
