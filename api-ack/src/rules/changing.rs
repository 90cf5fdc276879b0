//! What people do to a job: cancel it, or move it to another time.

use super::is_parked;
use crate::store::{Micros, Outlet, State, Status};

/// What a cancel does.
#[derive(Clone, Debug, PartialEq)]
pub enum Cancel {
    /// It waits, or was given away by a call: cancelled once this is stored. Its message, if the broker has one, is stale.
    Now(Status),
    /// It runs: to be asked for with this epoch.
    Ask(i32),
    /// It runs, and was asked for before.
    Asked,
    /// It is cancelled already.
    Done,
    /// It ended in another way.
    Ended,
}

/// Somebody wants the job not to be done.
pub fn cancel(job: &Status, now: Micros) -> Cancel {
    match job.state {
        State::Cancelled => Cancel::Done,
        state if state.is_end() => Cancel::Ended,
        State::Running if !is_parked(job) && job.cancel_asked() => Cancel::Asked,
        State::Running if !is_parked(job) => Cancel::Ask(job.epoch),
        _ => Cancel::Now(job.cancelled(now)),
    }
}

/// What moving a job does.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// It waits in the store: due at the other time once this is stored.
    To(Status),
    /// It is on its way to the broker, there, or running.
    UnderWay,
    /// It is over.
    Ended,
}

/// Somebody wants the job to be due at `due_at`, which is before its deadline; a time that has passed means now.
///
/// What a process holds in memory may be on the wire at this moment, and a redrive or a rung is due at once: only a row that
/// nobody owns and that waits for its work queue is moved.
pub fn move_to(job: &Status, due_at: Micros, now: Micros) -> Move {
    if job.state.is_end() {
        return Move::Ended;
    }
    if job.owner.is_some() || job.state == State::Running || job.outlet != Some(Outlet::Jobs) {
        return Move::UnderWay;
    }
    let due_at = due_at.max(now);
    let state = if matches!(job.state, State::Accepted | State::Queued) && due_at > now { State::Scheduled } else { job.state };
    Move::To(Status { state, ..job.waits_for(Outlet::Jobs, due_at, now) })
}
