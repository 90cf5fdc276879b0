//! The one-way rule, read from `cargo metadata` and the source tree.
//!
//! `{ broker-topology, database } <- { messaging, door } <- { api-ack, mobile-delivery, services/* } <- { hub, services/shop } <- tests`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use warren_tests::process::workspace;

/// Longer files are split: by state, by resource, by what fails together.
const LONGEST: usize = 600;
/// Names that gather what belongs elsewhere.
const BUCKETS: [&str; 4] = ["utils", "common", "helpers", "types"];

struct Member {
    name: String,
    folder: PathBuf,
    dependencies: BTreeSet<String>,
}

impl Member {
    /// A crate in `services/` with a database of its own; `shop` is the binary that runs them.
    fn is_service(&self) -> bool {
        self.folder.starts_with(workspace().join("services")) && self.name != "shop"
    }

    /// Its layer; a crate depends only on layers below its own.
    fn layer(&self) -> u8 {
        match self.name.as_str() {
            "broker-topology" | "database" => 0,
            "messaging" | "door" => 1,
            "api-ack" | "mobile-delivery" => 2,
            "warren-hub" | "shop" => 3,
            "warren-tests" => 4,
            _ if self.is_service() => 2,
            stranger => panic!("{stranger} has no layer: give it one here and in docs/architecture.md"),
        }
    }
}

fn members() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let member = |package: &Value| Member {
        name: package["name"].as_str().unwrap().to_owned(),
        folder: Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned(),
        // Of every sort, dev and build included.
        dependencies: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect(),
    };
    metadata["packages"].as_array().unwrap().iter().map(member).collect()
}

#[test]
fn each_crate_depends_only_on_layers_below_its_own() {
    let members = members();
    assert!(members.len() >= 7, "cargo metadata told of {} crates only", members.len());
    for member in &members {
        for below in members.iter().filter(|other| member.dependencies.contains(&other.name)) {
            assert!(
                below.layer() < member.layer(),
                "{} must not depend on {}: crates of one layer meet through a queue and a message type",
                member.name,
                below.name
            );
            // The shop is what a team writes, the hub what it runs: neither contains the other.
            assert!(!(member.name == "warren-hub" && below.is_service()), "the hub must not contain the service {}", below.name);
            assert!(
                !(member.name == "shop" && matches!(below.name.as_str(), "api-ack" | "mobile-delivery")),
                "the shop must not contain {}, which is the hub's",
                below.name
            );
        }
    }
}

#[test]
fn only_messaging_and_the_tests_know_lapin() {
    let knows = |member: &Member| member.dependencies.contains("lapin");
    let knowing: Vec<String> = members().into_iter().filter(knows).map(|member| member.name).collect();
    assert_eq!(knowing, ["messaging", "warren-tests"]);
}

#[test]
fn files_are_named_for_what_they_own_and_stay_short() {
    let mut faults = Vec::new();
    let mut files = Vec::new();
    members().iter().for_each(|member| sources(&member.folder, &mut files));
    assert!(files.len() > 30, "found {} source files only", files.len());
    for file in files {
        let shown = file.strip_prefix(workspace()).unwrap().to_owned();
        if file.ends_with("mod.rs") {
            faults.push(format!("{}: use {}.rs", shown.display(), shown.parent().unwrap().display()));
        }
        let mut words = shown.iter().filter_map(|part| part.to_str());
        if let Some(bucket) = words.find(|part| BUCKETS.contains(&part.trim_end_matches(".rs"))) {
            faults.push(format!("{}: `{bucket}` says nothing, name it by what it owns", shown.display()));
        }
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        if lines > LONGEST {
            faults.push(format!("{}: {lines} lines, split it (at most {LONGEST})", shown.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        // A yardstick of the benchmarks is somebody else's code; `target` is nobody's.
        if path.is_dir() && name != "target" && name != "peers" && name != "node_modules" {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
