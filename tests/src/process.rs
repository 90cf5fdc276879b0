//! A program started by a test: in its own process group, output in files, gone with the test.
//!
//! For the shop, workers in other languages, and underneath every server of the harness. Signals go
//! to this program by its number, never by name. When a test fails, the end of the program's output
//! is printed beside the failure.

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{reaper, wait};

/// How many lines of each output are printed when a test fails.
const TAIL: usize = 60;

/// Where a program of the workspace dies as if by `kill -9`, if it was built to.
const CRASH_POINT: &str = "WARREN_CRASH_POINT";

/// A running (or ended) program.
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
    _folder: Option<TempDir>,
}

impl Process {
    /// Starts a command with its output in files of a temporary folder.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, command: Command) -> Self {
        let folder = folder(name);
        let mut process = Self::start_in(name, command, folder.path());
        process._folder = Some(folder);
        process
    }

    /// Starts a command with its output in `<name>.out` and `<name>.err` of a folder; a second
    /// start appends to them.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start_in(name: &str, mut command: Command, folder: &Path) -> Self {
        reaper::ready();
        if command.get_envs().any(|(name, value)| name == CRASH_POINT && value.is_some()) {
            ensure_crash_points(Path::new(command.get_program()));
        }
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.err"));
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(append(&stdout))
            .stderr(append(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} did not start from {:?}: {error}", command.get_program()));
        reaper::watch(child.id());
        Self { name: name.to_owned(), child, stdout, stderr, ended: None, _folder: None }
    }

    /// The process number, which is also the number of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program alone. Does nothing once it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may have ended by itself and wait to be collected: nothing is lost then.
            let _ = kill(self.number(), signal);
        }
    }

    /// Ends the whole group at once, as `kill -9` does, and waits until the program is gone.
    pub fn kill9(&mut self) -> ExitStatus {
        if self.ended.is_none() {
            let _ = killpg(self.number(), Signal::SIGKILL);
            let status = self.child.wait().expect("a started program can be waited for");
            self.note(status);
        }
        self.ended.expect("just waited for")
    }

    /// Asks the program to leave (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When it has not left within the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(deadline).await
    }

    /// Waits until the program has ended by itself.
    ///
    /// # Panics
    /// When it has not ended within the deadline.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} (process {}) to end", self.name, self.pid());
        let this = Mutex::new(self);
        let status = wait::until(deadline, &what, async || this.lock().unwrap().poll()).await;
        if status.signal() == Some(Signal::SIGKILL as i32) {
            // Counted by the soak.
            eprintln!("killed: {}", this.lock().unwrap().name);
        }
        status
    }

    /// How the program ended, or `None` while it runs.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait().expect("a started program can be polled")
        {
            self.note(status);
        }
        self.ended
    }

    /// Whether the program died of SIGKILL: a crash point, or [`Process::kill9`].
    pub fn was_killed(&mut self) -> bool {
        self.poll().is_some_and(|status| status.signal() == Some(Signal::SIGKILL as i32))
    }

    /// All it has written to standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// All it has written to standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// The last lines of both outputs, for a failure message.
    pub fn tail(&self) -> String {
        let mut report = String::new();
        for (stream, path) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let text = text(path);
            let lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                report.push_str(&format!("--- {} {stream}, the last lines\n", self.name));
                report.push_str(&lines[lines.len().saturating_sub(TAIL)..].join("\n"));
                report.push('\n');
            }
        }
        report
    }

    fn note(&mut self, status: ExitStatus) {
        self.ended = Some(status);
        reaper::forget(self.child.id());
    }

    fn number(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        self.kill9();
    }
}

/// A temporary folder that goes with the test process even when that is killed.
pub fn folder(name: &str) -> TempDir {
    folder_in(&std::env::temp_dir(), name)
}

/// As [`folder`], within another one.
pub(crate) fn folder_in(all: &Path, name: &str) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix(&format!("warren-{name}-"))
        .tempdir_in(all)
        .expect("the harness could not make a temporary folder: is the disk full?");
    reaper::folder(folder.path());
    folder
}

/// The root folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// A binary of the workspace (`warren`, `shop`), from the folder this test was built into.
///
/// `WARREN_BIN` names another `warren`.
///
/// # Panics
/// When it has not been built. It must be built for the whole workspace: only then are the crash
/// points in it, since the test crate asks for that feature.
pub fn binary(name: &str) -> PathBuf {
    if name == "warren"
        && let Some(path) = std::env::var_os("WARREN_BIN")
    {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent);
    let path = folder.expect("a test lies in target/<profile>/deps").join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace --bins` first", path.display());
    path
}

/// A test would wait in vain for a program to die that does not know how to.
fn ensure_crash_points(program: &Path) {
    let found = Command::new("grep").args(["-qF", CRASH_POINT]).arg(program).status().expect("`grep` can be run");
    assert!(
        found.success(),
        "{} was built without crash points: run `cargo build --workspace --bins --features warren-hub/crash-points`",
        program.display()
    );
}

fn append(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("could not open {}: {error}", path.display()))
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
