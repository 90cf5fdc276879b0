//! Callbacks: stored with their job, owed by its end, claimed by one, gone with it.

use api_ack::store::{
    CALLS, Call, CallbackFilter, CallbackState, Claimed, Deed, Inserted, Micros, NewJob, Priority, Recalled, Settled, State,
    Target,
};
use api_ack::tags::Tags;
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted_at, begin, change, end, key, publish};

contract!(
    a_callback_is_stored_with_its_job_and_with_no_other,
    a_callback_is_owed_by_every_end_and_by_nothing_else,
    a_job_that_is_redriven_is_told_of_again,
    a_claim_is_one_processs_until_it_lapses,
    a_host_that_is_busy_keeps_no_other_waiting,
    an_address_that_said_stop_is_known_until_somebody_says_otherwise,
    a_callback_that_is_over_can_be_called_again,
    callbacks_are_listed_newest_first_within_bounds,
    a_job_stays_while_its_callback_is_owed_and_takes_it_along
);

const NOW: Micros = T0 + 1000 * SECOND;

fn target(host: &str) -> Target {
    Target { url: format!("https://{host}/hook"), host: format!("{host}:443") }
}

fn called(n: i64, host: &str) -> NewJob {
    NewJob { callback: Some(target(host)), ..accepted_at(T0 + n * SECOND, "mail", "acme") }
}

fn deed(action: &str) -> Deed {
    Deed { at: NOW + 7, actor: "olga".into(), note: "it is back".into(), action: action.into() }
}

/// A job that has ended, its callback owed.
async fn owed(ground: &Ground, n: i64, host: &str) -> Uuid {
    let new = called(n, host);
    ground.store(std::slice::from_ref(&new)).await;
    ground.change(change(&new.job, |status| end(status, State::Succeeded, T0 + n * SECOND))).await;
    assert_eq!(ground.callbacks.owe(NOW, 10).await.unwrap(), 1);
    new.job.id
}

async fn claim(ground: &Ground, host: &str, now: Micros) -> Vec<Claimed> {
    ground.callbacks.claim_callbacks(&format!("{host}:443"), now, now + 60 * SECOND, 10).await.unwrap()
}

fn settled(claimed: &Claimed, state: CallbackState, due_at: Option<Micros>) -> Settled {
    let call = Call { at: NOW, status: Some(503), error: Some("busy".into()), took_ms: 12 };
    let callback = &claimed.callback;
    let history = [callback.history.as_slice(), &[call]].concat();
    Settled { job: callback.job, claim: callback.claim, state, due_at, history, at: NOW + 1, stop: false }
}

async fn state(ground: &Ground, job: Uuid) -> CallbackState {
    ground.callbacks.callback(job).await.unwrap().unwrap().state
}

async fn a_callback_is_stored_with_its_job_and_with_no_other(ground: &Ground) {
    let mut keyed = called(1, "a.example");
    keyed.key = Some(key(1));
    let mut high = called(2, "b.example");
    high.job.priority = Priority::High;
    high.tags = Tags::of(["x"]).unwrap();
    let plain = accepted_at(T0 + 3 * SECOND, "mail", "acme");
    let mut tagged = accepted_at(T0 + 4 * SECOND, "mail", "acme");
    tagged.tags = Tags::of(["y"]).unwrap();
    let batch = [keyed.clone(), high.clone(), plain.clone(), tagged.clone()];
    ground.store(&batch).await;
    for new in &batch {
        let record = ground.jobs.record_of(new.job.id).await.unwrap().unwrap();
        assert_eq!((&record.job, &record.tags), (&new.job, &new.tags));
        assert_eq!(record.callback.as_ref().map(|callback| &callback.target), new.callback.as_ref());
        assert_eq!(record.callback, ground.callbacks.callback(new.job.id).await.unwrap());
    }
    let stored = ground.callbacks.callback(keyed.job.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.epoch, stored.calls, stored.due_at), (CallbackState::Waiting, 0, 0, None));
    assert_eq!((stored.tenant.as_str(), stored.history.len()), ("acme", 0));

    // Of one that lost its key nothing is stored; and a batch without keys is stored as well.
    let loser = NewJob { key: Some(key(1)), ..called(5, "c.example") };
    let became = ground.jobs.insert(&[loser.clone(), called(6, "d.example")]).await.unwrap();
    assert!(matches!(became[..], [Inserted::Existing { .. }, Inserted::New]), "{became:?}");
    assert_eq!(ground.callbacks.callback(loser.job.id).await.unwrap(), None);
    ground.store(&[called(7, "e.example"), accepted_at(T0 + 8 * SECOND, "mail", "acme")]).await;
    let all = CallbackFilter { scan: 100, limit: 100, ..CallbackFilter::default() };
    assert_eq!(ground.callbacks.callbacks(&all).await.unwrap().callbacks.len(), 4);
}

