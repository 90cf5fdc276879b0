//! What is in a golden database comes out of it.

use api_ack::store::{DeadFilter, DeadLetterStore, DeadState, Inserted, JobStore};

use crate::golden;
use crate::ground::{Ground, accepted};

contract!(the_contents_of_a_golden_database_come_out_as_they_went_in);

async fn the_contents_of_a_golden_database_come_out_as_they_went_in(ground: &Ground) {
    golden::fill(&*ground.jobs, &*ground.dead).await.unwrap();
    check(&*ground.jobs, &*ground.dead).await;
}

/// That `golden::fill` was done to these stores, by whatever version.
pub async fn check(jobs: &dyn JobStore, dead: &dyn DeadLetterStore) {
    let change = golden::change();
    for new in golden::jobs() {
        let record = jobs.record_of(new.job.id).await.unwrap().unwrap();
        let changed = new.job.id == change.id;
        assert_eq!((&record.job.kind, &record.job.tenant), (&new.job.kind, &new.job.tenant));
        assert_eq!((&record.job.status, &record.payload), (&new.job.status, &new.payload));
        assert_eq!(record.job.version, if changed { 2 } else { 1 });
        assert_eq!(record.result, change.result.clone().filter(|_| changed));
        assert_eq!(record.history.first(), change.history.as_ref().filter(|_| changed));
    }
    let letters = dead.dead_letters(&DeadFilter { limit: 9, ..DeadFilter::default() }).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0].letter, letters[0].state), (&golden::letter(), DeadState::Discarded));
    assert_eq!(dead.audit(letters[0].id).await.unwrap()[0].actor, "olga");
    // Its key still answers.
    let mut again = accepted("mail", "acme");
    again.key = golden::jobs()[1].key;
    let inserted = jobs.insert(&[again]).await.unwrap();
    assert_eq!(inserted, [Inserted::Existing { id: golden::id(1), fingerprint: [2; 32] }]);
}
