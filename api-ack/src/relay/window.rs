//! How many more jobs of a kind may be published: the kind's window, less what is in flight, shared over the live processes; and no
//! more than the kind's destination takes, if it has one. High jobs have a window of their own, a quarter as large: a full window
//! of normal ones does not hold them back, nor a flood of them the normal ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Lanes;
use crate::destinations::{Destinations, Flow};
use crate::kinds::{KindSpec, Kinds};
use crate::processes::Processes;
use crate::store::{JobStore, Micros, Priority, StoreError};

/// How soon a used-up window is counted again.
const RECOUNT: Duration = Duration::from_millis(100);

/// Room per kind, as of the last count.
pub struct Windows {
    kinds: Kinds,
    /// By class.
    room: [HashMap<String, Room>; 2],
    destinations: Option<Arc<Destinations>>,
    /// What was let go of kinds whose destination is not free: since when, and how many.
    let_go: HashMap<String, (Micros, u64)>,
    unlimited: bool,
}

struct Room {
    left: u32,
    counted: Instant,
}

impl Windows {
    /// No room until the first count. Without `destinations` nothing is held back.
    pub fn new(kinds: Kinds, destinations: Option<Arc<Destinations>>) -> Self {
        Self { kinds, room: Default::default(), destinations, let_go: HashMap::new(), unlimited: false }
    }

    /// Room without end, for tests of the turns.
    #[cfg(test)]
    pub(super) fn unlimited(kinds: Kinds) -> Self {
        Self { unlimited: true, ..Self::new(kinds, None) }
    }

    /// Takes one place for a job of a class. `false` if there is none.
    pub fn take(&mut self, kind: &str, class: Priority) -> bool {
        if self.unlimited {
            return true;
        }
        let Some(room) = self.room[class as usize].get_mut(kind).filter(|room| room.left > 0) else { return false };
        match self.destinations.as_ref().map_or(Flow::Free, |destinations| destinations.flow(kind)) {
            Flow::Free => {}
            Flow::Held => return false,
            Flow::Paced { since, allowance } => {
                let (of, count) = self.let_go.entry(kind.to_owned()).or_insert((since, 0));
                if *of != since {
                    (*of, *count) = (since, 0);
                }
                if *count >= allowance {
                    return false;
                }
                *count += 1;
            }
        }
        room.left -= 1;
        true
    }

    /// Counts again for kinds that have rows in memory and no room left.
    pub(super) async fn refresh(&mut self, lanes: &Lanes, store: &dyn JobStore, processes: &Processes) {
        let mut ask: Vec<(&str, Priority)> = lanes.kinds().collect();
        ask.sort_unstable();
        ask.dedup();
        for (kind, class) in ask {
            let stale =
                self.room[class as usize].get(kind).is_none_or(|room| room.left == 0 && room.counted.elapsed() >= RECOUNT);
            if !stale {
                continue;
            }
            let Some(spec) = self.kinds.get(kind) else { continue };
            match left(&spec, class, store).await {
                Ok(left) => {
                    let left = left.div_ceil(processes.count());
                    self.room[class as usize].insert(kind.to_owned(), Room { left, counted: Instant::now() });
                }
                Err(error) => tracing::warn!(kind, error = %error, "cannot count what is in flight"),
            }
        }
    }
}

/// How many jobs of a class may be published, by all processes together.
async fn left(spec: &KindSpec, class: Priority, store: &dyn JobStore) -> Result<u32, StoreError> {
    let (kind, reserve) = (spec.kind.as_str(), spec.window.div_ceil(4));
    let high = match (class, spec.priority) {
        // No high job is ever made: nothing to tell apart.
        (Priority::Normal, None) => 0,
        _ => store.in_flight_high(kind, reserve).await?,
    };
    match class {
        Priority::High => Ok(reserve.saturating_sub(high)),
        Priority::Normal => {
            Ok(spec.window.saturating_sub(store.in_flight(kind, spec.window.saturating_add(high)).await?.saturating_sub(high)))
        }
    }
}
