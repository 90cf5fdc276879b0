//! What is kept of a device that polls, from its first poll until none has come for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use crate::protocol::poll::Acks;
use crate::sessions::Tenure;
use crate::store::{Gap, Given};

/// How long what a poll gave is not given again; and how long a session lasts without a poll.
pub const LEASE: Duration = Duration::from_secs(60);

/// Messages that are given and not acked, at most.
pub const LEASED: usize = 256;

pub(super) struct PollSession {
    pub(super) tenure: Tenure,
    /// The poll that counts: the newest.
    turn: watch::Sender<u64>,
    /// Polls that are being answered.
    answering: AtomicUsize,
    kept: Mutex<Kept>,
}

/// What was given.
pub(super) struct Kept {
    leases: BTreeMap<i64, (Uuid, Instant)>,
    /// Given up to here, but for leases that are over.
    pub(super) cursor: i64,
    /// The highest that was given ever.
    pub(super) highest: i64,
    /// The gap that was told last, by its number.
    gap_told: i64,
    heard: Instant,
}

/// A poll's time as the one that counts.
pub(super) struct Turn<'a> {
    session: &'a PollSession,
    number: u64,
    newest: watch::Receiver<u64>,
}

impl PollSession {
    pub(super) fn new(tenure: Tenure) -> Self {
        let kept = Kept { leases: BTreeMap::new(), cursor: 0, highest: 0, gap_told: 0, heard: Instant::now() };
        Self { tenure, turn: watch::Sender::new(0), answering: AtomicUsize::new(0), kept: Mutex::new(kept) }
    }

    pub(super) fn fence(&self) -> i64 {
        self.tenure.fence()
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the poll before this one.
    pub(super) fn take_turn(&self) -> Turn<'_> {
        self.answering.fetch_add(1, Ordering::Relaxed);
        let newest = self.turn.subscribe();
        let mut number = 0;
        self.turn.send_modify(|turn| {
            *turn += 1;
            number = *turn;
        });
        Turn { session: self, number, newest }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.answering.load(Ordering::Relaxed) == 0 && self.kept().heard + LEASE <= now
    }
}

impl Turn<'_> {
    pub(super) fn counts(&self) -> bool {
        *self.newest.borrow() == self.number
    }

    /// Waits until a newer poll has come.
    pub(super) async fn ended(&mut self) {
        let number = self.number;
        if self.newest.wait_for(|turn| *turn != number).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.session.kept().heard = Instant::now();
        self.session.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Kept {
    /// Frees what was leased for long enough, so that it is offered again; how many more may be given.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        let lapsed = self.leases.iter().filter(|(_, (_, until))| *until <= now).map(|(seq, _)| *seq).min();
        if let Some(first) = lapsed {
            self.leases.retain(|_, (_, until)| *until > now);
            self.cursor = self.cursor.min(first - 1);
        }
        LEASED - self.leases.len().min(LEASED)
    }

    /// When the next lease is over.
    pub(super) fn next_lapse(&self) -> Option<Instant> {
        self.leases.values().map(|(_, until)| *until).min()
    }

    /// Of what was read after the cursor, what is not leased; it is from now on. Says of each whether it was given before.
    pub(super) fn lease(&mut self, read: Vec<Given>, now: Instant) -> Vec<(Given, bool)> {
        let mut given = Vec::with_capacity(read.len());
        for row in read {
            self.cursor = self.cursor.max(row.seq);
            if self.leases.contains_key(&row.seq) {
                continue;
            }
            self.leases.insert(row.seq, (row.message.id, now + LEASE));
            let again = row.seq <= self.highest;
            self.highest = self.highest.max(row.seq);
            given.push((row, again));
        }
        given
    }

    /// The device is done with these.
    pub(super) fn acked(&mut self, acks: &Acks) {
        let up_to = acks.up_to.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(0);
        self.leases.retain(|seq, (id, _)| *seq > up_to && !acks.ids.contains(id));
    }

    /// What is to be told of a gap; `None` of one that was told.
    pub(super) fn news(&mut self, gap: Option<Gap>) -> Option<Gap> {
        let gap = gap.filter(|gap| gap.number > self.gap_told)?;
        self.gap_told = gap.number;
        Some(gap)
    }
}
