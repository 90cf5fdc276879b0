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
    /// The handler has ended.
    ended: bool,
    /// What arrived since.
    late: Vec<Acker>,
}

impl Registry {
    /// Takes a delivery in. `false` if its run is in hand already: then it waits for that run and is settled with it.
    pub(super) fn take(&self, id: &str, run: Run, acker: Acker) -> bool {
        match self.lock().entry((id.to_owned(), run)) {
            Entry::Occupied(mut held) => {
                let held = held.get_mut();
                if held.ended {
                    held.late.push(acker)
                } else {
                    held.ackers.push(acker)
                }
                false
            }
            Entry::Vacant(free) => {
                free.insert(Held { ackers: vec![acker], ..Held::default() });
                true
            }
        }
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
        for acker in ackers {
            // Normal after a reconnect: the message comes again and the ledger knows it.
            let _ = acker.ack(BasicAckOptions::default()).await;
        }
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

async fn requeue(ackers: Vec<Acker>) {
    for acker in ackers {
        let _ = acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await;
    }
}
