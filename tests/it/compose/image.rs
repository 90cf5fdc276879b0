//! `deploy/Dockerfile` and `.dockerignore`, as far as they can be looked at without a build.

use std::path::{Path, PathBuf};
use std::process::Command;

use warren_tests::process::{folder, workspace};

/// Instructions and their arguments, continued lines as one, without comments.
fn instructions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(workspace().join("deploy/Dockerfile")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let pair = |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()));
    joined.lines().map(|line| pair(line).expect("an instruction with arguments")).collect()
}

/// What is copied from the build's context.
fn sources() -> Vec<String> {
    let copies = instructions().into_iter().filter(|(name, rest)| name == "COPY" && !rest.starts_with("--from"));
    let sources = copies.flat_map(|(_, rest)| {
        let mut words: Vec<String> = rest.split(' ').map(str::to_owned).collect();
        words.pop();
        words
    });
    sources.collect()
}

/// Whether `.dockerignore` keeps a path away: of its lines the last one that fits decides.
fn ignored(path: &str) -> bool {
    let text = std::fs::read_to_string(workspace().join(".dockerignore")).unwrap();
    let mut away = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kept, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
        // A folder that fits takes what is in it along.
        let fits = Path::new(path).ancestors().any(|path| fits(path.to_str().unwrap(), pattern));
        away = if fits { !kept } else { away };
    }
    away
}

fn fits(path: &str, pattern: &str) -> bool {
    let (anywhere, last) = pattern.strip_prefix("**/").map_or((false, pattern), |last| (true, last));
    let path = if anywhere { path.rsplit('/').next().unwrap() } else { path };
    match last.split_once('*') {
        _ if path.is_empty() => false,
        None => path == last,
        Some((before, after)) => {
            let middle = path.strip_prefix(before).and_then(|path| path.strip_suffix(after));
            middle.is_some_and(|middle| !middle.contains('/'))
        }
    }
}

/// Files under a folder of the workspace, as the build's context has them.
fn context(source: &str) -> Vec<PathBuf> {
    let path = workspace().join(source);
    if ignored(source) {
        return vec![];
    }
    if path.is_file() {
        return vec![PathBuf::from(source)];
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.flat_map(|name| context(&format!("{source}/{name}"))).collect()
}

#[test]
fn secrets_and_old_builds_stay_away_from_the_context() {
    for away in [".env", ".git/HEAD", "target/debug/warren", "docs/adr/README.md", "tests/bench/out/x", "hub/node_modules/x/y.js"]
    {
        assert!(ignored(away), "{away}");
    }
    for there in ["Cargo.lock", "hub/src/main.rs", "docs/errors/overloaded.md", "services/shop/Cargo.toml"] {
        assert!(!ignored(there), "{there}");
    }
}

#[test]
fn an_older_checkout_does_not_build_the_newer_program() {
    let cached: Vec<String> =
        instructions().into_iter().map(|(_, rest)| rest).filter(|rest| rest.contains("target=/src/target")).collect();
    assert_eq!(cached.len(), 1, "{cached:?}");
    // The cache outlives the checkout, and cargo compares times with it.
    let (touched, built) = (cached[0].find("-exec touch {} +").unwrap(), cached[0].find("cargo build").unwrap());
    assert!(touched < built, "{cached:?}");
    let mounts = cached[0].split_whitespace().filter(|word| word.starts_with("--mount="));
    assert!(mounts.into_iter().all(|mount| mount.contains("id=warren-")), "shared with whatever else mounts there: {cached:?}");
}

#[test]
fn what_is_copied_is_a_whole_workspace() {
    let folder = folder("context");
    for source in sources() {
        let files = context(&source);
        assert!(!files.is_empty(), "{source} is not in the context");
        for file in files {
            let to = folder.path().join(&file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(workspace().join(&file), to).unwrap();
        }
    }
    let read = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    let (_, build) = instructions().into_iter().find(|(name, rest)| name == "RUN" && rest.contains("cargo build")).unwrap();
    for (package, program) in [("warren-hub", "warren"), ("shop", "shop")] {
        assert!(build.contains(&format!("-p {package}")) && build.contains(&format!("target/image/{program}")), "{build}");
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|one| one["name"] == package).unwrap();
        assert!(package["targets"].as_array().unwrap().iter().any(|target| target["name"] == program), "{program}");
    }
    // What the source takes in from beyond its own crate is there too.
    let mut taken = 0;
    for crate_folder in ["broker-topology/src", "messaging/src", "api-ack/src", "hub/src", "services"] {
        for file in context(crate_folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let text = std::fs::read_to_string(workspace().join(&file)).unwrap();
            for line in text.lines().filter(|line| line.contains("include_str!") || line.contains("include_bytes!")) {
                if let Some(inner) = line.split('"').find(|path| path.starts_with("../")) {
                    let path = file.parent().unwrap().join(inner);
                    assert!(
                        folder.path().join(&path).exists(),
                        "{} takes in {inner}, which the image's build has not",
                        file.display()
                    );
                    taken += 1;
                }
            }
        }
    }
    assert!(taken > 20, "{taken} files are taken in");
}

#[test]
fn the_images_are_small_and_run_as_nobody() {
    let all = instructions();
    let stages: Vec<&str> = all.iter().filter(|(name, _)| name == "FROM").map(|(_, rest)| rest.as_str()).collect();
    let toml: toml::Table = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap().parse().unwrap();
    let oldest = toml["workspace"]["package"]["rust-version"].as_str().unwrap();
    let rust = stages[0].strip_prefix("rust:").unwrap().split('-').next().unwrap();
    let minor = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    assert!(minor(rust) >= minor(oldest), "{rust} is older than {oldest}");
    assert_eq!(stages[1..], ["debian:bookworm-slim AS runtime", "runtime AS shop", "runtime AS warren"]);
    assert!(stages[0].contains("bookworm"), "glibc of the build and of the image are two");
    assert_eq!(toml["profile"]["image"]["lto"].as_str(), Some("thin"));

    // After the image's own user is set nothing is run.
    let user = all.iter().position(|(name, _)| name == "USER").unwrap();
    assert_eq!(all[user].1, "10001:10001");
    assert!(all[user + 1..].iter().all(|(name, _)| name != "RUN" && name != "USER"));
    let check = all.iter().find(|(name, _)| name == "HEALTHCHECK").unwrap();
    assert!(check.1.ends_with(r#"CMD ["warren", "health"]"#), "{}", check.1);
    // A signal reaches the program itself, not a shell in front of it.
    for (_, rest) in all.iter().filter(|(name, _)| name == "ENTRYPOINT" || name == "CMD") {
        assert!(rest.starts_with('['), "{rest}");
    }
}
