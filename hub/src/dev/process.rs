//! A program of ours in a process group of its own: started by us, or adopted from a hub that was killed.

use std::io;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How often an adopted process, which is not our child, is looked at.
const GLANCE: Duration = Duration::from_millis(250);

/// Who a process is: a pid alone can be another one by now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// When it was started, in the system's own words; only compared.
    pub(super) started: String,
}

impl Identity {
    /// Who runs under `pid` now; `None` when nobody does, or only a corpse.
    fn of(pid: u32) -> Option<Self> {
        let started = if cfg!(target_os = "linux") { started_linux(pid)? } else { started_ps(pid)? };
        Some(Self { pid, started })
    }

    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// The start time in clock ticks since boot, with the boot's id, since ticks begin anew.
fn started_linux(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; after it: state, then 18 fields, then the start time.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{ticks} {}", boot.trim()))
}

/// For systems without /proc.
fn started_ps(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (state, started) = line.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// A running program; dropped, its group is told to end, or is ended at once while it is not ready yet.
#[derive(Debug)]
pub(super) struct Process {
    identity: Identity,
    child: Option<Child>,
    ready: bool,
    ended: bool,
}

impl Process {
    /// Starts `command` as the leader of a group, so that Ctrl-C in a terminal reaches the hub alone.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        // A child that has ended already is told apart by `ended()`.
        let identity = Identity::of(pid).unwrap_or(Identity { pid, started: String::new() });
        Ok(Self { identity, child: Some(child), ready: false, ended: false })
    }

    /// Takes over a process that another hub started, if it is still that one.
    pub(super) fn adopt(identity: Identity) -> Option<Self> {
        identity.is_alive().then_some(Self { identity, child: None, ready: true, ended: false })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Waits until it has ended; says how, where that is known. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        let how = match &mut self.child {
            Some(child) => child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string()),
            None => {
                while self.identity.is_alive() {
                    sleep(GLANCE).await;
                }
                "it is gone".to_owned()
            }
        };
        self.ended = true;
        how
    }

    /// From now on it heeds a SIGTERM: Erlang loses one that comes early in its start.
    pub(super) fn is_ready(&mut self) {
        self.ready = true;
    }

    /// Tells it to end, and after `grace` ends its whole group; returns once it is gone. May be called again when cut short.
    pub(super) async fn terminate(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            // Said again each second, for one that was lost.
            self.signal(Signal::SIGTERM);
            if timeout(Duration::from_secs(1), self.ended()).await.is_ok() {
                return;
            }
        }
        self.signal(Signal::SIGKILL);
        // Only a process stuck in the kernel outlives this; there is no more to be done about it.
        let _ = timeout(Duration::from_secs(5), self.ended()).await;
    }

    fn signal(&self, signal: Signal) {
        // An unreaped child keeps its pid; an adopted process is looked at first, its pid may be another's.
        let is_it = !self.ended && (self.child.is_some() || self.identity.is_alive());
        if let Some(pid) = i32::try_from(self.identity.pid).ok().filter(|pid| is_it && *pid > 1) {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(if self.ready { Signal::SIGTERM } else { Signal::SIGKILL });
    }
}
