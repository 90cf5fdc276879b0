//! What a newcomer meets: `warren dev`, its banner, the README, Ctrl-C, and what can be in the way.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warren_tests::process::{Process, workspace};

mod chat;
mod devices;
mod lifetime;
mod obstacles;
mod slow;
mod tour;
mod worker;

/// The first block in this language of a section of the README.
fn block(section: &str, language: &str) -> String {
    blocks(section, language).swap_remove(0)
}

/// All blocks in this language of a section of the README, in order; there is one at least.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("there is a README.md");
    let section = readme.split_once(&format!("## {section}")).expect("the section begins").1;
    let section = section.split_once("\n## ").expect("the section ends").0;
    let begun = format!("```{language}\n");
    let blocks = section.split(&begun).skip(1).map(|rest| rest.split_once("```").expect("a block ends").0.to_owned());
    let blocks: Vec<String> = blocks.collect();
    assert!(!blocks.is_empty(), "the section has no block in {language}");
    blocks
}

/// What a terminal gave back.
struct Typed {
    ok: bool,
    stdout: String,
    stderr: String,
}

/// Types something into a shell that knows no more than a terminal of its own would.
async fn type_in(folder: &Path, arguments: &[&str], text: &str, env: &[(&str, &str)]) -> Typed {
    let mut command = Command::new("bash");
    command.args(arguments).args(["-c", text]).current_dir(folder);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(env.iter().copied());
    let mut shell = Process::start("bash", command);
    let status = shell.wait(Duration::from_secs(120)).await;
    Typed { ok: status.success(), stdout: shell.stdout(), stderr: shell.stderr() }
}
