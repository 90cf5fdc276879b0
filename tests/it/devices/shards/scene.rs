//! What every test stands on: a main broker, one more, hubs that can be told of it and be told otherwise, and phones that write down what comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use mobile_delivery::protocol::{ServerFrame, Window};
use mobile_delivery::rules::place;
use mobile_delivery::store::{MAIN, Number};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::wait::{until, until_true};

use crate::devices::fleet::{OWNER, Registered, address, options, register};
use crate::devices::sessions::socket::{Said, Socket};
use crate::world::{Keep, LONG, World, settled};

/// The shard beside the main broker.
pub(super) const NORTH: &str = "north";

/// Between the lines of a hub's file that say which shards it has.
const BEGIN: &str = "# shards\n";
const END: &str = "# no more shards\n";

pub(super) struct Scene {
    pub(super) world: World,
    /// The broker of the shard, which may be hurt.
    pub(super) north: Broker,
    pub(super) there: Vhost,
}

impl Scene {
    pub(super) async fn set(keep: Keep) -> Self {
        let (world, north) = tokio::join!(World::new(keep), Broker::dedicated());
        let there = north.vhost().await;
        Self { world, north, there }
    }

    /// What a hub is told that has the shard.
    pub(super) fn with_north(&self, drain: bool) -> String {
        let (url, management) = (self.there.url(), self.north.management().url());
        format!("[[broker.shard]]\nname = \"{NORTH}\"\nurl = \"{url}\"\nmanagement_url = \"{management}\"\ndrain = {drain}\n")
    }

    /// A hub with these shards, and with `devices` in its section of devices.
    pub(super) async fn hub(&self, shards: &str, devices: &str) -> HubProcess {
        let management = Broker::shared().await.management().url().to_owned();
        let env = vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), management)];
        // A queue that is left goes no sooner than the longest declare takes.
        let devices = format!("declares_per_second = 2000\n{devices}");
        let options = options(&self.world, &format!("{devices}\n{BEGIN}{shards}{END}"));
        let hub = HubProcess::start(&HubOptions { env, ..options }).await;
        settled(&hub).await;
        hub
    }

    /// Ends a hub in good order and starts it with other shards.
    pub(super) async fn restart(&self, hub: &mut HubProcess, shards: &str) {
        hub.terminate(LONG).await;
        let file = hub.folder().join("warren.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        std::fs::write(&file, format!("{before}{BEGIN}{shards}{END}{after}")).unwrap();
        hub.start_again().await;
        settled(hub).await;
    }

    /// Which brokers have a queue of this device.
    pub(super) async fn queues(&self, device: Number) -> Vec<&'static str> {
        let queue = queue(device);
        let (main, north) = tokio::join!(self.world.vhost.queue_depth(&queue), self.there.queue_depth(&queue));
        [(MAIN, main), (NORTH, north)].into_iter().filter_map(|(name, depth)| depth.map(|_| name)).collect()
    }

    /// Waits until each of these has its one queue where `at` says, and nowhere else.
    pub(super) async fn until_at(&self, phones: &[Phone], at: impl Fn(Number) -> &'static str) {
        for phone in phones {
            let what = format!("{} to have its queue at {} alone", phone.device.id, at(phone.number));
            until_true(LONG, &what, async || self.queues(phone.number).await == [at(phone.number)]).await;
        }
    }
}

pub(super) fn queue(device: Number) -> String {
    format!("device.standard.{}", device.0)
}

/// Where a device belongs while both take devices.
pub(super) fn either(device: Number) -> &'static str {
    if place(device, [MAIN, NORTH]) == Some(NORTH) { NORTH } else { MAIN }
}

/// By what the store knows it.
pub(super) async fn number(hub: &HubProcess, id: &str) -> Number {
    let found = hub.admin().get(&format!("/admin/devices/acme/{id}")).await.unwrap();
    Number(found.body["number"].as_i64().unwrap_or_else(|| panic!("{}", found.body)))
}

/// A device that is always there, or comes back.
pub(super) struct Phone {
    pub(super) device: Registered,
    pub(super) number: Number,
    diary: Arc<Mutex<Diary>>,
    /// When each message was accepted.
    sent: Vec<Instant>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Diary {
    /// When each message came first.
    came: Vec<Instant>,
    copies: usize,
    fault: Option<String>,
}

impl Diary {
    /// Messages are numbered as they were sent: each comes after the one before it, and what came already is a copy.
    fn take(&mut self, number: usize) {
        match number.cmp(&self.came.len()) {
            std::cmp::Ordering::Equal => self.came.push(Instant::now()),
            std::cmp::Ordering::Less => self.copies += 1,
            std::cmp::Ordering::Greater => {
                let said = format!("{number} came after {} others", self.came.len());
                self.fault.get_or_insert(said);
            }
        }
    }
}

/// Registered devices, none of them connected.
pub(super) async fn phones(hub: &HubProcess, ids: impl IntoIterator<Item = String>) -> Vec<Phone> {
    let mut all = Vec::new();
    for id in ids {
        let device = register(hub, "acme", &id).await;
        let number = number(hub, &id).await;
        all.push(Phone { device, number, diary: Arc::default(), sent: Vec::new(), task: None });
    }
    all
}

impl Phone {
    /// Connects to one of these, and comes back whenever it is put out or hears nothing of a hub.
    pub(super) fn connect(&mut self, hubs: &[SocketAddr]) {
        let (hubs, device, diary) = (hubs.to_vec(), self.device.clone(), self.diary.clone());
        self.task = Some(tokio::spawn(async move {
            for turn in 0.. {
                visit(hubs[turn % hubs.len()], &device, &diary).await;
                sleep(Duration::from_millis(100)).await;
            }
        }));
    }

