//! The rules of a job: what a start, an end, a confirm, a deadline, a redrive does to its row. Pure, and the only place that
//! decides.
//!
//! ```text
//!             accept                 confirm                 begin
//!   (none) ----------> accepted ----------> queued -------------------> running
//!                          |                   ^                        | | | |
//!                          |      confirm      |        interrupted     | | | |
//!                          |   .---------------+------------------------' | | |
//!                          v   |                                          | | |
//!   scheduled -------> (due, published)                retrying <---------' | |   failed, an attempt left; snoozed
//!                                                          |   begin        | |
//!                                                          '-----> running  | |
//!                                                                           | '-> succeeded
//!   any live state -- deadline passes --> expired                           '---> dead   rejected, exhausted, poison
//!   any live state but running -- cancel --> cancelled
//!   waiting for its start elsewhere -- started --> running, with no owner; not ended in time --> as if it had failed
//!   running, a cancel asked for -- neither done nor rejected, or its process is gone --> cancelled
//!   waiting in the store for anybody -- move --> scheduled, or as it was, due at another time
//!   dead -- redrive (epoch + 1) --> accepted
//! ```
//!
//! One row has one truth: (epoch, attempt, lease). A message, a confirm or an end that does not name all it must is stale or
//! late, and changes nothing. `outlet` is set exactly while the broker has nothing of the job and must be given it: the row is the
//! outbox, for the first attempt, for the next one, and for the dead letter alike. That is so while something waits to be published
//! for the row, and while it runs with its delivery acked already: its owner publishes it, or ends it, and if the owner dies
//! somebody else publishes it.

mod changing;
mod elsewhere;

use bytes::Bytes;
use messaging::handler::{Failure, Outcome};
use messaging::ledger::End;
use messaging::message::Run;
use messaging::results::MAX_RESULT;
use messaging::retry::{Next, RetryPolicy};

pub use changing::{Cancel, Move, cancel, move_to};
pub use elsewhere::{forged, is_parked, overrun, runs_elsewhere, started};

use crate::store::{Attempt, Micros, Outlet, ProcessId, State, Status};

/// Starts without an end after which a job counts as poison.
pub const MAX_STARTS: i32 = 3;

/// The longest error text kept, in bytes.
pub const MAX_ERROR: usize = 4096;

/// The longest name of a worker kept, in bytes.
const MAX_WORKER: usize = 128;

/// The longest failure code kept, in bytes; as much as a service may report.
const MAX_CODE: usize = messaging::results::MAX_CODE;

impl State {
    /// Whether the job is over.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled | Self::Expired)
    }
}

impl Status {
    /// A job just accepted: due now. Whoever stores it sets the owner if it holds a ticket for it.
    pub fn accepted(now: Micros, deadline: Micros) -> Self {
        Self {
            state: State::Accepted,
            epoch: 1,
            attempt: 1,
            spent: 0,
            starts: 0,
            interrupted: 0,
            lease: 0,
            owner: None,
            due_at: now,
            outlet: Some(Outlet::Jobs),
            deadline,
            started_at: None,
            worker: None,
            http_status: None,
            ended_at: None,
            updated_at: now,
            reason: None,
            error: None,
            cancel_epoch: None,
        }
    }

    /// A job accepted for later: it waits in the store, for anybody, until `due_at`.
    pub fn scheduled(now: Micros, due_at: Micros, deadline: Micros) -> Self {
        Self { state: State::Scheduled, due_at, ..Self::accepted(now, deadline) }
    }

    /// Whether a cancel was asked for while it ran. It runs on, and is cancelled where it would wait for another start.
    pub fn cancel_asked(&self) -> bool {
        self.cancel_epoch == Some(self.epoch)
    }

    /// Which run it is at.
    pub fn run(&self) -> Run {
        Run { epoch: self.epoch, attempt: self.attempt }
    }

    /// The attempt waits for its start.
    fn not_started(self) -> Self {
        Self { started_at: None, worker: None, http_status: None, ..self }
    }

    fn quiet(&self, now: Micros) -> Self {
        Self { owner: None, outlet: None, updated_at: now, ..self.clone() }
    }

    /// Waits to be published, for anybody: whoever stores it sets the owner if it holds a ticket for it.
    fn waits_for(&self, outlet: Outlet, due_at: Micros, now: Micros) -> Self {
        Self { owner: None, due_at, outlet: Some(outlet), updated_at: now, ..self.clone() }
    }

