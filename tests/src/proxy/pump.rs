//! One direction of one proxied connection.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
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
    orders: watch::Receiver<Orders>,
    random: u64,
    change: Option<u64>,
    mode: Mode,
    /// Bytes that may still pass before the cut.
    budget: Option<u64>,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    held: usize,
}

impl Pump {
    pub(super) fn new(direction: Direction, orders: watch::Receiver<Orders>, seed: u64) -> Self {
        Self { direction, orders, random: seed, change: None, mode: Mode::Pass, budget: None, waiting: VecDeque::new(), held: 0 }
    }

    /// Forwards until the sender closes; an error means that the connection is to be reset.
    pub(super) async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, count: &AtomicU64) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut closed = false;
        loop {
            self.listen();
            if closed && self.waiting.is_empty() {
                return to.shutdown().await;
            }
            let flows = self.flows();
            let due = self.waiting.front().map(|(due, _)| *due);
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                },
                read = from.read(&mut buffer), if flows && !closed && self.held < HELD => {
                    match read? {
                        0 => closed = true,
                        n => self.hold(&buffer[..n]),
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if flows && due.is_some() => {
                    let (_, chunk) = self.waiting.pop_front().unwrap_or((Instant::now(), Vec::new()));
                    self.held -= chunk.len();
                    self.write(&mut to, &chunk, count).await?;
                }
            }
        }
    }

    /// Takes over new orders, if there are any.
    fn listen(&mut self) {
        let orders = *self.orders.borrow_and_update();
        if self.change == Some(orders.change) {
            return;
        }
        self.change = Some(orders.change);
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

    async fn write(&mut self, to: &mut WriteHalf<'_>, chunk: &[u8], count: &AtomicU64) -> io::Result<()> {
        let allowed = match self.budget {
            Some(budget) => usize::try_from(budget).unwrap_or(usize::MAX).min(chunk.len()),
            None => chunk.len(),
        };
        to.write_all(&chunk[..allowed]).await?;
        count.fetch_add(allowed as u64, Ordering::Relaxed);
        if let Some(budget) = &mut self.budget {
            *budget -= allowed as u64;
            if *budget == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        Ok(())
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
