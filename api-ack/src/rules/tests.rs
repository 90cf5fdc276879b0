//! Properties of the rules, over random lives of one job, and the cases worth a name.

mod elsewhere;
mod outlets;

use std::collections::BTreeSet;
use std::time::Duration;

use messaging::handler::{Failure, Outcome};
use messaging::retry::{Delay, RetryPolicy};
use proptest::prelude::*;

use super::*;

const A: ProcessId = ProcessId(1);
const B: ProcessId = ProcessId(2);
const SECOND: Micros = 1_000_000;
const DEADLINE: Micros = 1_000 * SECOND;

/// What may happen to a job, in any order.
#[derive(Clone, Debug)]
enum Step {
    Confirm,
    /// A delivery, maybe of an older run, at one of two processes.
    Deliver {
        back: i32,
        alone: bool,
        early: bool,
        at_b: bool,
    },
    /// An end, maybe with an older lease.
    End {
        older_lease: i64,
        how: u8,
    },
    /// A report without a lease.
    Report {
        back: i32,
        how: u8,
    },
    /// A worker elsewhere says that it has begun, so many seconds ago.
    Started {
        back: i32,
        ago: i64,
    },
    /// Time passes, and what runs elsewhere may be out of it.
    Overrun,
    /// The process that runs it dies, and others come to know.
    Die,
    /// What it was to publish is freed.
    Lapse,
    Republish,
    Expire {
        late: bool,
    },
    Buried {
        back: i32,
    },
    Redrive,
    Cancel,
    /// To a time to come, or one that has passed.
    Move {
        later: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Confirm),
        6 => (0..2_i32, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(back, alone, early, at_b)| Step::Deliver { back, alone, early, at_b }),
        6 => (0..2_i64, 0..7_u8).prop_map(|(older_lease, how)| Step::End { older_lease, how }),
        2 => (0..2_i32, 0..6_u8).prop_map(|(back, how)| Step::Report { back, how }),
        2 => (0..2_i32, 0..20_i64).prop_map(|(back, ago)| Step::Started { back, ago }),
        1 => Just(Step::Overrun),
        2 => Just(Step::Die),
        2 => Just(Step::Lapse),
        1 => Just(Step::Republish),
        1 => any::<bool>().prop_map(|late| Step::Expire { late }),
        1 => (0..2_i32).prop_map(|back| Step::Buried { back }),
        2 => Just(Step::Redrive),
        1 => Just(Step::Cancel),
        1 => any::<bool>().prop_map(|later| Step::Move { later }),
    ];
    proptest::collection::vec(step, 0..60)
}

