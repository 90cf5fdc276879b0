//! What documents claim: each promise names a test that exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A module's file and the files of the folder beside it.
fn module(path: &str) -> String {
    let file = root().join(path);
    let mut text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    let beside = std::fs::read_dir(file.with_extension("")).into_iter().flatten().map(|entry| entry.unwrap().path());
    for path in beside.filter(|path| path.is_file()) {
        text.push_str(&std::fs::read_to_string(path).unwrap());
    }
    text
}

/// The names between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let document = std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut promises = 0;
    for row in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise ")) {
        let proof = row.trim_matches('|').rsplit('|').next().unwrap();
        let mut text = None;
        let mut tests = 0;
        for name in quoted(proof) {
            if name.contains('/') {
                text = Some(module(name));
            } else if let Some(text) = &text {
                let test = name.rsplit("::").next().unwrap();
                // A function, or a line of a macro that makes one.
                let there = text.contains(&format!("fn {test}(")) || text.contains(&format!(" {test} \""));
                assert!(there, "no test is called `{test}`: {row}");
                tests += 1;
            }
        }
        assert!(tests > 0, "a promise without a test: {row}");
        promises += 1;
    }
    assert!(promises > 50, "{promises} promises were found");
}

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn what_the_readme_misses_is_missing() {
    let (readme, commands) = (document("README.md"), document("docs/cli.md"));
    let commands: BTreeSet<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("## `warren "))
        .flat_map(|rest| rest.trim_end_matches('`').split(' '))
        .collect();
    assert!(commands.contains("asyncapi") && commands.contains("plan"), "{commands:?}");
    let absent = readme.split_once("\nNot there at all yet: ").expect("the README says what is not there").1;
    let absent = absent.split("\n\n").next().unwrap();
    for word in absent.split(|c: char| !c.is_alphanumeric() && c != '-').map(str::to_lowercase) {
        assert!(!commands.contains(&*word), "`{word}` is a command, and the README says that it is not there yet");
    }
}

/// Every name of a metric in `folder`, as it is written in the source.
fn metrics(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            metrics(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            let named = |part: &&str| part.starts_with("warren_") && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            found.extend(text.split('"').filter(named).map(str::to_owned));
        }
    }
}

#[test]
fn every_metric_is_in_its_document() {
    let mut names = BTreeSet::new();
    for part in ["api-ack", "hub", "messaging", "mobile-delivery"] {
        metrics(&root().join(part).join("src"), &mut names);
    }
    assert!(names.len() > 50 && names.contains("warren_device_slots"), "{names:?}");
    let page = document("docs/metrics.md");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "docs/metrics.md knows no {name}");
    }
}

#[test]
fn the_readme_names_every_target_of_make() {
    let makefile = document("Makefile");
    let explained = makefile.lines().filter(|line| line.contains(": ## ")).filter_map(|line| line.split(':').next());
    let mut targets: BTreeSet<&str> = explained.filter(|target| *target != "help").collect();
    assert!(targets.contains("test-brokers"), "{targets:?}");
    let readme = document("README.md");
    let section = readme.split_once("## Two commands\n").unwrap().1.split("\n## ").next().unwrap();
    for named in quoted(section).map(|text| text.strip_prefix("make ").unwrap_or(text)) {
        targets.remove(named);
    }
    assert!(targets.is_empty(), "`make` has more targets than the README says: {targets:?}");
}

#[test]
fn names_beside_the_management_ui_are_those_on_the_broker() {
    let page = document("docs/management-ui.md");
    let names = broker_topology::Names::new("");
    let rungs = broker_topology::Rung::ALL.map(|rung| names.retry(rung));
    let hubs = [
        names.lost(),
        names.submit(),
        names.results(),
        names.return_exchange(),
        names.dead(),
        names.notices() + ".<random>",
        names.devices_dropped(),
    ];
    let known: BTreeSet<String> = rungs.into_iter().chain(hubs).collect();
    let rows = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let found: BTreeSet<&str> = rows.flat_map(quoted).filter(|name| name.starts_with("warren.")).collect();
    assert!(found.len() >= 5, "{found:?}");
    for name in &found {
        assert!(known.contains(*name), "nothing on the broker is called `{name}`");
    }
    assert!(!page.contains("amq.gen"), "the broker names no queue of ours");
}
