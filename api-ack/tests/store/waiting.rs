//! What waits and what is in flight: lanes, claims, counts, and what the sweeper looks for.

use std::collections::HashSet;

use api_ack::store::{NewJob, Outlet, Portion, ProcessId, Queued, State, Waiting};
use uuid::Uuid;

use crate::ground::{Ground, ME, OTHER, SECOND, T0, accepted, begin, change, end, lane, publish, rows};

contract!(
    two_processes_never_claim_the_same_row,
    a_claim_takes_the_oldest_due_rows_nobody_owns,
    a_claim_takes_no_more_bytes_than_it_may_and_one_row_always,
    letters_are_claimed_without_their_lanes,
    lanes_are_those_with_a_due_row,
    rows_in_flight_are_counted_up_to_a_limit,
    what_has_not_begun_is_counted,
    the_backlog_is_what_is_due_lane_by_lane,
    overdue_rows_are_found_wherever_they_are,
    what_is_overdue_is_not_claimed_but_its_letter_is,
    quiet_rows_are_found_oldest_first,
    what_runs_elsewhere_for_long_is_found_behind_any_number_of_quiet_rows,
    waiting_rows_are_found_by_their_owner,
);

async fn two_processes_never_claim_the_same_row(ground: &Ground) {
    let batch: Vec<_> = (0..1000).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    let take = |me: ProcessId| async move {
        let store = if me == ME { &ground.jobs } else { &ground.jobs_of_another };
        let mut taken = Vec::new();
        // A short answer may mean that others were taking rows at that moment: done is when nobody took any for a while.
        let mut empty = 0;
        while empty < 3 {
            let rows = store.claim(me, &lane("mail", "acme"), T0, rows(20)).await.unwrap();
            empty = if rows.is_empty() { empty + 1 } else { 0 };
            assert!(rows.iter().all(|(job, _)| job.status.owner == Some(me) && job.version == 2));
            taken.extend(rows.into_iter().map(|(job, _)| job.id));
        }
        taken
    };
    let takes = [ME, OTHER, ME, OTHER, ME, OTHER, ME, OTHER].map(take);
    let all: Vec<Uuid> = futures::future::join_all(takes).await.into_iter().flatten().collect();
    let distinct: HashSet<Uuid> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (1000, 1000));
}

async fn a_claim_takes_the_oldest_due_rows_nobody_owns(ground: &Ground) {
    let due_at = |at| {
        let mut new = accepted("mail", "acme");
        new.job.status.due_at = at;
        new
    };
    let owned = |owner| {
        let mut new = due_at(T0 - 9);
        new.job.status.owner = Some(owner);
        new
    };
    let batch = [due_at(T0), due_at(T0 - 1), due_at(T0 + 1), due_at(T0 - 2), owned(ME), owned(OTHER), accepted("mail", "else")];
    ground.store(&batch).await;
    let ids = |rows: Vec<(api_ack::store::Job, api_ack::store::Payload)>| -> Vec<usize> {
        rows.iter().map(|(job, _)| batch.iter().position(|new| new.job.id == job.id).unwrap()).collect()
    };
    let here = lane("mail", "acme");
    let claimed = ground.jobs.claim(ME, &here, T0, rows(2)).await.unwrap();
    assert_eq!(claimed[0].1, batch[3].payload);
    let stored = ground.job(batch[3].job.id).await;
    assert_eq!(claimed[0].0, stored, "what is answered is what is stored");
    assert_eq!((stored.version, stored.status.owner, stored.status.updated_at), (2, Some(ME), T0));
    assert_eq!(ids(claimed), [3, 1]);
    // Now they are owned; what `me` owns is in its memory, and not taken again.
    assert_eq!(ids(ground.jobs.claim(ME, &here, T0, rows(9)).await.unwrap()), [0]);
    assert!(ground.jobs.claim(OTHER, &here, T0, rows(9)).await.unwrap().is_empty());
    assert_eq!(ids(ground.jobs.claim(OTHER, &here, T0 + 1, rows(9)).await.unwrap()), [2]);
}