    fn ended(&self, state: State, now: Micros) -> Self {
        Self { state, starts: 0, ended_at: Some(now), ..self.quiet(now) }
    }

    fn cancelled(&self, now: Micros) -> Self {
        Self { reason: Some("cancelled".to_owned()), ..self.ended(State::Cancelled, now) }
    }

    /// Given up, with its dead letter still to be published.
    fn dead(&self, reason: &str, error: String, now: Micros) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            error: Some(cut(error)),
            ..self.ended(State::Dead, now).waits_for(Outlet::Dead, now, now)
        }
    }
}

/// The answer to a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// It runs once this is stored; its lease is the status's. Whoever stores it says who the worker is.
    Run(Status),
    /// Started before without an end: only alone.
    Alone,
    /// Somebody else has it, or it is not yet due.
    Busy,
    /// Not the run the job is at.
    Stale,
    /// A cancel was asked for and its process is gone; cancelled once this is stored.
    Cancelled(Status),
    /// Started too often; dead once this is stored.
    Poisoned(Status),
}

/// A delivery that wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which run it stands for.
    pub run: Run,
    /// It has the process to itself, or what stands for that where it is acked early.
    pub alone: bool,
    /// It is acked once this is stored: the row alone knows of the run from then on.
    pub early: bool,
}

/// A delivery arrives at `me`.
///
/// The caller vouches that `me` does not run this very run at the moment.
pub fn begin(job: &Status, claim: Claim, me: ProcessId, lives: impl Fn(ProcessId) -> bool, now: Micros) -> Begin {
    let Claim { run, alone, early } = claim;
    if job.state.is_end() || job.run() != run || is_parked(job) {
        return Begin::Stale;
    }
    let elsewhere = job.owner.is_some_and(|owner| owner != me && lives(owner));
    if job.state == State::Running && elsewhere {
        return Begin::Busy;
    }
    // A copy from before a snooze, or a publish by a process whose clock is ahead: it comes back in a second.
    let held = matches!(job.state, State::Scheduled | State::Retrying) && job.outlet.is_some() && job.due_at > now;
    if held {
        return Begin::Busy;
    }
    if job.cancel_asked() {
        return Begin::Cancelled(job.cancelled(now));
    }
    if job.starts >= MAX_STARTS {
        let error = format!("started {} times without an end: it takes the process with it", job.starts);
        return Begin::Poisoned(job.dead("poison", error, now));
    }
    // A process that dies takes long work with it that is most likely innocent, and work alone would hold all other work up for as long
    // as it lasts. So of work that is acked early only what was hit twice is suspected.
    if job.starts > i32::from(early) && !alone {
        return Begin::Alone;
    }
    Begin::Run(Status {
        state: State::Running,
        owner: Some(me),
        lease: job.lease + 1,
        starts: job.starts + 1,
        interrupted: job.interrupted + i32::from(job.starts > 0),
        started_at: Some(now),
        worker: None,
        http_status: None,
        updated_at: now,
        outlet: early.then_some(Outlet::Jobs),
        due_at: job.due_at.min(now),
        ..job.clone()
    })
}

/// What a delivery asks for is left alone until `until`: it is not started, and waits in the store instead.
pub fn put_off(job: &Status, until: Micros, now: Micros) -> Status {
    Status { state: State::Retrying, ..job.waits_for(Outlet::Jobs, until.min(job.deadline), now) }
}

/// What an end does.
#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    /// The job becomes this; the attempt that is over goes into the history unless the row still shows it.
    Applied(Box<Status>, Option<Attempt>),
    /// The job had moved on: only this record is kept.
    Late(Attempt),
    /// It was to go on outside, and its end has come from there already: nothing to keep.
    Over,
}

/// An end as it is reported: by a consumer with its lease, or by a service through `warren.results` without one.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Which run ended.
    pub run: Run,
    /// `None` when whoever reports never held one.
    pub lease: Option<i64>,
    /// How it ended.
    pub end: &'a End,
    /// When the handler was started; `None` when nobody says.
    pub started_at: Option<Micros>,
    /// When it came back.
    pub ended_at: Micros,
    /// Who ran it; empty when nobody says.
    pub worker: &'a str,
    /// What a service that it called answered.
    pub http_status: Option<u16>,
}

