//! The conformance kit as people run it: workers that keep to the contract pass, sloppy ones fail what they should and nothing else.

mod amqp;
mod http;
mod refusals;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use warren_tests::process::{Process, binary, workspace};

/// The longest a whole run may take.
const WHOLE: Duration = Duration::from_secs(180);

/// A run of the kit that is over.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A command line of the kit, to be run in `folder`.
fn command(folder: &Path, arguments: &[&str], worker: &[String]) -> Command {
    let mut command = Command::new(binary("warren"));
    command.arg("conformance").args(arguments).current_dir(folder).env_clear();
    if !worker.is_empty() {
        command.arg("--").args(worker);
    }
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

async fn run(folder: &Path, arguments: &[&str], worker: &[String]) -> Ran {
    let mut kit = Process::start("conformance", command(folder, arguments, worker));
    let code = kit.wait(WHOLE).await.code();
    Ran { code, stdout: kit.stdout(), stderr: kit.stderr() }
}

impl Ran {
    /// The cases that ended like this, by name, of a run with `--json`.
    fn cases(&self, verdict: &str) -> Vec<String> {
        let cases: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"));
        let cases = cases.as_array().unwrap().iter().filter(|case| case["verdict"] == verdict);
        cases.map(|case| case["case"].as_str().unwrap().to_owned()).collect()
    }

    /// Why a case ended as it did.
    fn reason(&self, name: &str) -> String {
        let cases: Value = serde_json::from_str(&self.stdout).unwrap();
        let case = cases.as_array().unwrap().iter().find(|case| case["case"] == name).unwrap();
        case["reason"].as_str().unwrap_or_default().to_owned()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// The payloads of the examples, as `make conformance` gives them.
fn payloads() -> Vec<String> {
    let folder = workspace().join("docs/examples/conformance");
    let names = ["normal", "slow", "progress", "retry", "oversize"];
    names
        .iter()
        .flat_map(|name| ["--payload".to_owned(), format!("{name}={}", folder.join(format!("{name}.json")).display())])
        .collect()
}

/// A script beside these tests.
fn script(name: &str) -> String {
    workspace().join("tests/it/conformance").join(name).display().to_string()
}

/// Name and verdict of each case, as an XML parser finds them in a JUnit file.
fn junit(path: &Path) -> Vec<String> {
    let read = "import sys, xml.etree.ElementTree as x\n\
                for c in x.parse(sys.argv[1]).iter('testcase'): print(c.get('name'), *[v.tag for v in c if v.tag != 'system-out'])";
    let read = Command::new("python3").args(["-c", read]).arg(path).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}
