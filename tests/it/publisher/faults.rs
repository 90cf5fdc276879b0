//! A network that swallows and cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use messaging::publisher::{PublishError, PublisherOptions};
use messaging::wire::Outbound;
use warren_tests::broker::Broker;
use warren_tests::proxy::{Mode, Proxy};
use warren_tests::wait::until_true;

use super::{QUEUE, SOON, Stage, is_closed, to};

const DEADLINE: Duration = Duration::from_secs(2);
/// For a busy machine.
const SLACK: Duration = Duration::from_secs(2);

async fn through_a_proxy(window: usize) -> (Stage, Proxy) {
    let broker = Broker::shared().await;
    let proxy = Proxy::to(broker.amqp_addr()).await;
    let stage = Stage::on(broker, PublisherOptions { window, deadline: DEADLINE, ..PublisherOptions::default() }, |url| {
        proxy.through(&url)
    })
    .await;
    stage.works_again().await;
    stage.taken().await;
    (stage, proxy)
}

#[tokio::test]
async fn in_a_black_hole_every_publish_is_answered_by_its_deadline() {
    let (stage, proxy) = through_a_proxy(1024).await;
    proxy.set(Mode::BLACKHOLE).await;
    let clock = Instant::now();
    let verdicts = join_all((0..100).map(|n| stage.publisher.publish(to(QUEUE, &format!("n-{n}"))))).await;
    assert!(clock.elapsed() < DEADLINE + SLACK, "took {:?}", clock.elapsed());
    let unknown = |verdict: &Result<(), PublishError>| *verdict == Err(PublishError::TimedOut(DEADLINE));
    assert!(verdicts.iter().all(unknown), "{verdicts:?}");
    // Another one, while the channel is being replaced over a dead connection.
    let clock = Instant::now();
    let late = stage.publisher.publish(to(QUEUE, "late")).await;
    assert!(unknown(&late) || is_closed(&late), "{late:?}");
    assert!(clock.elapsed() < DEADLINE + SLACK, "took {:?}", clock.elapsed());
    proxy.set(Mode::Pass).await;
    stage.works_again().await;
}

#[tokio::test]
async fn no_more_than_the_window_is_on_the_wire() {
    let (stage, proxy) = through_a_proxy(10).await;
    // The broker hears us, and we do not hear it.
    proxy.set(Mode::Blackhole { client_to_server: false, server_to_client: true }).await;
    let verdicts = join_all((0..200).map(|n| stage.publisher.publish(to(QUEUE, &format!("n-{n}"))))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Err(PublishError::TimedOut(DEADLINE))), "{verdicts:?}");
    assert_eq!(stage.vhost.queue_depth(QUEUE).await, Some(10), "of two hundred that wanted to go");
    proxy.set(Mode::Pass).await;
    stage.works_again().await;
    let taken = stage.taken().await;
    let expected = (0..10).map(|n| format!("n-{n}")).chain(["again".to_owned()]);
    assert!(taken.keys().cloned().eq(expected.collect::<BTreeSet<_>>()), "nothing that nobody waits for: {taken:?}");
}

/// Cuts in the middle of a batch, before, between and after confirms: what was confirmed is there, the rest may be sent again.
#[tokio::test]
async fn a_cut_in_the_middle_of_a_batch_answers_all_and_loses_none() {
    let (stage, proxy) = through_a_proxy(1024).await;
    let (mut confirmed_in_all, mut failed_in_all) = (0, 0);
    let cuts = [(Some(1), None), (Some(7_777), None), (Some(40_000), None), (None, Some(1)), (None, Some(13)), (None, Some(40))];
    for (round, (client_to_server, server_to_client)) in cuts.into_iter().enumerate() {
        let id = |n: usize| format!("{round}-{n}");
        proxy.set(Mode::CutAfter { client_to_server, server_to_client }).await;
        // Half of them together, half one by one.
        let together = stage.publisher.publish_all((0..100).map(|n| to(QUEUE, &id(n))).collect());
        let single = join_all((100..200).map(|n| stage.publisher.publish(to(QUEUE, &id(n)))));
        let clock = Instant::now();
        let (mut verdicts, single) = tokio::join!(together, single);
        assert!(clock.elapsed() < DEADLINE + SLACK, "took {:?}", clock.elapsed());
        verdicts.extend(single);
        assert_eq!(verdicts.len(), 200);
        proxy.set(Mode::Pass).await;
        stage.works_again().await;
        let confirmed: BTreeSet<String> = (0..200).filter(|n| verdicts[*n].is_ok()).map(id).collect();
        let mut taken = stage.taken().await;
        taken.remove("again");
        let missing: Vec<&String> = confirmed.iter().filter(|id| !taken.contains_key(*id)).collect();
        assert!(missing.is_empty(), "cut {round}: confirmed and not there: {missing:?}");
        // One frame of 21 bytes may confirm them all: a cut after it may come too late.
        let in_the_middle = server_to_client.is_none_or(|bytes| bytes < 21);
        assert!(!in_the_middle || verdicts.iter().any(Result::is_err), "cut {round} came in the middle");
        (confirmed_in_all, failed_in_all) = (confirmed_in_all + confirmed.len(), failed_in_all + 200 - confirmed.len());

        let rest: Vec<Outbound> = (0..200).filter(|n| verdicts[*n].is_err()).map(|n| to(QUEUE, &id(n))).collect();
        assert!(stage.publisher.publish_all(rest).await.iter().all(Result::is_ok));
        for (id, copies) in stage.taken().await {
            *taken.entry(id).or_default() += copies;
        }
        assert!(taken.keys().cloned().eq((0..200).map(id).collect::<BTreeSet<_>>()), "cut {round}: none is lost");
        let twice: BTreeMap<&String, &usize> = taken.iter().filter(|(id, n)| **n > 1 && confirmed.contains(*id)).collect();
        assert!(twice.is_empty(), "cut {round}: what was confirmed was not sent again: {twice:?}");
    }
    assert!(failed_in_all > 200, "{confirmed_in_all} confirmed, {failed_in_all} not");
    until_true(SOON, "one connection to be left", async || proxy.open() == 1).await;
}
