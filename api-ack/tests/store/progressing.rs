//! How far jobs are: the latest word of each, beside the job.

use std::time::Duration;

use api_ack::store::{NewJob, Progress, State};
use api_ack::watch::{News, Watch, WatchOptions};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted, accepted_at, begin, change, end};

contract!(the_latest_word_stays_and_changes_no_job, who_follows_hears_how_far_a_job_is_once, progress_goes_with_its_job);

fn said(epoch: i32, attempt: i32, lease: i64, percent: i16, at: i64) -> Progress {
    Progress { epoch, attempt, lease, percent, note: format!("at {percent}\0"), at }
}

async fn the_latest_word_stays_and_changes_no_job(ground: &Ground) {
    let batch = [accepted("mail", "acme"), accepted("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    let id = batch[0].job.id;
    let words = [(id, said(1, 1, 1, 10, T0)), (Uuid::now_v7(), said(1, 1, 1, 10, T0)), (batch[1].job.id, said(1, 1, 1, 11, T0))];
    let mut put = ground.jobs.put_progress(&words).await.unwrap();
    put.sort_unstable();
    let mut known = [id, batch[1].job.id];
    known.sort_unstable();
    assert_eq!(put, known, "of a job that is not there nothing is put down");

    // By epoch, attempt, lease and time, in this order; the same again is no news.
    for (word, news) in [
        (said(1, 1, 1, 20, T0), false),
        (said(1, 1, 1, 21, T0 - 1), false),
        (said(1, 1, 1, 22, T0 + 1), true),
        (said(1, 1, 0, 23, T0 + 9), false),
        (said(1, 1, 2, 24, T0 - 9), true),
        (said(1, 2, 1, 25, T0 - 9), true),
        (said(1, 1, 3, 26, T0 + 9), false),
        (said(2, 1, 1, 27, T0 - 9), true),
    ] {
        let put = ground.jobs.put_progress(&[(id, word.clone())]).await.unwrap();
        assert_eq!(put, if news { vec![id] } else { vec![] }, "{word:?}");
    }
    let shown = Progress { note: "at 27\u{fffd}".into(), ..said(2, 1, 1, 27, T0 - 9) };
    let record = ground.jobs.record_of(id).await.unwrap().unwrap();
    assert_eq!((record.progress, record.job), (Some(shown.clone()), batch[0].job.clone()));
    assert_eq!(ground.jobs.record_of(batch[2].job.id).await.unwrap().unwrap().progress, None);
    let found = ground.jobs.progress(&[id, batch[2].job.id]).await.unwrap();
    assert_eq!(found, [(id, shown)]);
    assert!(ground.jobs.put_progress(&[]).await.unwrap().is_empty());
}

async fn who_follows_hears_how_far_a_job_is_once(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    ground.change(change(&new.job, |status| begin(status, T0 + 1))).await;
    let drain = CancellationToken::new();
    let watch = Watch::start(ground.jobs.clone(), WatchOptions::default(), &TaskTracker::new(), drain.clone());
    let mut one = watch.follow(new.job.id, 2).unwrap();
    let mut waiter = watch.job(new.job.id, 2).unwrap();
    let soon = Duration::from_secs(10);
    for percent in [10, 20] {
        let word = said(1, 1, 1, percent, T0 + i64::from(percent));
        ground.jobs_of_another.put_progress(&[(new.job.id, word)]).await.unwrap();
        let Some(News::Progress(heard)) = timeout(soon, one.news()).await.unwrap() else { panic!("how far it is") };
        assert_eq!(heard.percent, percent);
    }
    assert!(timeout(Duration::from_millis(600), one.news()).await.is_err(), "what was told is not told again");
    let mut late = watch.follow(new.job.id, 2).unwrap();
    let Some(News::Progress(heard)) = timeout(soon, late.news()).await.unwrap() else { panic!("what is known already") };
    assert_eq!(heard.percent, 20);

    let job = ground.job(new.job.id).await;
    let ended = change(&job, |status| end(status, State::Succeeded, T0 + 99));
    assert_eq!(ground.jobs_of_another.apply(&[ended]).await.unwrap(), [true]);
    let Some(News::Job(job)) = timeout(soon, one.news()).await.unwrap() else { panic!("its end") };
    assert_eq!(job.status.state, State::Succeeded);
    assert_eq!(timeout(soon, waiter.ended()).await.unwrap().unwrap().id, job.id);
    drain.cancel();
    assert!(timeout(soon, one.news()).await.unwrap().is_none());
}

async fn progress_goes_with_its_job(ground: &Ground) {
    let mut old: NewJob = accepted_at(T0, "mail", "acme");
    end(&mut old.job.status, State::Succeeded, T0 + 5);
    ground.store(std::slice::from_ref(&old)).await;
    ground.jobs.put_progress(&[(old.job.id, said(1, 1, 1, 10, T0))]).await.unwrap();
    assert_eq!(ground.purge(T0 + 3600 * SECOND, 10).await, 1);
    assert!(ground.jobs.progress(&[old.job.id]).await.unwrap().is_empty());
}