async fn a_claim_takes_no_more_bytes_than_it_may_and_one_row_always(ground: &Ground) {
    let batch: Vec<NewJob> = (0..5)
        .map(|n| {
            let mut new = accepted("mail", "acme");
            new.job.status.due_at = T0 - 9 + n;
            new.payload.body = vec![b'x'; 1000].into();
            new
        })
        .collect();
    ground.store(&batch).await;
    for (bytes, taken) in [(1, 1), (2999, 2), (2000, 2)] {
        let portion = Portion { rows: 10, bytes };
        assert_eq!(ground.jobs.claim(ME, &lane("mail", "acme"), T0, portion).await.unwrap().len(), taken, "{bytes}");
    }
}

async fn letters_are_claimed_without_their_lanes(ground: &Ground) {
    let dead = |kind: &str, due_at, owner| {
        let mut new = accepted(kind, "acme");
        let status = &mut new.job.status;
        (status.state, status.ended_at, status.outlet) = (State::Dead, Some(T0 - 20), Some(Outlet::Dead));
        (status.due_at, status.owner) = (due_at, owner);
        new
    };
    // Ahead of them in their lane is what waits for its window; one is not due, one is held elsewhere, one is long published.
    let mut batch: Vec<NewJob> = (0..50).map(|_| accepted("mail", "acme")).collect();
    batch.extend([dead("mail", T0 - 1, None), dead("fax", T0 - 2, None), dead("mail", T0 + 1, None)]);
    batch.extend([dead("mail", T0 - 1, Some(OTHER)), dead("mail", T0 - 1, None)]);
    ground.store(&batch).await;
    ground.change(change(&batch[54].job, |status| status.outlet = None)).await;
    let claim = async |now| {
        let claimed = ground.jobs.claim_letters(ME, now, rows(9)).await.unwrap();
        for (job, payload) in &claimed {
            assert_eq!((job, payload), (&ground.job(job.id).await, &batch[0].payload), "what is answered is what is stored");
            assert_eq!(job.status.owner, Some(ME));
        }
        claimed.iter().map(|(job, _)| batch.iter().position(|new| new.job.id == job.id).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(claim(T0).await, [51, 50]);
    assert_eq!(claim(T0).await, [0; 0]);
    assert_eq!(claim(T0 + 1).await, [52]);
}

async fn lanes_are_those_with_a_due_row(ground: &Ground) {
    assert!(ground.jobs.lanes(T0).await.unwrap().is_empty());
    let mut later = accepted("mail", "later");
    later.job.status.due_at = T0 + 1;
    let mut batch: Vec<NewJob> = vec![later];
    for (kind, tenant) in [("a", "x"), ("a", "y"), ("b", ""), ("mail", "acme"), ("zeta", "z")] {
        batch.extend((0..30).map(|_| accepted(kind, tenant)));
    }
    let published = accepted("mail", "done");
    batch.push(published.clone());
    ground.store(&batch).await;
    ground.jobs.mark_published(&[(published.job.id, 1)], T0).await.unwrap();

    let mut lanes = ground.jobs.lanes(T0).await.unwrap();
    lanes.sort_unstable();
    assert_eq!(lanes, [lane("a", "x"), lane("a", "y"), lane("b", ""), lane("mail", "acme"), lane("zeta", "z")]);
    assert!(ground.jobs.lanes(T0 + 1).await.unwrap().contains(&lane("mail", "later")));
    assert!(ground.jobs.lanes(T0 - 1).await.unwrap().is_empty());
}

async fn rows_in_flight_are_counted_up_to_a_limit(ground: &Ground) {
    let batch: Vec<_> = (0..10).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    assert_eq!(ground.jobs.in_flight("mail", 100).await.unwrap(), 0);
    let rows: Vec<_> = batch.iter().map(|new| (new.job.id, 1)).collect();
    ground.jobs.mark_published(&rows, T0).await.unwrap();
    let running = ground.job(batch[0].job.id).await;
    ground.change(change(&running, |status| begin(status, T0))).await;
    let ended = ground.job(batch[1].job.id).await;
    ground.change(change(&ended, |status| end(status, State::Succeeded, T0))).await;
    assert_eq!(ground.jobs.in_flight("mail", 100).await.unwrap(), 9);
    assert_eq!(ground.jobs.in_flight("mail", 4).await.unwrap(), 4);
    assert_eq!(ground.jobs.in_flight("other", 100).await.unwrap(), 0);
}

async fn what_has_not_begun_is_counted(ground: &Ground) {
    let owned = |outlet| {
        let mut new = accepted("mail", "acme");
        (new.job.status.owner, new.job.status.outlet) = (Some(ME), Some(outlet));
        new
    };
    let batch = [
        owned(Outlet::Jobs),
        owned(Outlet::Return),
        // None of these is before a new job: in a rung, given up, running, over, waiting in the store, of another kind.
        owned(Outlet::Rung(broker_topology::Rung::S5)),
        owned(Outlet::Dead),
        owned(Outlet::Jobs),
        owned(Outlet::Jobs),
        accepted("mail", "acme"),
        accepted("logs", "acme"),
        // These two are in the work queue, one in a rung.
        owned(Outlet::Jobs),
        owned(Outlet::Jobs),
        owned(Outlet::Jobs),
    ];
    ground.store(&batch).await;
    for (at, edit) in [
        (4, (|status| begin(status, T0)) as fn(&mut api_ack::store::Status)),
        (5, |status| end(status, State::Succeeded, T0)),
        (8, publish),
        (9, publish),
    ] {
        let mut change = change(&batch[at].job, publish);
        edit(&mut change.to);
        ground.change(change).await;
    }
    ground
        .change(change(&batch[10].job, |status| {
            publish(status);
            status.state = State::Retrying;
        }))
        .await;
    assert_eq!(ground.jobs.queued("mail", 100).await.unwrap(), Queued { to_publish: 2, published: 2 });
    let unended = ground.jobs.unended("mail", 100).await.unwrap();
    // Wherever it waits, but for what is given up or over: one runs, two were published, one comes back from its rung.
    assert_eq!(unended, [(State::Accepted, 5), (State::Queued, 2), (State::Running, 1), (State::Retrying, 1)]);
    assert_eq!(ground.jobs.unended("none", 100).await.unwrap(), []);
    let few: u64 = ground.jobs.unended("mail", 1).await.unwrap().iter().map(|(_, count)| count).sum();
    assert_eq!(few, 2, "one that waits in the store, one under way");
    assert_eq!(ground.jobs.queued("none", 100).await.unwrap(), Queued { to_publish: 0, published: 0 });
    let Queued { to_publish, published } = ground.jobs.queued("mail", 1).await.unwrap();
    assert!(to_publish + published <= 1, "a look at one row");
}

async fn the_backlog_is_what_is_due_lane_by_lane(ground: &Ground) {
    let later = || {
        let mut new = accepted("b", "x");
        new.job.status.due_at = T0 + 1;
        new
    };
    let batch = [accepted("a", "x"), accepted("b", "x"), accepted("b", "x"), accepted("b", "z"), later(), later()];
    ground.store(&batch).await;
    ground.jobs.mark_published(&[(batch[3].job.id, 1)], T0).await.unwrap();
    let mut backlog = ground.jobs.backlog(T0).await.unwrap();
    backlog.sort_unstable();
    let waiting = |kind, tenant, rows| Waiting { lane: lane(kind, tenant), rows, oldest: T0 };
    assert_eq!(backlog, [waiting("a", "x", 1), waiting("b", "x", 2)]);
    assert!(
        ground.jobs.backlog(T0 + 1).await.unwrap().contains(&waiting("b", "x", 4)),
        "what is for later counts when it is due"
    );
    // What a process holds in memory is its own to count.
    let mut held = accepted("a", "x");
    held.job.status.owner = Some(ME);
    ground.store(&[held]).await;
    assert_eq!(ground.jobs.backlog(T0).await.unwrap().len(), 2);
    assert!(ground.jobs.backlog(T0).await.unwrap().contains(&waiting("a", "x", 1)));
}

async fn overdue_rows_are_found_wherever_they_are(ground: &Ground) {
    let with_deadline = |kind: &str, deadline| {
        let mut new = accepted(kind, "acme");
        new.job.status.deadline = deadline;
        new
    };
    let late = T0 - 1;
    let batch = [
        with_deadline("a", late),
        with_deadline("b", late),
        with_deadline("c", late),
        with_deadline("d", late),
        with_deadline("d", T0),
        with_deadline("e", late),
    ];
    ground.store(&batch).await;
    // 0 waits, 1 is queued, 2 runs, 3 has ended, 5 has ended and waits for its way to the dead letters.
    type Edit = fn(&mut api_ack::store::Status);
    let edits: [(usize, Edit); 4] = [
        (1, publish),
        (2, |status| {
            publish(status);
            begin(status, T0)
        }),
        (3, |status| end(status, State::Cancelled, T0)),
        (5, |status| status.ended_at = Some(T0)),
    ];
    for (at, edit) in edits {
        ground.change(change(&batch[at].job, edit)).await;
    }
    let found: HashSet<Uuid> = ground.jobs.overdue(T0, 100).await.unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(found, [0, 1, 2].map(|at| batch[at].job.id).into());
    assert_eq!(ground.jobs.overdue(T0, 2).await.unwrap().len(), 2);
    assert!(ground.jobs.overdue(late, 100).await.unwrap().is_empty());
}

async fn what_is_overdue_is_not_claimed_but_its_letter_is(ground: &Ground) {
    let with = |ended_at: Option<i64>, deadline| {
        let mut new = accepted("mail", "acme");
        (new.job.status.deadline, new.job.status.ended_at) = (deadline, ended_at);
        new
    };
    let batch = [with(None, T0), with(None, T0 + 1), with(Some(T0 - 1), T0 - 1)];
    ground.store(&batch).await;
    let claimed = ground.jobs.claim(ME, &lane("mail", "acme"), T0, rows(9)).await.unwrap();
    let claimed: HashSet<Uuid> = claimed.into_iter().map(|(job, _)| job.id).collect();
    assert_eq!(claimed, [1, 2].map(|at| batch[at].job.id).into());
}

async fn quiet_rows_are_found_oldest_first(ground: &Ground) {
    let batch: Vec<_> = (0..4).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    for (at, updated) in [(0, 3), (1, 1), (2, 9)] {
        ground.jobs.mark_published(&[(batch[at].job.id, 1)], T0 + updated * SECOND).await.unwrap();
    }
    let found = ground.jobs.quiet("mail", None, T0 + 9 * SECOND, 10).await.unwrap();
    assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), [batch[1].job.id, batch[0].job.id]);
    assert_eq!(ground.jobs.quiet("mail", None, T0 + 60 * SECOND, 1).await.unwrap()[0].id, batch[1].job.id);
    assert!(ground.jobs.quiet("other", None, T0 + 60 * SECOND, 10).await.unwrap().is_empty());
}

