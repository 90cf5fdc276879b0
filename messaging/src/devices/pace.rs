//! How fast queues of devices are declared: many at once stop everything else in a broker.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;

/// So many per second, in the order asked.
pub(super) struct Pace {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    turn: Mutex<()>,
}

impl Pace {
    /// A tenth of a second's worth may go at once.
    pub(super) fn new(per_second: u32) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(per_second / 10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self { limiter: RateLimiter::direct(quota), clock: DefaultClock::default(), turn: Mutex::new(()) }
    }

    /// Waits for one's turn.
    pub(super) async fn turn(&self) {
        // Only the first in line looks at the limiter.
        let _first = self.turn.lock().await;
        while let Err(early) = self.limiter.check() {
            tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
        }
    }
}
