//! The conformance kit: whether a stranger's worker keeps to the contract, seen from where the hub stands.
//!
//! It plays the hub's part with the hub's own code, on a broker ([`amqp`]) or over HTTP ([`http`]), and needs neither a hub nor a store. Every
//! case has a worker of its own, started and ended by the kit when it has a command for it. Nothing that it did not make is taken:
//! a queue with somebody else's messages, or with a hub at it, is refused before anything is given.
//!
//! | module | owns |
//! |---|---|
//! | [`case`] | the names of the cases, and what a verdict is |
//! | [`payloads`] | what the stranger's jobs look like |
//! | [`command`] | the worker's process |
//! | [`desk`] | the hub's side of a broker: what is given, what comes back |
//! | [`book`] | what was given and what was said of it; whether the two fit. Pure |
//! | [`amqp`], [`http`] | the cases |
//! | [`report`] | the verdicts as text, JSON and JUnit XML |

pub(crate) mod amqp;
mod book;
pub(crate) mod case;
pub(crate) mod command;
mod desk;
pub(crate) mod http;
pub(crate) mod payloads;
pub(crate) mod report;

use std::time::{Duration, Instant};

use case::{Case, Ended, Stop, Verdict};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From one word of the worker to the next, and for one answer.
    pub(crate) timeout: Duration,
    /// From SIGTERM to the end of the process.
    pub(crate) grace: Duration,
}

/// Why no case could be run, or no more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) String);

/// A worker on trial.
pub(crate) trait Trial {
    /// Puts the worker through a case.
    async fn put_through(&mut self, case: Case) -> Result<(), Stop>;

    /// Ends what the case has left; what is allowed and yet worth knowing, and the worker's last lines.
    async fn clear_up(&mut self) -> (Vec<String>, Vec<String>);
}

/// Runs `cases`; each is told as it ends.
///
/// # Errors
/// When the rest cannot be run.
pub(crate) async fn run(trial: &mut impl Trial, cases: &[Case], mut told: impl FnMut(&Ended)) -> Result<Vec<Ended>, Unfit> {
    let mut all = Vec::with_capacity(cases.len());
    for case in cases.iter().copied() {
        let begun = Instant::now();
        let done = trial.put_through(case).await;
        let took = begun.elapsed();
        let (notes, output) = trial.clear_up().await;
        let verdict = match done {
            Ok(()) => Verdict::Pass,
            Err(Stop::Fail(why)) => Verdict::Fail(why),
            Err(Stop::NotRun(why)) => Verdict::NotRun(why),
            Err(Stop::Unfit(why)) => return Err(Unfit(why)),
        };
        let output = if matches!(verdict, Verdict::Fail(_)) { output } else { Vec::new() };
        let ended = Ended { case, verdict, notes, took, output };
        told(&ended);
        all.push(ended);
    }
    Ok(all)
}
