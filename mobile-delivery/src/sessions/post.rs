//! What others tell a session: kept until it looks, each thing once, so that it is bounded by what a session can have.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::protocol::{Close, GoAway, ServerFrame, Signal, Withdrawal};
use crate::store::Heard;

/// Withdrawals that are kept; beyond, the oldest is forgotten, and its message may be given.
const WITHDRAWALS: usize = 1024;

/// Frames of rooms that are kept, and signals among them: beyond, who is there is told later, and signals are lost.
const FRAMES: usize = 128;
const SIGNALS: usize = 64;

/// What came since the session looked last.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The store has the ends of these; a window of them at most.
    pub(super) settled: Vec<u64>,
    /// So many settlements were answered.
    pub(super) answers: u16,
    /// It is over.
    pub(super) end: Option<(Close, Cow<'static, str>)>,
    /// The device has acked something by a request.
    pub(super) acked: bool,
    /// What it asked about was looked up: these ended by an ack.
    pub(super) checked: Option<Vec<u64>>,
    /// These ended without the device.
    pub(super) withdrawn: VecDeque<(u64, Withdrawal)>,
    /// The store has something that did not come.
    pub(super) look: bool,
    /// The log has entries up to here, of which one at least is for it.
    pub(super) logged: Option<i64>,
    /// These entries were withdrawn.
    pub(super) recalled: Vec<i64>,
    /// What the store said to what was heard, the latest.
    pub(super) heard: Option<(Heard, i64)>,
    /// Its tags may be others now.
    pub(super) retagged: bool,
    /// What it is to tell the device, which nothing else depends on.
    pub(super) frames: VecDeque<ServerFrame>,
    /// Its lane is to be at another broker.
    pub(super) moves: bool,
    /// The process leaves.
    pub(super) drain: Option<(GoAway, Duration)>,
}

impl News {
    fn is_empty(&self) -> bool {
        let told = self.acked || self.checked.is_some() || self.look || !self.withdrawn.is_empty();
        let logged = self.logged.is_some() || !self.recalled.is_empty() || self.heard.is_some() || self.retagged;
        let wants = self.moves || !self.frames.is_empty();
        self.answers == 0 && self.end.is_none() && self.drain.is_none() && !told && !logged && !wants
    }
}

/// The box of one session, and what others may know of it.
#[derive(Debug, Default)]
pub(super) struct Post {
    news: Mutex<News>,
    rung: Notify,
    /// Up to where everything was given or has ended.
    cursor: AtomicI64,
    /// How often the tags of its device had changed, as far as it knows.
    roster: AtomicI64,
    /// The rooms that it is in, as far as it knows.
    rooms: Mutex<Vec<String>>,
    /// It has nothing under way.
    idle: AtomicBool,
    /// It gives what it finds.
    open: AtomicBool,
    /// Its lane, if it has one.
    lane: Mutex<Option<Berth>>,
}

