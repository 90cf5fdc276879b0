//! Which destinations of calls are held back, as all processes know it.
//!
//! A destination is what is sick or well as one: usually a host and a port. Whoever sees that it fails holds it here; from then on
//! no process calls it, the relays publish no more jobs of its kinds, and once its time has come one process tries it with one
//! call. When that works it is released, and what was held goes out slowly: one job in the first second, two in the next, ...
//!
//! The verdict lives in the store, one row each, written when it changes and read about once a second in one query per process.
//! Times are those of the processes: a clock that is ahead tries earlier by as much.
//! Limits: another process learns of a change up to a second late, and makes the calls that fall into that second.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Destination, DestinationStore, Micros, StoreError};
use database::clock;

/// How often the verdicts of other processes are read.
const READ: Duration = Duration::from_secs(1);

/// How long a release is slow: by then the jobs of one second are as many as a usual window.
const SLOW: Micros = 15 * SECOND;

/// While a destination may be tried: how often each process lets one more job of each kind go, should the first be lost.
const TRICKLE: Micros = 10 * SECOND;

const SECOND: Micros = 1_000_000;

/// The destinations of a hub's kinds. Cheap to ask.
pub struct Destinations {
    store: Arc<dyn DestinationStore>,
    /// Of the kinds that have one.
    of_kind: HashMap<String, String>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<String, Known>,
    /// Grows with every change made here, so that what was read before it does not undo it.
    changes: u64,
}

struct Known {
    row: Destination,
    /// Held here, and the store does not know it yet.
    unsaved: bool,
}

/// What may be done with a destination now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Call it.
    Free,
    /// Leave it alone until this time.
    Held(Micros),
    /// One call may try it: ask with [`Destinations::claim_probe`].
    Due,
}

/// How a destination stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// The verdict; `None` when it was never held.
    pub row: Option<Destination>,
    /// The kinds that call it.
    pub kinds: Vec<String>,
}

/// How many jobs of a kind the relay may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// As many as the window takes.
    Free,
    /// None.
    Held,
    /// So many in all since that time.
    Paced {
        /// Names the period: another one counts anew.
        since: Micros,
        /// Jobs of the kind, per process.
        allowance: u64,
    },
}

impl Destinations {
    /// The destinations of kinds, as (kind, destination), with what the store knows about them.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(
        store: Arc<dyn DestinationStore>,
        kinds: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<Self>, StoreError> {
        let this = Self { store, of_kind: kinds.into_iter().collect(), state: RwLock::default() };
        if !this.of_kind.is_empty() {
            this.read().await?;
        }
        Ok(Arc::new(this))
    }

