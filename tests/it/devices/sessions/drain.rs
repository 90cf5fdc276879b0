//! A process leaves: everybody is told, nobody loses anything, and another process has them.

use std::collections::BTreeSet;

use futures::future::join_all;
use mobile_delivery::protocol::{ServerFrame, Window};
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, Process, token};
use super::socket::{Said, Socket};

#[tokio::test]
async fn everybody_is_told_to_go_and_finds_what_was_unacked_elsewhere() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::start(&ground), Process::start(&ground));
    let ids: Vec<String> = (0..100).map(|n| format!("phone-{n}")).collect();
    join_all(ids.iter().map(|id| ground.device(id))).await;
    let mut sockets = join_all(ids.iter().map(|id| Socket::idle(one.address, id))).await;
    // One has something that it does not ack, one acks at the last moment, and one has only just connected.
    ground.send_texts(&one, &ids[0], 3).await;
    sockets[0].messages(3).await;
    ground.send_texts(&one, &ids[1], 2).await;
    sockets[1].messages(2).await;
    let mut fresh = Socket::open(one.address, None).await;
    let leaving = one.drain();
    let going = async {
        let going = sockets.iter_mut().enumerate().map(async |(n, socket)| {
            match socket.next().await {
                Said::Frame(ServerFrame::GoAway(_)) => {}
                other => panic!("{other:?} came instead of goaway"),
            }
            if n == 1 {
                socket.ack(2).await;
            }
            if n != 0 {
                assert_eq!(socket.closes().await, Some(4201), "{n}");
            }
        });
        join_all(going).await;
        assert_eq!(fresh.closes().await, Some(4201));
    };
    tokio::join!(leaving, going);
    assert_eq!(sockets[0].closes().await, Some(4201), "it had its time");
    let there: BTreeSet<String> = ids.iter().cloned().collect();
    let mut left = Vec::new();
    for id in &there {
        if ground.look(id).await.session.is_some() {
            left.push(id);
        }
    }
    assert!(left.is_empty(), "released: {left:?} are not");
    let refused = reqwest::Client::new()
        .get(format!("http://{}/v1/device/messages", one.address))
        .bearer_auth(token(&ids[5]))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 503);
    let mut again = Socket::welcome(two.address, &ids[0], Window::default()).await;
    assert_eq!(again.messages(3).await.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let again = Socket::idle(two.address, &ids[1]).await;
    drop(again);
    until_true(SOON, "it to have gone", async || ground.look(&ids[1]).await.session.is_none()).await;
}
