//! Which runs are in this process's hands, and the deliveries that wait for each.
//!
//! A copy that arrives while its run is in hand is settled with it. Once the handler has ended it may be another copy: the one that
//! the end itself brought forth (a snooze comes back under the same run). So what arrives then goes back to the queue when the
//! run is settled, and is judged afresh.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::message::Run;

type Key = (String, Run);

/// Runs in hand. A run stays in it from its first delivery until it is settled, over reconnects.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<Key, Held>>);

#[derive(Default)]
struct Held {
    ackers: Vec<Acker>,
    /// The run needs no delivery any more: copies of it are acked as they come.
    acked: bool,
    /// The handler has ended.
    ended: bool,
    /// What arrived since.
    late: Vec<Acker>,
}

impl Registry {
    /// Takes a delivery in. `false` if its run is in hand already: then it waits for that run and is settled with it.
    pub(super) async fn take(&self, id: &str, run: Run, acker: Acker) -> bool {
        let copy = match self.lock().entry((id.to_owned(), run)) {
            Entry::Occupied(mut held) => match held.get_mut() {
                Held { ended: true, late, .. } => {
                    late.push(acker);
                    None
                }
                Held { acked: true, .. } => Some(acker),
                Held { ackers, .. } => {
                    ackers.push(acker);
                    None
                }
            },
            Entry::Vacant(free) => {
                free.insert(Held { ackers: vec![acker], ..Held::default() });
                return true;
            }
        };
        ack(copy.into_iter().collect()).await;
        false
    }

    /// Acks the deliveries of a run that goes on without them.
    pub(super) async fn ack_early(&self, id: &str, run: Run) {
        let ackers = match self.lock().get_mut(&(id.to_owned(), run)) {
            Some(held) => {
                held.acked = true;
                std::mem::take(&mut held.ackers)
            }
            None => Vec::new(),
        };
        ack(ackers).await;
    }

    /// The handler of a run has ended: what arrives from now on is no copy of what it was given.
    pub(super) fn end(&self, id: &str, run: Run) {
        if let Some(held) = self.lock().get_mut(&(id.to_owned(), run)) {
            held.ended = true;
        }
    }

    /// Lets a run go and acks its deliveries.
    pub(super) async fn ack(&self, id: &str, run: Run) {
        let Held { ackers, late, .. } = self.remove(id, run);
        ack(ackers).await;
        requeue(late).await;
    }

    /// Lets a run go and gives its deliveries back to the queue.
    pub(super) async fn give_back(&self, id: &str, run: Run) {
        let Held { ackers, late, .. } = self.remove(id, run);
        requeue(ackers).await;
        requeue(late).await;
    }

    fn remove(&self, id: &str, run: Run) -> Held {
        self.lock().remove(&(id.to_owned(), run)).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ack(ackers: Vec<Acker>) {
    for acker in ackers {
        // Normal after a reconnect: the message comes again and the ledger knows it.
        let _ = acker.ack(BasicAckOptions::default()).await;
    }
}

async fn requeue(ackers: Vec<Acker>) {
    for acker in ackers {
        let _ = acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await;
    }
}