    /// Reads what other processes found until `stop`, and offers the store what it has not taken yet.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        if self.of_kind.is_empty() {
            return;
        }
        let mut tick = tokio::time::interval(READ);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let done = async {
                self.save().await?;
                self.read().await
            };
            if let Err(error) = done.await {
                tracing::warn!(error = %error, "cannot read which destinations are held");
            }
        }
    }

    /// What may be done with a destination.
    pub fn verdict(&self, name: &str) -> Verdict {
        let now = clock::now();
        self.look(name, |row| match row {
            Some(row) if row.held && now < row.probe_at.max(row.probing_until) => {
                Verdict::Held(row.probe_at.max(row.probing_until))
            }
            Some(row) if row.held => Verdict::Due,
            _ => Verdict::Free,
        })
    }

    /// How many jobs of `kind` the relay may publish.
    pub fn flow(&self, kind: &str) -> Flow {
        match self.of_kind.get(kind) {
            Some(name) => self.look(name, |row| row.map_or(Flow::Free, |row| flow(row, clock::now()))),
            None => Flow::Free,
        }
    }

    /// That for each kind that has a destination.
    pub fn flows(&self) -> Vec<(&str, Flow)> {
        self.of_kind.keys().map(|kind| (kind.as_str(), self.flow(kind))).collect()
    }

    /// Until when the destination of `kind` is held, if it is.
    pub fn held_until(&self, kind: &str) -> Option<Micros> {
        match self.verdict(self.of_kind.get(kind)?) {
            Verdict::Held(until) => Some(until),
            Verdict::Free | Verdict::Due => None,
        }
    }

    /// All destinations of this hub's kinds, by name.
    pub fn standing(&self) -> Vec<Standing> {
        let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (kind, name) in &self.of_kind {
            kinds.entry(name).or_default().push(kind.clone());
        }
        let one = |(name, mut kinds): (&str, Vec<String>)| {
            kinds.sort_unstable();
            Standing { name: name.to_owned(), row: self.look(name, |row| row.cloned()), kinds }
        };
        kinds.into_iter().map(one).collect()
    }

    /// Holds a destination for `wait` from now, if that is longer than it is held already. Known here at once, and to the store
    /// as soon as it answers.
    pub async fn hold(&self, name: &str, reason: &str, wait: Duration) {
        let now = clock::now();
        let probe_at = now.saturating_add(micros(wait));
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let before = state.known.get(name).filter(|known| known.row.held);
            // Many calls come back at once: what they all say is written once.
            if before.is_some_and(|known| known.row.probing_until == 0 && probe_at <= known.row.probe_at + SECOND) {
                return;
            }
            let row = Destination {
                name: name.to_owned(),
                held: true,
                reason: reason.to_owned(),
                since: before.map_or(now, |known| known.row.since),
                probe_at: before.map_or(probe_at, |known| known.row.probe_at.max(probe_at)),
                probing_until: 0,
            };
            state.changes += 1;
            state.known.insert(name.to_owned(), Known { row, unsaved: true });
        }
        tracing::warn!(destination = name, reason, seconds = wait.as_secs(), "holding a destination back");
        if let Err(error) = self.save().await {
            tracing::warn!(destination = name, error = %error, "other processes do not know yet that a destination is held");
        }
    }

    /// Since when it is as it is; 0 if it was never held.
    pub fn changed_at(&self, name: &str) -> Micros {
        self.look(name, |row| row.map_or(0, |row| row.since))
    }

    /// Whether this process may try a destination that is [`Verdict::Due`]: the claim, for [`Destinations::release`]. The call must
    /// end within `lasting`.
    pub async fn claim_probe(&self, name: &str, lasting: Duration) -> Option<Micros> {
        let now = clock::now();
        let until = now.saturating_add(micros(lasting));
        match self.store.claim_probe(name, now, until).await {
            Ok(claimed) => {
                // If not, somebody else tries it, or has found it well: the next reading tells.
                claimed.then(|| {
                    self.change(name, |row| {
                        row.probing_until = until;
                        true
                    });
                    until
                })
            }
            Err(error) => {
                tracing::warn!(destination = name, error = %error, "cannot ask whether a destination may be tried");
                None
            }
        }
    }

    /// Holds a destination no longer, unless it was held anew since the probe was claimed: another call may have heard of a longer
    /// time.
    pub async fn release(&self, name: &str, claim: Micros) {
        let now = clock::now();
        if self.look(name, |row| row.is_some_and(|row| row.probing_until != claim)) {
            return;
        }
        match self.store.release(name, now, claim).await {
            Ok(true) => {
                self.change(name, |row| {
                    let still = row.probing_until == claim;
                    if still {
                        (row.held, row.since, row.probing_until) = (false, now, 0);
                        row.reason.clear();
                    }
                    still
                });
                tracing::info!(destination = name, "a destination works again");
            }
            // Held anew, by another process: the next reading tells.
            Ok(false) => {}
            // It is tried again when the probe has lapsed.
            Err(error) => tracing::warn!(destination = name, error = %error, "cannot say that a destination works again"),
        }
    }

    fn look<T>(&self, name: &str, at: impl FnOnce(Option<&Destination>) -> T) -> T {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        at(state.known.get(name).map(|known| &known.row))
    }

    /// Follows a change that the store has made, unless `change` says that what is known here is newer.
    fn change(&self, name: &str, change: impl FnOnce(&mut Destination) -> bool) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.changes += 1;
        if let Some(known) = state.known.get_mut(name)
            && change(&mut known.row)
        {
            known.unsaved = false;
        }
    }

    async fn read(&self) -> Result<(), StoreError> {
        let before = self.state.read().unwrap_or_else(PoisonError::into_inner).changes;
        let rows = self.store.destinations().await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // What changed here meanwhile is newer than what was read.
        if state.changes == before {
            state.known.retain(|_, known| known.unsaved);
            for row in rows {
                state.known.entry(row.name.clone()).or_insert(Known { row, unsaved: false });
            }
        }
        Ok(())
    }

    async fn save(&self) -> Result<(), StoreError> {
        let unsaved: Vec<Destination> = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.known.values().filter(|known| known.unsaved).map(|known| known.row.clone()).collect()
        };
        for row in unsaved {
            self.store.hold(&row.name, &row.reason, row.since, row.probe_at).await?;
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = state.known.get_mut(&row.name).filter(|known| known.row == row) {
                known.unsaved = false;
            }
        }
        Ok(())
    }
}

fn flow(row: &Destination, now: Micros) -> Flow {
    if row.held {
        let waited = now - row.probe_at;
        return match waited {
            0.. => Flow::Paced { since: row.probe_at, allowance: 1 + waited.unsigned_abs() / TRICKLE.unsigned_abs() },
            _ => Flow::Held,
        };
    }
    let well = (now - row.since).max(0);
    if well >= SLOW {
        return Flow::Free;
    }
    // 1, 3, 7, ...: as many in each second as in all before it, and one.
    let seconds = well / SECOND;
    Flow::Paced { since: row.since, allowance: (2 << seconds) - 1 }
}

fn micros(wait: Duration) -> Micros {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(held: bool, since: Micros, probe_at: Micros) -> Destination {
        Destination { name: "d".into(), held, reason: String::new(), since, probe_at, probing_until: 0 }
    }

    #[test]
    fn what_is_held_does_not_flow_and_what_may_be_tried_trickles() {
        let held = row(true, 0, 30 * SECOND);
        assert_eq!(flow(&held, 30 * SECOND - 1), Flow::Held);
        let allowed = |now| match flow(&held, now) {
            Flow::Paced { since, allowance } if since == 30 * SECOND => allowance,
            other => panic!("{other:?}"),
        };
        assert_eq!((allowed(30 * SECOND), allowed(39 * SECOND), allowed(40 * SECOND)), (1, 1, 2));
    }

    #[test]
    fn what_was_held_is_released_slowly() {
        let well = row(false, 100 * SECOND, 0);
        let allowed = |after: Micros| match flow(&well, 100 * SECOND + after) {
            Flow::Paced { allowance, .. } => allowance,
            Flow::Free => u64::MAX,
            Flow::Held => 0,
        };
        assert_eq!([0, SECOND - 1, SECOND, 2 * SECOND, 3 * SECOND].map(allowed), [1, 1, 3, 7, 15]);
        assert_eq!((allowed(SLOW - 1), allowed(SLOW)), (32_767, u64::MAX));
        // A process whose clock is behind.
        assert_eq!(allowed(-SECOND), 1);
    }
}
