//! Ends what a test process started, whatever way that process ends.
//!
//! A destructor does not run for statics, nor after `kill -9` or an abort. So one small shell, in a
//! process group of its own, holds the read end of a pipe. It is told what to watch; when the pipe
//! closes, which the kernel does for any death, it kills the process groups that are left and
//! removes the folders. Linux and macOS alike, no unsafe code.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=''
undo=''
set --
while read -r verb what; do
  case $verb in
    watch) groups="$groups $what" ;;
    forget)
      kept=''
      for group in $groups; do [ "$group" = "$what" ] || kept="$kept $group"; done
      groups=$kept ;;
    folder) set -- "$@" "$what" ;;
    undo) undo="$undo
$what" ;;
  esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
eval "$undo" 2>/dev/null
for folder in "$@"; do
  # What is being killed may still write: look again until it is gone.
  for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$folder" 2>/dev/null
    [ -e "$folder" ] || break
    sleep 1
  done
done
"#;

static SHELL: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the harness needs `sh` to end its servers with the test process");
    Mutex::new(shell)
});

/// Kill this process group when the test process is gone.
pub(crate) fn watch(group: u32) {
    tell("watch", &group.to_string());
}

/// The group has ended and been waited for; its number may be taken by a stranger from now on.
pub(crate) fn forget(group: u32) {
    tell("forget", &group.to_string());
}

/// Remove this folder when the test process is gone.
pub(crate) fn folder(path: &Path) {
    tell("folder", &path.display().to_string());
}

/// Run these commands, on one line, when the test process is gone. They may find nothing left to do.
pub(crate) fn undo(commands: &str) {
    ready();
    tell("undo", commands);
}

fn tell(verb: &str, what: &str) {
    let mut shell = SHELL.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = shell.stdin.as_mut().expect("stdin was piped");
    writeln!(pipe, "{verb} {what}").expect("the harness's reaper is gone: was it killed by hand?");
}

/// Starts the shell before the first server, so that none is ever unwatched for longer than a fork.
pub(crate) fn ready() {
    LazyLock::force(&SHELL);
}
