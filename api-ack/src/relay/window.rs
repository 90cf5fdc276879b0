//! How many more jobs of a kind may come into the relay's memory: the kind's window, less what is in flight and what is on its way
//! there, shared over the live processes; none while the kind is paused or its destination held; and no more than a destination
//! takes that is being tried or released slowly. So whatever is in memory may go out at once.
//!
//! High jobs have a window of their own, a quarter as large: a full window of normal ones does not hold them back, nor a flood of
//! them the normal ones.
//!
//! A window is counted in the store before half of what was found is used up, so that it is waited for only where it is full; and
//! again while somebody waits for it. A kind that was not counted yet has no room.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::destinations::{Destinations, Flow};
use crate::kinds::{KindSpec, Kinds, Revision};
use crate::pauses::Pauses;
use crate::store::{JobStore, Micros, Priority, StoreError};

/// How soon a window is counted again that was found more than half used.
const RECOUNT: Duration = Duration::from_millis(100);

/// One part in so many of its time the one task that publishes counts, and no more.
const COUNTING: u32 = 5;

/// How soon any other is: by then confirms of the last ones were marked.
const RECOUNT_FREE: Duration = Duration::from_millis(10);

/// Which jobs may come into memory. Cheap to clone; asked for every job that is accepted, so it never waits for the store.
#[derive(Clone)]
pub struct Windows {
    kinds: Kinds,
    destinations: Arc<Destinations>,
    pauses: Pauses,
    state: Arc<Mutex<State>>,
    /// Told when somebody begins to wait for a full window.
    wanted: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// The kinds that were counted.
    kinds: Option<Revision>,
    /// By class, then by kind.
    windows: [HashMap<String, Window>; 2],
    /// What came into memory of kinds whose destination is not free: since when, and how many.
    paces: HashMap<String, (Micros, u64)>,
    /// The periods in which what is in memory of such kinds came there.
    periods: HashMap<String, Micros>,
}

#[derive(Default)]
struct Window {
    left: u32,
    /// What the last count left; `None`: it was never counted.
    found: Option<Found>,
    /// Somebody waits for room.
    wanted: bool,
}

struct Found {
    left: u32,
    /// When it may be counted again.
    again: Instant,
}

impl Window {
    /// When it is to be counted, if it is.
    fn due(&self, now: Instant) -> Option<Instant> {
        match &self.found {
            None => Some(now),
            Some(found) => {
                let half_used = self.left < found.left && self.left <= found.left / 2;
                (self.wanted || half_used).then_some(found.again)
            }
        }
    }
}

impl Windows {
    /// No room until the first count.
    pub fn new(kinds: Kinds, destinations: Arc<Destinations>, pauses: Pauses) -> Self {
        Self { kinds, destinations, pauses, state: Arc::default(), wanted: Arc::default() }
    }

    /// Takes one place for a job of a class. `false` if there is none.
    pub(super) fn take(&self, kind: &str, class: Priority) -> bool {
        let flow = self.flow(kind);
        let mut state = self.lock();
        let State { windows, paces, .. } = &mut *state;
        let Some(window) = windows[class as usize].get_mut(kind).filter(|window| window.left > 0) else { return false };
        match flow {
            Flow::Free => {}
            Flow::Held => return false,
            Flow::Paced { since, allowance } => {
                let (of, count) = paces.entry(kind.to_owned()).or_insert((since, 0));
                if *of != since {
                    (*of, *count) = (since, 0);
                }
                if *count >= allowance {
                    return false;
                }
                *count += 1;
            }
        }
        window.left -= 1;
        true
    }

    /// Gives a place back that was taken for nothing.
    pub(super) fn put_back(&self, kind: &str, class: Priority) {
        let mut state = self.lock();
        let State { windows, paces, .. } = &mut *state;
        if let Some(window) = windows[class as usize].get_mut(kind) {
            window.left += 1;
        }
        if let Some((_, count)) = paces.get_mut(kind) {
            *count = count.saturating_sub(1);
        }
    }

    /// How many more may come.
    pub(super) fn room(&self, kind: &str, class: Priority) -> u32 {
        let flow = self.flow(kind);
        let state = self.lock();
        let left = state.windows[class as usize].get(kind).map_or(0, |window| window.left);
        match flow {
            Flow::Free => left,
            Flow::Held => 0,
            Flow::Paced { since, allowance } => {
                let count = state.paces.get(kind).map_or(0, |(of, count)| if *of == since { *count } else { 0 });
                left.min(u32::try_from(allowance.saturating_sub(count)).unwrap_or(u32::MAX))
            }
        }
    }

    /// Says that a job waits in the store. A full window is counted again for it, soon.
    pub(super) fn want(&self, kind: &str, class: Priority) {
        if self.flow(kind) == Flow::Held {
            return;
        }
        let mut state = self.lock();
        let windows = &mut state.windows[class as usize];
        let window = match windows.get_mut(kind) {
            Some(window) => window,
            None => windows.entry(kind.to_owned()).or_default(),
        };
        if window.left == 0 && !window.wanted {
            window.wanted = true;
            self.wanted.notify_one();
        }
    }

