//! Which processes serve devices and live: one heartbeat row each, and none for a session or a slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use database::clock;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::store::{LAPSE, MAIN, ProcessId, SessionStore, StoreError};

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// How often it looks for those that live no more.
const LOOK: Duration = Duration::from_secs(1);

/// After its last beat a process counts as gone.
const GONE: Duration = Duration::from_micros(LAPSE.unsigned_abs());

/// Sessions of a lapsed process that are ended in one go.
const BATCH: u32 = 500;

/// The processes that live, as far as this one knows. Cheap to share.
pub struct Processes {
    me: ProcessId,
    /// Those that this process has beside the main one.
    shards: Vec<String>,
    store: Arc<dyn SessionStore>,
    known: RwLock<Known>,
}

struct Known {
    live: BTreeSet<ProcessId>,
    /// The shards that all of them have.
    shared: BTreeSet<String>,
    /// Of those that have a shard, the one with the lowest id.
    first: BTreeMap<String, ProcessId>,
    beaten: Instant,
}

impl Known {
    fn of(beaten: Instant, live: Vec<(ProcessId, Vec<String>)>) -> Self {
        let sets = live.iter().map(|(_, shards)| shards.iter().cloned().collect::<BTreeSet<String>>());
        let shared = sets.reduce(|all, one| &all & &one).unwrap_or_default();
        let mut first: BTreeMap<String, ProcessId> = BTreeMap::new();
        for (process, shard) in live.iter().flat_map(|(process, shards)| shards.iter().map(move |shard| (process, shard))) {
            first.entry(shard.clone()).and_modify(|known| *known = (*known).min(*process)).or_insert(*process);
        }
        Self { live: live.into_iter().map(|(process, _)| process).collect(), shared, first, beaten }
    }
}

impl Processes {
    /// Enters this process.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn join(store: Arc<dyn SessionStore>) -> Result<Arc<Self>, StoreError> {
        Self::join_with(store, Vec::new()).await
    }

    /// The same of one that has these shards beside the main one.
    ///
    /// # Errors
    /// As [`Processes::join`].
    pub async fn join_with(store: Arc<dyn SessionStore>, shards: Vec<String>) -> Result<Arc<Self>, StoreError> {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        // The id is positive, and never that of nobody.
        let me = ProcessId(((high ^ low) >> 1).cast_signed().max(1));
        let beaten = Instant::now();
        let live = store.beat(me, &shards).await?;
        Ok(Arc::new(Self { me, shards, store, known: RwLock::new(Known::of(beaten, live)) }))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process.
    pub fn me(&self) -> ProcessId {
        self.me
    }

    /// How many live, as of the last beat; at least one.
    pub fn count(&self) -> u32 {
        u32::try_from(self.known().live.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Whether all that live have this shard, as of the last beat. Not asked of the main one, which everybody has.
    pub fn share(&self, shard: &str) -> bool {
        self.known().shared.contains(shard)
    }

    /// Whether any that lives has it.
    pub fn has(&self, shard: &str) -> bool {
        shard == MAIN || self.known().first.contains_key(shard)
    }

    /// Whether this process does what only one need do: the one with the lowest id. For a moment after a change two may think so,
    /// which must do no harm.
    pub fn leads(&self) -> bool {
        self.known().live.first() == Some(&self.me)
    }

    /// The same of what is to be done at one broker: not all processes need have it.
    pub fn leads_at(&self, shard: &str) -> bool {
        match shard {
            MAIN => self.leads(),
            shard => self.known().first.get(shard) == Some(&self.me),
        }
    }

    /// Whether this process has not beaten for so long that others may have taken what it had.
    pub fn lapsed(&self) -> bool {
        self.silent() > GONE
    }

    fn silent(&self) -> Duration {
        self.known().beaten.elapsed()
    }

    /// Beats now, and learns who lives.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn beat(&self) -> Result<(), StoreError> {
        let beaten = Instant::now();
        let live = self.store.beat(self.me, &self.shards).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::of(beaten, live);
        Ok(())
    }

    /// Beats until `stop`, and ends the sessions of those that live no more.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut release_from = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {}
            }
            // What kept this process from beating has most likely kept the others: they get the time of a lapse to say so.
            if self.silent() > GONE / 2 {
                release_from = Instant::now() + GONE;
            }
            if let Err(error) = self.look(release_from).await {
                let lapsed = self.lapsed();
                tracing::warn!(error = %error, lapsed, "cannot say that this process serves devices; after 10 s others take over");
            }
        }
    }

    async fn look(&self, release_from: Instant) -> Result<(), StoreError> {
        // Before anything else: a process that stood still must not free what is its own.
        if self.silent() > BEAT - LOOK / 2 {
            self.beat().await?;
        }
        if Instant::now() >= release_from {
            let lost = self.store.release_lapsed(clock::now(), BATCH).await?;
            if lost.sessions + lost.slots > 0 {
                tracing::info!(sessions = lost.sessions, slots = lost.slots, "freed what a lapsed process had of devices");
            }
        }
        Ok(())
    }

    /// Says that this process leaves, so that nobody waits for it to lapse. The last thing it does.
    pub async fn leave(&self) {
        if let Err(error) = self.store.leave(self.me).await {
            tracing::warn!(error = %error, "cannot say goodbye; others take over in {} s", GONE.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_shared_once_all_that_live_have_it_and_its_first_leads_there() {
        let with = |process, shards: &[&str]| (ProcessId(process), shards.iter().map(|shard| (*shard).to_owned()).collect());
        let known = |live| Known::of(Instant::now(), live);
        let of = |known: &Known| (known.shared.iter().cloned().collect::<Vec<_>>(), known.first.clone());
        let first = |all: &[(&str, i64)]| all.iter().map(|(shard, process)| ((*shard).to_owned(), ProcessId(*process))).collect();
        let all = known(vec![with(3, &["b", "c"]), with(5, &["c", "b"])]);
        assert_eq!(of(&all), (vec!["b".to_owned(), "c".to_owned()], first(&[("b", 3), ("c", 3)])));
        let some = known(vec![with(2, &[]), with(5, &["b"]), with(7, &["b", "c"])]);
        assert_eq!(of(&some), (Vec::new(), first(&[("b", 5), ("c", 7)])));
        assert_eq!(of(&known(Vec::new())), (Vec::new(), first(&[])));
    }
}
