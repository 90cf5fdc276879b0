//! Who lives, and what becomes of the rows of those who do not.

use api_ack::store::{LAPSE, NewJob, ProcessId};

use crate::ground::{Ground, ME, OTHER, T0, accepted, begin, change, publish};

contract!(those_that_beat_live, rows_of_a_lapsed_process_are_freed, a_process_that_leaves_frees_its_rows);

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
