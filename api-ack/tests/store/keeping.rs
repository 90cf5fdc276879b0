//! Retention.

use api_ack::store::{DeadFilter, DeadState, Inserted, Move, State};
use bytes::Bytes;

use crate::dead::letter;
use crate::ground::{Ground, SECOND, T0, accepted_at, attempt, change, end, key};

contract!(
    what_ended_long_ago_goes_with_all_of_it,
    keys_go_by_their_own_age,
    purging_is_done_in_batches,
    a_job_stays_with_its_open_letter
);

const DAY: i64 = 86_400 * SECOND;

async fn what_ended_long_ago_goes_with_all_of_it(ground: &Ground) {
    let batch: Vec<_> = (0..4).map(|_| accepted_at(T0, "mail", "acme")).collect();
    ground.store(&batch).await;
    // 0 ended early, 1 ended late, 2 lives, 3 ended early and waits for its way to the dead letters.
    for (at, ended_at) in [(0, T0 + 5), (1, T0 + 2 * DAY)] {
        let mut ended = change(&batch[at].job, |status| end(status, State::Succeeded, ended_at));
        ended.history = Some(attempt(1));
        ended.result = Some(Bytes::from_static(b"done"));
        ground.change(ended).await;
    }
    ground.change(change(&batch[3].job, |status| (status.state, status.ended_at) = (State::Dead, Some(T0 + 5)))).await;

    assert_eq!(ground.jobs.purge(T0 + DAY, 0, 100).await.unwrap(), 1);
    let ids: Vec<_> = batch.iter().map(|new| new.job.id).collect();
    assert!(ground.jobs.record_of(ids[0]).await.unwrap().is_none());
    assert_eq!(ground.jobs.payloads(&ids).await.unwrap().len(), 3);
    assert_eq!(ground.jobs.load(&ids).await.unwrap().len(), 3);
    let kept = ground.jobs.record_of(ids[1]).await.unwrap().unwrap();
    assert!(kept.result.is_some() && kept.history.len() == 1);

    // Of the purged one nothing is left: the same id starts from nothing.
    ground.store(&batch[..1]).await;
    let again = ground.jobs.record_of(ids[0]).await.unwrap().unwrap();
    assert!(again.history.is_empty() && again.result.is_none());
}

async fn keys_go_by_their_own_age(ground: &Ground) {
    let keyed = |at, n| {
        let mut new = accepted_at(at, "mail", "acme");
        new.key = Some(key(n));
        new
    };
    let (old, young) = (keyed(T0, 1), keyed(T0 + DAY, 2));
    ground.store(&[old.clone(), young.clone()]).await;
    assert_eq!(ground.jobs.purge(0, T0 + 5, 100).await.unwrap(), 1);
    let again = [keyed(T0 + 2 * DAY, 1), keyed(T0 + 2 * DAY, 2)];
    let inserted = ground.jobs.insert(&again).await.unwrap();
    assert_eq!(inserted[0], Inserted::New);
    assert_eq!(inserted[1], Inserted::Existing { id: young.job.id, fingerprint: [9; 32] });
    assert_eq!(ground.job(old.job.id).await, old.job, "the job lives on");
}

async fn purging_is_done_in_batches(ground: &Ground) {
    let batch = (0..25).map(|n| {
        let mut new = accepted_at(T0, "mail", "acme");
        new.key = Some(key(n));
        end(&mut new.job.status, State::Succeeded, T0 + 5);
        new
    });
    ground.store(&batch.collect::<Vec<_>>()).await;
    let mut rounds = Vec::new();
    for _ in 0..4 {
        rounds.push(ground.jobs.purge(T0 + DAY, T0 + DAY, 10).await.unwrap());
    }
    assert_eq!(rounds, [20, 20, 10, 0]);
}

async fn a_job_stays_with_its_open_letter(ground: &Ground) {
    let mut new = accepted_at(T0, "mail", "acme");
    end(&mut new.job.status, State::Dead, T0 + 5);
    let id = new.job.id;
    ground.store(&[new]).await;
    let mut open = letter("jobs.mail", &id.to_string(), T0 + 5);
    open.job_id = Some(id);
    ground.dead.keep(&[open]).await.unwrap();
    assert_eq!(ground.jobs.purge(T0 + DAY, 0, 10).await.unwrap(), 0, "somebody may redrive it");
    let found = ground.dead.dead_letters(&DeadFilter { limit: 10, ..DeadFilter::default() }).await.unwrap().remove(0);
    let (from, to) = (DeadState::Open, DeadState::Discarded);
    assert!(ground.dead.resolve(&Move::new(found.id, from, to, "ada", "no more", T0 + 6)).await.unwrap());
    assert_eq!(ground.jobs.purge(T0 + DAY, 0, 10).await.unwrap(), 1);
}