/// A lane, as others may know of it.
#[derive(Clone, Debug)]
pub(super) struct Berth {
    /// The broker it is at.
    pub(super) shard: String,
    /// Whether it brings what is new.
    pub(super) consumes: Arc<AtomicBool>,
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: impl FnOnce(&mut News)) {
        what(&mut self.lock());
        self.rung.notify_one();
    }

    /// Ends of messages are in the store.
    pub(super) fn settled(&self, seqs: &[u64]) {
        self.tell(|news| {
            news.settled.extend_from_slice(seqs);
            news.answers += 1;
        });
    }

    /// It is over; the first reason counts.
    pub(super) fn end(&self, close: Close, why: impl Into<Cow<'static, str>>) {
        self.tell(|news| {
            news.end.get_or_insert((close, why.into()));
        });
    }

    /// The store has something for it.
    pub(super) fn look(&self) {
        self.tell(|news| news.look = true);
    }

    /// The device has acked something by a request.
    pub(super) fn acked(&self) {
        self.tell(|news| news.acked = true);
    }

    /// Of what it asked about, these ended by an ack.
    pub(super) fn checked(&self, ended: Vec<u64>) {
        self.tell(|news| news.checked.get_or_insert_default().extend(ended));
    }

    /// A message ended without the device.
    pub(super) fn withdrawn(&self, seq: u64, why: Withdrawal) {
        self.tell(|news| {
            if news.withdrawn.len() >= WITHDRAWALS {
                news.withdrawn.pop_front();
            }
            news.withdrawn.push_back((seq, why));
        });
    }

    /// The log has something for it, up to this entry.
    pub(super) fn logged(&self, entry: i64) {
        self.tell(|news| news.logged = news.logged.max(Some(entry)));
    }

    /// An entry was withdrawn. Beyond what a session keeps, its device keeps it.
    pub(super) fn recalled(&self, entry: i64) {
        self.tell(|news| {
            if news.recalled.len() < WITHDRAWALS {
                news.recalled.push(entry);
            }
        });
    }

    /// What the store said to what was heard.
    pub(super) fn heard(&self, heard: Heard, entry: i64) {
        self.tell(|news| news.heard = Some((heard, entry)));
    }

    /// The tags of its device may be others now.
    pub(super) fn retagged(&self) {
        self.tell(|news| news.retagged = true);
    }

    /// Something of a room; whether there was a place for it.
    pub(super) fn tell_frame(&self, frame: ServerFrame) -> bool {
        let mut fits = false;
        self.tell(|news| {
            fits = news.frames.len() < FRAMES;
            if fits {
                news.frames.push_back(frame);
            }
        });
        fits
    }

    /// A signal, in place of the one before of the same sort.
    pub(super) fn signal(&self, signal: &Arc<Signal>) {
        let is_same = |frame: &ServerFrame| match frame {
            ServerFrame::Signal(other) => (&other.group, &other.from, &other.kind) == (&signal.group, &signal.from, &signal.kind),
            _ => false,
        };
        self.tell(|news| {
            let fits = news.frames.len() < SIGNALS;
            match news.frames.iter_mut().find(|frame| is_same(frame)) {
                Some(frame) => *frame = ServerFrame::Signal(signal.clone()),
                None if fits => news.frames.push_back(ServerFrame::Signal(signal.clone())),
                None => {}
            }
        });
    }

    /// By which number of its tags it goes, and which rooms it is in; answers those before.
    pub(super) fn goes_by(&self, roster: i64, rooms: Vec<String>) -> Vec<String> {
        self.roster.store(roster, Ordering::Relaxed);
        std::mem::replace(&mut *self.rooms.lock().unwrap_or_else(PoisonError::into_inner), rooms)
    }

    /// The rooms that it is in, as far as it knows.
    pub(super) fn rooms(&self) -> Vec<String> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn roster(&self) -> i64 {
        self.roster.load(Ordering::Relaxed)
    }

    /// Its lane is to be at another broker.
    pub(super) fn moves(&self) {
        self.tell(|news| news.moves = true);
    }

    /// The process leaves.
    pub(super) fn drain(&self, away: GoAway, within: Duration) {
        self.tell(|news| news.drain = Some((away, within)));
    }

    /// What came. Cancel-safe.
    pub(super) async fn next(&self) -> News {
        loop {
            {
                let mut news = self.lock();
                if !news.is_empty() {
                    return std::mem::take(&mut news);
                }
            }
            self.rung.notified().await;
        }
    }

    /// Waits until it is over, and leaves everything for [`Post::next`].
    pub(super) async fn ended(&self) {
        while self.lock().end.is_none() {
            self.rung.notified().await;
        }
    }

    /// Says how the session stands.
    pub(super) fn stands(&self, cursor: i64, idle: bool, open: bool) {
        self.cursor.store(cursor, Ordering::Relaxed);
        self.idle.store(idle, Ordering::Relaxed);
        self.open.store(open, Ordering::Relaxed);
    }

    /// It has this lane from now on.
    pub(super) fn has_lane(&self, lane: Option<Berth>) {
        *self.berth() = lane;
    }

    fn berth(&self) -> MutexGuard<'_, Option<Berth>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker that its lane is at, if it has one.
    pub(super) fn shard(&self) -> Option<String> {
        self.berth().as_ref().map(|berth| berth.shard.clone())
    }

    pub(super) fn cursor(&self) -> i64 {
        self.cursor.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether its lane brings what is new.
    pub(super) fn is_laned(&self) -> bool {
        self.is_laned_where(|_| true)
    }

    /// The same, where that broker is one that `is_filled`.
    pub(super) fn is_laned_where(&self, is_filled: impl Fn(&str) -> bool) -> bool {
        self.berth().as_ref().is_some_and(|berth| berth.consumes.load(Ordering::Relaxed) && is_filled(&berth.shard))
    }
}
