//! How many more jobs of a kind may be published: the kind's window, less what is in flight, shared over the live processes.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Lanes;
use crate::kinds::Kinds;
use crate::processes::Processes;
use crate::store::JobStore;

/// How soon a used-up window is counted again.
const RECOUNT: Duration = Duration::from_millis(100);

/// Room per kind, as of the last count.
pub struct Windows {
    kinds: Kinds,
    room: HashMap<String, Room>,
    unlimited: bool,
}

struct Room {
    left: u32,
    counted: Instant,
}

impl Windows {
    /// No room until the first count.
    pub fn new(kinds: Kinds) -> Self {
        Self { kinds, room: HashMap::new(), unlimited: false }
    }

    /// Room without end, for tests of the turns.
    #[cfg(test)]
    pub(super) fn unlimited(kinds: Kinds) -> Self {
        Self { unlimited: true, ..Self::new(kinds) }
    }

    /// Takes one place. `false` if there is none.
    pub fn take(&mut self, kind: &str) -> bool {
        if self.unlimited {
            return true;
        }
        match self.room.get_mut(kind) {
            Some(room) if room.left > 0 => {
                room.left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Counts again for kinds that have rows in memory and no room left.
    pub(super) async fn refresh(&mut self, lanes: &Lanes, store: &dyn JobStore, processes: &Processes) {
        let mut ask: Vec<&str> = lanes.kinds().collect();
        ask.sort_unstable();
        ask.dedup();
        for kind in ask {
            let stale = self.room.get(kind).is_none_or(|room| room.left == 0 && room.counted.elapsed() >= RECOUNT);
            let Some(spec) = self.kinds.get(kind).filter(|_| stale) else { continue };
            match store.in_flight(kind, spec.window).await {
                Ok(in_flight) => {
                    let left = spec.window.saturating_sub(in_flight).div_ceil(processes.count());
                    self.room.insert(kind.to_owned(), Room { left, counted: Instant::now() });
                }
                Err(error) => tracing::warn!(kind, error = %error, "cannot count what is in flight"),
            }
        }
    }
}