    /// Returns when somebody has begun to wait for a full window.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Kinds whose rows in memory have lost their leave to go out: they were paused, or their destination was held, or is released
    /// or tried anew. What such a kind may let go is counted from 0 then.
    pub(super) fn closed(&self) -> BTreeSet<String> {
        let mut closed: BTreeSet<String> = self.pauses.paused().into_iter().collect();
        let flows = self.destinations.flows();
        if flows.is_empty() {
            return closed;
        }
        let mut state = self.lock();
        for (kind, flow) in flows {
            match flow {
                Flow::Free => _ = state.periods.remove(kind),
                Flow::Held => _ = closed.insert(kind.to_owned()),
                Flow::Paced { since, .. } => {
                    if state.periods.insert(kind.to_owned(), since) != Some(since) {
                        state.paces.insert(kind.to_owned(), (since, 0));
                        closed.insert(kind.to_owned());
                    }
                }
            }
        }
        closed
    }

    /// When the next window is to be counted.
    pub(super) fn next_count(&self) -> Option<Instant> {
        let now = Instant::now();
        self.lock().windows.iter().flat_map(HashMap::values).filter_map(|window| window.due(now)).min()
    }

    /// Counts what is to be counted, for one of `sharers` processes; `held` says how many rows it has in memory. `true` if there is
    /// room now where somebody waits for it.
    pub(super) async fn count(&self, store: &dyn JobStore, sharers: u32, held: impl Fn(&str, Priority) -> usize) -> bool {
        let mut came = false;
        let (due, begun) = (self.due(), Instant::now());
        for (kind, class, before) in &due {
            let (kind, class, before) = (kind.as_str(), *class, *before);
            let Some(spec) = self.kinds.get(kind) else {
                self.lock().windows[class as usize].remove(kind);
                continue;
            };
            // Those first: a row that is marked meanwhile counts twice, and not never.
            let held = u32::try_from(held(kind, class)).unwrap_or(u32::MAX);
            let counted = left(&spec, class, store).await;
            let whole = counted.as_ref().map_or(0, |left| *left).div_ceil(sharers.max(1));
            let free = whole > window(&spec, class).div_ceil(sharers.max(1)) / 2;
            let mut state = self.lock();
            let window = state.windows[class as usize].entry(kind.to_owned()).or_default();
            let again = Instant::now() + if free { RECOUNT_FREE } else { RECOUNT };
            match counted {
                Ok(_) => {
                    let taken = before.saturating_sub(window.left);
                    window.left = whole.saturating_sub(held).saturating_sub(taken);
                    window.found = Some(Found { left: window.left, again });
                    if window.left > 0 {
                        came |= std::mem::take(&mut window.wanted);
                    }
                }
                Err(error) => {
                    // It stays as it was.
                    window.found = Some(Found { left: window.found.as_ref().map_or(0, |found| found.left), again });
                    tracing::warn!(kind, error = %error, "cannot count what is in flight");
                }
            }
        }
        // Where many windows are full, each is counted less often.
        let soonest = Instant::now() + begun.elapsed() * (COUNTING - 1);
        let mut state = self.lock();
        for (kind, class, _) in &due {
            if let Some(found) = state.windows[*class as usize].get_mut(kind).and_then(|window| window.found.as_mut()) {
                found.again = found.again.max(soonest);
            }
        }
        came
    }

    /// What is to be counted, with what is left of it.
    fn due(&self) -> Vec<(String, Priority, u32)> {
        let revision = self.kinds.revision();
        let mut state = self.lock();
        if state.kinds.as_ref() != Some(&revision) {
            let kinds: HashMap<String, bool> =
                self.kinds.iter().map(|spec| (spec.kind.as_str().to_owned(), spec.priority.is_some())).collect();
            for (class, windows) in Priority::ALL.into_iter().zip(&mut state.windows) {
                windows.retain(|kind, _| kinds.contains_key(kind));
                windows.values_mut().for_each(|window| window.found = None);
                for (kind, _) in kinds.iter().filter(|(_, classes)| class == Priority::Normal || **classes) {
                    windows.entry(kind.clone()).or_default();
                }
            }
            state.kinds = Some(revision);
        }
        let now = Instant::now();
        let of = |class: Priority, windows: &HashMap<String, Window>| {
            let due = windows.iter().filter(|(_, window)| window.due(now).is_some_and(|at| at <= now));
            due.map(|(kind, window)| (kind.clone(), class, window.left)).collect::<Vec<_>>()
        };
        Priority::ALL.into_iter().zip(&state.windows).flat_map(|(class, windows)| of(class, windows)).collect()
    }

    fn flow(&self, kind: &str) -> Flow {
        if self.pauses.holds(kind) { Flow::Held } else { self.destinations.flow(kind) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole window of a class, over all processes.
fn window(spec: &KindSpec, class: Priority) -> u32 {
    match class {
        Priority::Normal => spec.window,
        Priority::High => spec.window.div_ceil(4),
    }
}

/// How many jobs of a class may be published, by all processes together.
async fn left(spec: &KindSpec, class: Priority, store: &dyn JobStore) -> Result<u32, StoreError> {
    let (kind, reserve) = (spec.kind.as_str(), window(spec, Priority::High));
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

#[cfg(test)]
mod tests;
