//! Pauses: only added to, and the latest counts.

use std::time::Duration;

use api_ack::pauses::Pauses;
use api_ack::store::Pause;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, T0};

contract!(
    the_latest_line_of_a_kind_is_how_it_stands,
    asking_again_adds_nothing,
    every_process_sees_a_pause_and_why_jobs_were_quiet,
);

fn pause(kind: &str, paused: bool, at: i64) -> Pause {
    Pause { kind: kind.into(), at, paused, actor: "ann".into(), note: "down\0".into() }
}

fn stored(kind: &str, paused: bool, at: i64) -> Pause {
    Pause { note: "down\u{fffd}".into(), ..pause(kind, paused, at) }
}

async fn the_latest_line_of_a_kind_is_how_it_stands(ground: &Ground) {
    assert!(ground.pauses.pauses().await.unwrap().is_empty());
    assert_eq!(ground.pauses.put_pause(&pause("b", true, T0)).await.unwrap(), stored("b", true, T0));
    ground.pauses.put_pause(&pause("a", true, T0 + 1)).await.unwrap();
    ground.pauses.put_pause(&pause("b", false, T0 + 2)).await.unwrap();
    assert_eq!(ground.pauses.pauses().await.unwrap(), [stored("a", true, T0 + 1), stored("b", false, T0 + 2)]);
    ground.pauses.put_pause(&pause("b", true, T0 + 3)).await.unwrap();
    assert_eq!(ground.pauses.pauses().await.unwrap()[1], stored("b", true, T0 + 3));
}

async fn asking_again_adds_nothing(ground: &Ground) {
    let first = ground.pauses.put_pause(&pause("a", true, T0)).await.unwrap();
    let again = Pause { actor: "bob".into(), ..pause("a", true, T0 + 5) };
    assert_eq!(ground.pauses.put_pause(&again).await.unwrap(), first, "who was first stays on record");
    // What was never paused is resumed already, and leaves no line.
    assert!(!ground.pauses.put_pause(&pause("never", false, T0)).await.unwrap().paused);
    assert_eq!(ground.pauses.pauses().await.unwrap(), [first]);
}

async fn every_process_sees_a_pause_and_why_jobs_were_quiet(ground: &Ground) {
    let (here, there) = (Pauses::load(ground.pauses.clone()).await.unwrap(), Pauses::load(ground.pauses.clone()).await.unwrap());
    let stop = CancellationToken::new();
    let following = tokio_util::task::TaskTracker::new();
    following.spawn(there.clone().run(stop.clone()));
    let soon = Duration::from_secs(10);
    let before = jiff::Timestamp::now().as_microsecond();
    assert!(there.paused().is_empty() && !there.explains("mail", before));

    here.put("mail", true, "ann", "").await.unwrap();
    assert!(here.holds("mail"), "whoever did it knows at once");
    timeout(soon, there.until("mail", true)).await.unwrap();
    assert!(there.holds("mail") && !there.holds("other"));
    assert_eq!(there.paused(), ["mail"]);
    assert!(there.explains("mail", i64::MAX) && !there.explains("other", 0), "while it is paused all its jobs may be quiet");

    here.put("mail", false, "bob", "").await.unwrap();
    timeout(soon, there.until("mail", false)).await.unwrap();
    let resumed = there.of("mail").unwrap();
    assert_eq!((there.paused().len(), resumed.actor.as_str()), (0, "bob"));
    assert!(there.explains("mail", before) && !there.explains("mail", resumed.at), "and for a while after");
    // A restart reads how things stand before anything starts.
    here.put("mail", true, "ann", "").await.unwrap();
    assert!(Pauses::load(ground.pauses.clone()).await.unwrap().holds("mail"));
    stop.cancel();
    following.close();
    timeout(soon, following.wait()).await.unwrap();
}
