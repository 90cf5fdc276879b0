//! The codes of rules: listed where people look, and each with a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

/// The codes at the beginning of table rows.
fn listed(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { sources(&path) } else { std::fs::read_to_string(path).unwrap() }).collect()
}

#[test]
fn every_code_is_listed_in_both_places_and_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let page = std::fs::read_to_string(root.join("../docs/topology.md")).unwrap();
    let codes = listed(&readme);
    assert!(codes.len() > 35, "{codes:?}");
    let of_page: BTreeSet<&str> = listed(&page).into_iter().filter(|code| codes.contains(code)).collect();
    assert_eq!(of_page, codes);
    let sources = sources(&root.join("src"));
    for code in codes {
        // Where it is raised, and where that is tested.
        assert!(sources.matches(&format!("\"{code}\"")).count() >= 2, "{code} is not raised, or not tested");
    }
}
