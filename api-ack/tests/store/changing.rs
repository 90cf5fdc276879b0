//! Apply, mark and record: only on the version they were computed from.

use api_ack::store::{Attempt, Outlet, RECORDS, State};
use bytes::Bytes;
use uuid::Uuid;

use crate::ground::{Ground, ME, SECOND, T0, accepted, attempt, begin, change, end, publish};

contract!(
    a_change_of_a_row_that_moved_on_is_void,
    history_and_result_come_with_their_change_or_not_at_all,
    published_rows_are_marked,
    a_late_mark_changes_nothing,
    late_attempts_are_recorded_once,
    of_late_attempts_so_many_are_recorded,
    snoozes_of_one_attempt_are_one_record,
    an_error_text_never_stops_an_outcome,
    concurrent_changes_of_the_same_rows_apply_once,
    a_cancel_that_is_asked_for_stays_with_its_epoch,
);

async fn a_cancel_that_is_asked_for_stays_with_its_epoch(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    ground.change(change(&new.job, |status| begin(status, T0 + 5))).await;
    let running = ground.job(new.job.id).await;
    assert!(!running.status.cancel_asked());
    assert!(!ground.jobs.ask_cancel(running.id, running.version - 1, 1, T0 + 6).await.unwrap(), "the row has moved on");
    assert!(!ground.jobs.ask_cancel(Uuid::now_v7(), 1, 1, T0 + 6).await.unwrap());
    assert!(ground.jobs.ask_cancel(running.id, running.version, 1, T0 + 6).await.unwrap());
    let asked = ground.job(running.id).await;
    assert_eq!((asked.version, asked.status.updated_at, asked.status.cancel_asked()), (running.version + 1, T0 + 6, true));

    // A change that knows nothing of it is void; the next one leaves it, also in a batch with ends.
    assert_eq!(ground.jobs.apply(&[change(&running, publish)]).await.unwrap(), [false]);
    ground.change(change(&asked, |status| (status.cancel_epoch, status.interrupted) = (None, 7))).await;
    let mut failed = change(&ground.job(running.id).await, |status| end(status, State::Dead, T0 + 9));
    failed.history = Some(attempt(1));
    ground.change(failed).await;
    let dead = ground.job(running.id).await;
    assert!(dead.status.cancel_asked());
    ground.change(change(&dead, |status| status.epoch = 2)).await;
    assert!(!ground.job(running.id).await.status.cancel_asked(), "a redrive is another epoch");
}

