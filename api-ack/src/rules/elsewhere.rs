//! Runs whose worker the hub neither starts nor sees: it knows what is reported.
//!
//! Such a worker may say that it has begun. Then the row is `running` with no owner and no start of the hub's, `starts` 0; no process of
//! the hub can tell whether it lives, so a time limit holds, counted from when the hub heard.

use messaging::handler::{Failure, Outcome};
use messaging::ledger::End;
use messaging::message::Run;
use messaging::retry::RetryPolicy;

use super::{Finish, MAX_WORKER, Report, cut_to, finish, is_at};
use crate::store::{Attempt, Micros, State, Status};

/// Whether it runs where the hub does not see it.
pub fn runs_elsewhere(job: &Status) -> bool {
    job.state == State::Running && job.starts == 0
}

/// A worker elsewhere says that it has begun `run`, at `started_at` by its own clock. `None` if that is no news: the job is not at that
/// run, or waits for another time, or is known to run since then or later.
///
/// One that began later than what is known has the message after another one lost it, and has all the time there is.
pub fn started(job: &Status, run: Run, started_at: Option<Micros>, worker: &str, now: Micros) -> Option<Status> {
    let held = matches!(job.state, State::Scheduled | State::Retrying) && job.outlet.is_some() && job.due_at > now;
    if held || !is_at(job, run, None) {
        return None;
    }
    let begun = started_at.map(|at| at.min(now));
    let again = runs_elsewhere(job);
    if again && begun.is_none_or(|begun| job.started_at.is_some_and(|known| begun <= known)) {
        return None;
    }
    Some(Status {
        state: State::Running,
        lease: job.lease + 1,
        // Those of before were the hub's own.
        starts: 0,
        interrupted: job.interrupted + i32::from(again || job.starts > 0),
        started_at: Some(begun.unwrap_or(now)),
        worker: (!worker.is_empty()).then(|| cut_to(worker.to_owned(), MAX_WORKER)),
        http_status: None,
        ..job.quiet(now)
    })
}

/// A run elsewhere has not ended `limit` after the hub heard that it began: it counts as failed, and is tried again as any that failed.
/// `None` if it has time, or does not run elsewhere.
pub fn overrun(job: &Status, limit: Micros, policy: &RetryPolicy, now: Micros, random: f64) -> Option<(Status, Option<Attempt>)> {
    if !runs_elsewhere(job) || job.updated_at.saturating_add(limit) > now {
        return None;
    }
    let seconds = limit / 1_000_000;
    let failure = Failure::new("timed-out", format!("no outcome was reported within {seconds} s of the start"));
    let end = End::Outcome(Outcome::Retry(failure));
    let report =
        Report { run: job.run(), lease: None, end: &end, started_at: None, ended_at: now, worker: "", http_status: None };
    match finish(job, &report, policy, now, random) {
        Finish::Applied(to, history) => Some((*to, history)),
        Finish::Late(_) => None,
    }
}

/// The record of a report about this job by somebody who does not show the right to speak for the run: `reason` says why. One for each
/// run of the job, whatever was claimed and how often: what a stranger writes does not fill a history.
pub fn forged(job: &Status, claimed: Run, reason: &str, worker: &str, now: Micros) -> Attempt {
    let Run { epoch, attempt } = claimed;
    Attempt {
        epoch: job.epoch,
        attempt: job.attempt,
        lease: job.lease,
        started_at: None,
        ended_at: now,
        outcome: "forged".to_owned(),
        reason: Some(reason.to_owned()),
        error: Some(format!(
            "a report of attempt {attempt} in epoch {epoch} came without the token of that run, and was ignored"
        )),
        worker: (!worker.is_empty()).then(|| cut_to(worker.to_owned(), MAX_WORKER)),
        http_status: None,
        times: 1,
    }
}
