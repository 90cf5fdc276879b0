//! Runs whose worker the hub neither starts nor sees.

use super::*;

/// One that a worker elsewhere has begun.
fn running_elsewhere() -> Life {
    let mut life = Life::new();
    life.now = 10 * SECOND;
    life.job = started(&published(&life.job, 1), Run::default(), Some(9 * SECOND), "there", life.now).unwrap();
    life
}

#[test]
fn a_start_elsewhere_is_news_once() {
    let Life { job, now, .. } = running_elsewhere();
    assert_eq!((job.state, job.owner, job.starts, job.interrupted), (State::Running, None, 0, 0));
    assert_eq!((job.started_at, job.worker.as_deref()), (Some(9 * SECOND), Some("there")));
    let (run, other) = (Run::default(), Run { attempt: 2, ..Run::default() });
    let again = |run, at| started(&job, run, at, "there", now + SECOND);
    assert_eq!(again(run, Some(9 * SECOND)), None, "twice");
    assert_eq!(again(run, Some(8 * SECOND)), None, "one of before");
    assert_eq!(again(run, None), None, "one that does not say when");
    assert_eq!(again(other, Some(99 * SECOND)), None, "of another run");
    let renewed = again(run, Some(99 * SECOND)).expect("the message came to another worker");
    assert_eq!((renewed.started_at, renewed.interrupted), (Some(now + SECOND), 1), "and not by a clock that is ahead");
    assert!(renewed.lease > job.lease && renewed.updated_at > job.updated_at, "with all the time there is");

    let accepted = Status::accepted(0, DEADLINE);
    assert!(started(&accepted, run, None, "", 5).is_some_and(|to| to.outlet.is_none()), "faster than the confirm");
    let here = running().job;
    assert_eq!(started(&here, run, Some(99 * SECOND), "there", now), None, "what runs here runs here");
    let snoozed = Status { state: State::Retrying, due_at: now + 1, ..accepted.clone() };
    assert_eq!(started(&snoozed, run, Some(now), "there", now), None, "it waits for another time");
    let over = Status { state: State::Cancelled, ended_at: Some(1), outlet: None, ..accepted };
    assert_eq!(started(&over, run, Some(now), "there", now), None, "it is over");
}

#[test]
fn a_run_elsewhere_has_its_time_and_is_not_taken_for_lost_before() {
    let mut life = running_elsewhere();
    let (limit, heard) = (30 * SECOND, life.now);
    assert_eq!(republish(&life.job, |_| false, i64::MAX / 2), None, "however long it is quiet");
    assert_eq!(overrun(&life.job, limit, &policy(), heard + limit - 1, 0.5), None);
    let (next, past) = overrun(&life.job, limit, &policy(), heard + limit, 0.5).unwrap();
    assert_eq!((next.state, next.attempt, next.reason.as_deref()), (State::Retrying, 2, Some("timed-out")));
    let past = past.unwrap();
    assert_eq!((past.outcome.as_str(), past.worker.as_deref(), past.started_at), ("failed", Some("there"), Some(9 * SECOND)));
    // Its result comes after all.
    let run = Run::default();
    life.job = next.clone();
    assert!(matches!(life.finish(run, None, &end(0)), Finish::Late(_)));
    assert_eq!(life.job, next);
    // The last attempt ends the job; one that somebody asked to cancel is not tried again.
    let mut last = running_elsewhere().job;
    (last.attempt, last.spent) = (3, 0);
    let (dead, _) = overrun(&last, limit, &policy(), heard + limit, 0.5).unwrap();
    assert_eq!((dead.state, dead.reason.as_deref()), (State::Dead, Some("exhausted")));
    let mut life = running_elsewhere();
    assert!(matches!(life.cancel(), Cancel::Ask(1)));
    assert_eq!(overrun(&life.job, limit, &policy(), heard + limit, 0.5).unwrap().0.state, State::Cancelled);
    assert_eq!(overrun(&running().job, 0, &policy(), i64::MAX / 2, 0.5), None, "what runs here is not its matter");
}

#[test]
fn what_a_report_leaves_out_the_start_has_said() {
    let Life { job, now, .. } = running_elsewhere();
    let (run, done) = (Run::default(), end(0));
    let bare = Report { run, lease: None, end: &done, started_at: None, ended_at: now, worker: "", http_status: None };
    let Finish::Applied(to, None) = finish(&job, &bare, &policy(), now, 0.5) else { panic!("it is its end") };
    assert_eq!((to.started_at, to.worker.as_deref(), to.state), (Some(9 * SECOND), Some("there"), State::Succeeded));
    let unsaid = published(&Status::accepted(0, DEADLINE), 1);
    let Finish::Applied(to, None) = finish(&unsaid, &bare, &policy(), now, 0.5) else { panic!("it need not say that it began") };
    assert_eq!((to.started_at, to.worker), (Some(now), None), "and is shown all the same");
}

#[test]
fn a_result_that_is_not_kept_is_told_of() {
    for (length, reason) in [(MAX_RESULT, None), (MAX_RESULT + 1, Some("result-too-large"))] {
        let end = End::Outcome(Outcome::Done(Some(vec![b'1'; length].into())));
        let mut life = running_elsewhere();
        life.finish(Run::default(), None, &end);
        assert_eq!((life.job.state, life.job.reason.as_deref()), (State::Succeeded, reason));
        assert_eq!(life.job.error.is_some(), reason.is_some());
    }
}

#[test]
fn a_rejected_message_of_a_run_elsewhere_ends_the_job_and_that_of_a_run_here_does_not() {
    let run = Run::default();
    let dead = buried(&running_elsewhere().job, run, "rejected", "", 20 * SECOND).unwrap();
    assert_eq!((dead.state, dead.reason.as_deref(), dead.owner), (State::Dead, Some("rejected"), None));
    assert_eq!(buried(&running().job, run, "rejected", "", 20 * SECOND), None);
    assert_eq!(buried(&running_elsewhere().job, Run { attempt: 2, ..run }, "rejected", "", 20 * SECOND), None);
}

#[test]
fn a_forged_report_is_one_record_of_the_run_the_job_is_at() {
    let job = running_elsewhere().job;
    let claim = |attempt, worker: &str| forged(&job, Run { epoch: 9, attempt }, "no-token", worker, 5);
    let (one, other) = (claim(7, "mallory"), claim(8, "x"));
    assert_eq!((one.epoch, one.attempt, one.lease), (other.epoch, other.attempt, other.lease), "whatever it claims");
    assert_eq!((one.epoch, one.attempt, one.outcome.as_str()), (1, 1, "forged"));
    assert!(
        one.error.unwrap().contains("attempt 7 in epoch 9") && claim(7, &"w".repeat(999)).worker.unwrap().len() <= MAX_WORKER
    );
}