/// Whether whoever speaks of `run` speaks of what the job does: a worker of the hub by its `lease`, a service without one.
pub fn is_at(job: &Status, run: Run, lease: Option<i64>) -> bool {
    let current = match lease {
        Some(lease) => job.state == State::Running && job.lease == lease,
        // A service runs what the hub knows as published. A run the hub's own worker holds is not the service's to speak of.
        None => !(job.state.is_end() || job.state == State::Running && !runs_elsewhere(job)),
    };
    current && job.run() == run
}

/// What whoever holds the token of the run names as its lease: that of the start which is under way, if there is one.
pub fn lease_of(job: &Status) -> Option<i64> {
    (job.state == State::Running).then_some(job.lease)
}

/// An attempt ends.
///
/// `random` in `0.0..1.0` is the jitter of a retry that waits in the store.
pub fn finish(job: &Status, report: &Report<'_>, policy: &RetryPolicy, now: Micros, random: f64) -> Finish {
    if !is_at(job, report.run, report.lease) {
        if *report.end == End::Parked {
            return Finish::Over;
        }
        return Finish::Late(late(job, report));
    }
    let http_status = report.http_status.map(i32::from);
    // What the report leaves out, that of the start said, if there was one. Without both the attempt took no time.
    let started_at = report.started_at.or(job.started_at).or(Some(report.ended_at));
    let worker = worker(report).or_else(|| job.worker.clone());
    let job = &Status { started_at, worker, http_status, starts: 0, ..job.clone() };
    let outcome = match report.end {
        End::Outcome(outcome) => outcome,
        End::Interrupted if job.cancel_asked() => return Finish::Applied(Box::new(job.cancelled(now)), None),
        End::Interrupted => {
            let interrupted = job.interrupted + 1;
            // The delivery is given back, unless there is none any more.
            let waits = if job.outlet.is_some() { job.waits_for(Outlet::Jobs, now, now) } else { job.quiet(now) };
            return Finish::Applied(Box::new(Status { state: State::Queued, interrupted, ..waits.not_started() }), None);
        }
        // Nobody wants it any more: what comes for it later is late.
        End::Parked if job.cancel_asked() => return Finish::Applied(Box::new(job.cancelled(now)), None),
        // What a row shows that is parked: the promise its call was answered with.
        End::Parked => {
            let promised = Status { http_status: job.http_status.or(Some(202)), ..job.quiet(now) };
            return Finish::Applied(Box::new(promised), None);
        }
    };
    let (next, keep) = match outcome {
        // Not by a clock that runs ahead, nor by one that is behind: retention goes by it.
        Outcome::Done(result) => {
            let (reason, error) = result.as_ref().and_then(too_large).unzip();
            (Status { reason, error, ..job.ended(State::Succeeded, report.ended_at.clamp(job.updated_at.min(now), now)) }, false)
        }
        Outcome::Reject(failure) => (job.dead(rejection(failure), failure.to_string(), now), false),
        Outcome::Snooze(_) | Outcome::Retry(_) | Outcome::RetryAfter(..) if job.cancel_asked() => {
            (job.cancelled(now).not_started(), true)
        }
        Outcome::Snooze(wait) => {
            let due = now.saturating_add(micros(*wait)).min(job.deadline);
            (Status { state: State::Retrying, ..job.waits_for(Outlet::Jobs, due, now).not_started() }, true)
        }
        Outcome::Retry(failure) => retry(job, failure, None, policy, now, random),
        Outcome::RetryAfter(wait, failure) => retry(job, failure, Some(*wait), policy, now, random),
    };
    let record = || Attempt { started_at: job.started_at, worker: job.worker.clone(), ..attempt(job, report, outcome.name()) };
    Finish::Applied(Box::new(next), keep.then(record))
}

/// What a job says that succeeded with more than is kept: the effect is there, so it is not tried again.
fn too_large(result: &Bytes) -> Option<(String, String)> {
    let told = |length| format!("the result has {length} bytes and was not kept: {MAX_RESULT} at most are");
    (result.len() > MAX_RESULT).then(|| ("result-too-large".to_owned(), told(result.len())))
}

