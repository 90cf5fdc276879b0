//! Waiting for jobs: one look for all who wait, whoever changes them.

use std::time::Duration;

use api_ack::store::State;
use api_ack::watch::{TooMany, Watch, WatchOptions};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::ground::{Ground, T0, accepted, begin, change, end, publish};

contract!(
    all_who_wait_hear_of_what_another_process_does,
    what_is_told_here_is_heard_at_once,
    there_are_only_so_many_places,
    a_drain_and_a_purge_end_the_wait,
);

const SOON: Duration = Duration::from_secs(10);

struct Waiting {
    watch: Watch,
    drain: CancellationToken,
}

fn watch(ground: &Ground, options: WatchOptions) -> Waiting {
    let drain = CancellationToken::new();
    Waiting { watch: Watch::start(ground.jobs.clone(), options, &TaskTracker::new(), drain.clone()), drain }
}

/// Never looks by itself within a test, but when woken.
const SELDOM: WatchOptions = WatchOptions { every: Duration::from_secs(3600), limit: 3 };

async fn all_who_wait_hear_of_what_another_process_does(ground: &Ground) {
    let batch: Vec<_> = (0..20).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    let waiting = watch(ground, WatchOptions::default());
    let mut all: Vec<_> = batch.iter().map(|new| waiting.watch.job(new.job.id, new.job.version).unwrap()).collect();
    let mut twice = waiting.watch.job(batch[3].job.id, 0).unwrap();
    assert_eq!(timeout(SOON, twice.changed()).await.unwrap().unwrap().version, 1, "who knows nothing is told what there is");
    let none = timeout(Duration::from_millis(600), all[0].changed()).await;
    assert!(none.is_err(), "what is known is not told again");

    let begun: Vec<_> = batch.iter().map(|new| change(&new.job, |status| begin(status, T0 + 1))).collect();
    assert!(ground.jobs_of_another.apply(&begun).await.unwrap().iter().all(|done| *done));
    for one in &mut all {
        let job = timeout(SOON, one.changed()).await.unwrap().unwrap();
        assert_eq!((job.status.state, job.version), (State::Running, 2));
    }
    for new in &batch {
        let job = ground.job(new.job.id).await;
        let ended = change(&job, |status| end(status, State::Succeeded, T0 + 2));
        assert_eq!(ground.jobs_of_another.apply(&[ended]).await.unwrap(), [true]);
    }
    for mut one in all.into_iter().chain([twice]) {
        let job = timeout(SOON, one.ended()).await.unwrap().unwrap();
        assert_eq!(job.status.state, State::Succeeded);
    }
    // Who comes late is told the end, too.
    let mut late = waiting.watch.job(batch[0].job.id, 0).unwrap();
    assert_eq!(timeout(SOON, late.ended()).await.unwrap().unwrap().version, 3);
}

async fn what_is_told_here_is_heard_at_once(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    let waiting = watch(ground, SELDOM);
    let mut one = waiting.watch.job(new.job.id, 1).unwrap();
    let mut newer = new.job.clone();
    (newer.version, newer.status.state) = (5, State::Running);
    waiting.watch.tell(&newer);
    assert_eq!(timeout(SOON, one.changed()).await.unwrap().unwrap().version, 5);
    // An older one that is told later is no news.
    newer.version = 4;
    waiting.watch.tell(&newer);
    (newer.version, newer.status.state) = (6, State::Dead);
    waiting.watch.tell(&newer);
    assert_eq!(timeout(SOON, one.changed()).await.unwrap().unwrap().version, 6);
}

async fn there_are_only_so_many_places(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    let waiting = watch(ground, SELDOM);
    let mut held: Vec<_> = (0..3).map(|_| waiting.watch.job(new.job.id, 1).unwrap()).collect();
    assert_eq!(waiting.watch.job(new.job.id, 1).err(), Some(TooMany(3)));
    held.pop();
    assert!(waiting.watch.job(Uuid::now_v7(), 0).is_ok(), "a place that is given up is free");
}

async fn a_drain_and_a_purge_end_the_wait(ground: &Ground) {
    let batch = [accepted("mail", "acme"), accepted("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    let waiting = watch(ground, WatchOptions::default());
    let mut unknown = waiting.watch.job(Uuid::now_v7(), 0).unwrap();
    assert!(timeout(SOON, unknown.changed()).await.unwrap().is_none(), "what is not there ends no more");
    // Seen alive; between that and the first look it ends, and retention takes it.
    ground.change(change(&batch[2].job, |status| end(status, State::Succeeded, T0 + 1))).await;
    assert_eq!(ground.purge(T0 + 2, 10).await, 1);
    let mut purged = waiting.watch.job(batch[2].job.id, 1).unwrap();
    assert!(timeout(SOON, purged.ended()).await.unwrap().is_none(), "what was purged ends no more");
    ground.change(change(&batch[0].job, publish)).await;
    let (mut one, mut two) = (waiting.watch.job(batch[0].job.id, 2).unwrap(), waiting.watch.job(batch[1].job.id, 1).unwrap());
    waiting.drain.cancel();
    assert!(timeout(SOON, one.ended()).await.unwrap().is_none());
    assert!(timeout(SOON, two.ended()).await.unwrap().is_none());
}
