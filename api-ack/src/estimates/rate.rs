//! How fast a queue moves, measured only while something waits in it: an idle worker says nothing about how fast it could be.

use std::collections::VecDeque;
use std::time::Duration;

/// Looks back at least so far, and over at least so many ends.
const SPAN: Duration = Duration::from_secs(10);
const ENDS: u64 = 10;

/// Says nothing before it has seen so much: what others end is heard of a second or two late.
const SURE_SPAN: Duration = Duration::from_secs(4);
const SURE_ENDS: u64 = 3;

/// Looks back at most so far. With no end in all that time the queue moves slower than one in so long.
const MEMORY: Duration = Duration::from_secs(600);

/// How many looks are kept: one a second for as long as [`MEMORY`].
const LOOKS: usize = 600;

/// Time in which something waited, and what ended in it.
#[derive(Debug, Default)]
pub(super) struct Rate {
    busy: VecDeque<(Duration, u64)>,
    span: Duration,
    ends: u64,
    known: bool,
}

impl Rate {
    /// Adds a stretch in which something waited from its beginning to its end.
    pub(super) fn add(&mut self, span: Duration, ends: u64) {
        self.busy.push_back((span, ends));
        (self.span, self.ends) = (self.span + span, self.ends + ends);
        self.known |= self.span >= SURE_SPAN && self.ends >= SURE_ENDS;
        while let Some((span, ends)) = self.busy.front().copied() {
            let enough = self.span.saturating_sub(span) >= SPAN && self.ends - ends >= ENDS;
            if !enough && self.span <= MEMORY && self.busy.len() <= LOOKS {
                break;
            }
            self.busy.pop_front();
            (self.span, self.ends) = (self.span.saturating_sub(span), self.ends - ends);
        }
    }

    /// Time from one end to the next; `None` while too little was seen.
    pub(super) fn each(&self) -> Option<Duration> {
        let ends = u32::try_from(self.ends.max(1)).unwrap_or(u32::MAX);
        self.known.then(|| self.span / ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_known_once_enough_was_seen_and_follows_what_changes() {
        let mut rate = Rate::default();
        rate.add(10 * SECOND, 0);
        assert_eq!(rate.each(), None, "nothing has ended yet");
        let mut rate = Rate::default();
        rate.add(3 * SECOND, 9);
        assert_eq!(rate.each(), None, "too little time");
        rate.add(SECOND, 1);
        assert_eq!(rate.each(), Some(4 * SECOND / 10));
        for _ in 0..60 {
            rate.add(SECOND, 10);
        }
        assert_eq!(rate.each(), Some(SECOND / 10), "the slow beginning is forgotten");
        for _ in 0..30 {
            rate.add(SECOND, 1);
        }
        assert_eq!(rate.each(), Some(SECOND));
    }

    #[test]
    fn a_slow_queue_is_looked_back_on_for_longer() {
        let mut rate = Rate::default();
        for n in 0..200 {
            rate.add(SECOND, u64::from(n % 20 == 0));
        }
        let each = rate.each().unwrap();
        assert!((Duration::from_secs(15)..Duration::from_secs(25)).contains(&each), "{each:?}");
    }

    #[test]
    fn a_queue_that_stands_still_gets_slower_and_slower() {
        let mut rate = Rate::default();
        rate.add(10 * SECOND, 100);
        let mut before = rate.each().unwrap();
        for _ in 0..100 {
            rate.add(20 * SECOND, 0);
            let each = rate.each().unwrap();
            assert!(each >= before || each >= MEMORY - 20 * SECOND, "{each:?} after {before:?}");
            before = each;
        }
        assert!((MEMORY - 20 * SECOND..=MEMORY).contains(&before), "{before:?}");
        assert!(rate.busy.len() <= LOOKS);
    }
}
