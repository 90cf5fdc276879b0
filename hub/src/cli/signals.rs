//! SIGTERM, Ctrl-C and a closed terminal: the first one drains, the second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use super::print::talk;

/// Listens from the moment it is made: a signal that comes before [`Stop::asked`] is not lost.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal; gives the exit code a shell knows it by.
    pub(super) async fn asked(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 128 + 15,
            _ = self.interrupt.recv() => 128 + 2,
            _ = self.hangup.recv() => 128 + 1,
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