    pub(super) fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Sends it the next messages.
    pub(super) async fn send(&mut self, owner: &HubClient, count: usize) {
        for _ in 0..count {
            let number = self.sent.len();
            self.sent.push(deliver(owner, &self.device.id, number).await);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.diary.lock().unwrap().came.len()
    }

    /// Waits until it has all, in order.
    pub(super) async fn has_all(&self) {
        let what = format!("{} to have its {} messages", self.device.id, self.sent.len());
        until_true(LONG, &what, async || {
            let diary = self.diary.lock().unwrap();
            assert_eq!(diary.fault, None, "{}", self.device.id);
            diary.came.len() == self.sent.len()
        })
        .await;
    }

    /// How long messages took that were sent from the one of this number on.
    pub(super) fn took(&self, from: usize) -> Vec<Duration> {
        let diary = self.diary.lock().unwrap();
        self.sent.iter().zip(&diary.came).skip(from).map(|(sent, came)| came.saturating_duration_since(*sent)).collect()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn visit(hub: SocketAddr, device: &Registered, diary: &Mutex<Diary>) {
    let Some(mut socket) = Socket::reach(hub, &device.token).await else { return };
    socket.hello(&device.id, Window { messages: 8, ..Window::default() }).await;
    loop {
        match socket.next_ever().await {
            Said::Frame(ServerFrame::Deliver(message)) => {
                let body: Value = serde_json::from_slice(&message.payload).unwrap();
                diary.lock().unwrap().take(usize::try_from(body["number"].as_u64().unwrap()).unwrap());
                socket.ack(message.seq).await;
            }
            Said::Frame(ServerFrame::Gap(gap)) => {
                diary.lock().unwrap().fault.get_or_insert(format!("{gap:?}"));
            }
            Said::Frame(_) => {}
            Said::Closed(_) => return,
        }
    }
}

/// Sends until a hub has accepted it, once; when that was.
async fn deliver(owner: &HubClient, id: &str, number: usize) -> Instant {
    let (path, key) = (format!("/v1/devices/{id}/messages"), format!("{id}-{number}"));
    until(LONG, "a message to be accepted", async || {
        let post = owner.request(reqwest::Method::POST, &path).timeout(Duration::from_secs(10));
        let answer = owner.send(post.header("idempotency-key", &key).json(&json!({"number": number}))).await.ok()?;
        assert!(answer.status == 202 || answer.status >= 500, "{} {}", answer.status, answer.body);
        (answer.status == 202).then(Instant::now)
    })
    .await
}

/// Sends to all of them by turns of the hubs, each so often, until `work` is done.
pub(super) async fn while_sending<T>(
    phones: &mut [Phone],
    hubs: &[&HubProcess],
    every: Duration,
    work: impl Future<Output = T>,
) -> T {
    let owners: Vec<HubClient> = hubs.iter().map(|hub| hub.client_as("acme", "app", OWNER)).collect();
    let enough = std::sync::atomic::AtomicBool::new(false);
    let sending = join_all(phones.iter_mut().map(async |phone| {
        for turn in 0.. {
            if enough.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            // A hub that is away is not waited for: the next one takes it.
            let number = phone.sent.len();
            for owner in owners.iter().cycle().skip(turn) {
                let tried = timeout(Duration::from_secs(3), deliver(owner, &phone.device.id, number)).await;
                if let Ok(accepted) = tried {
                    phone.sent.push(accepted);
                    break;
                }
            }
            sleep(every).await;
        }
    }));
    let working = async {
        let done = work.await;
        enough.store(true, std::sync::atomic::Ordering::Relaxed);
        done
    };
    tokio::join!(sending, working).1
}

/// The slowest of `all`, and that of nine in ten, in milliseconds.
pub(super) fn slowest(all: &[Duration]) -> (u128, u128) {
    let mut sorted: Vec<u128> = all.iter().map(Duration::as_millis).collect();
    sorted.sort_unstable();
    (sorted.last().copied().unwrap_or(0), sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(0))
}

/// How many are where.
pub(super) fn shares(phones: &[Phone]) -> BTreeMap<&'static str, usize> {
    let mut shares = BTreeMap::new();
    phones.iter().for_each(|phone| *shares.entry(either(phone.number)).or_default() += 1);
    shares
}

pub(super) fn addresses(hubs: &[&HubProcess]) -> Vec<SocketAddr> {
    hubs.iter().map(|hub| address(hub)).collect()
}