fn retry(
    job: &Status,
    failure: &Failure,
    hint: Option<std::time::Duration>,
    policy: &RetryPolicy,
    now: Micros,
    random: f64,
) -> (Status, bool) {
    let spent = u32::try_from(job.attempt - job.spent).unwrap_or(u32::MAX);
    let waits = match policy.after(spent, hint, random) {
        Next::GiveUp => return (job.dead("exhausted", failure.to_string(), now), false),
        Next::Rung(rung) => job.waits_for(Outlet::Rung(rung), now, now),
        // Nothing is due after its deadline; and what its deadline has reached is not published any more.
        Next::Store(wait) => job.waits_for(Outlet::Jobs, now.saturating_add(micros(wait)).min(job.deadline), now),
    };
    let next = Status {
        state: State::Retrying,
        attempt: job.attempt + 1,
        reason: Some(code(failure)),
        error: Some(cut(failure.to_string())),
        ..waits.not_started()
    };
    (next, true)
}

/// What nobody looked at is worth telling apart from what a handler turned down.
fn rejection(failure: &Failure) -> &'static str {
    match failure.code.as_str() {
        "undecodable" => "undecodable",
        "poison" => "poison",
        _ => "rejected",
    }
}

/// The record of an end that changes nothing.
pub fn late(job: &Status, report: &Report<'_>) -> Attempt {
    attempt(job, report, "late")
}

fn attempt(job: &Status, report: &Report<'_>, outcome: &str) -> Attempt {
    let failure = match report.end {
        End::Outcome(Outcome::Retry(f) | Outcome::RetryAfter(_, f) | Outcome::Reject(f)) => Some(f),
        _ => None,
    };
    Attempt {
        epoch: report.run.epoch,
        attempt: report.run.attempt,
        lease: report.lease.unwrap_or(job.lease),
        started_at: report.started_at,
        ended_at: report.ended_at,
        outcome: outcome.to_owned(),
        reason: failure.map(code),
        error: failure.map(|f| cut(f.to_string())),
        worker: worker(report),
        http_status: report.http_status.map(i32::from),
        times: 1,
    }
}

fn worker(report: &Report<'_>) -> Option<String> {
    (!report.worker.is_empty()).then(|| cut_to(report.worker.to_owned(), MAX_WORKER))
}

/// The broker has confirmed what waited to be published.
pub fn published(job: &Status, now: Micros) -> Status {
    let state = match job.state {
        State::Accepted | State::Scheduled => State::Queued,
        other => other,
    };
    Status { state, ..job.quiet(now) }
}

/// A publish did not work out; it is due again at `due_at`, for anybody.
pub fn publish_later(job: &Status, due_at: Micros, now: Micros) -> Status {
    Status { owner: None, due_at, updated_at: now, ..job.clone() }
}

/// Reason of a job whose message no queue took.
pub const UNROUTABLE: &str = "unroutable";

/// Reason of a job whose exchange, which is not Warren's, is not there.
pub const EXCHANGE_MISSING: &str = "exchange-missing";

/// Reason of a job whose message the broker did not confirm: it may have it.
pub const NOT_CONFIRMED: &str = "not-confirmed";

/// A row that waits again because the broker did not take its message, which its job shows.
pub fn turned_away(job: Status, reason: &str, error: &str) -> Status {
    Status { reason: Some(reason.to_owned()), error: Some(cut(error.to_owned())), ..job }
}

/// The broker has confirmed what it had turned away before: nothing is wrong any more. `None` if nothing was.
pub fn taken_after_all(job: &Status, now: Micros) -> Option<Status> {
    let was_wrong = matches!(job.reason.as_deref(), Some(UNROUTABLE | EXCHANGE_MISSING | NOT_CONFIRMED));
    was_wrong.then(|| Status { reason: None, error: None, ..published(job, now) })
}

/// The broker has confirmed the message of a job that is done with that.
pub fn handed_off(job: &Status, now: Micros) -> Status {
    Status { reason: None, error: None, ..job.ended(State::Succeeded, now) }
}

/// What would wait in a rung waits in the store instead: to a queue that is not Warren's nothing comes back from a rung.
pub fn off_rungs(job: Status, now: Micros) -> Status {
    let Some(Outlet::Rung(rung)) = job.outlet else { return job };
    let due_at = now.saturating_add(micros(rung.delay())).min(job.deadline);
    Status { outlet: Some(Outlet::Jobs), due_at, ..job }
}

