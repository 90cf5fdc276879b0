//! What the broker has of a job and what it must be given: hand-offs, rungs, long work that is acked early, parked runs.

use super::*;

#[test]
fn a_confirm_ends_what_is_handed_off_and_clears_what_kept_it() {
    let waits = turned_away(Status::accepted(0, 1000), UNROUTABLE, &"no queue ".repeat(1000));
    assert_eq!((waits.state, waits.outlet, waits.reason.as_deref()), (State::Accepted, Some(Outlet::Jobs), Some(UNROUTABLE)));
    assert!(waits.error.as_ref().is_some_and(|error| error.len() <= MAX_ERROR));
    let done = handed_off(&waits, 10);
    assert_eq!((done.state, done.outlet, done.owner, done.ended_at), (State::Succeeded, None, None, Some(10)));
    assert_eq!((&done.reason, &done.error, done.started_at), (&None, &None, None));
    let queued = taken_after_all(&waits, 10).unwrap();
    assert_eq!((queued.state, queued.outlet, &queued.reason, &queued.error), (State::Queued, None, &None, &None));
    let failed = Status { state: State::Retrying, reason: Some("boom".to_owned()), ..Status::accepted(0, 1000) };
    assert_eq!(taken_after_all(&failed, 10), None, "the reason of a failure stays with its next attempt");
}

#[test]
fn what_would_wait_in_a_rung_waits_in_the_store_as_long() {
    let second = 1_000_000;
    let by_rung = Status { outlet: Some(Outlet::Rung(broker_topology::Rung::S5)), ..Status::accepted(0, 100 * second) };
    let waits = off_rungs(by_rung.clone(), 10);
    assert_eq!((waits.outlet, waits.due_at), (Some(Outlet::Jobs), 10 + 5 * second));
    let brief = off_rungs(Status { deadline: second, ..by_rung }, 10);
    assert_eq!(brief.due_at, second, "nothing is due after its deadline");
    let dead = Status { outlet: Some(Outlet::Dead), ..Status::accepted(0, 1000) };
    assert_eq!(off_rungs(dead.clone(), 10), dead);
}

/// A job that runs at A with its delivery acked.
fn running_early() -> Life {
    let mut life = Life::new();
    life.job = published(&life.job, 1);
    assert!(matches!(life.claim(Claim { run: Run::default(), alone: false, early: true }, A), Begin::Run(_)));
    life
}

#[test]
fn what_is_acked_early_is_published_by_whoever_comes_after_its_owner() {
    let mut life = running_early();
    let claim = Claim { run: Run::default(), alone: false, early: true };
    assert_eq!((life.job.owner, life.job.outlet), (Some(A), Some(Outlet::Jobs)));
    assert_eq!(republish(&life.job, |_| true, life.now), None);
    assert_eq!(life.claim(claim, B), Begin::Busy, "a copy, while its owner lives");
    for starts in 1..MAX_STARTS {
        life.take(&Step::Die);
        life.take(&Step::Lapse);
        assert_eq!((life.job.state, life.job.owner, life.job.outlet), (State::Queued, None, Some(Outlet::Jobs)));
        assert!(life.job.due_at <= life.now, "it is due at once");
        life.take(&Step::Confirm);
        if starts > 1 {
            assert_eq!(life.claim(claim, B), Begin::Alone, "only what was hit twice is suspected");
        }
        assert!(matches!(life.claim(Claim { alone: starts > 1, ..claim }, B), Begin::Run(_)));
        assert_eq!((life.job.starts, life.job.interrupted, life.job.attempt), (starts + 1, starts, 1));
    }
    assert!(matches!(life.finish(Run::default(), Some(1), &end(0)), Finish::Late(_)), "the first of them goes on too late");
    life.take(&Step::Die);
    life.take(&Step::Lapse);
    life.take(&Step::Confirm);
    assert!(matches!(life.claim(Claim { alone: true, ..claim }, A), Begin::Poisoned(_)));
}

#[test]
fn what_a_drain_cuts_short_without_a_delivery_is_published_again() {
    let mut life = running_early();
    life.finish(Run::default(), Some(1), &End::Interrupted);
    assert_eq!((life.job.state, life.job.outlet, life.job.owner), (State::Queued, Some(Outlet::Jobs), None));
    assert_eq!((life.job.starts, life.job.interrupted, life.job.attempt), (0, 1, 1));
}

#[test]
fn what_runs_outside_is_nobodys_and_neither_lost_nor_begun_again() {
    for mut life in [running(), running_early()] {
        life.finish(Run::default(), Some(1), &End::Parked);
        assert!(is_parked(&life.job) && life.job.outlet.is_none(), "{:?}", life.job);
        assert_eq!(republish(&life.job, |_| false, life.now), None);
        assert_eq!(life.begin(Run::default(), true, B), Begin::Stale, "its call is not made again");
        assert_eq!(life.finish(Run::default(), Some(0), &End::Parked), Finish::Over);
        let mut unwanted = Life { job: life.job.clone(), ..Life::new() };
        assert!(matches!(unwanted.cancel(), Cancel::Now(_)), "nobody here would be told");
        assert!(expire(&life.job, DEADLINE).is_some());
        life.finish(Run::default(), Some(1), &end(1));
        assert_eq!((life.job.state, life.job.attempt), (State::Retrying, 2));
    }
    let mut asked = running();
    asked.cancel();
    asked.finish(Run::default(), Some(1), &End::Parked);
    assert_eq!(asked.job.state, State::Cancelled);
}