async fn a_change_of_a_row_that_moved_on_is_void(ground: &Ground) {
    let batch = [accepted("mail", "acme"), accepted("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    ground.change(change(&batch[1].job, publish)).await;

    let mut changes = batch.each_ref().map(|new| change(&new.job, |status| begin(status, T0 + 5))).to_vec();
    let mut unknown = changes[0].clone();
    unknown.id = Uuid::now_v7();
    changes.push(unknown);
    assert_eq!(ground.jobs.apply(&changes).await.unwrap(), [true, false, true, false]);

    for at in [0, 2] {
        let job = ground.job(batch[at].job.id).await;
        assert_eq!((job.version, &job.status), (2, &changes[at].to));
    }
    assert_eq!(ground.job(batch[1].job.id).await.status.state, State::Queued);
    assert!(ground.jobs.apply(&[]).await.unwrap().is_empty());
}

async fn history_and_result_come_with_their_change_or_not_at_all(ground: &Ground) {
    let batch = [accepted("mail", "acme"), accepted("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    ground.change(change(&batch[1].job, publish)).await;

    let changes = batch.each_ref().map(|new| {
        let mut done = change(&new.job, |status| end(status, State::Succeeded, T0 + 9));
        done.history = Some(attempt(1));
        done.result = Some(Bytes::from_static(b"\0\x01 done"));
        done
    });
    let mut retried = change(&batch[2].job, |status| (status.state, status.attempt) = (State::Retrying, 2));
    retried.history = Some(attempt(1));
    let changes = [changes[0].clone(), changes[1].clone(), retried];
    assert_eq!(ground.jobs.apply(&changes).await.unwrap(), [true, false, true]);

    let record = ground.jobs.record_of(batch[0].job.id).await.unwrap().unwrap();
    assert_eq!(record.history, [attempt(1)]);
    assert_eq!(record.result.as_deref(), Some(&b"\0\x01 done"[..]));
    let moved = ground.jobs.record_of(batch[1].job.id).await.unwrap().unwrap();
    assert!(moved.history.is_empty() && moved.result.is_none());
    let retried = ground.jobs.record_of(batch[2].job.id).await.unwrap().unwrap();
    assert_eq!((retried.history.len(), retried.result), (1, None));

    // Who ran the attempt is kept, as is what it met, and both go when the next one waits.
    let ran = |worker: Option<&str>, met| (worker.map(str::to_owned), met);
    for (worker, met) in [ran(Some("north:7"), Some(503)), ran(None, None)] {
        let job = ground.job(batch[2].job.id).await;
        ground.change(change(&job, |status| (status.worker, status.http_status) = (worker.clone(), met))).await;
        let status = ground.job(job.id).await.status;
        assert_eq!((status.worker, status.http_status), (worker, met));
    }

    // An empty result is a result; a redriven job's result replaces the one before.
    let mut again = change(&record.job, |status| status.epoch = 2);
    again.result = Some(Bytes::new());
    ground.change(again).await;
    let record = ground.jobs.record_of(batch[0].job.id).await.unwrap().unwrap();
    assert_eq!(record.result.as_deref(), Some(&b""[..]));
}

async fn published_rows_are_marked(ground: &Ground) {
    let batch = [accepted("mail", "a"), accepted("mail", "b"), accepted("mail", "c"), accepted("mail", "d")];
    ground.store(&batch).await;
    ground.change(change(&batch[1].job, |status| status.state = State::Scheduled)).await;
    ground.change(change(&batch[2].job, |status| status.state = State::Retrying)).await;
    ground
        .change(change(&batch[3].job, |status| {
            (status.state, status.ended_at, status.outlet) = (State::Dead, Some(T0), Some(Outlet::Dead));
        }))
        .await;
    let rows = [(batch[0].job.id, 1), (batch[1].job.id, 2), (batch[2].job.id, 2), (batch[3].job.id, 2), (Uuid::now_v7(), 1)];
    assert_eq!(ground.jobs.mark_published(&rows, T0 + 7).await.unwrap(), 4);
    for (at, state) in [State::Queued, State::Queued, State::Retrying, State::Dead].into_iter().enumerate() {
        let job = ground.job(rows[at].0).await;
        assert_eq!((job.version, job.status.state, job.status.updated_at), (rows[at].1 + 1, state, T0 + 7));
        assert_eq!((job.status.outlet, job.status.owner), (None, None));
    }
    assert_eq!(ground.jobs.mark_published(&[], T0).await.unwrap(), 0);
}

async fn a_late_mark_changes_nothing(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    // The worker was faster than the confirm.
    ground
        .change(change(&new.job, |status| {
            publish(status);
            begin(status, T0 + 3)
        }))
        .await;
    let before = ground.job(new.job.id).await;
    assert_eq!(ground.jobs.mark_published(&[(new.job.id, 1)], T0 + 9).await.unwrap(), 0);
    // Nor does one that names the version but finds nothing waiting.
    assert_eq!(ground.jobs.mark_published(&[(new.job.id, 2)], T0 + 9).await.unwrap(), 0);
    assert_eq!(ground.job(new.job.id).await, before);
    assert_eq!(before.status.owner, Some(ME));
}

async fn late_attempts_are_recorded_once(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    let mut second = attempt(2);
    (second.started_at, second.reason, second.error) = (None, None, None);
    let id = new.job.id;
    ground.jobs.record(&[(id, second.clone()), (id, attempt(1)), (Uuid::now_v7(), attempt(1))]).await.unwrap();
    let mut other_text = attempt(1);
    other_text.error = Some("told again".into());
    ground.jobs.record(&[(id, other_text)]).await.unwrap();
    let record = ground.jobs.record_of(id).await.unwrap().unwrap();
    assert_eq!(record.history, [attempt(1), second.clone()], "oldest first, the first to be recorded stays");
    // What comes late about an attempt that has its end stands beside that end.
    let mut late = attempt(1);
    late.outcome = "late".into();
    ground.jobs.record(&[(id, late.clone())]).await.unwrap();
    let record = ground.jobs.record_of(id).await.unwrap().unwrap();
    assert_eq!(record.history, [attempt(1), late, second]);
    assert_eq!(record.job, new.job);
}

async fn of_late_attempts_so_many_are_recorded(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    for batch in 0..3_i64 {
        let late = |lease| (new.job.id, Attempt { lease: batch * 500 + lease, outcome: "late".into(), ..attempt(1) });
        ground.jobs.record(&(0..500).map(late).collect::<Vec<_>>()).await.unwrap();
    }
    assert_eq!(ground.jobs.record_of(new.job.id).await.unwrap().unwrap().history.len(), RECORDS as usize);
    // What is no more than told goes; an end that counts never does.
    let mut ended = change(&new.job, |status| end(status, State::Succeeded, T0 + 9));
    ended.history = Some(attempt(2));
    ground.change(ended).await;
    assert_eq!(ground.jobs.record_of(new.job.id).await.unwrap().unwrap().history.last(), Some(&attempt(2)));
}

async fn snoozes_of_one_attempt_are_one_record(ground: &Ground) {
    let batch = [accepted("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    let snooze = |number: i32, lease: i64| Attempt {
        lease,
        started_at: Some(T0 + lease),
        ended_at: T0 + lease + 1,
        outcome: "snoozed".into(),
        reason: None,
        error: None,
        worker: Some(format!("north:{lease}")),
        ..attempt(number)
    };
    let put_off = async |ids: &[Uuid], attempt: Attempt| {
        let mut changes = Vec::new();
        for id in ids {
            let mut changed = change(&ground.job(*id).await, |status| status.state = State::Retrying);
            changed.history = Some(attempt.clone());
            changes.push(changed);
        }
        assert_eq!(ground.jobs.apply(&changes).await.unwrap(), vec![true; ids.len()]);
    };
    let [one, two] = batch.each_ref().map(|new| new.job.id);
    for lease in 1..40 {
        put_off(&[one], snooze(1, lease)).await;
    }
    put_off(&[two, one], snooze(1, 40)).await;
    put_off(&[one], Attempt { lease: 41, ..attempt(1) }).await;
    // A service holds no lease: its snoozes are counted all the same.
    put_off(&[one], snooze(2, 41)).await;
    put_off(&[one], snooze(2, 41)).await;
    let all = Attempt { lease: 1, started_at: Some(T0 + 1), times: 40, ..snooze(1, 40) };
    let twice = Attempt { times: 2, ..snooze(2, 41) };
    let history = ground.jobs.record_of(one).await.unwrap().unwrap().history;
    assert_eq!(history, [all, Attempt { lease: 41, ..attempt(1) }, twice]);
    assert_eq!(ground.jobs.record_of(two).await.unwrap().unwrap().history, [snooze(1, 40)]);

    // Those that a version of before left stay as they are, and the latest goes on.
    let left = "INSERT INTO job_attempts (job_id, epoch, attempt, lease, ended_at, outcome) \
        SELECT job_id, 1, 1, 50, 50, 'snoozed' FROM job_attempts WHERE attempt = 1 AND lease = 40";
    ground.execute(left).await;
    put_off(&[two], snooze(1, 51)).await;
    let history = ground.jobs.record_of(two).await.unwrap().unwrap().history;
    let times: Vec<(i64, i32)> = history.iter().map(|attempt| (attempt.lease, attempt.times)).collect();
    assert_eq!(times, [(40, 1), (50, 2)]);
}

async fn an_error_text_never_stops_an_outcome(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    let mut failed = change(&new.job, |status| status.error = Some("a\0b".into()));
    failed.history = Some(attempt(1));
    failed.history.as_mut().unwrap().error = Some("c\0d".into());
    ground.change(failed).await;
    let record = ground.jobs.record_of(new.job.id).await.unwrap().unwrap();
    assert_eq!(record.job.status.error.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(record.history[0].error.as_deref(), Some("c\u{fffd}d"));
}

async fn concurrent_changes_of_the_same_rows_apply_once(ground: &Ground) {
    let batch: Vec<_> = (0..200).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    let forwards: Vec<_> = batch.iter().map(|new| change(&new.job, |status| begin(status, T0 + SECOND))).collect();
    let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
    let marks: Vec<_> = batch.iter().rev().map(|new| (new.job.id, 1)).collect();
    let (one, two, marked) = tokio::join!(
        ground.jobs.apply(&forwards),
        ground.jobs_of_another.apply(&backwards),
        ground.jobs.mark_published(&marks, T0),
    );
    let applied = one.unwrap().into_iter().chain(two.unwrap()).filter(|applied| *applied).count();
    assert_eq!(applied as u64 + marked.unwrap(), 200);
    let ids: Vec<_> = batch.iter().map(|new| new.job.id).collect();
    assert!(ground.jobs.load(&ids).await.unwrap().iter().all(|job| job.version == 2));
}
