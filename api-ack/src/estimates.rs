//! When a job that is accepted now will start, by what waits before it and how fast the kind's jobs end.
//!
//! About once a second, and only for kinds that are submitted to here and have something waiting, the sweeper counts what of a kind
//! is due and has not begun: in the store, in the memory of relays, and at the broker. Each process counts the attempts that it
//! ends and shares the sums through the store, so that everyone knows how fast all of them are together. In between, a process
//! adds what it accepts itself and takes off what must have ended. The accept path only reads memory.
//!
//! Limits: there is no estimate before enough ended while something else waited (some seconds of it), none for what would start
//! within [`SOON`], and none while the kind is paused or what it calls is held back (then that says when). Jobs in a rung are not counted, and
//! of kinds with another program as their worker only what is ready in the queue: who has fetched the rest does not say whether it
//! runs. Another process's jobs are known about a second late, and of several processes one that holds fewer jobs starts its own
//! sooner. Up to [`COUNTED`] jobs of a kind are counted one by one.

mod rate;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::rate::Rate;
use crate::destinations::{Destinations, Flow};
use crate::kinds::{Kinds, Worker};
use crate::pauses::Pauses;
use crate::store::{JobStore, ProcessId, StoreError, Waiting};

/// What starts sooner starts at once.
pub const SOON: Duration = Duration::from_secs(2);

/// Jobs of a kind under way that are counted at most.
pub const COUNTED: u32 = 50_000;

/// No wait is said to be longer: nothing is kept waiting for so long.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// How long jobs of each kind wait for their start. Cheap to ask.
pub struct Estimates {
    store: Arc<dyn JobStore>,
    me: ProcessId,
    kinds: Kinds,
    pauses: Pauses,
    destinations: Arc<Destinations>,
    lines: BTreeMap<String, Line>,
    /// What the other processes said last.
    others: Mutex<HashMap<ProcessId, BTreeMap<String, u64>>>,
    /// How much this one has told them.
    told: AtomicU64,
}

/// What waits of one kind.
#[derive(Default)]
struct Line {
    /// Attempts ended here.
    ended: AtomicU64,
    /// Attempts ended elsewhere, since this process looks.
    ended_elsewhere: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// Jobs that had not begun, as of the last look; `None` when nobody looked.
    ahead: Option<u64>,
    looked: Option<Instant>,
    /// All ends known at the last look.
    ended: u64,
    /// Accepted here since the last look.
    accepted: u64,
    /// Something waited at the last two looks.
    moving: bool,
    rate: Rate,
}

impl Now {
    fn look(&mut self, ahead: u64, ended: u64, now: Instant) {
        // Only a stretch that begins and ends with a queue tells how fast it moves; and not the first one, whose ends the others
        // have yet to tell.
        match (self.ahead, ahead, self.looked) {
            (Some(1..), 1.., Some(looked)) if self.moving => {
                self.rate.add(now.saturating_duration_since(looked), ended.saturating_sub(self.ended));
            }
            (before, ..) => self.moving = before.is_some_and(|before| before > 0) && ahead > 0,
        }
        (self.ahead, self.looked, self.ended, self.accepted) = (Some(ahead), Some(now), ended, 0);
    }

    /// Nothing can be said at the moment; the pace of before is remembered.
    fn pass_over(&mut self) {
        (self.ahead, self.looked, self.accepted, self.moving) = (None, None, 0, false);
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        let (ahead @ 1.., looked, each) = (self.ahead?, self.looked?, self.rate.each()?) else { return None };
        let all = each.saturating_mul(u32::try_from(ahead.saturating_add(self.accepted)).unwrap_or(u32::MAX));
        let wait = all.saturating_sub(now.saturating_duration_since(looked)).min(LONGEST);
        (wait > SOON).then_some(wait)
    }
}

impl Estimates {
    /// Of the kinds there are, which are the same for as long as the process runs.
    pub fn new(
        store: Arc<dyn JobStore>,
        me: ProcessId,
        kinds: Kinds,
        pauses: Pauses,
        destinations: Arc<Destinations>,
    ) -> Arc<Self> {
        let lines = kinds.iter().map(|spec| (spec.kind.as_str().to_owned(), Line::default())).collect();
        Arc::new(Self { store, me, kinds, pauses, destinations, lines, others: Mutex::default(), told: AtomicU64::new(0) })
    }

    /// A job that is due was accepted here.
    pub fn accepted(&self, kind: &str) {
        if let Some(line) = self.lines.get(kind) {
            line.now().accepted += 1;
        }
    }

