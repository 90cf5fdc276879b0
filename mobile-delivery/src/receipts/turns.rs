//! Whose turn it is among receipts: what is new goes at once, and what failed comes again after a while, so many at a time.
//!
//! A receipt whose commit took longer than that of a higher number is not new any more when it comes to light: the walk over what is left, which
//! begins at the lowest number, finds it.

use std::time::{Duration, Instant};

/// How long what failed is left alone.
const AGAIN: Duration = Duration::from_secs(2);

/// Where to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// What was never tried, after this number.
    New(i64),
    /// What is left, after this number.
    Left(i64),
}

impl Turn {
    pub(super) fn after(self) -> i64 {
        match self {
            Self::New(after) | Self::Left(after) => after,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    /// All up to this number that had come to light were tried.
    tried: i64,
    /// From where the walk over what is left goes on.
    walk: i64,
    /// It goes on then, after a failure.
    again_at: Option<Instant>,
    /// What is new was read to its end.
    is_caught_up: bool,
}

impl Turns {
    /// The next turn; `None`: there is none before a rest.
    pub(super) fn next(&mut self, now: Instant) -> Option<Turn> {
        if !self.is_caught_up {
            return Some(Turn::New(self.tried));
        }
        self.is_caught_up = false;
        self.again_at.is_none_or(|at| at <= now).then_some(Turn::Left(self.walk))
    }

    /// What a turn came to: the number it reached, whether there may be more after it, whether something failed. Answers whether there is another turn
    /// before a rest.
    pub(super) fn took(&mut self, turn: Turn, last: Option<i64>, more: bool, failed: bool, now: Instant) -> bool {
        match turn {
            Turn::New(tried) => {
                self.tried = last.unwrap_or(tried);
                self.is_caught_up = !more;
                if failed {
                    self.again_at.get_or_insert(now + AGAIN);
                }
                true
            }
            Turn::Left(_) => {
                self.walk = last.filter(|_| more).unwrap_or(0);
                self.again_at = failed.then_some(now + AGAIN);
                more && !failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns over receipts of these numbers, two at a time, of which the even ones cannot be told: what is read until a rest.
    fn until_rest(turns: &mut Turns, left: &mut Vec<i64>, now: Instant) -> Vec<i64> {
        let mut read = Vec::new();
        while let Some(turn) = turns.next(now) {
            let some: Vec<i64> = left.iter().copied().filter(|number| *number > turn.after()).take(2).collect();
            left.retain(|number| !some.contains(number) || number % 2 == 0);
            read.extend(&some);
            let failed = some.iter().any(|number| number % 2 == 0);
            if !turns.took(turn, some.last().copied(), some.len() == 2, failed, now) {
                break;
            }
        }
        read
    }

    #[test]
    fn what_fails_holds_back_nobody_and_comes_again_by_turns() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let mut left = vec![2, 4, 6, 8, 9];
        assert_eq!(until_rest(&mut turns, &mut left, now), [2, 4, 6, 8, 9], "those that fail come before, and it has its turn");
        assert_eq!(left, [2, 4, 6, 8]);
        left.push(11);
        assert_eq!(until_rest(&mut turns, &mut left, now), [11], "what is new does not wait for what failed");
        let mut now = now;
        for some in [vec![2, 4], vec![6, 8], vec![], vec![2, 4]] {
            now += AGAIN;
            assert_eq!(until_rest(&mut turns, &mut left, now), some);
        }
    }

    #[test]
    fn what_comes_to_light_late_is_found() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let mut left = vec![5];
        assert_eq!(until_rest(&mut turns, &mut left, now), [5]);
        left.push(3);
        assert_eq!(until_rest(&mut turns, &mut left, now), [3]);
        assert_eq!(until_rest(&mut turns, &mut left, now), [0; 0]);
    }
}
