//! Retention.

use api_ack::store::{Bookmark, DeadFilter, DeadState, Inserted, Move, Old, Purged, PurgedKeys, State};
use bytes::Bytes;

use crate::dead::letter;
use crate::ground::{Ground, SECOND, T0, accepted_at, attempt, change, end, key};

contract!(
    what_ended_long_ago_goes_with_all_of_it,
    keys_go_by_their_own_age,
    purging_is_done_in_batches,
    of_a_long_history_so_much_goes_at_a_time,
    keys_are_walked_in_steps_wherever_they_lie,
    a_job_stays_with_its_open_letter,
    each_kind_has_its_own_age_and_a_dead_job_no_shorter_one,
    a_walk_goes_on_where_it_was
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

    assert_eq!(ground.purge(T0 + DAY, 100).await, 1);
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
    assert_eq!(ground.jobs.purge_keys(T0 + 5, 0).await.unwrap(), PurgedKeys { gone: 1, next: 0 });
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
        rounds.push(ground.purge(T0 + DAY, 10).await);
    }
    assert_eq!(rounds, [10, 10, 5, 0]);
}

async fn keys_are_walked_in_steps_wherever_they_lie(ground: &Ground) {
    // Young ones among the old ones, as in blocks that were used before.
    let many: Vec<_> = (0..30_000_u32)
        .map(|n| {
            let mut new = accepted_at(if n % 3 == 0 { T0 + DAY } else { T0 }, "mail", "acme");
            new.key = Some(api_ack::store::Key { hash: wide(n), fingerprint: [9; 32] });
            new
        })
        .collect();
    // On SQLite they go by their number, so that the old ones come first.
    let (old, young): (Vec<_>, Vec<_>) = many.into_iter().partition(|new| new.job.status.updated_at == T0);
    for chunk in old.chunks(500).chain(young.chunks(500)) {
        ground.jobs.insert(chunk).await.unwrap();
    }
    let (mut gone, mut from, mut steps) = (0, 0, 0);
    loop {
        let step = ground.jobs.purge_keys(T0 + DAY, from).await.unwrap();
        assert!(step.gone < 20_000, "a step is a part");
        (gone, from, steps) = (gone + step.gone, step.next, steps + 1);
        if from == 0 {
            break;
        }
    }
    assert_eq!(gone, 20_000);
    assert!(steps > 2, "{steps}");
    assert_eq!(ground.jobs.purge_keys(T0 + DAY, 0).await.unwrap().gone, 0);
}

fn wide(n: u32) -> [u8; 32] {
    std::array::from_fn(|at| n.to_be_bytes()[at % 4])
}

/// Such a history is from before snoozes were one record.
async fn of_a_long_history_so_much_goes_at_a_time(ground: &Ground) {
    let mut batch = [accepted_at(T0, "mail", "acme"), accepted_at(T0, "mail", "acme")];
    for (new, at) in batch.iter_mut().zip([T0 + 5, T0 + 6]) {
        end(&mut new.job.status, State::Succeeded, at);
    }
    ground.store(&batch[..1]).await;
    let snoozes = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) \
        INSERT INTO job_attempts (job_id, epoch, attempt, lease, ended_at, outcome) SELECT (SELECT id FROM jobs), 1, 1, i, i, 'snoozed' FROM n";
    ground.execute(snoozes).await;
    ground.store(&batch[1..]).await;
    let (old, id) = (Old { kind: "mail", before: T0 + DAY, dead_before: T0 + DAY }, batch[0].job.id);
    for left in [15_000, 5_000] {
        let purged = ground.jobs.purge_ended(&old, Bookmark::START, 10).await.unwrap();
        assert_eq!((purged.gone, purged.next, purged.more), (0, Bookmark::START, true), "it is there again next time");
        assert_eq!(ground.jobs.record_of(id).await.unwrap().unwrap().history.len(), left);
    }
    assert_eq!(ground.jobs.purge_ended(&old, Bookmark::START, 10).await.unwrap().gone, 2);
    assert!(ground.jobs.record_of(id).await.unwrap().is_none());
}

