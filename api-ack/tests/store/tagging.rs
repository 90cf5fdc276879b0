//! Tags: kept with their job, found by all of them, gone with it.

use api_ack::store::{Found, Inserted, JobFilter, JobSearch, NewJob, State, StoreError};
use api_ack::tags::Tags;
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted_at, change, end, key};

contract!(
    tags_are_kept_with_their_job,
    a_job_is_found_by_all_the_tags_that_are_asked_for,
    a_walk_by_tag_is_bounded_and_misses_nothing,
    tags_go_with_their_job
);

fn tagged(n: i64, tenant: &str, tags: &[&str]) -> NewJob {
    NewJob { tags: Tags::of(tags.iter().copied()).unwrap(), ..accepted_at(T0 + n * SECOND, "mail", tenant) }
}

fn by(tenant: &str, tags: &[&str]) -> JobSearch {
    let filter = JobFilter { tenant: Some(tenant.into()), limit: 100, ..JobFilter::default() };
    JobSearch { filter, tags: Tags::of(tags.iter().copied()).unwrap(), scan: 1000, ..JobSearch::default() }
}

async fn found(ground: &Ground, search: &JobSearch) -> Vec<Uuid> {
    ground.jobs.search(search).await.unwrap().jobs.into_iter().map(|job| job.id).collect()
}

async fn tags_are_kept_with_their_job(ground: &Ground) {
    let mut keyed = tagged(1, "acme", &["b", "a"]);
    keyed.key = Some(key(1));
    let batch = [keyed.clone(), tagged(2, "acme", &[]), tagged(3, "acme", &["region=eu"])];
    ground.store(&batch).await;
    for new in &batch {
        assert_eq!(ground.jobs.record_of(new.job.id).await.unwrap().unwrap().tags, new.tags);
    }
    let tags = ground.jobs.tags(&batch.each_ref().map(|new| new.job.id)).await.unwrap();
    assert_eq!((tags.len(), &tags[&batch[0].job.id], &tags[&batch[2].job.id]), (2, &batch[0].tags, &batch[2].tags));
    assert!(ground.jobs.tags(&[]).await.unwrap().is_empty());

    // Of one that lost its key nothing is stored, whatever comes beside it.
    let loser = NewJob { key: Some(key(1)), ..tagged(4, "acme", &["a"]) };
    let plain = tagged(5, "acme", &["a"]);
    let became = ground.jobs.insert(&[loser, plain.clone()]).await.unwrap();
    assert!(matches!(became[..], [Inserted::Existing { .. }, Inserted::New]), "{became:?}");
    assert_eq!(found(ground, &by("acme", &["a"])).await, [plain.job.id, keyed.job.id]);
}

async fn a_job_is_found_by_all_the_tags_that_are_asked_for(ground: &Ground) {
    let batch = [
        tagged(0, "acme", &["red", "round"]),
        tagged(1, "acme", &["red"]),
        tagged(2, "other", &["red", "round"]),
        tagged(3, "acme", &["Red", "redder"]),
        tagged(4, "acme", &["big", "red", "round"]),
    ];
    ground.store(&batch).await;
    let id = |n: usize| batch[n].job.id;
    assert_eq!(found(ground, &by("acme", &["red"])).await, [id(4), id(1), id(0)]);
    assert_eq!(found(ground, &by("acme", &["round", "red"])).await, [id(4), id(0)]);
    assert_eq!(found(ground, &by("other", &["red"])).await, [id(2)]);
    assert!(found(ground, &by("acme", &["red", "nothing"])).await.is_empty());

    // Beside what else is asked for.
    ground.change(change(&batch[4].job, |status| end(status, State::Succeeded, T0 + 9 * SECOND))).await;
    let mut ended = by("acme", &["red"]);
    ended.filter.state = Some(State::Succeeded);
    assert_eq!(found(ground, &ended).await, [id(4)]);
    assert!(found(ground, &JobSearch { subject: Some("bea".into()), ..by("acme", &["red"]) }).await.is_empty());
    assert_eq!(found(ground, &JobSearch { since: Some(T0 + SECOND), ..by("acme", &["red", "round"]) }).await, [id(4)]);
    let mut nobodys = by("acme", &["red"]);
    nobodys.filter.tenant = None;
    assert!(matches!(ground.jobs.search(&nobodys).await, Err(StoreError::Refused(_))));
}

async fn a_walk_by_tag_is_bounded_and_misses_nothing(ground: &Ground) {
    let batch: Vec<_> = (0..50).map(|n| tagged(n, "acme", if n % 10 == 0 { &["all", "rare"] } else { &["all"] })).collect();
    ground.store(&batch).await;
    let (mut ids, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let mut search = JobSearch { scan: 7, ..by("acme", &["all", "rare"]) };
        search.filter.before = before;
        let Found { jobs, next } = ground.jobs.search(&search).await.unwrap();
        ids.extend(jobs.into_iter().map(|job| job.id));
        pages += 1;
        before = next;
        if before.is_none() {
            break;
        }
        assert!(pages < 100, "a search ends");
    }
    assert_eq!(ids, [40, 30, 20, 10, 0].map(|n: usize| batch[n].job.id));
    assert!(pages >= 7, "50 rows are not looked at in fewer than 7 pages of 7: {pages}");
}

async fn tags_go_with_their_job(ground: &Ground) {
    let mut old = tagged(0, "acme", &["a"]);
    end(&mut old.job.status, State::Succeeded, T0 + 5);
    let young = tagged(1, "acme", &["a"]);
    ground.store(&[old.clone(), young.clone()]).await;
    assert_eq!(ground.purge(T0 + 3600 * SECOND, 10).await, 1);
    // The same id starts from nothing.
    ground.store(&[NewJob { tags: Tags::default(), ..old.clone() }]).await;
    assert!(ground.jobs.record_of(old.job.id).await.unwrap().unwrap().tags.is_empty());
    assert_eq!(found(ground, &by("acme", &["a"])).await, [young.job.id]);
}