async fn a_callback_is_owed_by_every_end_and_by_nothing_else(ground: &Ground) {
    let ends = [State::Succeeded, State::Dead, State::Cancelled, State::Expired];
    let batch: Vec<NewJob> = (0..).zip(ends).map(|(n, _)| called(n, "a.example")).collect();
    let others = [accepted_at(T0, "mail", "acme"), called(9, "a.example"), called(10, "a.example")];
    ground.store(&[batch.as_slice(), &others].concat()).await;
    ground.change(change(&others[1].job, publish)).await;
    ground.change(change(&others[2].job, |status| begin(status, T0))).await;
    assert_eq!(ground.callbacks.owe(NOW, 10).await.unwrap(), 0, "nothing has ended");
    assert!(ground.callbacks.owed_hosts("", 10).await.unwrap().is_empty());

    for (n, (new, state)) in (0..).zip(batch.iter().zip(ends)) {
        ground.change(change(&new.job, |status| end(status, state, T0 + n * SECOND))).await;
    }
    ground.change(change(&others[0].job, |status| end(status, State::Succeeded, T0))).await;
    assert_eq!(ground.callbacks.owe(NOW, 3).await.unwrap(), 3, "as many as asked for");
    assert_eq!(ground.callbacks.owe(NOW + 1, 3).await.unwrap(), 1, "the last one to end comes last");
    assert_eq!(ground.callbacks.owe(NOW + 2, 3).await.unwrap(), 0, "each once");
    assert_eq!(ground.callbacks.owed_hosts("", 10).await.unwrap(), [("a.example:443".to_owned(), NOW)]);
    assert_eq!(ground.callbacks.count_owed(100).await.unwrap(), 4);
    assert_eq!(ground.callbacks.count_owed(2).await.unwrap(), 2);
    for new in &batch {
        let callback = ground.callbacks.callback(new.job.id).await.unwrap().unwrap();
        assert_eq!((callback.state, callback.epoch, callback.claim), (CallbackState::Owed, 1, 1));
        assert_eq!(ground.job(new.job.id).await.version, 2, "the row of the job has not moved on");
    }
    assert_eq!(state(ground, others[1].job.id).await, CallbackState::Waiting);
}

async fn a_job_that_is_redriven_is_told_of_again(ground: &Ground) {
    let job = owed(ground, 1, "a.example").await;
    let first = claim(ground, "a.example", NOW).await.remove(0);
    let row = ground.job(job).await;
    ground.change(change(&row, |status| (status.state, status.epoch, status.ended_at) = (State::Accepted, 2, None))).await;
    assert_eq!(ground.callbacks.owe(NOW, 10).await.unwrap(), 0);
    // Who called about the first end finds that it is history.
    assert!(ground.callbacks.settle(&settled(&first, CallbackState::Waiting, None)).await.unwrap());
    assert_eq!(ground.callbacks.count_owed(9).await.unwrap(), 0);
    let row = ground.job(job).await;
    ground.change(change(&row, |status| end(status, State::Succeeded, NOW))).await;
    assert_eq!(ground.callbacks.owe(NOW + 5, 10).await.unwrap(), 1);
    let again = claim(ground, "a.example", NOW + 5).await.remove(0).callback;
    assert_eq!((again.epoch, again.calls, again.history.len()), (2, 1, 1), "a schedule of its own");
    assert!(!ground.callbacks.settle(&settled(&first, CallbackState::Delivered, None)).await.unwrap(), "too late");
}