async fn what_runs_elsewhere_for_long_is_found_behind_any_number_of_quiet_rows(ground: &Ground) {
    let batch: Vec<_> = (0..6).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    let marks: Vec<_> = batch.iter().map(|new| (new.job.id, 1)).collect();
    ground.jobs.mark_published(&marks, T0 - 60 * SECOND).await.unwrap();
    let elsewhere = |at: usize, began| {
        change(&api_ack::store::Job { version: 2, ..batch[at].job.clone() }, |status| {
            publish(status);
            (status.state, status.started_at, status.updated_at) = (State::Running, Some(T0), began);
        })
    };
    ground.change(elsewhere(3, T0 + 1)).await;
    ground.change(elsewhere(4, T0 + 9)).await;
    let here = change(&api_ack::store::Job { version: 2, ..batch[5].job.clone() }, |status| {
        publish(status);
        begin(status, T0);
    });
    ground.change(here).await;
    let found = ground.jobs.overrun("mail", T0 + 9, 1).await.unwrap();
    assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), [batch[3].job.id]);
    assert_eq!(found[0], ground.job(batch[3].job.id).await, "as it is loaded");
    assert_eq!(ground.jobs.overrun("mail", T0 + 99, 9).await.unwrap().len(), 2);
    assert!(ground.jobs.overrun("other", T0 + 99, 9).await.unwrap().is_empty());
}

async fn waiting_rows_are_found_by_their_owner(ground: &Ground) {
    let owned = |owner| {
        let mut new = accepted("mail", "acme");
        new.job.status.owner = owner;
        new
    };
    let batch = [owned(Some(ME)), owned(None), owned(Some(OTHER)), owned(Some(ME)), owned(Some(ME))];
    ground.store(&batch).await;
    // What runs has an owner too, and does not wait.
    ground
        .change(change(&batch[4].job, |status| {
            publish(status);
            begin(status, T0)
        }))
        .await;
    let found: HashSet<Uuid> = ground.jobs.owned(ME, 10).await.unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(found, [0, 3].map(|at| batch[at].job.id).into());
    assert_eq!(ground.jobs.owned(ME, 1).await.unwrap().len(), 1);
    assert_eq!(ground.jobs.owned(OTHER, 10).await.unwrap(), [batch[2].job.clone()]);
}
