//! One device, several sessions: the newest has it. And devices that are not let in any more.

use std::time::Duration;

use database::clock;
use mobile_delivery::follow::Follow;
use mobile_delivery::protocol::Window;
use mobile_delivery::sessions::Options;
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, TENANT};
use super::socket::Socket;

/// Goes round often.
fn round(mute: bool) -> How {
    How { options: Options { round: Duration::from_secs(1), ..Options::default() }, mute }
}

/// Rounds that come once in an hour: what ends a session is not one of them.
fn notices() -> How {
    How { options: Options { round: Duration::from_secs(3600), ..Options::default() }, mute: false }
}

#[tokio::test]
async fn the_newest_of_one_process_has_the_device_at_once() {
    let ground = Ground::set().await;
    let process = Process::with(&ground, notices()).await;
    let device = ground.device("phone").await;
    let mut old = Socket::idle(process.address, "phone").await;
    let ids = ground.send_texts(&process, "phone", 3).await;
    old.messages(3).await;
    let mut new = Socket::welcome(process.address, "phone", Window::default()).await;
    assert_eq!(old.closes().await, Some(4409));
    let again = new.messages(3).await;
    assert_eq!(again.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
    new.ack(3).await;
    new.is_idle().await;
    ground.send_texts(&process, "phone", 1).await;
    assert_eq!(new.message().await.seq, 4);
    new.ack(4).await;
    new.is_idle().await;
    assert!(ground.pending(device).await.is_empty());
    assert_eq!(process.metric("warren_device_sessions", Some("socket")), 1);
}

#[tokio::test]
async fn a_device_that_comes_to_another_process_leaves_the_first_one_soon() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::with(&ground, notices()), Process::with(&ground, notices()));
    let device = ground.device("phone").await;
    let mut old = Socket::idle(one.address, "phone").await;
    ground.send_texts(&one, "phone", 4).await;
    old.messages(4).await;
    old.ack(1).await;
    until_true(SOON, "one to be settled", async || one.metric("warren_device_settled_total", Some("delivered")) == 1).await;
    let mut new = Socket::welcome(two.address, "phone", Window::default()).await;
    assert_eq!(old.closes().await, Some(4409));
    let again = new.messages(3).await;
    assert_eq!(again.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3, 4]);
    new.ack(4).await;
    new.is_idle().await;
    // The lane is the new one's, whichever process relays.
    ground.send_texts(&one, "phone", 2).await;
    assert_eq!(new.messages(2).await.iter().map(|message| message.seq).collect::<Vec<_>>(), [5, 6]);
    new.ack(6).await;
    new.is_idle().await;
    assert!(ground.pending(device).await.is_empty());
    until_true(SOON, "the old one to be gone", async || one.metric("warren_device_sessions", Some("socket")) == 0).await;
    assert!(ground.look("phone").await.session.is_some(), "the end of the old one is not the end of the new one");
}

#[tokio::test]
async fn what_no_notice_told_the_round_finds_and_the_fence_holds_meanwhile() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::with(&ground, round(true)), Process::with(&ground, round(true)));
    let device = ground.device("phone").await;
    let mut old = Socket::idle(one.address, "phone").await;
    let new = Socket::idle(two.address, "phone").await;
    assert_eq!(old.closes().await, Some(4409));
    drop(new);
    // A revoked one, and one that is removed, of which nobody heard either.
    let mut revoked = Socket::idle(one.address, "phone").await;
    ground.stores.devices.revoke(device, clock::now()).await.unwrap();
    assert_eq!(revoked.closes().await, Some(4105));
    ground.device("tablet").await;
    let mut removed = Socket::idle(two.address, "tablet").await;
    ground.stores.devices.remove(TENANT, "tablet", clock::now()).await.unwrap();
    assert_eq!(removed.closes().await, Some(4104));
}

#[tokio::test]
async fn an_ack_of_an_old_session_counts_for_nothing() {
    let ground = Ground::set().await;
    let silent = How { options: Options { round: Duration::from_secs(3600), ..Options::default() }, mute: true };
    let (one, two) = tokio::join!(Process::with(&ground, silent.clone()), Process::with(&ground, silent));
    let device = ground.device("phone").await;
    let mut old = Socket::idle(one.address, "phone").await;
    ground.send_texts(&one, "phone", 2).await;
    old.messages(2).await;
    let mut new = Socket::welcome(two.address, "phone", Window::default()).await;
    new.messages(2).await;
    old.ack(2).await;
    assert_eq!(old.closes().await, Some(4409), "the settling met a newer fence");
    assert_eq!(ground.pending(device).await, [1, 2]);
    new.ack(2).await;
    new.is_idle().await;
    assert!(ground.pending(device).await.is_empty());
}

#[tokio::test]
async fn who_is_put_out_is_closed_in_whichever_process_he_is() {
    let ground = Ground::set().await;
    let (one, two) = tokio::join!(Process::with(&ground, notices()), Process::with(&ground, notices()));
    for (id, at) in [("here", &one), ("there", &two)] {
        let device = ground.device(id).await;
        let mut socket = Socket::idle(at.address, id).await;
        let session = ground.stores.devices.revoke(device, clock::now()).await.unwrap().unwrap().unwrap();
        one.sessions.put_out(device, &session);
        assert_eq!(socket.closes().await, Some(4105), "{id}");
    }
}