async fn a_claim_is_one_processs_until_it_lapses(ground: &Ground) {
    let jobs = [owed(ground, 1, "a.example").await, owed(ground, 2, "a.example").await];
    let (one, other) = tokio::join!(
        ground.callbacks.claim_callbacks("a.example:443", NOW, NOW + 60 * SECOND, 1),
        ground.callbacks_of_another.claim_callbacks("a.example:443", NOW, NOW + 60 * SECOND, 1),
    );
    let mut claimed = [one.unwrap(), other.unwrap()].concat();
    claimed.sort_by_key(|claimed| claimed.callback.job);
    assert_eq!(claimed.iter().map(|claimed| claimed.callback.job).collect::<Vec<_>>(), jobs, "each by one");
    assert!(claimed.iter().all(|claimed| claimed.callback.calls == 1 && !claimed.stopped));
    assert!(claim(ground, "a.example", NOW + 59 * SECOND).await.is_empty());

    // One says in time what came of it, the other dies. What it would have said later is void.
    let later = settled(&claimed[0], CallbackState::Owed, Some(NOW + 90 * SECOND));
    assert!(ground.callbacks.settle(&later).await.unwrap());
    let again = claim(ground, "a.example", NOW + 60 * SECOND).await;
    assert_eq!(again.iter().map(|claimed| (claimed.callback.job, claimed.callback.calls)).collect::<Vec<_>>(), [(jobs[1], 2)]);
    assert!(!ground.callbacks.settle(&settled(&claimed[1], CallbackState::Delivered, None)).await.unwrap());
    assert!(ground.callbacks.settle(&settled(&again[0], CallbackState::Delivered, None)).await.unwrap());
    assert!(!ground.callbacks.settle(&settled(&again[0], CallbackState::Failed, None)).await.unwrap(), "once");
    assert_eq!(state(ground, jobs[1]).await, CallbackState::Delivered);

    let row = ground.callbacks.callback(jobs[0]).await.unwrap().unwrap();
    assert_eq!((row.state, row.due_at, &row.history), (CallbackState::Owed, later.due_at, &later.history));
    // The history is bounded by the latest.
    let third = claim(ground, "a.example", NOW + 90 * SECOND).await.remove(0);
    let call = |n: usize| Call { at: n as i64, status: None, error: None, took_ms: 1 };
    let many = Settled { history: (0..50).map(call).collect(), ..settled(&third, CallbackState::Failed, None) };
    assert!(ground.callbacks.settle(&many).await.unwrap());
    let kept = ground.callbacks.callback(jobs[0]).await.unwrap().unwrap().history;
    assert_eq!((kept.len(), &kept[CALLS - 1]), (CALLS, &call(49)));
}

async fn a_host_that_is_busy_keeps_no_other_waiting(ground: &Ground) {
    for n in 0..5 {
        owed(ground, n, "a.example").await;
    }
    let b = owed(ground, 6, "b.example").await;
    owed(ground, 7, "c.example").await;
    let names = |hosts: Vec<(String, Micros)>| hosts.into_iter().map(|(host, _)| host).collect::<Vec<_>>();
    assert_eq!(names(ground.callbacks.owed_hosts("", 10).await.unwrap()), ["a.example:443", "b.example:443", "c.example:443"]);
    assert_eq!(names(ground.callbacks.owed_hosts("a.example:443", 1).await.unwrap()), ["b.example:443"]);
    let claimed = ground.callbacks.claim_callbacks("a.example:443", NOW, NOW + 60 * SECOND, 5).await.unwrap();
    assert_eq!(claimed.len(), 5);
    let hosts = ground.callbacks.owed_hosts("", 2).await.unwrap();
    assert_eq!(hosts, [("a.example:443".to_owned(), NOW + 60 * SECOND), ("b.example:443".to_owned(), NOW)]);
    assert_eq!(claim(ground, "b.example", NOW).await[0].callback.job, b);
}

async fn an_address_that_said_stop_is_known_until_somebody_says_otherwise(ground: &Ground) {
    let jobs = [owed(ground, 1, "a.example").await, owed(ground, 2, "a.example").await];
    let claimed = ground.callbacks.claim_callbacks("a.example:443", NOW, NOW + 60 * SECOND, 1).await.unwrap().remove(0);
    let gone = Settled { stop: true, ..settled(&claimed, CallbackState::Disabled, None) };
    assert!(ground.callbacks.settle(&gone).await.unwrap());
    let other = claim(ground, "a.example", NOW).await.remove(0);
    assert!(other.stopped && other.callback.job == jobs[1]);
    assert!(ground.callbacks.settle(&settled(&other, CallbackState::Disabled, None)).await.unwrap());
    let mut foreign = called(3, "a.example");
    foreign.job.tenant = "other".into();
    ground.store(std::slice::from_ref(&foreign)).await;
    ground.change(change(&foreign.job, |status| end(status, State::Dead, T0))).await;
    ground.callbacks.owe(NOW, 10).await.unwrap();
    assert!(!claim(ground, "a.example", NOW).await[0].stopped, "another tenant's is called");

    let url = target("a.example").url;
    let stops = ground.callbacks.stops(None, ("", ""), 10).await.unwrap();
    assert_eq!(
        stops.iter().map(|stop| (stop.tenant.as_str(), &stop.url, stop.job)).collect::<Vec<_>>(),
        [("acme", &url, jobs[0])]
    );
    assert_eq!(ground.callbacks.stops(Some("acme"), ("", ""), 10).await.unwrap(), stops);
    assert!(ground.callbacks.stops(Some("other"), ("", ""), 10).await.unwrap().is_empty());
    assert!(ground.callbacks.stops(None, ("acme", &url), 10).await.unwrap().is_empty(), "behind the last");

    let redrive = deed("redrive");
    assert_eq!(ground.callbacks.recall(jobs[1], &redrive).await.unwrap(), Recalled::Stopped);
    assert!(!ground.callbacks.unstop("other", &url, &deed("enable")).await.unwrap());
    assert!(ground.callbacks.unstop("acme", &url, &deed("enable")).await.unwrap());
    assert!(!ground.callbacks.unstop("acme", &url, &deed("enable")).await.unwrap(), "once");
    assert_eq!(ground.callbacks.deeds(jobs[0]).await.unwrap(), [deed("enable")]);
    assert_eq!(ground.callbacks.recall(jobs[1], &redrive).await.unwrap(), Recalled::Done);
    assert!(!claim(ground, "a.example", NOW + 7).await[0].stopped);
}

