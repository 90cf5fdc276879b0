//! Phones in tunnels: connections drop, sockets take each other's place, the broker dies; and at the end everything was got, once in the eyes of
//! the device and in order.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use broker_topology::Names;
use futures::future::join_all;
use mobile_delivery::lane::queue_of;
use mobile_delivery::protocol::{ClientFrame, How as Nack, Message, ServerFrame, Window};
use mobile_delivery::sessions::Options;
use mobile_delivery::store::Tier;
use uuid::Uuid;
use warren_tests::broker::Broker;
use warren_tests::wait::until_true;

use super::ground::{Ground, How, Process};
use super::socket::{Said, Socket};

/// Cheap chance that can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a device has handled.
#[derive(Default)]
struct Diary {
    handled: Mutex<Vec<(u64, Uuid)>>,
}

impl Diary {
    fn take(&self, message: &Message) {
        let mut handled = self.handled.lock().unwrap();
        match handled.iter().find(|(_, id)| *id == message.id) {
            Some((seq, _)) => assert_eq!(*seq, message.seq, "a copy has the seq of the first"),
            None => handled.push((message.seq, message.id)),
        }
    }

    fn count(&self) -> usize {
        self.handled.lock().unwrap().len()
    }
}

/// A device that goes from connection to connection until it has `total` messages and is told that it is idle.
async fn roam(processes: &[&Process], id: &str, total: usize, diary: &Diary, mut dice: Dice) {
    loop {
        let to = processes[usize::try_from(dice.roll(processes.len() as u64)).unwrap()].address;
        let mut socket = Socket::open(to, Some(&super::ground::token(id))).await;
        socket.hello(id, Window { messages: 1 + u16::try_from(dice.roll(20)).unwrap(), bytes: 65_536 }).await;
        let mut unacked: Vec<u64> = Vec::new();
        let mut left = 1 + dice.roll(60);
        loop {
            let Ok(said) = tokio::time::timeout(Duration::from_millis(300), socket.next_ever()).await else {
                // Whoever waits for more with a full window would wait for long; and with nothing in hand it does no harm.
                if !unacked.is_empty() {
                    let seqs = std::mem::take(&mut unacked);
                    socket.say(&ClientFrame::Ack { up_to: None, seqs, entry: None, gap: None }).await;
                }
                continue;
            };
            match said {
                Said::Frame(ServerFrame::Deliver(message)) => {
                    diary.take(&message);
                    unacked.push(message.seq);
                }
                Said::Frame(ServerFrame::Idle) if diary.count() >= total => return,
                Said::Frame(_) => {}
                Said::Closed(code) => {
                    assert!(!matches!(code, Some(4400..=4408)), "{code:?}");
                    break;
                }
            }
            left -= 1;
            if left == 0 {
                // Into the tunnel, with whatever it has.
                break;
            }
            match dice.roll(6) {
                0 | 1 if !unacked.is_empty() => {
                    // What was put off comes again after what is newer: the last one in hand need not be the highest.
                    let upto = unacked.drain(..).max().unwrap();
                    socket.ack(upto).await;
                }
                2 | 3 if !unacked.is_empty() => {
                    let at = usize::try_from(dice.roll(unacked.len() as u64)).unwrap();
                    let seqs = vec![unacked.remove(at)];
                    socket.say(&ClientFrame::Ack { up_to: None, seqs, entry: None, gap: None }).await;
                }
                4 if !unacked.is_empty() => {
                    let seq = unacked.remove(0);
                    let how = Nack::Later(Duration::from_millis(dice.roll(20)));
                    socket.say(&ClientFrame::Nack { seq, how, reason: None }).await;
                }
                _ => {}
            }
        }
    }
}

async fn judge(ground: &Ground, ids: &[String], sent: &[Vec<Uuid>], diaries: &[Diary]) {
    for ((id, sent), diary) in ids.iter().zip(sent).zip(diaries) {
        let handled = diary.handled.lock().unwrap().clone();
        let got: HashSet<Uuid> = handled.iter().map(|(_, id)| *id).collect();
        assert_eq!(got.len(), handled.len());
        let lost = sent.iter().filter(|id| !got.contains(id)).count();
        assert_eq!((lost, handled.len()), (0, sent.len()), "{id}");
        assert!(handled.windows(2).all(|pair| pair[0].0 < pair[1].0), "{id}: first deliveries come in order: {handled:?}");
        let device = ground.look(id).await;
        assert_eq!(device.backlog, 0, "{id}: everything was settled");
    }
}

