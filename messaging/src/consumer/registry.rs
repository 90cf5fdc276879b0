//! Which runs are in this process's hands, and the deliveries that wait for each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::message::Run;

type Key = (String, Run);

/// Runs in hand. A run stays in it from its first delivery until it is settled, over reconnects.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<Key, Vec<Acker>>>);

impl Registry {
    /// Takes a delivery in. `false` if its run is in hand already: then it waits for that run and is settled with it.
    pub(super) fn take(&self, id: &str, run: Run, acker: Acker) -> bool {
        match self.lock().entry((id.to_owned(), run)) {
            Entry::Occupied(mut held) => {
                held.get_mut().push(acker);
                false
            }
            Entry::Vacant(free) => {
                free.insert(vec![acker]);
                true
            }
        }
    }

    /// Lets a run go and acks its deliveries.
    pub(super) async fn ack(&self, id: &str, run: Run) {
        for acker in self.remove(id, run) {
            // Normal after a reconnect: the message comes again and the ledger knows it.
            let _ = acker.ack(BasicAckOptions::default()).await;
        }
    }

    /// Lets a run go and gives its deliveries back to the queue.
    pub(super) async fn give_back(&self, id: &str, run: Run) {
        for acker in self.remove(id, run) {
            let _ = acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await;
        }
    }

    fn remove(&self, id: &str, run: Run) -> Vec<Acker> {
        self.lock().remove(&(id.to_owned(), run)).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Vec<Acker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
