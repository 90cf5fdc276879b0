//! Who lives, and what becomes of the rows of those who do not.

use std::collections::HashSet;

use api_ack::rules;
use api_ack::store::{LAPSE, NewJob, Outlet, ProcessId, Status};

use crate::ground::{Ground, ME, OTHER, T0, accepted, begin, change, publish, rows};

contract!(
    those_that_beat_live,
    rows_of_a_lapsed_process_are_freed,
    a_process_that_leaves_frees_its_rows,
    what_runs_without_a_delivery_is_freed_with_its_process_and_not_before,
);

fn owned(owner: ProcessId) -> NewJob {
    let mut new = accepted("mail", "acme");
    new.job.status.owner = Some(owner);
    new
}

/// Moves the last beat of a process into the past.
async fn lapse(ground: &Ground, process: ProcessId) {
    let sql = format!("UPDATE processes SET beat_at = beat_at - {} WHERE id = {}", 2 * LAPSE, process.0);
    ground.execute(&sql).await;
}

async fn those_that_beat_live(ground: &Ground) {
    assert_eq!(ground.jobs.beat(ME).await.unwrap(), [ME]);
    let mut alive = ground.jobs_of_another.beat(OTHER).await.unwrap();
    alive.sort_unstable();
    assert_eq!(alive, [ME, OTHER]);
    lapse(ground, ME).await;
    assert_eq!(ground.jobs_of_another.beat(OTHER).await.unwrap(), [OTHER]);
    // One that was only slow is back with its next beat.
    assert_eq!(ground.jobs.beat(ME).await.unwrap().len(), 2);
    assert_eq!(ground.jobs.beat(ME).await.unwrap().len(), 2);
}

async fn rows_of_a_lapsed_process_are_freed(ground: &Ground) {
    ground.jobs.beat(ME).await.unwrap();
    ground.jobs.beat(OTHER).await.unwrap();
    let batch = [owned(ME), owned(OTHER), owned(OTHER), accepted("mail", "acme")];
    ground.store(&batch).await;
    ground
        .change(change(&batch[2].job, |status| {
            publish(status);
            begin(status, T0);
            status.owner = Some(OTHER)
        }))
        .await;
    assert_eq!(ground.jobs.release_lapsed().await.unwrap(), 0);
    lapse(ground, OTHER).await;
    assert_eq!(ground.jobs.release_lapsed().await.unwrap(), 1);

    let freed = ground.job(batch[1].job.id).await;
    assert_eq!((freed.version, freed.status.owner), (2, None), "a late mark by the lapsed process finds another version");
    assert_eq!(ground.job(batch[0].job.id).await, batch[0].job);
    // What runs keeps its owner: whoever takes it over must know that there was one.
    assert_eq!(ground.job(batch[2].job.id).await.status.owner, Some(OTHER));
    assert_eq!(ground.jobs.release_lapsed().await.unwrap(), 0);
    assert_eq!(ground.jobs.beat(ME).await.unwrap(), [ME]);
}

async fn a_process_that_leaves_frees_its_rows(ground: &Ground) {
    ground.jobs.beat(ME).await.unwrap();
    ground.jobs.beat(OTHER).await.unwrap();
    let batch = [owned(ME), owned(OTHER)];
    ground.store(&batch).await;
    ground.jobs_of_another.leave(OTHER).await.unwrap();
    assert_eq!(ground.job(batch[1].job.id).await.status.owner, None);
    assert_eq!(ground.job(batch[0].job.id).await.status.owner, Some(ME));
    assert_eq!(ground.jobs.beat(ME).await.unwrap(), [ME]);
    ground.jobs.leave(OTHER).await.unwrap();
}

/// What runs with its delivery acked.
fn early(owner: ProcessId) -> impl Fn(&mut Status) {
    move |status| {
        publish(status);
        begin(status, T0);
        (status.owner, status.outlet) = (Some(owner), Some(Outlet::Jobs));
    }
}

async fn what_runs_without_a_delivery_is_freed_with_its_process_and_not_before(ground: &Ground) {
    ground.jobs.beat(ME).await.unwrap();
    ground.jobs.beat(OTHER).await.unwrap();
    let batch = [accepted("mail", "acme"), accepted("mail", "acme"), accepted("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    for (new, owner) in batch.iter().zip([ME, OTHER, OTHER]) {
        ground.change(change(&new.job, early(owner))).await;
    }
    // One that runs outside: nobody's.
    ground
        .change(change(&batch[3].job, |status| {
            early(ME)(status);
            (status.owner, status.outlet, status.starts, status.http_status) = (None, None, 0, Some(202));
        }))
        .await;
    let ids = batch.each_ref().map(|new| new.job.id);
    let far = T0 + LAPSE;
    assert_eq!(ground.jobs.in_flight("mail", 100).await.unwrap(), 4, "the window counts what runs, wherever");
    assert_eq!(ground.jobs.queued("mail", 100).await.unwrap().to_publish, 0);
    assert!(ground.jobs.owned(ME, 100).await.unwrap().is_empty(), "what runs is no stray");
    assert!(ground.jobs.quiet("mail", None, far, 100).await.unwrap().is_empty(), "nor lost, wherever it runs");
    assert_eq!(ground.jobs.release_lapsed().await.unwrap(), 0);

    let before = ground.job(ids[1]).await;
    lapse(ground, OTHER).await;
    assert_eq!(ground.jobs.release_lapsed().await.unwrap(), 2);
    let freed = ground.job(ids[1]).await;
    assert_eq!(freed.version, before.version + 1, "its end finds another version");
    assert_eq!(freed.status, rules::freed(&before.status, freed.status.updated_at));
    let lane = ground.jobs.lanes(far).await.unwrap().pop().unwrap();
    let taken = ground.jobs.claim(ME, &lane, far, rows(10)).await.unwrap();
    let taken: HashSet<_> = taken.into_iter().map(|(job, _)| job.id).collect();
    assert_eq!(taken, HashSet::from([ids[1], ids[2]]), "and anybody publishes it");

    assert_eq!(ground.job(ids[0]).await.status.owner, Some(ME));
    ground.jobs.leave(ME).await.unwrap();
    assert_eq!(ground.job(ids[0]).await.status.state, api_ack::store::State::Queued);
    assert!(rules::is_parked(&ground.job(ids[3]).await.status));
    assert!(ground.jobs.overrun("mail", far, 100).await.unwrap().is_empty(), "and it has no time limit");
}