async fn a_callback_that_is_over_can_be_called_again(ground: &Ground) {
    let job = owed(ground, 1, "a.example").await;
    let redrive = deed("redrive");
    let under_way = Recalled::UnderWay(CallbackState::Owed);
    assert_eq!(ground.callbacks.recall(job, &redrive).await.unwrap(), under_way);
    assert_eq!(ground.callbacks.recall(Uuid::now_v7(), &redrive).await.unwrap(), Recalled::Unknown);
    for ended in [CallbackState::Delivered, CallbackState::Failed, CallbackState::Disabled] {
        let claimed = claim(ground, "a.example", NOW + 7).await.remove(0);
        assert!(ground.callbacks.settle(&settled(&claimed, ended, None)).await.unwrap());
        assert_eq!(ground.callbacks.recall(job, &redrive).await.unwrap(), Recalled::Done);
        let row = ground.callbacks.callback(job).await.unwrap().unwrap();
        assert_eq!((row.state, row.calls, row.epoch, row.due_at), (CallbackState::Owed, 0, 1, Some(NOW + 7)));
    }
    assert_eq!(ground.callbacks.deeds(job).await.unwrap(), [redrive.clone(), redrive.clone(), redrive]);
    assert_eq!(ground.callbacks.owe(NOW, 9).await.unwrap(), 0);
}

async fn callbacks_are_listed_newest_first_within_bounds(ground: &Ground) {
    let mut batch: Vec<NewJob> = (0..30).map(|n| called(n, "a.example")).collect();
    for new in batch.iter_mut().step_by(3) {
        new.job.tenant = "other".into();
    }
    ground.store(&batch).await;
    let ids = |tenant: Option<&str>| -> Vec<Uuid> {
        let of = batch.iter().rev().filter(|new| tenant.is_none_or(|tenant| new.job.tenant == tenant));
        of.map(|new| new.job.id).collect()
    };
    for (tenant, scan, limit) in [(None, 100, 100), (None, 7, 100), (Some("other"), 4, 100), (Some("acme"), 100, 3)] {
        let mut filter = CallbackFilter { tenant: tenant.map(str::to_owned), scan, limit, ..CallbackFilter::default() };
        let mut found = Vec::new();
        loop {
            let page = ground.callbacks.callbacks(&filter).await.unwrap();
            assert!(page.callbacks.len() <= limit as usize);
            found.extend(page.callbacks.into_iter().map(|callback| callback.job));
            let Some(next) = page.next else { break };
            filter.before = Some(next);
        }
        assert_eq!(found, ids(tenant), "{tenant:?} {scan} {limit}");
    }
    let owed = CallbackFilter { state: Some(CallbackState::Owed), scan: 100, limit: 100, ..CallbackFilter::default() };
    assert!(ground.callbacks.callbacks(&owed).await.unwrap().callbacks.is_empty());
}

async fn a_job_stays_while_its_callback_is_owed_and_takes_it_along(ground: &Ground) {
    let new = called(1, "a.example");
    ground.store(std::slice::from_ref(&new)).await;
    let job = new.job.id;
    ground.change(change(&new.job, |status| end(status, State::Succeeded, T0))).await;
    assert_eq!(ground.purge(NOW, 10).await, 0, "nobody has seen yet that it ended");
    ground.callbacks.owe(NOW, 10).await.unwrap();
    assert_eq!(ground.purge(NOW, 10).await, 0, "it is owed");
    let claimed = claim(ground, "a.example", NOW).await.remove(0);
    assert!(ground.callbacks.settle(&settled(&claimed, CallbackState::Failed, None)).await.unwrap());
    assert_eq!(ground.purge(NOW, 10).await, 1);
    assert_eq!(ground.callbacks.callback(job).await.unwrap(), None);
    assert!(ground.jobs.record_of(job).await.unwrap().is_none());
}