async fn a_job_stays_with_its_open_letter(ground: &Ground) {
    let mut new = accepted_at(T0, "mail", "acme");
    end(&mut new.job.status, State::Dead, T0 + 5);
    let id = new.job.id;
    ground.store(&[new]).await;
    let mut open = letter("jobs.mail", &id.to_string(), T0 + 5);
    open.job_id = Some(id);
    ground.dead.keep(&[open]).await.unwrap();
    assert_eq!(ground.purge(T0 + DAY, 10).await, 0, "somebody may redrive it");
    let found = ground.dead.dead_letters(&DeadFilter { limit: 10, ..DeadFilter::default() }).await.unwrap().remove(0);
    let (from, to) = (DeadState::Open, DeadState::Discarded);
    assert!(ground.dead.resolve(&Move::new(found.id, from, to, "ada", "no more", T0 + 6)).await.unwrap());
    assert_eq!(ground.purge(T0 + DAY, 10).await, 1);
}

async fn each_kind_has_its_own_age_and_a_dead_job_no_shorter_one(ground: &Ground) {
    assert!(ground.jobs.ended_kinds().await.unwrap().is_empty());
    let ended = |kind: &str, state, at| {
        let mut new = accepted_at(T0, kind, "acme");
        end(&mut new.job.status, state, at);
        new
    };
    let batch = [
        ended("mail", State::Succeeded, T0 + DAY),
        ended("logs", State::Succeeded, T0 + DAY),
        ended("logs", State::Dead, T0 + DAY),
        ended("logs", State::Succeeded, T0 + 3 * DAY),
        ended("zip", State::Expired, T0 + DAY),
    ];
    ground.store(&batch).await;
    assert_eq!(ground.jobs.ended_kinds().await.unwrap(), ["logs", "mail", "zip"]);
    let old = |dead_before| Old { kind: "logs", before: T0 + 2 * DAY, dead_before };
    let purge = async |dead_before| ground.jobs.purge_ended(&old(dead_before), Bookmark::START, 10).await.unwrap().gone;
    assert_eq!((purge(T0 + DAY).await, purge(T0 + DAY).await), (1, 0), "the dead one is not old enough");
    assert_eq!(purge(T0 + DAY + 1).await, 1);
    let left: Vec<_> = batch.iter().map(|new| new.job.id).collect();
    let left: Vec<_> = ground.jobs.load(&left).await.unwrap().into_iter().map(|job| job.kind).collect();
    assert_eq!(left.len(), 3, "other kinds, and what ended later: {left:?}");
}

async fn a_walk_goes_on_where_it_was(ground: &Ground) {
    // All ended at one moment, as a batch does; those with an open letter stay.
    let batch: Vec<_> = (0..9)
        .map(|_| {
            let mut new = accepted_at(T0, "mail", "acme");
            end(&mut new.job.status, State::Dead, T0 + 5);
            new
        })
        .collect();
    ground.store(&batch).await;
    let mut ids: Vec<_> = batch.iter().map(|new| new.job.id).collect();
    ids.sort_unstable();
    let open = ids[..6].iter().map(|id| {
        let mut open = letter("jobs.mail", &id.to_string(), T0 + 5);
        open.job_id = Some(*id);
        open
    });
    ground.dead.keep(&open.collect::<Vec<_>>()).await.unwrap();
    let old = Old { kind: "mail", before: T0 + DAY, dead_before: T0 + DAY };
    let mut at = Bookmark::START;
    let mut steps = Vec::new();
    for _ in 0..4 {
        let Purged { gone, next, more } = ground.jobs.purge_ended(&old, at, 4).await.unwrap();
        steps.push((gone, more));
        at = next;
    }
    assert_eq!(steps, [(0, true), (2, true), (1, false), (0, false)], "no step meets what one before it left behind");
    assert_eq!(at, Bookmark { ended_at: T0 + 5, id: ids[8] });
    assert_eq!(ground.jobs.load(&ids).await.unwrap().len(), 6);
    // What ends from now on comes after it.
    let mut late = accepted_at(T0, "mail", "acme");
    end(&mut late.job.status, State::Dead, T0 + 6);
    ground.store(&[late]).await;
    assert_eq!(ground.jobs.purge_ended(&old, at, 4).await.unwrap().gone, 1);
}
