//! A steady stream of requests while something is done to the servers, and what each of them was answered.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warren_tests::hub::{Answer, HubClient};

use crate::world::{LONG, RESERVE, World};

/// Callers at one time; each sends its next request once the one before is accepted.
const CALLERS: usize = 8;

/// How one request went.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was sent.
    pub sent: Instant,
    /// How long its caller waited.
    pub took: Duration,
    /// The status; `None` when no answer came.
    pub status: Option<u16>,
    /// The code of a problem document.
    pub code: Option<String>,
}

/// Callers that go on until they are told to stop. A request that is not accepted is sent again, with the same key, to the next
/// of the hubs.
pub struct Pressure<'a> {
    world: &'a World,
    clients: Vec<HubClient>,
    prefix: &'a str,
    pause: Duration,
    stop: CancellationToken,
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
}

impl<'a> Pressure<'a> {
    /// Callers of these hubs; keys begin with `prefix`, and each caller rests for `pause` after each accepted request.
    pub fn new(world: &'a World, clients: Vec<HubClient>, prefix: &'a str, pause: Duration) -> Self {
        let (stop, seen, accepted) = (CancellationToken::new(), Mutex::default(), AtomicUsize::new(0));
        Self { world, clients, prefix, pause, stop, seen, accepted }
    }

    /// Calls until `script` is through; then every caller gets its last request accepted and leaves.
    pub async fn during<T>(&self, script: impl Future<Output = T>) -> T {
        let script = async {
            let value = script.await;
            self.stop.cancel();
            value
        };
        let (_, value) = tokio::join!(join_all((0..CALLERS).map(|caller| self.call(caller))), script);
        value
    }

    /// Requests accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until `more` further requests are accepted.
    pub async fn more_accepted(&self, more: usize) {
        let goal = self.accepted() + more;
        warren_tests::wait::until_true(LONG, &format!("{more} more requests to be accepted"), async || self.accepted() >= goal)
            .await;
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests sent between two moments.
    pub fn sent_between(&self, from: Instant, to: Instant) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.sent >= from && seen.sent < to).collect()
    }

    async fn call(&self, caller: usize) {
        let mut number = 0;
        while !self.stop.is_cancelled() {
            let key = format!("{}-{caller}-{number}", self.prefix);
            self.until_accepted(&key, caller + number).await;
            number += 1;
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn until_accepted(&self, key: &str, first: usize) {
        let ledger = &self.world.ledger;
        let body = json!({"order_id": key, "sku": "tea", "quantity": 1});
        ledger.sent(key);
        let begun = Instant::now();
        for turn in first.. {
            let client = &self.clients[turn % self.clients.len()];
            let answer = self.ask(client, &body, key).await;
            if let Some(answer) = answer {
                ledger.answered(key, answer.status, answer.job_id());
                if answer.status == 202 {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                assert_eq!(answer.status, 503, "only an overload or a missing store may turn {key} away: {}", answer.body);
            }
            assert!(begun.elapsed() < LONG, "{key} was not accepted within {LONG:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&self, client: &HubClient, body: &Value, key: &str) -> Option<Answer> {
        let sent = Instant::now();
        let answer = client.submit(RESERVE, body, Some(key)).await.ok();
        let status = answer.as_ref().map(|answer| answer.status);
        let code = answer.as_ref().and_then(|answer| answer.code().map(str::to_owned));
        self.seen.lock().unwrap().push(Seen { sent, took: sent.elapsed(), status, code });
        answer
    }
}
