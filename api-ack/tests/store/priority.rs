//! The two classes: stored at the insert, kept for good, claimed and counted apart.

use api_ack::store::{Edit, Inserted, Made, NewJob, Outlet, PASSED, Priority, State, Status};
use uuid::Uuid;

use crate::dead::{kept, letter};
use crate::ground::{Ground, ME, OTHER, SECOND, T0, accepted, begin, change, end, high, high_lane, key, lane, publish, rows};

contract!(
    a_batch_may_hold_both_classes,
    high_rows_have_a_way_of_their_own,
    the_normal_lane_gives_what_is_oldest,
    normal_rows_are_claimed_past_high_ones_and_not_past_any_number_of_them,
    high_rows_in_flight_are_counted_alone,
    quiet_rows_are_found_by_class,
    the_class_is_kept,
    an_edited_letter_keeps_the_class_of_its_job,
);

async fn class(ground: &Ground, id: Uuid) -> Priority {
    ground.job(id).await.priority
}

async fn a_batch_may_hold_both_classes(ground: &Ground) {
    let keyed = |mut new: NewJob, n| {
        new.key = Some(key(n));
        new
    };
    let plain = [accepted("mail", "acme"), high("mail", "acme"), accepted("mail", "acme")];
    ground.store(&plain).await;
    let mixed =
        [keyed(high("mail", "acme"), 1), keyed(accepted("mail", "acme"), 2), high("mail", "acme"), accepted("mail", "acme")];
    ground.store(&mixed).await;
    for new in plain.iter().chain(&mixed) {
        assert_eq!(class(ground, new.job.id).await, new.job.priority);
    }
    // A key that was lost stores nothing, whatever the class.
    let again = [keyed(high("mail", "acme"), 2), high("mail", "acme")];
    let became = ground.jobs.insert(&again).await.unwrap();
    assert!(matches!(became[..], [Inserted::Existing { id, .. }, Inserted::New] if id == mixed[1].job.id), "{became:?}");
    assert_eq!(class(ground, mixed[1].job.id).await, Priority::Normal);
    assert!(ground.jobs.load(&[again[0].job.id]).await.unwrap().is_empty());
    let listed = ground.jobs.record_of(again[1].job.id).await.unwrap().unwrap();
    assert_eq!(listed.job, again[1].job);
}

async fn high_rows_have_a_way_of_their_own(ground: &Ground) {
    let mut later = high("mail", "later");
    later.job.status.due_at = T0 + 1;
    let mut first = high("mail", "acme");
    first.job.status.due_at = T0 - 1;
    let mut batch: Vec<NewJob> = (0..50).map(|_| accepted("mail", "acme")).collect();
    batch.extend([first, high("mail", "beta"), high("orders", "acme"), high("mail", "acme"), later]);
    ground.store(&batch).await;
    let mut lanes = ground.jobs.lanes(T0).await.unwrap();
    lanes.sort_unstable();
    let (acme, beta, orders) = (lane("mail", "acme"), lane("mail", "beta"), lane("orders", "acme"));
    let highs = [high_lane("mail", "acme"), high_lane("mail", "beta"), high_lane("orders", "acme")];
    let [high_acme, high_beta, high_orders] = highs.clone();
    assert_eq!(lanes, [acme, high_acme.clone(), beta, high_beta, orders, high_orders]);

    let claimed = ground.jobs.claim(ME, &high_acme, T0, rows(10)).await.unwrap();
    let ids: Vec<Uuid> = claimed.iter().map(|(job, _)| job.id).collect();
    assert_eq!(ids, [batch[50].job.id, batch[53].job.id]);
    assert_eq!(claimed[0].0, ground.job(ids[0]).await, "what is answered is what is stored");
    assert!(ground.jobs.claim(ME, &high_acme, T0, rows(10)).await.unwrap().is_empty());
    assert!(!ground.jobs.lanes(T0).await.unwrap().contains(&high_acme));
    assert!(ground.jobs.lanes(T0 + 1).await.unwrap().contains(&high_lane("mail", "later")));
}

async fn the_normal_lane_gives_what_is_oldest(ground: &Ground) {
    let due = |mut new: NewJob, at| {
        new.job.status.due_at = at;
        new
    };
    let acme = |new: fn(&str, &str) -> NewJob, at| due(new("mail", "acme"), at);
    let batch = [acme(high, T0 - 1), acme(accepted, T0 - 2), acme(high, T0 - 4), acme(accepted, T0 - 3)];
    ground.store(&batch).await;
    let claimed = ground.jobs.claim(ME, &lane("mail", "acme"), T0, rows(3)).await.unwrap();
    let order: Vec<usize> = claimed.iter().map(|(job, _)| batch.iter().position(|new| new.job.id == job.id).unwrap()).collect();
    assert_eq!(order, [2, 3, 1], "no row is passed over");
    assert_eq!(claimed[0].0.priority, Priority::High);
}

