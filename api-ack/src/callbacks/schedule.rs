//! When a call that failed is made again. Pure: the clock and the jitter are handed in.

use std::time::Duration;

use crate::store::{CallbackState, Micros};

/// The waits that Standard Webhooks recommends, about 75 hours in all.
pub(super) const DELAYS: [Duration; 9] = {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;
    [
        Duration::from_secs(5),
        Duration::from_secs(5 * MINUTE),
        Duration::from_secs(30 * MINUTE),
        Duration::from_secs(2 * HOUR),
        Duration::from_secs(5 * HOUR),
        Duration::from_secs(10 * HOUR),
        Duration::from_secs(14 * HOUR),
        Duration::from_secs(20 * HOUR),
        Duration::from_secs(24 * HOUR),
    ]
};

/// What becomes of a callback whose `calls`th call has failed: owed at a later time, or given up. A wait varies by a fifth either way
/// as `jitter` says, which is in 0..1; what the receiver asked for is the least.
pub(super) fn after_failure(
    delays: &[Duration],
    calls: i32,
    now: Micros,
    asked: Option<Duration>,
    jitter: f64,
) -> (CallbackState, Option<Micros>) {
    let done = usize::try_from(calls.max(1)).unwrap_or(usize::MAX);
    let Some(delay) = delays.get(done - 1) else { return (CallbackState::Failed, None) };
    let wait = delay.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0)).max(asked.unwrap_or_default());
    (CallbackState::Owed, Some(now.saturating_add(super::micros(wait))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_800_000_000_000_000;

    #[test]
    fn a_call_is_made_ten_times_over_three_days() {
        assert_eq!(DELAYS.iter().sum::<Duration>(), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
        for (calls, delay) in (1..).zip(DELAYS) {
            let (state, due) = after_failure(&DELAYS, calls, NOW, None, 0.5);
            assert_eq!((state, due), (CallbackState::Owed, Some(NOW + i64::try_from(delay.as_micros()).unwrap())), "{calls}");
        }
        assert_eq!(after_failure(&DELAYS, 10, NOW, None, 0.5), (CallbackState::Failed, None));
        assert_eq!(after_failure(&[], 1, NOW, None, 0.5), (CallbackState::Failed, None));
    }

    #[test]
    fn waits_vary_by_a_fifth_and_what_is_asked_for_is_the_least() {
        let wait = |asked, jitter| after_failure(&DELAYS, 1, 0, asked, jitter).1.unwrap();
        assert_eq!((wait(None, 0.0), wait(None, 1.0)), (4_000_000, 6_000_000));
        assert_eq!(wait(Some(Duration::from_secs(60)), 0.0), 60_000_000);
        assert_eq!(wait(Some(Duration::from_secs(1)), 0.0), 4_000_000);
    }
}
