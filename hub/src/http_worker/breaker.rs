//! Whether a destination counts as sick, by the calls of this process. Pure: the clock is handed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config;

/// Parts of the window; what is older than the window goes a part at a time.
const PARTS: u32 = 10;

/// Counts calls over a window that moves on.
pub(super) struct Breaker {
    settings: config::Breaker,
    parts: VecDeque<Part>,
}

struct Part {
    begun: Instant,
    calls: u32,
    failed: u32,
}

impl Breaker {
    pub(super) fn new(settings: config::Breaker) -> Self {
        Self { settings, parts: VecDeque::new() }
    }

    /// Counts a call; `true` when the destination counts as sick from now on. Then all is counted anew.
    pub(super) fn count(&mut self, now: Instant, well: bool) -> bool {
        let part = (self.settings.window / PARTS).max(Duration::from_millis(1));
        self.parts.retain(|old| now.saturating_duration_since(old.begun) < self.settings.window);
        match self.parts.back_mut().filter(|last| now.saturating_duration_since(last.begun) < part) {
            Some(last) => (last.calls, last.failed) = (last.calls + 1, last.failed + u32::from(!well)),
            None => self.parts.push_back(Part { begun: now, calls: 1, failed: u32::from(!well) }),
        }
        let sum = |of: fn(&Part) -> u32| self.parts.iter().map(|part| u64::from(of(part))).sum::<u64>();
        let (calls, failed) = (sum(|part| part.calls), sum(|part| part.failed));
        let sick = !well
            && calls >= u64::from(self.settings.min_calls)
            && failed * 100 >= calls * u64::from(self.settings.failure_percent);
        if sick {
            self.parts.clear();
        }
        sick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(config::Breaker { min_calls: 4, window: Duration::from_secs(10), ..config::Breaker::default() })
    }

    #[test]
    fn half_of_enough_calls_must_fail() {
        let (mut breaker, now) = (breaker(), Instant::now());
        assert_eq!([false, false, false].map(|well| breaker.count(now, well)), [false; 3], "too few calls");
        assert!(breaker.count(now, false));
        assert!(!breaker.count(now, false), "counted anew");
        let mut breaker = self::breaker();
        assert_eq!([true, true, true, false, false].map(|well| breaker.count(now, well)), [false; 5]);
        assert!(breaker.count(now, false), "three of six");
    }

    #[test]
    fn what_works_never_trips_and_what_is_long_past_does_not_count() {
        let (mut breaker, now) = (breaker(), Instant::now());
        assert_eq!([false, false, false, true].map(|well| breaker.count(now, well)), [false; 4]);
        let later = now + Duration::from_secs(11);
        assert!(!breaker.count(later, false), "the failures before are over");
        assert!(breaker.parts.len() <= PARTS as usize + 1);
    }

    #[test]
    fn memory_stays_small_however_many_calls() {
        let (mut breaker, start) = (breaker(), Instant::now());
        for n in 0..10_000 {
            breaker.count(start + Duration::from_millis(n * 5), true);
        }
        assert!(breaker.parts.len() <= PARTS as usize + 1, "{}", breaker.parts.len());
    }
}
