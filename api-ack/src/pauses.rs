//! Which kinds are paused: accepted as ever, but not delivered.
//!
//! ```text
//! pause   -> a line in the store -> every process within about a second:
//!            the relay publishes no work of the kind, and claims none; its memory is given up for others
//!            the hub's consumers of the kind stop taking; what runs goes on, what was not started is given back
//! resume  -> as it was before
//! ```
//!
//! Owns what this process knows of it. Guarantees: a pause survives restarts, since a hub reads them before it starts. Limits:
//! dead letters of the kind still go out, deadlines go on, services of the kind go on with what is in the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::{Micros, Pause, PauseStore, StoreError};
use database::clock;

/// How often a process reads them: one small statement.
const LOOK: Duration = Duration::from_secs(1);

type Known = BTreeMap<String, Pause>;

/// What this process knows of paused kinds. Cheap to clone.
#[derive(Clone)]
pub struct Pauses {
    store: Arc<dyn PauseStore>,
    known: watch::Sender<Known>,
    /// One reads at a time, so that what was read earlier never covers what was read later.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Pauses {
    /// Reads how the kinds stand.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load(store: Arc<dyn PauseStore>) -> Result<Self, StoreError> {
        let pauses = Self { store, known: watch::Sender::new(Known::new()), reading: Arc::default() };
        pauses.refresh().await?;
        Ok(pauses)
    }

    /// Whether a kind is paused.
    pub fn holds(&self, kind: &str) -> bool {
        self.known.borrow().get(kind).is_some_and(|pause| pause.paused)
    }

    /// The kinds that are.
    pub fn paused(&self) -> Vec<String> {
        self.known.borrow().values().filter(|pause| pause.paused).map(|pause| pause.kind.clone()).collect()
    }

    /// How a kind stands, if it was ever paused.
    pub fn of(&self, kind: &str) -> Option<Pause> {
        self.known.borrow().get(kind).cloned()
    }

    /// Whether a kind is paused, or was resumed after `since`: its jobs may have been quiet for that reason.
    pub fn explains(&self, kind: &str, since: Micros) -> bool {
        self.known.borrow().get(kind).is_some_and(|pause| pause.paused || pause.at > since)
    }

    /// Returns once a kind is paused, or once it is not.
    pub async fn until(&self, kind: &str, paused: bool) {
        let mut known = self.known.subscribe();
        // The sender lives as long as `self`, so there is an answer.
        let _ = known.wait_for(|known| known.get(kind).is_some_and(|pause| pause.paused) == paused).await;
    }

    /// Pauses a kind, or resumes it; on record with who and why. Asked again, it changes nothing. Answers how it stands then.
    ///
    /// # Errors
    /// When the store does not answer; it may have been done then, and asking again is safe.
    pub async fn put(&self, kind: &str, paused: bool, actor: &str, note: &str) -> Result<Pause, StoreError> {
        let asked = Pause { kind: kind.to_owned(), at: clock::now(), paused, actor: actor.to_owned(), note: note.to_owned() };
        let stands = self.store.put_pause(&asked).await?;
        self.refresh().await?;
        Ok(stands)
    }

    /// Reads again and again until `stop`. While the store is away, what was known last counts.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(error = %error, "cannot read which kinds are paused");
            }
        }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let _alone = self.reading.lock().await;
        let known: Known = self.store.pauses().await?.into_iter().map(|pause| (pause.kind.clone(), pause)).collect();
        self.known.send_if_modified(|before| {
            let changed = *before != known;
            *before = known;
            changed
        });
        Ok(())
    }
}
