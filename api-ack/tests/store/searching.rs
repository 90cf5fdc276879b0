//! Searches: what matches, page by page, and no page dearer than it may be.

use api_ack::store::{Found, JobFilter, JobSearch, NewJob, State};
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted_at, change, publish};

contract!(a_search_walks_in_bounded_steps_and_misses_nothing, searches_are_filtered);

/// One per second, alternating kinds; every seventh is Bea's.
fn series() -> Vec<NewJob> {
    let job = |n: i64| {
        let mut new = accepted_at(T0 + n * SECOND, if n % 2 == 0 { "a" } else { "b" }, "x");
        if n % 7 == 0 {
            new.payload.subject = "bea".into();
        }
        new
    };
    (0..50).map(job).collect()
}

async fn all(ground: &Ground, search: JobSearch) -> (Vec<Uuid>, usize) {
    let (mut ids, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let filter = JobFilter { before, ..search.filter.clone() };
        let Found { jobs, next } = ground.jobs.search(&JobSearch { filter, ..search.clone() }).await.unwrap();
        assert!(jobs.len() <= search.filter.limit as usize);
        ids.extend(jobs.into_iter().map(|job| job.id));
        pages += 1;
        before = next;
        if before.is_none() {
            return (ids, pages);
        }
        assert!(pages < 100, "a search ends");
    }
}

fn ids(batch: &[NewJob], keep: impl Fn(usize) -> bool) -> Vec<Uuid> {
    (0..batch.len()).rev().filter(|n| keep(*n)).map(|n| batch[n].job.id).collect()
}

async fn a_search_walks_in_bounded_steps_and_misses_nothing(ground: &Ground) {
    let batch = series();
    ground.store(&batch).await;
    let rare = JobSearch {
        filter: JobFilter { tenant: Some("x".into()), limit: 3, ..JobFilter::default() },
        subject: Some("bea".into()),
        scan: 10,
        ..JobSearch::default()
    };
    let (found, pages) = all(ground, rare.clone()).await;
    assert_eq!(found, ids(&batch, |n| n % 7 == 0));
    assert!(pages >= 5, "50 rows are not looked at in fewer than 5 pages of 10: {pages}");
    let nobody = JobSearch { subject: Some("nobody".into()), ..rare.clone() };
    let page = ground.jobs.search(&nobody).await.unwrap();
    assert_eq!((page.jobs.len(), page.next), (0, Some(batch[40].job.id)), "an empty page says where it stopped");
    let (found, pages) = all(ground, JobSearch { subject: None, scan: 1, ..rare }).await;
    assert_eq!((found.len(), pages), (50, 51), "however small the step");
}

async fn searches_are_filtered(ground: &Ground) {
    let batch = series();
    ground.store(&batch).await;
    ground.change(change(&batch[4].job, publish)).await;
    let base = JobSearch { filter: JobFilter { limit: 100, ..JobFilter::default() }, scan: 1000, ..JobSearch::default() };
    let filter = |edit: fn(&mut JobFilter)| {
        let mut search = base.clone();
        edit(&mut search.filter);
        search
    };
    assert_eq!(all(ground, filter(|f| f.kind = Some("b".into()))).await.0, ids(&batch, |n| n % 2 == 1));
    assert_eq!(all(ground, filter(|f| f.state = Some(State::Queued))).await.0, [batch[4].job.id]);
    assert!(all(ground, filter(|f| f.tenant = Some("y".into()))).await.0.is_empty());
    let (since, until) = (Some(T0 + 10 * SECOND), Some(T0 + 20 * SECOND));
    let between = JobSearch { since, until, ..base.clone() };
    assert_eq!(all(ground, between).await.0, ids(&batch, |n| (10..20).contains(&n)), "from `since` on, before `until`");
    let both = JobSearch { since, subject: Some("bea".into()), ..filter(|f| f.kind = Some("a".into())) };
    assert_eq!(all(ground, both).await.0, ids(&batch, |n| n >= 10 && n % 14 == 0));
}