fn end(how: u8) -> End {
    let failure = || Failure::new("boom", "it went wrong");
    match how {
        0 => End::Outcome(Outcome::done()),
        1 => End::Outcome(Outcome::Retry(failure())),
        2 => End::Outcome(Outcome::RetryAfter(Duration::from_secs(90), failure())),
        3 => End::Outcome(Outcome::Reject(failure())),
        4 => End::Outcome(Outcome::Snooze(Duration::from_secs(10))),
        5 => End::Interrupted,
        _ => End::Parked,
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy { max_attempts: 3, ..RetryPolicy::default() }
}

/// One job and the world around it.
struct Life {
    job: Status,
    alive: BTreeSet<ProcessId>,
    now: Micros,
}

impl Life {
    fn new() -> Self {
        Self { job: Status::accepted(0, DEADLINE), alive: BTreeSet::from([A, B]), now: 1 }
    }

    fn run(&self, back: i32) -> Run {
        Run { epoch: self.job.epoch, attempt: (self.job.attempt - back).max(1) }
    }

    fn begin(&mut self, run: Run, alone: bool, me: ProcessId) -> Begin {
        self.claim(Claim { run, alone, early: false }, me)
    }

    fn claim(&mut self, claim: Claim, me: ProcessId) -> Begin {
        let begin = begin(&self.job, claim, me, |p| self.alive.contains(&p), self.now);
        if let Begin::Run(to) | Begin::Poisoned(to) | Begin::Cancelled(to) = &begin {
            self.job = to.clone();
        }
        begin
    }

    fn finish(&mut self, run: Run, lease: Option<i64>, end: &End) -> Finish {
        let (started_at, ended_at) = (self.now, self.now);
        let report = Report { run, lease, end, started_at: Some(started_at), ended_at, worker: "test:1", http_status: None };
        let finish = finish(&self.job, &report, &policy(), self.now, 0.5);
        if let Finish::Applied(to, _) = &finish {
            self.job = (**to).clone();
        }
        finish
    }

    fn cancel(&mut self) -> Cancel {
        let cancel = cancel(&self.job, self.now);
        match &cancel {
            Cancel::Now(to) => self.job = to.clone(),
            Cancel::Ask(epoch) => self.job.cancel_epoch = Some(*epoch),
            Cancel::Asked | Cancel::Done | Cancel::Ended => {}
        }
        cancel
    }

    fn take(&mut self, step: &Step) {
        self.now += SECOND;
        match step {
            Step::Confirm if self.job.outlet.is_some() && self.job.state != State::Running => {
                self.job = published(&self.job, self.now)
            }
            Step::Confirm => {}
            Step::Deliver { back, alone, early, at_b } => {
                let me = if *at_b { B } else { A };
                self.alive.insert(me);
                self.claim(Claim { run: self.run(*back), alone: *alone, early: *early }, me);
            }
            Step::End { older_lease, how } => {
                self.finish(self.run(0), Some(self.job.lease - older_lease), &end(*how));
            }
            Step::Report { back, how } => {
                self.finish(self.run(*back), None, &end(*how));
            }
            Step::Started { back, ago } => {
                let begun = started(&self.job, self.run(*back), Some(self.now - ago * SECOND), "there", self.now);
                self.job = begun.unwrap_or_else(|| self.job.clone());
            }
            Step::Overrun => {
                self.now += 10 * SECOND;
                if let Some((over, _)) = overrun(&self.job, 10 * SECOND, &policy(), self.now, 0.5) {
                    self.job = over;
                }
            }
            Step::Die => {
                if let Some(owner) = self.job.owner {
                    self.alive.remove(&owner);
                }
            }
            Step::Lapse => {
                if self.job.outlet.is_some() && self.job.owner.is_some_and(|owner| !self.alive.contains(&owner)) {
                    self.job = freed(&self.job, self.now);
                }
            }
            Step::Republish => {
                let lost = republish(&self.job, |p| self.alive.contains(&p), self.now);
                self.job = lost.unwrap_or_else(|| self.job.clone());
            }
            Step::Expire { late } => {
                let now = if *late { DEADLINE + self.now } else { self.now };
                self.job = expire(&self.job, now).unwrap_or_else(|| self.job.clone());
            }
            Step::Buried { back } => {
                let found = buried(&self.job, self.run(*back), "delivery-limit", "too often", self.now);
                self.job = found.unwrap_or_else(|| self.job.clone());
            }
            Step::Cancel => {
                self.cancel();
            }
            Step::Move { later } => {
                let at = self.now + if *later { 30 * SECOND } else { -SECOND };
                if let Move::To(to) = move_to(&self.job, at, self.now) {
                    self.job = to;
                }
            }
            Step::Redrive => {
                self.job = redrive(&self.job, DEADLINE, self.now).unwrap_or_else(|| self.job.clone());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn one_row_has_one_truth(steps in steps()) {
        let mut life = Life::new();
        for step in steps {
            let before = life.job.clone();
            life.take(&step);
            let job = &life.job;
            prop_assert_eq!(job.ended_at.is_some(), job.state.is_end(), "ended exactly in an end state: {:?}", job);
            prop_assert!((job.epoch, job.attempt) >= (before.epoch, before.attempt), "runs never go back");
            prop_assert!(job.attempt >= before.attempt, "an attempt never goes back, not even over a redrive");
            prop_assert!(job.lease >= before.lease, "leases never go back");
            prop_assert!((0..=MAX_STARTS).contains(&job.starts), "starts stay within their bound: {:?}", job);
            prop_assert!(job.attempt - job.spent <= 3, "the budget is kept: {:?}", job);
            prop_assert!(job.attempt > job.spent);
            if before.state.is_end() && job.state != before.state {
                prop_assert!(matches!(step, Step::Redrive) && before.state == State::Dead, "only a redrive leaves an end: {:?}", before);
            }
            if job.state == State::Running {
                prop_assert_eq!(job.owner.is_some(), job.starts > 0, "it runs here, or elsewhere: {:?}", job);
                prop_assert!(job.outlet.is_none() || job.starts > 0, "what runs elsewhere does not wait: {:?}", job);
                prop_assert!(job.started_at.is_some());
            }
            // One that is freed meets its cancel where it is delivered.
            if before.cancel_asked() && job.state != State::Running && before.state == State::Running && !matches!(step, Step::Lapse) {
                prop_assert!(job.state.is_end() || job.epoch > before.epoch, "what was asked to be cancelled never waits again: {:?}", job);
            }
            if let Step::Move { .. } = step && *job != before {
                prop_assert!(before.owner.is_none() && before.outlet == Some(Outlet::Jobs), "only what waits is moved: {:?}", before);
                prop_assert!(job.run() == before.run() && job.outlet == before.outlet && job.due_at >= life.now, "and goes on waiting: {:?}", job);
            }
            if job.outlet == Some(Outlet::Dead) {
                prop_assert_eq!(job.state, State::Dead);
            }
        }
    }

    /// Whatever has happened, a fair world brings the job to an end.
    #[test]
    fn every_job_ends(steps in steps()) {
        let mut life = Life::new();
        for step in &steps {
            life.take(step);
        }
        for _ in 0..40 {
            life.now += 20 * 60 * SECOND;
            life.job.deadline = i64::MAX;
            if life.job.outlet.is_some() {
                life.job = freed(&life.job, life.now);
                life.job = published(&life.job, life.now);
            }
            if life.job.state.is_end() {
                return Ok(());
            }
            life.alive = BTreeSet::from([B]);
            let run = life.run(0);
            if is_parked(&life.job) {
                life.finish(run, Some(life.job.lease), &end(0));
                continue;
            }
            if life.begin(run, true, B) == Begin::Busy {
                life.alive.clear();
                continue;
            }
            if life.job.state == State::Running {
                let (run, lease) = (life.run(0), life.job.lease);
                life.finish(run, Some(lease), &end(0));
            }
        }
        prop_assert!(false, "still {:?}", life.job);
    }

    /// A cancel is answered alike however often it comes, and whatever follows ends the job.
    #[test]
    fn a_cancel_ends_the_job_and_asking_again_answers_the_same(steps in steps(), how in 0..7_u8) {
        let mut life = Life::new();
        for step in &steps {
            life.take(step);
        }
        let (before, first) = (life.job.clone(), life.cancel());
        let after = life.job.clone();
        let again = life.cancel();
        prop_assert_eq!(&life.job, &after, "the second changes nothing");
        match first {
            Cancel::Now(to) => {
                prop_assert_eq!(to.state, State::Cancelled);
                prop_assert_eq!(again, Cancel::Done);
                prop_assert_eq!(life.begin(after.run(), true, A), Begin::Stale, "its message is stale");
            }
            Cancel::Ask(_) | Cancel::Asked => {
                prop_assert_eq!(before.state, State::Running);
                prop_assert_eq!(again, Cancel::Asked);
                life.finish(life.run(0), Some(life.job.lease), &end(how));
                let expected = match how { 0 => State::Succeeded, 3 => State::Dead, _ => State::Cancelled };
                prop_assert_eq!(life.job.state, expected, "it ends as it ends, and never waits again");
            }
            same => {
                prop_assert_eq!(&before, &after);
                prop_assert_eq!(again, same);
            }
        }
    }

    #[test]
    fn a_late_end_changes_nothing(steps in steps(), how in 0..7_u8, behind in 1..4_i64) {
        let mut life = Life::new();
        for step in &steps {
            life.take(step);
        }
        let before = life.job.clone();
        let late = life.finish(life.run(0), Some(before.lease - behind), &end(how));
        prop_assert!(matches!(late, Finish::Late(_) | Finish::Over));
        prop_assert_eq!(life.job, before);
    }
}

fn running() -> Life {
    let mut life = Life::new();
    life.job = published(&life.job, 1);
    assert!(matches!(life.begin(Run::default(), false, A), Begin::Run(_)));
    life
}

#[test]
fn a_copy_that_arrives_while_another_process_runs_it_is_given_back() {
    let mut life = running();
    assert_eq!(life.begin(Run::default(), false, B), Begin::Busy);
    life.alive.remove(&A);
    assert_eq!(life.begin(Run::default(), false, B), Begin::Alone, "its process died: only alone");
    assert!(matches!(life.begin(Run::default(), true, B), Begin::Run(_)));
    assert_eq!((life.job.starts, life.job.interrupted, life.job.attempt), (2, 1, 1));
}

#[test]
fn a_cancel_of_what_runs_holds_when_its_process_dies() {
    let mut life = running();
    assert_eq!(life.cancel(), Cancel::Ask(1));
    assert_eq!(life.job.state, State::Running);
    let mut swept = life.job.clone();
    life.alive.remove(&A);
    assert!(matches!(life.begin(Run::default(), false, B), Begin::Cancelled(_)), "delivered again, it is not run again");
    assert_eq!((life.job.state, life.job.reason.as_deref()), (State::Cancelled, Some("cancelled")));
    swept = republish(&swept, |_| false, life.now).unwrap();
    assert_eq!((swept.state, swept.outlet), (State::Cancelled, None), "nor published again");
}

#[test]
fn a_cancel_keeps_the_failure_that_made_it_one_in_the_history() {
    let mut life = running();
    life.cancel();
    let Finish::Applied(to, Some(attempt)) = life.finish(Run::default(), Some(1), &end(1)) else { panic!("no history") };
    assert_eq!((to.state, to.attempt, to.started_at), (State::Cancelled, 1, None));
    assert_eq!((attempt.outcome.as_str(), attempt.reason.as_deref()), ("failed", Some("boom")));
}

#[test]
fn a_redrive_forgets_a_cancel() {
    let mut life = running();
    life.cancel();
    life.finish(Run::default(), Some(1), &end(3));
    assert_eq!((life.job.state, life.cancel()), (State::Dead, Cancel::Ended));
    life.job = redrive(&life.job, DEADLINE, life.now).unwrap();
    assert!(!life.job.cancel_asked());
}

#[test]
fn what_waits_in_the_store_is_moved_and_its_old_copy_waits() {
    let mut life = Life::new();
    let Move::To(to) = move_to(&life.job, 500 * SECOND, life.now) else { panic!("not moved") };
    assert_eq!((to.state, to.due_at, to.outlet), (State::Scheduled, 500 * SECOND, Some(Outlet::Jobs)));
    life.job = to;
    assert_eq!(life.begin(Run::default(), false, A), Begin::Busy);
    let Move::To(to) = move_to(&life.job, 1, 7 * SECOND) else { panic!("not moved back") };
    assert_eq!((to.state, to.due_at), (State::Scheduled, 7 * SECOND));
    assert_eq!(published(&to, 8 * SECOND).state, State::Queued);
    let held = Status { owner: Some(A), ..life.job.clone() };
    assert_eq!(move_to(&held, 1, life.now), Move::UnderWay, "a process has it in memory, maybe on the wire");
    assert_eq!(move_to(&running().job, 1, 1), Move::UnderWay);
    life.cancel();
    assert_eq!(move_to(&life.job, 1, 1), Move::Ended);
}

#[test]
fn three_starts_without_an_end_are_poison() {
    let mut life = running();
    for _ in 0..2 {
        life.alive.clear();
        assert!(matches!(life.begin(Run::default(), true, B), Begin::Run(_)));
    }
    life.alive.clear();
    assert!(matches!(life.begin(Run::default(), true, A), Begin::Poisoned(_)));
    assert_eq!((life.job.state, life.job.reason.as_deref(), life.job.outlet), (State::Dead, Some("poison"), Some(Outlet::Dead)));
}

#[test]
fn an_interruption_keeps_the_attempt_and_is_no_start() {
    let mut life = running();
    life.finish(Run::default(), Some(1), &End::Interrupted);
    assert_eq!((life.job.state, life.job.attempt, life.job.starts, life.job.interrupted), (State::Queued, 1, 0, 1));
    assert!(matches!(life.begin(Run::default(), false, B), Begin::Run(_)), "and need not run alone");
}

#[test]
fn a_retry_goes_through_its_rung_and_is_due_at_once() {
    let mut life = running();
    life.finish(Run::default(), Some(1), &end(1));
    assert_eq!(life.job.outlet, Some(Outlet::Rung(broker_topology::Rung::S1)));
    assert_eq!((life.job.attempt, life.job.due_at), (2, life.now));
}

#[test]
fn a_long_hint_waits_in_the_store() {
    let mut life = running();
    life.finish(Run::default(), Some(1), &end(2));
    assert_eq!((life.job.outlet, life.job.due_at), (Some(Outlet::Jobs), life.now + 90 * SECOND));
}

#[test]
fn a_snooze_spends_no_attempt_and_its_old_copy_waits() {
    let mut life = running();
    life.finish(Run::default(), Some(1), &end(4));
    assert_eq!((life.job.attempt, life.job.state), (1, State::Retrying));
    assert_eq!(life.begin(Run::default(), false, B), Begin::Busy, "not before it is due");
    life.now += 11 * SECOND;
    assert!(matches!(life.begin(Run::default(), false, B), Begin::Run(_)));
}

#[test]
fn what_is_put_off_spends_nothing_and_waits_until_its_deadline_at_most() {
    let mut life = Life::new();
    life.job = published(&life.job, 1);
    let before = life.job.clone();
    life.job = put_off(&before, life.now + 9 * SECOND, life.now);
    assert_eq!((life.job.state, life.job.outlet, life.job.owner), (State::Retrying, Some(Outlet::Jobs), None));
    assert_eq!((life.job.run(), life.job.starts, life.job.lease), (before.run(), before.starts, before.lease));
    assert_eq!(life.begin(Run::default(), false, B), Begin::Busy, "a copy that was left behind waits too");
    life.now += 9 * SECOND;
    assert!(matches!(life.begin(Run::default(), false, B), Begin::Run(_)));
    assert_eq!(put_off(&before, DEADLINE + SECOND, life.now).due_at, DEADLINE);
}

#[test]
fn a_redrive_renews_the_budget_and_makes_old_copies_stale() {
    let mut life = running();
    life.finish(Run::default(), Some(1), &end(3));
    let old = Run { epoch: 1, attempt: 1 };
    life.job = redrive(&life.job, DEADLINE, life.now).unwrap();
    assert_eq!((life.job.epoch, life.job.attempt, life.job.spent, life.job.outlet), (2, 2, 1, Some(Outlet::Return)));
    assert_eq!(life.begin(old, false, A), Begin::Stale);
    assert!(redrive(&life.job, DEADLINE, life.now).is_none(), "twice changes nothing");
}

#[test]
fn a_report_without_a_lease_cannot_end_what_the_hub_runs() {
    let mut life = running();
    assert!(matches!(life.finish(Run::default(), None, &end(0)), Finish::Late(_)));
    let mut waiting = Life::new();
    waiting.job = published(&waiting.job, 1);
    assert!(matches!(waiting.finish(Run::default(), None, &end(0)), Finish::Applied(..)));
}

#[test]
fn who_ran_an_attempt_and_what_it_met_goes_with_the_attempt() {
    let mut life = running();
    let (run, now, failed, long) = (Run::default(), life.now, end(1), "ü".repeat(MAX_WORKER));
    let (started_at, ended_at, http_status) = (now, now, Some(503));
    let started_at = Some(started_at);
    let report = Report { run, lease: Some(1), end: &failed, started_at, ended_at, worker: "here:1", http_status };
    let Finish::Applied(next, Some(past)) = finish(&life.job, &report, &policy(), now, 0.5) else { panic!("it is tried again") };
    assert_eq!((past.worker.as_deref(), past.http_status), (Some("here:1"), Some(503)));
    assert_eq!((next.worker, next.http_status), (None, None), "the next attempt has not started");
    let late = Report { lease: Some(7), worker: &long, ..report };
    let Finish::Late(late) = finish(&life.job, &late, &policy(), now, 0.5) else { panic!("another lease") };
    let worker = late.worker.unwrap();
    assert!(worker.len() <= MAX_WORKER && worker.ends_with('ü'), "{worker}");
    life.finish(run, Some(1), &end(3));
    assert_eq!(last_attempt(&life.job).worker.as_deref(), Some("test:1"), "of the last one the row knows");
}

#[test]
fn a_confirm_never_touches_an_end() {
    let mut life = running();
    life.finish(Run::default(), Some(1), &end(3));
    let dead = published(&life.job, life.now);
    assert_eq!((dead.state, dead.outlet), (State::Dead, None));
}

#[test]
fn texts_are_cut_at_a_character_and_hold_no_nul() {
    assert_eq!(cut("a\0b".to_owned()), "ab");
    let long = cut("ä".repeat(MAX_ERROR));
    assert!(long.len() <= MAX_ERROR && long.ends_with('ä'));
    let wordy = Failure::new("e".repeat(9000), "");
    assert_eq!(code(&wordy).len(), MAX_CODE);
}

#[test]
fn the_policy_ends() {
    let policy = RetryPolicy { delays: vec![Delay::Store(Duration::from_secs(1))], max_attempts: 2 };
    assert!(matches!(policy.after(1, None, 0.0), Next::Store(_)));
    assert_eq!(policy.after(2, None, 0.0), Next::GiveUp);
}

#[test]
fn nothing_is_due_after_its_deadline() {
    let running = Status { state: State::Running, lease: 1, starts: 1, outlet: None, ..Status::accepted(0, 30 * SECOND) };
    for how in [2, 4] {
        let ended = end(how);
        for (now, due) in [(0, None), (25 * SECOND, Some(30 * SECOND))] {
            let report = Report {
                run: running.run(),
                lease: Some(1),
                end: &ended,
                started_at: Some(0),
                ended_at: now,
                worker: "w",
                http_status: None,
            };
            let Finish::Applied(to, _) = finish(&running, &report, &policy(), now, 0.5) else { panic!("it is its own end") };
            assert!(to.due_at <= to.deadline && due.is_none_or(|due| to.due_at == due), "{how} at {now}: {to:?}");
        }
    }
}
