//! Rows that this process owns and will not publish: given up, for anybody to claim.

use super::reach::TurnedAway;
use crate::rules;
use crate::store::{Change, Job, JobStore, StoreError};
use database::clock;

/// Rows changed together.
const BATCH: usize = 500;

/// Gives rows up, with the reason if there is one that their jobs are to show; answers how many. One that has moved on is left alone.
pub(super) async fn free(store: &dyn JobStore, jobs: &[(&Job, Option<&TurnedAway>)]) -> Result<u64, StoreError> {
    let now = clock::now();
    let change = |(job, why): &(&Job, Option<&TurnedAway>)| {
        let later = rules::publish_later(&job.status, job.status.due_at, now);
        let to = match why {
            Some(TurnedAway { reason, error }) => rules::turned_away(later, reason, error),
            None => later,
        };
        Change { id: job.id, from: job.version, to, history: None, result: None }
    };
    let mut freed = 0;
    for jobs in jobs.chunks(BATCH) {
        let changes: Vec<Change> = jobs.iter().map(change).collect();
        freed += store.apply(&changes).await?.into_iter().map(u64::from).sum::<u64>();
    }
    Ok(freed)
}
