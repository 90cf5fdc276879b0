//! Following kinds: what changes is looked up once for all who follow.

use std::collections::BTreeMap;
use std::time::Duration;

use api_ack::feed::{Feed, FeedOptions, Subscription, Told};
use api_ack::store::State;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::ground::{Ground, T0, accepted, begin, change, end};

contract!(
    all_who_follow_a_kind_are_told_how_its_jobs_are,
    a_slow_subscriber_is_told_of_the_gap_and_goes_on,
    places_are_limited_and_a_drain_ends_all
);

const SOON: Duration = Duration::from_secs(10);

fn feed(ground: &Ground, options: FeedOptions) -> (Feed, CancellationToken) {
    let drain = CancellationToken::new();
    (Feed::start(ground.jobs.clone(), options, &TaskTracker::new(), drain.clone()), drain)
}

async fn next(subscription: &mut Subscription) -> Told {
    timeout(SOON, subscription.next()).await.expect("word in time").expect("the feed goes on")
}

async fn changed(subscription: &mut Subscription) -> (Uuid, State, String) {
    match next(subscription).await {
        Told::Changed(changed) => (changed.job.id, changed.job.status.state, changed.subject.clone()),
        Told::Gap(why) => panic!("a gap: {why}"),
    }
}

async fn all_who_follow_a_kind_are_told_how_its_jobs_are(ground: &Ground) {
    let (feed, _drain) = feed(ground, FeedOptions::default());
    let batch = [accepted("mail", "acme"), accepted("fax", "acme"), accepted("mail", "other")];
    ground.store(&batch).await;
    for new in &batch {
        feed.note(&new.job.kind, new.job.id);
    }
    let mut subscriptions = Vec::new();
    for _ in 0..50 {
        subscriptions.push(feed.subscribe("mail").await.unwrap());
    }
    // What was noted before is not told. A job that is not there is no news, and of several notes in a moment one is told.
    for new in &batch {
        ground.change(change(&new.job, |status| begin(status, T0 + 1))).await;
        feed.note(&new.job.kind, new.job.id);
        feed.note(&new.job.kind, new.job.id);
    }
    feed.note("mail", Uuid::now_v7());
    for subscription in &mut subscriptions {
        let mut told = BTreeMap::new();
        for _ in 0..2 {
            let (id, state, subject) = changed(subscription).await;
            assert_eq!((state, subject.as_str()), (State::Running, "anna"));
            told.insert(id, ());
        }
        assert!(told.contains_key(&batch[0].job.id) && told.contains_key(&batch[2].job.id));
    }
    let job = ground.job(batch[0].job.id).await;
    ground.change(change(&job, |status| end(status, State::Succeeded, T0 + 2))).await;
    feed.note("mail", job.id);
    for subscription in &mut subscriptions {
        assert_eq!(changed(subscription).await, (job.id, State::Succeeded, "anna".to_owned()));
    }
}

async fn a_slow_subscriber_is_told_of_the_gap_and_goes_on(ground: &Ground) {
    let (feed, _drain) = feed(ground, FeedOptions { buffer: 4, ..FeedOptions::default() });
    let batch: Vec<_> = (0..20).map(|_| accepted("mail", "acme")).collect();
    ground.store(&batch).await;
    let (mut slow, mut quick) = (feed.subscribe("mail").await.unwrap(), feed.subscribe("mail").await.unwrap());
    for new in &batch {
        feed.note("mail", new.job.id);
        assert_eq!(changed(&mut quick).await.0, new.job.id);
    }
    assert!(matches!(next(&mut slow).await, Told::Gap("slow")));
    for new in &batch[16..] {
        assert_eq!(changed(&mut slow).await.0, new.job.id, "the latest are there");
    }
    feed.note("mail", batch[0].job.id);
    assert_eq!(changed(&mut slow).await.0, batch[0].job.id);
}

async fn places_are_limited_and_a_drain_ends_all(ground: &Ground) {
    let (feed, drain) = feed(ground, FeedOptions { subscribers: 2, ..FeedOptions::default() });
    let first = feed.subscribe("mail").await.unwrap();
    let mut second = feed.subscribe("fax").await.unwrap();
    assert!(feed.subscribe("mail").await.is_err());
    drop(first);
    let mut third = feed.subscribe("mail").await.unwrap();
    drain.cancel();
    assert!(timeout(SOON, second.next()).await.unwrap().is_none());
    assert!(timeout(SOON, third.next()).await.unwrap().is_none());
}
