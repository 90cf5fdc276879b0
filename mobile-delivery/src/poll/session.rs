//! What is kept of a device that polls, from its first poll until none has come for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use crate::protocol::poll::Acks;
use door::problem::Problem;

use crate::sessions::{Listener, Tenure};
use crate::store::{Entry, Gap, Given, Standing, Tail};

/// How long what a poll gave is not given again; and how long a session lasts without a poll.
pub const LEASE: Duration = Duration::from_secs(60);

/// Messages that are given and not acked, at most.
pub const LEASED: usize = 256;

pub(super) struct PollSession {
    listener: Mutex<Option<Listener>>,
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
    /// What was given of the log.
    pub(super) log: LogKept,
    /// The gap that was told last, by its number.
    gap_told: i64,
    heard: Instant,
}

/// What was given of the log: as of rows, by numbers of entries.
pub(super) struct LogKept {
    leases: BTreeMap<i64, (Uuid, Instant)>,
    /// Given up to here, or never for it; but for leases that are over.
    cursor: i64,
    highest: i64,
    /// Acked up to here.
    heard: i64,
    /// There may be something after the cursor.
    behind: bool,
}

/// A poll's time as the one that counts.
pub(super) struct Turn<'a> {
    session: &'a PollSession,
    number: u64,
    newest: watch::Receiver<u64>,
}

impl PollSession {
    pub(super) fn new(tenure: Tenure, standing: Standing) -> Self {
        let log = LogKept::new(&standing);
        let kept = Kept { leases: BTreeMap::new(), cursor: 0, highest: 0, log, gap_told: 0, heard: Instant::now() };
        let listener = Mutex::new(Some(tenure.listens(standing)));
        Self { listener, tenure, turn: watch::Sender::new(0), answering: AtomicUsize::new(0), kept: Mutex::new(kept) }
    }

    /// Hears of what is logged by the tags that the device has now. What it was given is what the store has found, so nothing was passed over.
    pub(super) async fn listen_anew(&self) -> Result<(), Problem> {
        if let Some(standing) = self.tenure.standing().await? {
            self.kept().log.look();
            let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
            // In this order: the one before would take the place of this one with it.
            drop(listener.take());
            *listener = Some(self.tenure.listens(standing));
        }
        Ok(())
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
        self.log.lapse(now);
        LEASED - (self.leases.len() + self.log.leases.len()).min(LEASED)
    }

    /// When the next lease is over.
    pub(super) fn next_lapse(&self) -> Option<Instant> {
        self.leases.values().chain(self.log.leases.values()).map(|(_, until)| *until).min()
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

impl LogKept {
    fn new(standing: &Standing) -> Self {
        let heard = standing.heard;
        Self { leases: BTreeMap::new(), cursor: heard, highest: 0, heard, behind: standing.last.is_some() }
    }

    /// After which entry to read, if there may be something.
    pub(super) fn unread(&self) -> Option<i64> {
        self.behind.then_some(self.cursor)
    }

    /// There may be something new.
    pub(super) fn look(&mut self) {
        self.behind = true;
    }

    fn lapse(&mut self, now: Instant) {
        let lapsed = self.leases.iter().find(|(_, (_, until))| *until <= now).map(|(entry, _)| *entry);
        if let Some(first) = lapsed {
            self.leases.retain(|entry, _| *entry < first);
            (self.cursor, self.behind) = (self.cursor.min(first - 1), true);
        }
    }

    /// What was read after the cursor, leased. Says of each whether it was given before.
    pub(super) fn lease(&mut self, read: Tail, now: Instant) -> Vec<(Entry, bool)> {
        self.cursor = self.cursor.max(read.through);
        self.behind = read.more;
        let mut given = Vec::with_capacity(read.entries.len());
        for entry in read.entries {
            self.leases.insert(entry.entry, (entry.message.id, now + LEASE));
            let again = entry.entry <= self.highest;
            self.highest = self.highest.max(entry.entry);
            given.push((entry, again));
        }
        given
    }

    /// Whether anything was given by this process.
    pub(super) fn has_given(&self) -> bool {
        self.highest > 0
    }

    /// The device is done with these; up to which entry that is all, if that is news.
    pub(super) fn hears(&mut self, acks: &Acks) -> Option<i64> {
        let up_to = acks.entry.and_then(|entry| i64::try_from(entry).ok()).unwrap_or(0).min(self.highest);
        self.leases.retain(|entry, (id, _)| *entry > up_to && !acks.ids.contains(id));
        let all = self.leases.keys().next().map_or(self.highest, |first| first - 1).min(self.highest).max(up_to);
        (all > self.heard).then_some(all)
    }

    /// The store has it that everything up to here is heard.
    pub(super) fn stored(&mut self, entry: i64) {
        (self.heard, self.cursor) = (self.heard.max(entry), self.cursor.max(entry));
    }
}
