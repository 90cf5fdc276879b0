//! Calls evenly spaced in time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One call per interval, in the order they ask.
pub(super) struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn; `false`, after `patience`, when there is none by then. A turn that is not used is lost.
    pub(super) async fn turn(&self, patience: Duration) -> bool {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = now.max(*next);
            let soon = turn <= now + patience;
            if soon {
                *next = turn + self.interval;
            }
            soon.then_some(turn)
        };
        tokio::time::sleep_until(turn.unwrap_or(now + patience)).await;
        turn.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_spaced_and_nobody_waits_longer_than_they_would() {
        let pace = Pace::new(Duration::from_millis(40));
        let begun = Instant::now();
        let long = Duration::from_secs(5);
        assert_eq!(tokio::join!(pace.turn(long), pace.turn(long), pace.turn(long)), (true, true, true));
        assert!(begun.elapsed() >= Duration::from_millis(80), "{:?}", begun.elapsed());
        assert!(!pace.turn(Duration::from_millis(1)).await);
        assert!(pace.turn(long).await, "the turn that nobody waited for is still there");
    }
}
