//! When a failed attempt is tried again: pure data, so a test needs no clock.

use std::time::Duration;

use broker_topology::Rung;

/// Delays by attempt, and how many attempts there are.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// What comes after the first, second, ... failed attempt; the last one repeats.
    pub delays: Vec<Delay>,
    /// Attempts in all before the job is given up, from 1; a redrive renews them.
    pub max_attempts: u32,
}

/// One step of a [`RetryPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// In the broker, exact to tens of milliseconds, without jitter.
    Rung(Rung),
    /// In the store, where it can be listed, moved and cancelled; jittered by a fifth either way.
    Store(Duration),
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Publish the next attempt to this rung.
    Rung(Rung),
    /// Keep the next attempt in the store for this long.
    Store(Duration),
    /// No attempt is left.
    GiveUp,
}

impl Default for RetryPolicy {
    /// 1 s, 5 s and 30 s by rung, then 2 min, 10 min and 1 h from the store; 7 attempts.
    fn default() -> Self {
        Self {
            delays: vec![
                Delay::Rung(Rung::S1),
                Delay::Rung(Rung::S5),
                Delay::Rung(Rung::S30),
                Delay::Store(Duration::from_secs(120)),
                Delay::Store(Duration::from_secs(600)),
                Delay::Store(Duration::from_secs(3600)),
            ],
            max_attempts: 7,
        }
    }
}

impl RetryPolicy {
    /// The longest wait a handler's own hint may be served from a rung for; longer ones wait in the store.
    const RUNG_HINT: Duration = Duration::from_secs(30);

    /// What follows the `spent`-th failed attempt of the current budget (from 1).
    ///
    /// `not_before` is the wait the work asked for: the longer of it and the policy's own counts, so that who asks for a second
    /// each time does not spend all attempts in as many seconds. `random` in `0.0..1.0` is the jitter, handed in so that a test
    /// is exact.
    pub fn after(&self, spent: u32, not_before: Option<Duration>, random: f64) -> Next {
        if spent >= self.max_attempts {
            return Next::GiveUp;
        }
        let step = (spent.saturating_sub(1) as usize).min(self.delays.len().saturating_sub(1));
        let (own, length) = match self.delays.get(step) {
            Some(Delay::Rung(rung)) => (Next::Rung(*rung), rung.delay()),
            Some(Delay::Store(wait)) => {
                let wait = wait.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0));
                (Next::Store(wait), wait)
            }
            None => (Next::Store(Duration::ZERO), Duration::ZERO),
        };
        match not_before {
            Some(wait) if wait > length => match Rung::at_least(wait) {
                Some(rung) if wait <= Self::RUNG_HINT => Next::Rung(rung),
                _ => Next::Store(wait),
            },
            _ => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_is_asked_for_is_the_least_and_never_shortens_the_policys() {
        let policy = RetryPolicy::default();
        let after = |spent, seconds| policy.after(spent, Some(Duration::from_secs(seconds)), 0.5);
        assert_eq!(after(1, 0), Next::Rung(Rung::S1));
        assert_eq!(after(1, 1), Next::Rung(Rung::S1));
        assert_eq!(after(1, 4), Next::Rung(Rung::S5));
        assert_eq!(after(1, 31), Next::Store(Duration::from_secs(31)), "longer ones wait in the store");
        assert_eq!(after(3, 1), Next::Rung(Rung::S30));
        assert_eq!(after(4, 1), Next::Store(Duration::from_secs(120)));
        assert_eq!(after(4, 121), Next::Store(Duration::from_secs(121)));
        assert_eq!(after(7, 3600), Next::GiveUp);
    }
}
