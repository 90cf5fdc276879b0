//! What happens on a good day, and after a night.

use mobile_delivery::protocol::{ClientFrame, How as Nack, Window};
use mobile_delivery::sessions::Options;
use mobile_delivery::store::{State, Temperature};
use warren_tests::wait::until_true;

use super::SOON;
use super::ground::{Ground, How, Process, TENANT};
use super::socket::Socket;

#[tokio::test]
async fn what_is_sent_is_given_at_once_and_ends_with_its_ack() {
    let ground = Ground::set().await;
    // However slow the machine: it has its lane before it begins, and what the lane brings is young enough to be given as it is.
    let options = Options { lane_within: SOON, fresh: 2 * SOON, ..Options::default() };
    let process = Process::with(&ground, How { options, mute: false }).await;
    let device = ground.device("phone").await;
    let mut phone = Socket::idle(process.address, "phone").await;
    assert_eq!(ground.look("phone").await.temperature, Temperature::Hot);

    let ids = ground.send_texts(&process, "phone", 5).await;
    let given = phone.messages(5).await;
    assert_eq!(given.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
    assert_eq!(given.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(given.iter().all(|message| !message.dup && message.kind == "note"));
    assert_eq!(&given[4].payload[..], b"message 4");
    assert_eq!(process.metric("warren_device_rows_read_total", None), 0, "the lane brought them");

    phone.ack(3).await;
    phone.say(&ClientFrame::Nack { seq: 4, how: Nack::Reject, reason: None }).await;
    phone.ack(5).await;
    phone.is_idle().await;
    assert!(ground.pending(device).await.is_empty());
    let state = async |at: usize| ground.stores.messages.record(TENANT, ids[at]).await.unwrap().unwrap().fates[0].state;
    assert_eq!([state(0).await, state(3).await, state(4).await], [State::Delivered, State::Dropped, State::Delivered]);
    phone.say(&ClientFrame::Read { ids: vec![ids[0]] }).await;
    until_true(SOON, "the message to be read", async || state(0).await == State::Read).await;

    phone.say(&ClientFrame::Bye).await;
    assert_eq!(phone.closes().await, Some(1000));
    until_true(SOON, "nobody to be there", async || ground.look("phone").await.session.is_none()).await;
    until_true(SOON, "nobody to consume", async || process.metric("warren_device_sessions", Some("socket")) == 0).await;
}

#[tokio::test]
async fn what_came_in_the_night_is_there_in_order_and_nothing_is_declared_twice() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let device = ground.device("phone").await;
    // Of the first it has no queue; of the second it has.
    for night in 1..=2 {
        let ids = ground.send_texts(&process, "phone", 40).await;
        let mut phone = Socket::welcome(process.address, "phone", Window { messages: 8, bytes: 64 * 1024 }).await;
        for chunk in ids.chunks(4) {
            let given = phone.messages(4).await;
            assert_eq!(given.iter().map(|message| message.id).collect::<Vec<_>>(), chunk, "night {night}");
            phone.ack(given[3].seq).await;
        }
        phone.is_idle().await;
        assert!(ground.pending(device).await.is_empty());
        drop(phone);
        until_true(SOON, "nobody to be there", async || ground.look("phone").await.session.is_none()).await;
    }
    assert_eq!(process.metric("warren_device_declares_total", Some("declared")), 1);
    let read = process.metric("warren_device_rows_read_total", None);
    // Caught up, it comes without a read and without a declare.
    for _ in 0..3 {
        drop(Socket::idle(process.address, "phone").await);
        until_true(SOON, "nobody to be there", async || ground.look("phone").await.session.is_none()).await;
    }
    assert_eq!(process.metric("warren_device_declares_total", Some("declared")), 1);
    assert_eq!(process.metric("warren_device_rows_read_total", None), read);
    let queue = format!("device.standard.{}", device.0);
    until_true(SOON, "copies in the queue to be acked", async || ground.vhost.queue_depth(&queue).await == Some(0)).await;
}

#[tokio::test]
async fn what_was_given_and_not_acked_comes_again_under_its_id() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    ground.device("phone").await;
    let mut phone = Socket::idle(process.address, "phone").await;
    let ids = ground.send_texts(&process, "phone", 6).await;
    phone.messages(6).await;
    phone.ack(2).await;
    until_true(SOON, "two to be settled", async || process.metric("warren_device_settled_total", Some("delivered")) == 2).await;
    // The connection breaks.
    drop(phone);
    let mut phone = Socket::welcome(process.address, "phone", Window::default()).await;
    let again = phone.messages(4).await;
    assert_eq!(again.iter().map(|message| message.id).collect::<Vec<_>>(), &ids[2..]);
    assert_eq!(again.iter().map(|message| message.seq).collect::<Vec<_>>(), [3, 4, 5, 6]);
    phone.ack(6).await;
    phone.is_idle().await;
    // And what is new is given at once.
    ground.send_texts(&process, "phone", 1).await;
    assert_eq!(phone.message().await.seq, 7);
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_a_session_is_made_anew() {
    let ground = Ground::set().await;
    let process = Process::start(&ground).await;
    let device = ground.device("phone").await;
    let mut phone = Socket::idle(process.address, "phone").await;
    let queue = format!("device.standard.{}", device.0);
    ground.vhost.delete_queue(&queue).await;
    let ids = ground.send_texts(&process, "phone", 3).await;
    let given = phone.messages(3).await;
    assert_eq!(given.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
    phone.ack(3).await;
    phone.is_idle().await;
    until_true(SOON, "the queue to be consumed again", async || ground.vhost.consumers(&queue).await == Some(1)).await;
}