/// The process that owned the row is gone: whoever has room publishes it. One that ran with its delivery acked is to be delivered again,
/// with the start it had. What has no outlet has a delivery, which comes back by itself.
pub fn freed(job: &Status, now: Micros) -> Status {
    let state = if job.state == State::Running { State::Queued } else { job.state };
    Status { state, owner: None, updated_at: now, ..job.clone() }
}

/// The deadline has passed. `None` if there is nothing to end.
pub fn expire(job: &Status, now: Micros) -> Option<Status> {
    let over = !job.state.is_end() && job.deadline <= now;
    over.then(|| Status {
        reason: Some("deadline".to_owned()),
        error: Some(job.error.clone().unwrap_or_else(|| "the deadline passed before it was done".to_owned())),
        ..job.ended(State::Expired, now)
    })
}

/// A job in flight has been quiet while its queue is empty: its message is nowhere, so it is published again, as the same
/// attempt. A copy that turns up after all is stale or attached. `None` if it is not lost.
pub fn republish(job: &Status, lives: impl Fn(ProcessId) -> bool, now: Micros) -> Option<Status> {
    let lost = match job.state {
        State::Queued | State::Retrying => job.outlet.is_none(),
        // Nobody here would know: its time limit or its deadline ends it.
        State::Running if runs_elsewhere(job) => false,
        State::Running => job.outlet.is_none() && !job.owner.is_some_and(lives),
        _ => false,
    };
    if lost && job.cancel_asked() {
        return Some(job.cancelled(now));
    }
    let state = if job.state == State::Running { State::Queued } else { job.state };
    lost.then(|| Status { state, ..job.waits_for(Outlet::Jobs, now, now) })
}

/// Its message was found among the dead letters of the broker (delivered too often, refused, or its queue gone). `None` if the
/// job is not at that run any more, or runs here.
pub fn buried(job: &Status, run: Run, reason: &str, error: &str, now: Micros) -> Option<Status> {
    // A run that is parked has no message: it can only be a copy.
    (is_at(job, run, None) && !is_parked(job)).then(|| Status {
        reason: Some(reason.to_owned()),
        error: Some(cut(error.to_owned())),
        ..job.ended(State::Dead, now)
    })
}

/// A dead letter goes back to its queue: a new epoch, a new budget of attempts, a new deadline. `None` if the job is not dead.
pub fn redrive(job: &Status, deadline: Micros, now: Micros) -> Option<Status> {
    (job.state == State::Dead).then(|| Status {
        state: State::Accepted,
        epoch: job.epoch + 1,
        attempt: job.attempt + 1,
        spent: job.attempt,
        starts: 0,
        deadline,
        ended_at: None,
        reason: None,
        error: None,
        ..job.waits_for(Outlet::Return, now, now).not_started()
    })
}

/// The attempt a dead row still shows, for the history when a redrive takes its place.
pub fn last_attempt(job: &Status) -> Attempt {
    Attempt {
        epoch: job.epoch,
        attempt: job.attempt,
        lease: job.lease,
        started_at: job.started_at,
        ended_at: job.ended_at.unwrap_or(job.updated_at),
        outcome: outcome(job).unwrap_or("dead").to_owned(),
        reason: job.reason.clone(),
        error: job.error.clone(),
        worker: job.worker.clone(),
        http_status: job.http_status,
        times: 1,
    }
}

/// How the attempt a row shows ended, in the words of the history; `None` while it has not.
pub fn outcome(job: &Status) -> Option<&'static str> {
    Some(match (job.state, job.reason.as_deref()) {
        (State::Succeeded, _) => "succeeded",
        (State::Cancelled, _) => "cancelled",
        (State::Expired, _) => "expired",
        (State::Dead, Some("rejected" | "undecodable")) => "rejected",
        (State::Dead, Some("exhausted")) => "failed",
        (State::Dead, Some("poison")) => "interrupted",
        (State::Dead, _) => "dead",
        _ => return None,
    })
}

fn micros(wait: std::time::Duration) -> Micros {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

fn code(failure: &Failure) -> String {
    cut_to(failure.code.clone(), MAX_CODE)
}

/// Cuts a text for people at a character boundary.
pub fn cut(text: String) -> String {
    cut_to(text, MAX_ERROR)
}

/// The first so many bytes of a text, whole characters only and without NUL.
pub(crate) fn cut_to(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    // Postgres keeps no NUL in text.
    text.retain(|c| c != '\0');
    text
}

#[cfg(test)]
mod tests;