async fn normal_rows_are_claimed_past_high_ones_and_not_past_any_number_of_them(ground: &Ground) {
    let due = |mut new: NewJob, at| {
        new.job.status.due_at = at;
        new
    };
    let ahead = PASSED as usize;
    let mut batch: Vec<NewJob> = (0..ahead).map(|_| due(high("mail", "acme"), T0 - 9)).collect();
    batch.extend([due(accepted("mail", "acme"), T0 - 2), due(accepted("mail", "acme"), T0 - 3), accepted("mail", "else")]);
    for part in batch.chunks(500) {
        ground.store(part).await;
    }
    let here = lane("mail", "acme");
    let claim = async |count| ground.jobs.claim_normal(ME, &here, T0, rows(count)).await.unwrap();
    let claimed = claim(1).await;
    let of_all = |at: usize| batch[at].job.id;
    assert_eq!(claimed.iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [of_all(ahead + 1)], "the oldest");
    assert_eq!(claimed[0].0, ground.job(claimed[0].0.id).await, "what is answered is what is stored");
    assert!(ground.jobs_of_another.claim_normal(ME, &lane("mail", "nobody"), T0, rows(9)).await.unwrap().is_empty());

    let more: Vec<NewJob> = (0..9).map(|_| due(high("mail", "acme"), T0 - 9)).collect();
    ground.store(&more).await;
    assert!(claim(9).await.is_empty(), "behind too many");
    ground.jobs.claim(OTHER, &high_lane("mail", "acme"), T0, rows(9)).await.unwrap();
    assert_eq!(claim(9).await.iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [of_all(ahead)]);
    assert!(claim(9).await.is_empty());
}

async fn high_rows_in_flight_are_counted_alone(ground: &Ground) {
    let batch =
        [high("mail", "acme"), accepted("mail", "acme"), high("mail", "beta"), high("other", "acme"), high("mail", "acme")];
    ground.store(&batch).await;
    let counts =
        async || (ground.jobs.in_flight("mail", 100).await.unwrap(), ground.jobs.in_flight_high("mail", 100).await.unwrap());
    assert_eq!(counts().await, (0, 0), "what waits is not in flight");
    for new in &batch[..4] {
        ground.change(change(&new.job, publish)).await;
    }
    assert_eq!(counts().await, (3, 2));
    let first = ground.job(batch[0].job.id).await;
    ground.change(change(&first, |status| begin(status, T0))).await;
    assert_eq!(counts().await, (3, 2), "it runs");
    let first = ground.job(first.id).await;
    ground.change(change(&first, |status| end(status, State::Succeeded, T0))).await;
    assert_eq!(counts().await, (2, 1));
    assert_eq!(ground.jobs.in_flight_high("mail", 0).await.unwrap(), 0);
}

async fn quiet_rows_are_found_by_class(ground: &Ground) {
    let batch = [high("mail", "acme"), accepted("mail", "acme")];
    ground.store(&batch).await;
    let rows = batch.each_ref().map(|new| (new.job.id, 1));
    ground.jobs.mark_published(&rows, T0).await.unwrap();
    let quiet = async |of| {
        let found = ground.jobs.quiet("mail", of, T0 + SECOND, 10).await.unwrap();
        found.iter().map(|job| job.priority).collect::<Vec<_>>()
    };
    assert_eq!(quiet(Some(Priority::High)).await, [Priority::High]);
    assert_eq!(quiet(Some(Priority::Normal)).await, [Priority::Normal]);
    assert_eq!(quiet(None).await.len(), 2);
}

async fn the_class_is_kept(ground: &Ground) {
    let new = high("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    let id = new.job.id;
    ground.jobs.claim(ME, &high_lane("mail", "acme"), T0, rows(1)).await.unwrap();
    ground.jobs.mark_published(&[(id, 2)], T0).await.unwrap();
    let redriven = |status: &mut Status| {
        (status.state, status.outlet, status.ended_at) = (State::Accepted, Some(Outlet::Return), None);
    };
    let edits: [fn(&mut Status); 3] = [|status| begin(status, T0), |status| end(status, State::Dead, T0), redriven];
    for edit in edits {
        let job = ground.job(id).await;
        ground.change(change(&job, edit)).await;
        assert_eq!(class(ground, id).await, Priority::High);
    }
    assert!(ground.jobs.lanes(T0).await.unwrap().contains(&high_lane("mail", "acme")), "and its redrive goes first");
}

async fn an_edited_letter_keeps_the_class_of_its_job(ground: &Ground) {
    let mut old = high("mail", "acme");
    end(&mut old.job.status, State::Dead, T0);
    ground.store(std::slice::from_ref(&old)).await;
    let mut dead = letter("jobs.mail.high", "m1", T0);
    dead.job_id = Some(old.job.id);
    let letter = kept(ground, dead).await.id;
    let job = high("mail", "acme");
    let made = Made::Job { origin: old.job.id, job: &job };
    let edit = Edit { letter, made, request: "", actor: "olga", note: "", at: T0 };
    assert!(ground.dead.edit(&edit).await.unwrap());
    assert_eq!(ground.job(job.job.id).await, job.job);
}
