//! Lists for people.

use api_ack::store::{JobFilter, NewJob, State};
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted_at, change, publish};

contract!(jobs_are_listed_newest_first_in_pages, lists_are_filtered);

fn series() -> Vec<NewJob> {
    let lanes = [("a", "x"), ("b", "x"), ("a", "y")];
    (0..30).map(|n| accepted_at(T0 + i64::try_from(n).unwrap() * SECOND, lanes[n % 3].0, lanes[n % 3].1)).collect()
}

async fn jobs_are_listed_newest_first_in_pages(ground: &Ground) {
    let batch = series();
    ground.store(&batch).await;
    let mut listed: Vec<Uuid> = Vec::new();
    loop {
        let filter = JobFilter { before: listed.last().copied(), limit: 7, ..JobFilter::default() };
        let page = ground.jobs.list(&filter).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        listed.extend(page.into_iter().map(|job| job.id));
    }
    assert_eq!(listed, batch.iter().rev().map(|new| new.job.id).collect::<Vec<_>>());
}

async fn lists_are_filtered(ground: &Ground) {
    let batch = series();
    ground.store(&batch).await;
    ground.change(change(&batch[0].job, publish)).await;
    let count = |filter: JobFilter| async move { ground.jobs.list(&JobFilter { limit: 100, ..filter }).await.unwrap().len() };
    let (tenant, kind) = (Some("x".to_owned()), Some("a".to_owned()));
    assert_eq!(count(JobFilter { tenant: tenant.clone(), ..JobFilter::default() }).await, 20);
    assert_eq!(count(JobFilter { kind: kind.clone(), ..JobFilter::default() }).await, 20);
    assert_eq!(count(JobFilter { tenant: tenant.clone(), kind: kind.clone(), ..JobFilter::default() }).await, 10);
    assert_eq!(count(JobFilter { state: Some(State::Queued), ..JobFilter::default() }).await, 1);
    assert_eq!(count(JobFilter { state: Some(State::Accepted), tenant, kind, ..JobFilter::default() }).await, 9);
    assert_eq!(count(JobFilter { tenant: Some("nobody".into()), ..JobFilter::default() }).await, 0);
}