    /// An attempt ended here and made room for another.
    pub fn ended(&self, kind: &str) {
        if let Some(line) = self.lines.get(kind) {
            line.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long a job accepted now waits for its start; `None` for not worth speaking of, or not known.
    pub fn wait(&self, kind: &str) -> Option<Duration> {
        self.lines.get(kind)?.now().wait(Instant::now())
    }

    /// Kinds whose queue the next [`Estimates::look`] wants to know from the broker.
    pub fn asks_broker(&self) -> Vec<String> {
        let foreign = |kind: &&String| self.kinds.get(kind).is_some_and(|spec| spec.worker == Worker::Amqp);
        self.wanted().filter(foreign).cloned().collect()
    }

    /// Looks again: `waiting` is what waits in the store, `ready` how many messages are ready in the queues that were asked for.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn look(&self, waiting: &[Waiting], ready: &HashMap<String, u64>) -> Result<(), StoreError> {
        let wanted: Vec<&String> = self.wanted().collect();
        self.share(!wanted.is_empty()).await?;
        for kind in wanted {
            let Some(line) = self.lines.get(kind) else { continue };
            let foreign = self.kinds.get(kind).is_some_and(|spec| spec.worker == Worker::Amqp);
            let held = self.pauses.holds(kind) || self.destinations.flow(kind) != Flow::Free;
            if held || foreign && !ready.contains_key(kind) {
                line.now().pass_over();
                continue;
            }
            let queued = self.store.queued(kind, COUNTED).await?;
            let in_store: u64 = waiting.iter().filter(|waiting| waiting.lane.kind == *kind).map(|waiting| waiting.rows).sum();
            let at_broker = ready.get(kind).copied().unwrap_or(queued.published);
            let ended = line.ended.load(Ordering::Relaxed) + line.ended_elsewhere.load(Ordering::Relaxed);
            line.now().look(in_store + queued.to_publish + at_broker, ended, Instant::now());
        }
        Ok(())
    }

    /// Kinds in which somebody here takes an interest: something waited when last looked at, or came since.
    fn wanted(&self) -> impl Iterator<Item = &String> {
        let wanted = |line: &Line| {
            let now = line.now();
            now.accepted > 0 || now.ahead.is_some_and(|ahead| ahead > 0)
        };
        self.lines.iter().filter(move |(_, line)| wanted(line)).map(|(kind, _)| kind)
    }

    /// Tells the others what ended here, if that is news, and hears it of them.
    async fn share(&self, wanted: bool) -> Result<(), StoreError> {
        let ended = self.lines.iter().map(|(kind, line)| (kind.clone(), line.ended.load(Ordering::Relaxed)));
        let mine: BTreeMap<String, u64> = ended.filter(|(_, count)| *count > 0).collect();
        let sum = mine.values().sum();
        if !wanted && self.told.load(Ordering::Relaxed) == sum {
            return Ok(());
        }
        let said = self.store.share_ended(self.me, &mine).await?;
        self.told.store(sum, Ordering::Relaxed);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        for (process, ended) in &said {
            // What one had ended before it was first heard of says nothing about now.
            let Some(before) = others.get(process) else { continue };
            for (kind, count) in ended {
                if let Some(line) = self.lines.get(kind) {
                    let more = count.saturating_sub(before.get(kind).copied().unwrap_or(0));
                    line.ended_elsewhere.fetch_add(more, Ordering::Relaxed);
                }
            }
        }
        *others = said.into_iter().collect();
        Ok(())
    }
}

impl Line {
    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_is_what_stands_before_it_at_the_pace_that_was_seen() {
        let start = Instant::now();
        let at = |seconds: u32| start + SECOND * seconds;
        let mut now = Now::default();
        assert_eq!(now.wait(start), None);
        let before = start - SECOND;
        now.look(41, 0, before);
        now.look(40, 0, at(0));
        assert_eq!(now.wait(at(0)), None, "nothing has ended yet");
        now.look(38, 2, at(1));
        assert_eq!(now.wait(at(1)), None, "too little to go by");
        now.look(32, 8, at(4));
        assert_eq!(now.wait(at(4)), Some(16 * SECOND));
        assert_eq!(now.wait(at(5)), Some(15 * SECOND), "it moves on between two looks");
        now.accepted += 10;
        assert_eq!(now.wait(at(4)), Some(21 * SECOND));
        now.look(4, 36, at(18));
        assert_eq!(now.wait(at(18)), None, "soon enough");
        now.look(0, 40, at(20));
        assert_eq!(now.wait(at(20)), None);
        // Idle for an hour: that says nothing about the pace.
        now.accepted += 1;
        now.look(30, 40, at(3620));
        assert_eq!(now.wait(at(3620)), Some(15 * SECOND));
    }
}
