//! Backlogs that are full: what is dropped is told to the device by a gap and to the sender by a receipt, and nothing else is missing.

use std::collections::BTreeSet;
use std::sync::Mutex;

use mobile_delivery::protocol::{ClientFrame, Gap, ServerFrame, Window, Withdrawal};
use reqwest::Client;
use serde_json::{Value, json};
use warren_tests::hub::HubProcess;
use warren_tests::wait::until_true;

use super::diary::Diary;
use super::{RECEIPTS, hear_receipts};
use crate::devices::fleet::{Owner, address, hub, register};
use crate::devices::sessions::socket::{Said, Socket};
use crate::world::{Keep, LONG, World};

/// Messages that may wait for a device.
const BACKLOG: usize = 10;

/// Messages that it is sent.
const SENT: usize = 30;

struct Scene {
    world: World,
    hub: HubProcess,
    owner: Owner,
}

impl Scene {
    async fn set() -> Self {
        let world = World::new(Keep::Sqlite).await;
        let hub = hub(&world, &format!("backlog_messages = {BACKLOG}")).await;
        hear_receipts(&world.vhost).await;
        let owner = Owner::of("acme", &[hub.public_url()]);
        Self { world, hub, owner }
    }

    async fn device(&self, id: &str) -> Diary {
        Diary::new(register(&self.hub, "acme", id).await, "", Default::default())
    }

    async fn send(&self, diary: &Diary, numbers: std::ops::Range<usize>) -> Vec<String> {
        let mut ids = Vec::new();
        for number in numbers {
            ids.push(self.owner.send(diary.id(), number).await);
        }
        ids
    }

