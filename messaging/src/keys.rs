//! Which routing keys were published lately: a sample by the minute, so that a plan of the topology can say what would reach no queue.
//!
//! Bounded: per minute so many keys per exchange, and so many in all; those that come first are counted, and the rest are not. A key that
//! is published all the time is among the first of some minute.

mod share;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use share::{Shared, share};

/// How far back it goes.
pub const KEPT: Duration = Duration::from_secs(3600);

/// How often it is told: what is not counted in a minute yet is that old at most.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Keys of one exchange in one minute, at most.
const PER_EXCHANGE: usize = 128;

/// Keys in one minute, at most.
const PER_MINUTE: usize = 512;

/// Counts by exchange and key.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What was published in the last hour. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Mutex<Seen>>);

#[derive(Debug)]
struct Seen {
    /// Nothing is known of what was before.
    since: Timestamp,
    /// By the minute, oldest first: when it began, and what was told from here and heard of others.
    minutes: VecDeque<(Instant, Tally)>,
    /// What was seen here and not told to others yet: in no minute so far, so that a publish counts once.
    untold: Tally,
}

impl Default for Seen {
    fn default() -> Self {
        Self { since: Timestamp::now(), minutes: VecDeque::new(), untold: Tally::default() }
    }
}

#[derive(Debug, Default)]
struct Tally {
    held: usize,
    counts: HashMap<String, HashMap<String, u64>>,
}

impl Tally {
    fn add(&mut self, exchange: &str, key: &str, count: u64) {
        let known = self.counts.get_mut(exchange).and_then(|keys| keys.get_mut(key));
        if let Some(known) = known {
            *known = known.saturating_add(count);
        } else if self.held < PER_MINUTE && self.counts.get(exchange).is_none_or(|keys| keys.len() < PER_EXCHANGE) {
            self.counts.entry(exchange.to_owned()).or_default().insert(key.to_owned(), count);
            self.held += 1;
        }
    }

    fn merge(&mut self, counts: &Counts) {
        for (exchange, keys) in counts {
            for (key, count) in keys {
                self.add(exchange, key, *count);
            }
        }
    }

    fn counts(self) -> Counts {
        self.counts.into_iter().map(|(exchange, keys)| (exchange, keys.into_iter().collect())).collect()
    }
}

impl Keys {
    /// Messages were published, each with its exchange and key.
    pub fn saw<'a>(&self, published: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut seen = self.lock();
        for (exchange, key) in published {
            seen.untold.add(exchange, key, 1);
        }
    }

    /// Other processes saw these in the last minute.
    pub fn heard(&self, counts: &Counts) {
        self.lock().minute(Instant::now()).merge(counts);
    }

    /// How often each key was seen in the last hour; at least.
    pub fn lately(&self) -> Counts {
        self.lock().lately(Instant::now())
    }

    /// Since when keys are known: an hour, or less in a process that is younger.
    pub fn since(&self) -> Timestamp {
        self.lock().since.max(Timestamp::now().saturating_sub(KEPT).unwrap_or(Timestamp::MIN))
    }

    /// What was seen here since the last call.
    fn untold(&self) -> Counts {
        self.lock().tell(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The minute that `now` is in.
    fn minute(&mut self, now: Instant) -> &mut Tally {
        let current = self.minutes.back().is_some_and(|(began, _)| now.duration_since(*began) < MINUTE);
        if !current {
            while self.minutes.front().is_some_and(|(began, _)| now.duration_since(*began) >= KEPT) {
                self.minutes.pop_front();
            }
            self.minutes.push_back((now, Tally::default()));
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].1
    }

    /// What was not told before; from now on it counts in this minute.
    fn tell(&mut self, now: Instant) -> Counts {
        let told = std::mem::take(&mut self.untold).counts();
        self.minute(now).merge(&told);
        told
    }

    fn lately(&self, now: Instant) -> Counts {
        let mut counts = Counts::new();
        let minutes = self.minutes.iter().filter(|(began, _)| now.duration_since(*began) < KEPT).map(|(_, minute)| minute);
        for minute in minutes.chain([&self.untold]) {
            for (exchange, keys) in &minute.counts {
                for (key, count) in keys {
                    let sum = counts.entry(exchange.clone()).or_default().entry(key.clone()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saw(keys: &Keys, exchange: &str, key: &str) {
        keys.saw([(exchange, key)].into_iter());
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut seen = Seen::default();
        let start = Instant::now();
        for minute in 0..90 {
            seen.untold.add("events", "order.placed", 1);
            seen.tell(start + MINUTE * minute);
        }
        assert_eq!(seen.lately(start + MINUTE * 90)["events"]["order.placed"], 59);
        assert!(seen.minutes.len() <= 61, "{}", seen.minutes.len());
        assert_eq!(seen.lately(start + MINUTE * 200), Counts::new());
    }

    #[test]
    fn many_keys_take_bounded_room() {
        let keys = Keys::default();
        for exchange in 0..100 {
            for key in 0..1000 {
                saw(&keys, &format!("e{exchange}"), &format!("k{key}"));
            }
        }
        let counts = keys.lately();
        assert_eq!(counts.values().map(BTreeMap::len).sum::<usize>(), PER_MINUTE);
        assert!(counts["e0"].len() <= PER_EXCHANGE && counts["e0"]["k0"] == 1);
        assert_eq!(keys.untold(), counts);
        assert_eq!(keys.lately(), counts);
    }

    #[test]
    fn what_was_seen_counts_once_whether_it_was_told_or_not() {
        let keys = Keys::default();
        saw(&keys, "e", "k");
        for _ in 0..2 {
            assert_eq!(keys.lately()["e"]["k"], 1);
            keys.untold();
        }
        saw(&keys, "e", "k");
        assert_eq!(keys.lately()["e"]["k"], 2);
    }

    #[test]
    fn what_others_saw_counts_here_and_is_not_told_again() {
        let (here, there) = (Keys::default(), Keys::default());
        saw(&here, "e", "k");
        saw(&there, "e", "k");
        saw(&there, "e", "other");
        here.heard(&there.lately());
        assert_eq!(here.lately()["e"], [("k".to_owned(), 2), ("other".to_owned(), 1)].into());
        assert_eq!(here.untold(), Counts::from([("e".to_owned(), [("k".to_owned(), 1)].into())]));
        assert_eq!(here.untold(), Counts::new());
    }

    #[test]
    fn a_young_process_says_that_it_knows_little() {
        let began = Timestamp::now();
        let keys = Keys::default();
        assert!(keys.since() >= began);
        keys.lock().since = Timestamp::UNIX_EPOCH;
        assert!(keys.since() >= began.saturating_sub(KEPT).unwrap_or(Timestamp::MIN));
    }
}