#[tokio::test]
async fn nothing_is_lost_in_tunnels_over_two_processes_and_lost_channels() {
    let ground = Ground::set().await;
    let how = How { options: Options { round: Duration::from_secs(2), ..Options::default() }, mute: false };
    let (one, two) = tokio::join!(Process::with(&ground, how.clone()), Process::with(&ground, how));
    let ids: Vec<String> = (0..5).map(|n| format!("phone-{n}")).collect();
    join_all(ids.iter().map(|id| ground.device(id))).await;
    let (rounds, each) = (16, 3);
    let diaries: Vec<Diary> = ids.iter().map(|_| Diary::default()).collect();
    let processes = [&one, &two];
    let roaming = ids
        .iter()
        .zip(&diaries)
        .enumerate()
        .map(|(n, (id, diary))| roam(&processes, id, rounds * each, diary, Dice(0x9E37_79B9 + n as u64)));
    let sending = async {
        let mut sent: Vec<Vec<Uuid>> = vec![Vec::new(); ids.len()];
        for round in 0..rounds {
            for (id, sent) in ids.iter().zip(&mut sent) {
                sent.extend(ground.send_texts(processes[round % 2], id, each).await);
            }
            if round == rounds / 2 {
                Broker::shared().await.close_all_connections(ground.vhost.name()).await;
            }
        }
        sent
    };
    let work = async { tokio::join!(join_all(roaming), sending) };
    let Ok((_, sent)) = tokio::time::timeout(Duration::from_secs(120), work).await else {
        let mut found = Vec::new();
        for (id, diary) in ids.iter().zip(&diaries) {
            let device = ground.look(id).await;
            found.push(format!("{id}: {} handled, {} to get, session {:?}", diary.count(), device.backlog, device.session));
        }
        panic!("not all of it was got: {found:#?}");
    };
    judge(&ground, &ids, &sent, &diaries).await;
}

#[tokio::test]
async fn rows_go_on_while_the_broker_is_dead_and_lanes_when_it_is_back() {
    let broker = Broker::dedicated().await;
    let ground = Ground::on(&broker).await;
    let process = Process::start(&ground).await;
    let device = ground.device("phone").await;
    let mut phone = Socket::idle(process.address, "phone").await;
    ground.send_texts(&process, "phone", 3).await;
    phone.messages(3).await;
    phone.ack(1).await;
    broker.sync_declarations().await;
    broker.kill9();
    // Nothing but the broker's death: sockets and acks go on, and what is new is read.
    ground.send_texts(&process, "phone", 2).await;
    phone.ack(3).await;
    assert_eq!(phone.messages(2).await.iter().map(|message| message.seq).collect::<Vec<_>>(), [4, 5]);
    phone.ack(5).await;
    phone.is_idle().await;
    assert!(ground.pending(device).await.is_empty());
    // Who comes now is served as well.
    ground.device("tablet").await;
    ground.send_texts(&process, "tablet", 1).await;
    let mut tablet = Socket::welcome(process.address, "tablet", Window::default()).await;
    assert_eq!(tablet.message().await.seq, 1);
    tablet.ack(1).await;
    tablet.is_idle().await;
    broker.start_again().await;
    let back = async || process.metric("warren_devices_attached", None) == 2;
    until_true(Duration::from_secs(120), "both to be at their queues", back).await;
    ground.send_texts(&process, "phone", 1).await;
    assert_eq!(phone.message().await.seq, 6);
    ground.send_texts(&process, "tablet", 1).await;
    assert_eq!(tablet.message().await.seq, 2);
    phone.ack(6).await;
    tablet.ack(2).await;
    phone.is_idle().await;
    tablet.is_idle().await;
}

/// A queue keeps its messages in memory alone: those of a device that is away are gone with the broker, and it gets them all the same.
#[tokio::test]
async fn what_lay_in_a_queue_when_the_broker_was_killed_comes_from_the_store() {
    let broker = Broker::dedicated().await;
    let ground = Ground::on(&broker).await;
    let process = Process::start(&ground).await;
    let device = ground.device("phone").await;
    drop(Socket::idle(process.address, "phone").await);
    let queue = Names::default().device_queue(queue_of(device, Tier::Standard));
    let left = async || ground.look("phone").await.session.is_none() && ground.vhost.consumers(&queue).await == Some(0);
    until_true(Duration::from_secs(20), "the phone to have left", left).await;
    ground.send_texts(&process, "phone", 5).await;
    let filled = async || ground.vhost.queue_depth(&queue).await == Some(5);
    until_true(Duration::from_secs(20), "its queue to be filled", filled).await;
    broker.sync_declarations().await;
    broker.kill9();
    broker.start_again().await;
    assert_eq!(ground.vhost.queue_depth(&queue).await, Some(0), "the queue is there, and empty");
    let mut phone = Socket::welcome(process.address, "phone", Window::default()).await;
    let got = phone.messages(5).await;
    assert_eq!(got.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    phone.ack(5).await;
    phone.is_idle().await;
    assert!(ground.pending(device).await.is_empty());
}