    /// `sent` is what `diary` has and what was dropped, in as many words as there are to say it.
    async fn judge(&self, diary: &Diary, sent: Vec<String>, gap: &Gap) {
        let receipts = Mutex::new(Vec::new());
        until_true(LONG, "all receipts", async || {
            let more = self.world.vhost.get_messages(RECEIPTS, SENT).await;
            let mut receipts = receipts.lock().unwrap();
            receipts.extend(more.iter().map(|told| became(&serde_json::from_slice(&told.body).unwrap())));
            receipts.len() >= sent.len()
        })
        .await;
        let receipts = receipts.into_inner().unwrap();
        let of = |state: &str| -> BTreeSet<&str> {
            receipts.iter().filter(|(_, became)| became == state).map(|(id, _)| id.as_str()).collect()
        };
        let (delivered, dropped) = (of("delivered"), of("dropped"));
        let all: BTreeSet<&str> = sent.iter().map(String::as_str).collect();
        assert!(delivered.is_disjoint(&dropped) && &delivered | &dropped == all, "each has one end");
        assert_eq!((gap.reason.as_str(), gap.count), ("overflow", Some(dropped.len() as u64)));
        assert!(dropped.len() >= SENT - BACKLOG - 2, "the backlog was full: {} were dropped", dropped.len());
        let had = diary.ids();
        assert!(delivered.iter().all(|id| had.contains(*id)), "what was delivered was had");
        let lost: Vec<_> = all.iter().filter(|id| !had.contains(**id) && !dropped.contains(*id)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// Which message, and what a receipt says of it.
fn became(body: &Value) -> (String, String) {
    let state = body["state"].as_str().unwrap();
    let reason = body["reason"].as_str();
    assert!(matches!((state, reason), ("delivered", None) | ("dropped", Some("overflow"))), "{body}");
    (body["message"].as_str().unwrap().to_owned(), state.to_owned())
}

/// Reads until it is idle, acks all it gets, and answers the last gap that it was told of.
async fn read_by_socket(socket: &mut Socket, diary: &Diary) -> Option<Gap> {
    let mut last = None;
    loop {
        match socket.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => {
                diary.take(&message.id.to_string(), message.seq, &serde_json::from_slice(&message.payload).unwrap());
                socket.say(&ClientFrame::Ack { up_to: None, seqs: vec![message.seq], entry: None, gap: None }).await;
            }
            Said::Frame(ServerFrame::Gap(gap)) => last = Some(gap),
            Said::Frame(ServerFrame::Cancel { reason, .. }) => assert_eq!(reason, Withdrawal::Dropped),
            Said::Frame(ServerFrame::Idle) => return last,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_device_was_too_long_away_for_is_told_by_each_transport() {
    let scene = Scene::set().await;
    let to = address(&scene.hub);
    let diary = scene.device("by-socket").await;
    let sent = scene.send(&diary, 0..SENT).await;
    let mut socket = Socket::open(to, Some(&diary.device.token)).await;
    socket.hello(diary.id(), Window { messages: 4, ..Window::default() }).await;
    let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
    let gap = read_by_socket(&mut socket, &diary).await.expect("a gap");
    assert_eq!(diary.numbers(), (SENT - BACKLOG..SENT).collect::<Vec<_>>());
    scene.judge(&diary, sent, &gap).await;
    // Once it has said that it knows, it is told no more.
    socket.say(&ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: None, gap: Some(gap.number) }).await;
    until_true(LONG, "the gap to be forgotten", async || {
        let mut again = Socket::open(to, Some(&diary.device.token)).await;
        again.hello(diary.id(), Window::default()).await;
        let Said::Frame(ServerFrame::Welcome(_)) = again.next().await else { panic!("no welcome") };
        read_by_socket(&mut again, &diary).await.is_none()
    })
    .await;

    let diary = scene.device("by-poll").await;
    let sent = scene.send(&diary, 0..SENT).await;
    let gap = read_by_polls(&scene, &diary, 4).await.expect("a gap");
    assert_eq!(diary.numbers(), (SENT - BACKLOG..SENT).collect::<Vec<_>>());
    scene.judge(&diary, sent, &gap).await;
    assert_eq!(read_by_polls(&scene, &diary, 4).await, None, "it has said that it knows");
}

/// It holds its whole window and acks nothing while the rest comes: it is told while it is connected.
#[tokio::test]
async fn a_slow_reader_is_told_what_it_misses_while_it_is_there() {
    let scene = Scene::set().await;
    let diary = scene.device("slow").await;
    let mut socket = Socket::open(address(&scene.hub), Some(&diary.device.token)).await;
    socket.hello(diary.id(), Window { messages: 2, ..Window::default() }).await;
    let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
    socket.is_idle().await;
    let sent = scene.send(&diary, 0..SENT).await;
    let (mut in_hand, mut gap) = (Vec::new(), None);
    while gap.is_none() {
        match socket.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => {
                diary.take(&message.id.to_string(), message.seq, &serde_json::from_slice(&message.payload).unwrap());
                in_hand.push(message.seq);
            }
            Said::Frame(ServerFrame::Gap(told)) => gap = Some(told),
            Said::Frame(ServerFrame::Cancel { reason, .. }) => assert_eq!(reason, Withdrawal::Dropped),
            other => panic!("{other:?}"),
        }
    }
    // Now it gets going. What was taken back may be acked: that changes nothing.
    socket.say(&ClientFrame::Ack { up_to: None, seqs: in_hand, entry: None, gap: None }).await;
    let gap = read_by_socket(&mut socket, &diary).await.or(gap).unwrap();
    scene.judge(&diary, sent, &gap).await;
}

/// Polls until there is nothing, acks all of it, and answers the last gap that it was told of, which it acks at the end.
async fn read_by_polls(scene: &Scene, diary: &Diary, most: usize) -> Option<Gap> {
    let http = Client::new();
    let base = format!("{}/v1/device", scene.hub.public_url());
    let ack = async |body: Value| {
        let acking = http.post(format!("{base}/acks")).bearer_auth(&diary.device.token).body(body.to_string());
        assert_eq!(acking.send().await.unwrap().status(), 204);
    };
    let mut last: Option<Gap> = None;
    loop {
        let polling = http.get(format!("{base}/messages?max={most}")).bearer_auth(&diary.device.token);
        let polled: Value = polling.send().await.unwrap().json().await.unwrap();
        if let Some(gap) = polled["gap"].as_object() {
            let number = gap["number"].as_u64().unwrap();
            last = Some(Gap { number, reason: gap["reason"].as_str().unwrap().to_owned(), count: gap["count"].as_u64() });
        }
        let messages = polled["messages"].as_array().unwrap();
        if messages.is_empty() {
            break;
        }
        for message in messages {
            diary.take(message["id"].as_str().unwrap(), message["seq"].as_u64().unwrap(), &message["data"]);
        }
        let ids: Vec<&Value> = messages.iter().map(|message| &message["id"]).collect();
        ack(json!({"ids": ids})).await;
    }
    if let Some(gap) = &last {
        ack(json!({"gap": gap.number})).await;
    }
    last
}
