//! What documents claim: each promise names a test that exists.

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
