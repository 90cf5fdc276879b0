//! What a newcomer meets: `warren dev`, its banner, the README, Ctrl-C, and what can be in the way.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warren_tests::process::Process;

mod lifetime;
mod obstacles;
mod slow;
mod tour;

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
