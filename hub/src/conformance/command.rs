//! The worker's process: in a group of its own, its last lines kept, gone with the kit.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command as Program};
use tokio_util::task::TaskTracker;

use super::Unfit;

/// How many lines are kept.
const LINES: usize = 20;

/// How much of a line is kept, in bytes.
const LINE: u64 = 500;

/// How a worker is started.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// Over the kit's own environment.
    pub(crate) variables: Vec<(String, String)>,
    /// Each line goes to stderr as it comes.
    pub(crate) verbose: bool,
}

/// A worker that runs, or did. Dropped, it is killed with its group.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    group: Pid,
    /// Nothing of the group is left; its number may be another's.
    gone: bool,
    lines: Lines,
    reading: TaskTracker,
}

/// How long the last lines of a worker that is gone may take.
const LAST_LINES: Duration = Duration::from_secs(1);

type Lines = Arc<Mutex<VecDeque<String>>>;

impl Command {
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub(crate) fn start(&self) -> Result<Worker, Unfit> {
        let (program, arguments) = self.words.split_first().ok_or_else(|| Unfit("the command is empty".to_owned()))?;
        let mut starting = Program::new(program);
        starting.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Ctrl-C is for the kit, which ends the worker itself.
        starting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let cannot = |why: String| Unfit(format!("cannot start `{program}`: {why}"));
        let mut child = starting.spawn().map_err(|error| cannot(error.to_string()))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
        let group = Pid::from_raw(pid.ok_or_else(|| cannot("it ended at once".to_owned()))?);
        let (lines, reading) = (Lines::default(), TaskTracker::new());
        if let Some(out) = child.stdout.take() {
            reading.spawn(keep(out, lines.clone(), self.verbose));
        }
        if let Some(err) = child.stderr.take() {
            reading.spawn(keep(err, lines.clone(), self.verbose));
        }
        Ok(Worker { child, group, gone: false, lines, reading })
    }
}

impl Worker {
    /// How it ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to leave, and kills it with its group after `grace`; `None` when it had to be.
    pub(crate) async fn terminate(&mut self, grace: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        let _ = killpg(self.group, Signal::SIGTERM);
        let left = tokio::time::timeout(grace, self.child.wait()).await;
        self.kill().await;
        left.ok()?.ok()
    }

    /// Kills it with its group, as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        if !self.gone {
            let _ = killpg(self.group, Signal::SIGKILL);
            let _ = self.child.wait().await;
            self.gone = true;
            // Its last lines; somebody outside the group may hold the pipes open.
            self.reading.close();
            let _ = tokio::time::timeout(LAST_LINES, self.reading.wait()).await;
        }
    }

    /// Its last lines.
    pub(crate) fn output(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.gone {
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

/// Keeps the last lines; a long one is cut into several.
async fn keep(stream: impl AsyncRead + Unpin, lines: Lines, verbose: bool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text: String =
            String::from_utf8_lossy(&line).trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        if verbose {
            use std::io::Write as _;
            // Nobody may be left to read it.
            let _ = writeln!(std::io::stderr(), "  | {text}");
        }
        let mut kept = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}
