//! `.env.example`, `make secrets`, and what is said when there are none.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use warren_tests::process::{folder, workspace};

use super::model::{Variables, example, filled, named, read, with};

/// Runs `scripts/make-secrets` in a folder that has it and `.env.example`.
pub(super) fn make(at: &Path) -> Variables {
    let made = Command::new(at.join("scripts/make-secrets")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    read(&at.join(".env"))
}

pub(super) fn copy(to: &Path) {
    std::fs::create_dir(to.join("scripts")).unwrap();
    for file in ["scripts/make-secrets", ".env.example"] {
        std::fs::copy(workspace().join(file), to.join(file)).unwrap();
    }
}

#[test]
fn every_variable_is_in_the_example_and_used() {
    let example = example();
    let given: BTreeSet<String> = example.keys().cloned().collect();
    let mut used = named();
    // Commented out: it is for the profile `observe`.
    assert!(used.remove("OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert_eq!(used, given);
}

#[test]
fn each_missing_secret_is_named_with_the_remedy() {
    let filled = filled();
    assert!(with(&filled).is_ok());
    for (secret, _) in example().into_iter().filter(|(_, value)| value.is_empty()) {
        let without: Variables =
            filled.iter().filter(|(name, _)| **name != secret).map(|(n, v)| (n.clone(), v.clone())).collect();
        assert_eq!(with(&without).unwrap_err(), format!("{secret}: run `make secrets` first"));
    }
    let makefile = std::fs::read_to_string(workspace().join("Makefile")).unwrap();
    assert!(makefile.contains("\nsecrets: ") && makefile.contains("scripts/make-secrets"));
}

#[test]
fn secrets_are_made_once_and_what_is_there_stays() {
    let folder = folder("secrets");
    copy(folder.path());
    let first = make(folder.path());
    let mode = std::fs::metadata(folder.path().join(".env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let mut seen = BTreeSet::new();
    for (name, value) in example() {
        if value.is_empty() {
            let random = first[&name].as_str();
            assert!(random.len() == 64 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}={random}");
            assert!(seen.insert(random), "{name} is somebody else's");
        } else {
            assert_eq!(first[&name], value, "{name}");
        }
    }
    assert_eq!(make(folder.path()), first);

    // A newer version has one more; somebody emptied one, and set another.
    let path = folder.path().join(".env");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace(&format!("TOKEN_SECRET={}", first["TOKEN_SECRET"]), "TOKEN_SECRET=")
        .replace("HTTP_PORT=8080", "HTTP_PORT=80");
    let text: String =
        text.lines().filter(|line| !line.starts_with("GRAFANA_PASSWORD")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, text).unwrap();
    let second = make(folder.path());
    assert_eq!(second.len(), first.len());
    for (name, value) in &first {
        match name.as_str() {
            "TOKEN_SECRET" | "GRAFANA_PASSWORD" => assert!(second[name].len() == 64 && second[name] != *value, "{name}"),
            "HTTP_PORT" => assert_eq!(second[name], "80"),
            _ => assert_eq!(second[name], *value, "{name}"),
        }
    }
    let ignored = std::fs::read_to_string(workspace().join(".gitignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "/.env"), "git must not take .env");
}
