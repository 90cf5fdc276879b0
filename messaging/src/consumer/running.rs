//! Which handlers run in this process, so that whoever learns that one is not wanted any more can tell it.
//!
//! One table for all consumers of a process: what is to be stopped is then asked for once, not per queue or job.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::message::Run;
use crate::said::{Progress, Said};

/// The message's id and the lease of this start.
type Key = (String, i64);

/// Handlers that run in this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<HashMap<Key, Started>>>);

#[derive(Debug)]
struct Started {
    at: Instant,
    cancelled: CancellationToken,
    run: Run,
    token: Option<String>,
    said: Said,
}

/// What a handler said about how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The message's id: the job.
    pub id: String,
    /// Which run of it.
    pub run: Run,
    /// The token that the run's message carried.
    pub token: Option<String>,
    /// The lease of this start.
    pub lease: i64,
    /// What it said.
    pub progress: Progress,
}

/// A handler's place in the table; given up on drop.
pub(super) struct Place {
    running: Running,
    key: Key,
    pub(super) cancelled: CancellationToken,
    pub(super) said: Said,
}

impl Running {
    pub(super) fn enter(&self, id: &str, run: Run, token: Option<&str>, lease: i64) -> Place {
        let key = (id.to_owned(), lease);
        let cancelled = CancellationToken::new();
        let said = Said::default();
        let started = Started {
            at: Instant::now(),
            cancelled: cancelled.clone(),
            run,
            token: token.map(str::to_owned),
            said: said.clone(),
        };
        self.lock().insert(key.clone(), started);
        Place { running: self.clone(), key, cancelled, said }
    }

    /// Ids and leases of what has run for `age` at least and was not told to stop.
    pub fn since(&self, age: Duration) -> Vec<(String, i64)> {
        let table = self.lock();
        let due = table.iter().filter(|(_, started)| started.at.elapsed() >= age && !started.cancelled.is_cancelled());
        due.map(|(key, _)| key.clone()).collect()
    }

    /// What handlers said about how far they are since this was last asked, the last word of each.
    pub fn words(&self) -> Vec<Word> {
        let table = self.lock();
        let said = table.iter().filter_map(|((id, lease), started)| {
            let progress = started.said.take_progress()?;
            Some(Word { id: id.clone(), run: started.run, token: started.token.clone(), lease: *lease, progress })
        });
        said.collect()
    }

    /// Tells a handler to stop, if it runs here: its `Context::cancelled` is set.
    pub fn cancel(&self, id: &str, lease: i64) {
        if let Some(started) = self.lock().get(&(id.to_owned(), lease)) {
            started.cancelled.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Started>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_start_is_told_and_no_other_and_none_is_left_behind() {
        let running = Running::default();
        let (first, second) = (running.enter("a", Run::default(), None, 1), running.enter("a", Run::default(), Some("t"), 2));
        assert_eq!(running.since(Duration::ZERO).len(), 2);
        assert!(running.since(Duration::from_secs(3600)).is_empty());
        running.cancel("a", 2);
        running.cancel("b", 1);
        assert!(second.cancelled.is_cancelled() && !first.cancelled.is_cancelled());
        assert_eq!(running.since(Duration::ZERO), [("a".to_owned(), 1)], "who was told is not asked about again");
        second.said.progress(Progress::now(40, "half"));
        let words = running.words();
        assert_eq!((words.len(), words[0].lease, words[0].progress.percent), (1, 2, 40));
        assert_eq!(words[0].token.as_deref(), Some("t"));
        assert!(running.words().is_empty(), "each word is passed on once");
        drop((first, second));
        assert!(running.since(Duration::ZERO).is_empty());
    }
}
