//! SIGTERM, Ctrl-C and a closed terminal: the first one drains, the second one ends the process at once. For a hub that has no
//! terminal, SIGHUP asks for the configuration to be read again, and never stops it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use super::print::talk;

/// What was heard.
pub(super) enum Heard {
    /// Stop; the exit code a shell knows the signal by.
    Stop(i32),
    /// SIGHUP, when it means so.
    Reload,
}

/// What SIGHUP means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hangup {
    /// The terminal was closed: stop.
    Stops,
    /// Read the configuration again.
    Reloads,
}

/// Listens from the moment it is made: a signal that comes before [`Stop::asked`] is not lost.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    means: Hangup,
}

impl Stop {
    pub(super) fn listen(means: Hangup) -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            means,
        })
    }

    /// Waits for a signal.
    pub(super) async fn heard(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop(128 + 15),
            _ = self.interrupt.recv() => Heard::Stop(128 + 2),
            _ = self.hangup.recv() => match self.means {
                Hangup::Stops => Heard::Stop(128 + 1),
                Hangup::Reloads => Heard::Reload,
            },
        }
    }

    /// Waits until it is to stop; gives the exit code a shell knows the signal by.
    pub(super) async fn asked(&mut self) -> i32 {
        loop {
            if let Heard::Stop(code) = self.heard().await {
                return code;
            }
        }
    }

    /// Runs `leaving` to its end, unless a second signal comes.
    pub(super) async fn unless_asked_again(mut self, leaving: impl Future<Output = ()>) {
        tokio::select! {
            () = leaving => {}
            code = self.asked() => {
                talk("warren: leaving at once; what was not finished is done again later");
                std::process::exit(code);
            }
        }
    }
}
