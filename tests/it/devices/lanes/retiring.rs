//! Queues that are taken away while somebody sends to them: nothing confirmed is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::iter;
use messaging::devices::{Lane, LaneError, Sent};

use super::*;

#[tokio::test]
async fn what_was_in_the_queue_is_told_and_asking_again_does_no_harm() {
    let stage = Stage::set().await;
    let device = stage.declared(1).await;
    stage.fill(device, 5).await;
    let lane = Lane { keys: vec!["user.x.y".to_owned()], broadcast: true, ..Lane::of(device) };
    let retired = stage.lanes.retire(&lane).await.unwrap();
    assert_eq!(retired.drained, ["m-1", "m-2", "m-3", "m-4", "m-5"]);
    assert!(retired.was_there);
    assert_eq!(stage.vhost.queue_depth(&stage.queue(device)).await, None);
    let again = stage.lanes.retire(&lane).await.unwrap();
    assert_eq!((again.drained.len(), again.was_there), (0, false));
    assert_eq!(stage.lanes.line(device).publish(vec![message(6)]).await, [Sent::Cold]);
    stage.declared(1).await;
    stage.fill(device, 1).await;
}

#[tokio::test]
async fn a_queue_that_a_session_consumes_from_stays_as_it_is() {
    let stage = Stage::set().await;
    let device = stage.declared(1).await;
    stage.fill(device, 2).await;
    let mut session = stage.lanes.attach(device, 10).await.unwrap();
    assert_eq!(seqs(&mut session, 2).await, [1, 2]);
    let refused = stage.lanes.retire(&Lane::of(device)).await.unwrap_err();
    assert!(matches!(refused, LaneError::InUse { .. }), "{refused}");
    stage.fill(device, 1).await;
    assert_eq!(session.detach().await, 3);
    assert_eq!(stage.lanes.retire(&Lane::of(device)).await.unwrap().drained, ["m-1", "m-2", "m-1"][..2]);
}

/// What one race came to.
struct Race {
    queued: BTreeSet<String>,
    drained: Vec<String>,
    /// Whether the retire fell between the first and the last publish.
    was_one: bool,
}

/// Several send to a device, each as fast as it may, while its queue is taken away at some moment.
async fn race(stage: &Stage, number: u64) -> Race {
    let device = stage.declared(number).await;
    let over = Arc::new(AtomicBool::new(false));
    let senders = (0..4).map(|sender| {
        let (lanes, over) = (stage.lanes.clone(), over.clone());
        tokio::spawn(async move {
            let (mut queued, mut cold, mut seq) = (BTreeSet::new(), 0, 0);
            // On after the end for a while, so that the retire is met at every moment of it.
            while !over.load(Ordering::Relaxed) || cold < 3 {
                seq += 1;
                let id = format!("{number}-{sender}-{seq}");
                match lanes.line(device).publish(vec![named(&id, seq)]).await.pop().unwrap() {
                    Sent::Queued => drop(queued.insert(id)),
                    Sent::Cold => {
                        cold += 1;
                        tokio::task::yield_now().await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            queued
        })
    });
    let senders: Vec<_> = senders.collect();
    tokio::time::sleep(Duration::from_micros(number * 37 % 4_000)).await;
    let retired = stage.lanes.retire(&Lane::of(device)).await.unwrap();
    over.store(true, Ordering::Relaxed);
    let queued: BTreeSet<String> = join_all(senders).await.into_iter().flat_map(Result::unwrap).collect();
    Race { was_one: !queued.is_empty(), queued, drained: retired.drained }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_three_hundred_races_nothing_that_was_confirmed_is_lost() {
    let stage = Stage::set().await;
    let races: Vec<Race> = iter(1..=300).map(|number| race(&stage, number)).buffer_unordered(8).collect().await;
    let mut met = 0;
    for race in races {
        let drained: BTreeSet<String> = race.drained.iter().cloned().collect();
        assert_eq!(drained.len(), race.drained.len(), "nothing twice");
        let lost: Vec<&String> = race.queued.difference(&drained).collect();
        assert!(lost.is_empty(), "confirmed, and in nobody's hands: {lost:?}");
        met += usize::from(race.was_one);
    }
    // A race in which nothing was sent in time proves nothing.
    assert!(met >= 200, "only {met} of 300 were races");
    assert_eq!(stage.count("warren_device_retires_total", "retired"), 300);
}
