use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::super::{FeedOptions, Subscription, Told};
use super::*;
use database::sqlite::Sqlite;

use crate::store::{STEPS, SqliteStore};

/// A feed of process 1 that hears, over an empty store, and the folder that the store is in.
async fn hearing() -> (Hearing, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = Sqlite::open(&folder.path().join("warren.db"), &[STEPS], true).await.unwrap();
    let store = Arc::new(SqliteStore::on(Arc::new(file)).await.unwrap());
    let feed = Feed::start(store, FeedOptions::default(), &TaskTracker::new(), CancellationToken::new());
    (Hearing { feed, me: ProcessId(1), senders: HashMap::new(), keys: Keys::default() }, folder)
}

fn notice(from: i64, n: u64) -> Notice {
    Notice { from, n, ..Notice::default() }
}

fn gap(subscription: &mut Subscription) -> Option<&'static str> {
    match subscription.changes.try_recv() {
        Ok(Told::Gap(why)) => Some(why),
        _ => None,
    }
}

#[tokio::test]
async fn a_missing_number_and_a_sender_that_falls_silent_are_gaps() {
    let (mut hearing, _folder) = hearing().await;
    let mut subscription = hearing.feed.subscribe("mail").await.unwrap();
    let now = Instant::now();
    for n in [7, 8, 9] {
        hearing.hear(notice(2, n), now);
    }
    hearing.hear(notice(3, 100), now);
    assert_eq!(gap(&mut subscription), None, "whoever begins anywhere and goes on by one misses nothing");
    hearing.hear(notice(2, 11), now);
    assert_eq!(gap(&mut subscription), Some("notices"));
    // Its own are no news, and say nothing of others.
    hearing.hear(notice(1, 5), now);
    hearing.hear(notice(1, 50), now);
    assert_eq!((gap(&mut subscription), hearing.senders.len()), (None, 2));

    hearing.hear(notice(3, 101), now + COUNTS);
    hearing.miss(now + COUNTS);
    assert_eq!(gap(&mut subscription), Some("notices"), "one of the two is silent");
    hearing.miss(now + COUNTS);
    assert_eq!(gap(&mut subscription), None, "once");
    hearing.hear(notice(2, 12), now + COUNTS);
    assert_eq!(gap(&mut subscription), None, "it had nothing to say");
    hearing.miss(now + 3 * COUNTS);
    assert_eq!(gap(&mut subscription), Some("notices"), "both are silent");
    hearing.hear(notice(2, 15), now + 3 * COUNTS);
    assert_eq!(gap(&mut subscription), Some("notices"), "it spoke, and was not heard");
    hearing.opened(false);
    assert_eq!(gap(&mut subscription), Some("notices"), "nothing is heard any more");
}

#[tokio::test]
async fn others_are_told_of_what_they_watch_as_long_as_they_do() {
    let (mut hearing, _folder) = hearing().await;
    let feed = hearing.feed.clone();
    let id = Uuid::now_v7();
    feed.note("mail", id);
    assert!(feed.lock().telling.is_empty(), "nobody asks");
    hearing.hear(Notice { watch: vec!["mail".to_owned()], ..notice(2, 1) }, Instant::now());
    feed.note("mail", id);
    feed.note("fax", id);
    feed.note("mail", id);
    let told: Vec<_> = feed.lock().telling.iter().map(|(kind, ids)| (kind.clone(), ids.len())).collect();
    assert_eq!(told, [("mail".to_owned(), 1)]);
    for _ in 0..super::super::TOGETHER {
        feed.note("mail", Uuid::now_v7());
    }
    assert!(feed.lock().untold, "what could not be told is known to be missing");
}

#[tokio::test]
async fn keys_that_others_tell_of_are_heard_and_its_own_are_not_counted_twice() {
    let (mut hearing, _folder) = hearing().await;
    let told = |teller: &str| {
        let keys = [("warren.events".to_owned(), [("order.placed".to_owned(), 3)].into())].into();
        serde_json::to_vec(&Shared { teller: teller.to_owned(), keys }).unwrap()
    };
    hearing.read(&told("1"));
    assert!(hearing.keys.lately().is_empty(), "its own");
    hearing.read(b"{}");
    for teller in ["2", "billing/0190"] {
        hearing.read(&told(teller));
    }
    assert_eq!(hearing.keys.lately()["warren.events"]["order.placed"], 6);
}

#[test]
fn the_wire_form_is_this() {
    let id = Uuid::now_v7();
    let text = format!(r#"{{"from":7,"n":12,"watch":["demo.echo"],"changed":{{"demo.echo":["{id}"]}}}}"#);
    let notice: Notice = serde_json::from_str(&text).unwrap();
    assert_eq!(notice.changed["demo.echo"], [id]);
    assert_eq!(serde_json::to_string(&notice).unwrap(), text);
    assert_eq!(serde_json::from_str::<Notice>(r#"{"from":7,"n":1,"later":1}"#).unwrap(), super::tests::notice(7, 1));
}
