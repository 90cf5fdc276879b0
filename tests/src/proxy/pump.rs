//! One direction of one proxied connection.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Mode, Orders};

/// Read ahead while bytes wait out their delay; beyond it the sender feels the pressure.
const HELD: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ClientToServer,
    ServerToClient,
}

pub(super) struct Pump {
    direction: Direction,
    random: u64,
    change: Option<u64>,
    mode: Mode,
    /// Bytes that may still pass before the cut.
    budget: Option<u64>,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    /// How much of the oldest chunk has been sent.
    offset: usize,
    held: usize,
    number: u64,
    obedience: Arc<Obedience>,
}

/// Which orders each pump has heard, so that a change of mode can wait for all of them.
#[derive(Default)]
pub(super) struct Obedience {
    heard: Mutex<HashMap<u64, u64>>,
    next: AtomicU64,
}

impl Obedience {
    /// Whether no pump acts on orders older than this change.
    pub(super) fn reached(&self, change: u64) -> bool {
        self.heard.lock().unwrap().values().all(|heard| *heard >= change)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.obedience.heard.lock().unwrap().remove(&self.number);
    }
}

impl Pump {
    pub(super) fn new(direction: Direction, seed: u64, obedience: &Arc<Obedience>) -> Self {
        Self {
            direction,
            random: seed,
            change: None,
            mode: Mode::Pass,
            budget: None,
            waiting: VecDeque::new(),
            offset: 0,
            held: 0,
            number: obedience.next.fetch_add(1, Ordering::Relaxed),
            obedience: Arc::clone(obedience),
        }
    }

    /// Forwards until the sender closes; an error means that the connection is to be reset.
    pub(super) async fn run(
        mut self,
        mut orders: watch::Receiver<Orders>,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        count: &AtomicU64,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut closed = false;
        loop {
            self.obey(*orders.borrow_and_update());
            if self.budget == Some(0) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if closed && self.waiting.is_empty() {
                return to.shutdown().await;
            }
            let flows = self.flows();
            let (due, chunk) = self.next();
            let ready = flows && due.is_some_and(|due| due <= Instant::now());
            // No arm writes or waits inside its handler: new orders are heard even while the receiver does not read.
            tokio::select! {
                changed = orders.changed() => if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                },
                read = from.read(&mut buffer), if flows && !closed && self.held < HELD => match read? {
                    0 => closed = true,
                    n => self.hold(&buffer[..n]),
                },
                written = to.write(chunk), if ready => {
                    let written = written?;
                    count.fetch_add(written as u64, Ordering::Relaxed);
                    self.sent(written);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if flows && !ready && due.is_some() => {}
            }
        }
    }

    /// The oldest bytes, as far as the budget lets them pass, and when they are due.
    fn next(&self) -> (Option<Instant>, &[u8]) {
        match self.waiting.front() {
            Some((due, chunk)) => {
                let rest = &chunk[self.offset..];
                let allowed = self.budget.map_or(usize::MAX, |budget| usize::try_from(budget).unwrap_or(usize::MAX));
                (Some(*due), &rest[..rest.len().min(allowed)])
            }
            None => (None, &[]),
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.held -= bytes;
        self.offset += bytes;
        if let Some(budget) = &mut self.budget {
            *budget -= bytes as u64;
        }
        if self.waiting.front().is_some_and(|(_, chunk)| chunk.len() == self.offset) {
            self.waiting.pop_front();
            self.offset = 0;
        }
    }

    /// Takes over new orders, if they are new.
    fn obey(&mut self, orders: Orders) {
        if self.change == Some(orders.change) {
            return;
        }
        self.change = Some(orders.change);
        self.obedience.heard.lock().unwrap().insert(self.number, orders.change);
        self.mode = orders.mode;
        self.budget = match orders.mode {
            Mode::CutAfter { client_to_server, server_to_client } => match self.direction {
                Direction::ClientToServer => client_to_server,
                Direction::ServerToClient => server_to_client,
            },
            _ => None,
        };
    }

    fn flows(&self) -> bool {
        match self.mode {
            Mode::Blackhole { client_to_server, server_to_client } => !match self.direction {
                Direction::ClientToServer => client_to_server,
                Direction::ServerToClient => server_to_client,
            },
            _ => true,
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        let mut due = Instant::now();
        if let Mode::Delay { by, jitter } = self.mode {
            due += by + self.draw(jitter);
        }
        // Bytes never overtake each other, whatever they drew.
        if let Some((last, _)) = self.waiting.back() {
            due = due.max(*last);
        }
        self.held += bytes.len();
        self.waiting.push_back((due, bytes.to_vec()));
    }

    /// A duration between zero and `most`, the next of the seed's sequence (SplitMix64).
    fn draw(&mut self, most: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        most.mul_f64((bits >> 11) as f64 / (1u64 << 53) as f64)
    }
}
