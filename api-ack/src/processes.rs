//! Which hub processes live: one heartbeat row each, no heartbeat per job.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{JobStore, LAPSE, ProcessId, StoreError};

/// How often a process says that it lives.
pub const BEAT: Duration = Duration::from_secs(2);

/// How often it looks for processes that have lapsed: what one of them held is free within 11 s after its death.
const LOOK: Duration = Duration::from_secs(1);

/// The processes that live, as far as this one knows. Cheap to share.
pub struct Processes {
    me: ProcessId,
    store: Arc<dyn JobStore>,
    known: RwLock<Known>,
}

struct Known {
    alive: BTreeSet<ProcessId>,
    beaten: Instant,
}

impl Processes {
    /// Registers a new process.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn join(store: Arc<dyn JobStore>) -> Result<Arc<Self>, StoreError> {
        let me = ProcessId(i64::from_be_bytes(random_bytes()) & i64::MAX);
        let beaten = Instant::now();
        let alive = store.beat(me).await?.into_iter().collect();
        Ok(Arc::new(Self { me, store, known: RwLock::new(Known { alive, beaten }) }))
    }

    /// This process.
    pub fn me(&self) -> ProcessId {
        self.me
    }

    /// Whether `process` lives, as of the last beat. One that joined since is not yet known: see [`Processes::refresh`].
    pub fn lives(&self, process: ProcessId) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).alive.contains(&process)
    }

    /// How many live; at least one.
    pub fn count(&self) -> u32 {
        let count = self.known.read().unwrap_or_else(PoisonError::into_inner).alive.len();
        u32::try_from(count).unwrap_or(u32::MAX).max(1)
    }

    /// Whether this process does what only one should do: the one with the lowest id. Derived, never kept; for a moment after
    /// a change two may think so, which must be harmless.
    pub fn leads(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).alive.first() == Some(&self.me)
    }

    /// Whether this process has failed to beat for so long that others may have taken its rows.
    pub fn lapsed(&self) -> bool {
        self.silent() > Duration::from_micros(LAPSE.unsigned_abs())
    }

    /// How long ago this process last beat.
    fn silent(&self) -> Duration {
        self.known.read().unwrap_or_else(PoisonError::into_inner).beaten.elapsed()
    }

    /// Beats now, and learns who lives.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let beaten = Instant::now();
        let alive = self.store.beat(self.me).await?.into_iter().collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { alive, beaten };
        Ok(())
    }

    /// Beats until `stop`, and frees what lapsed processes held.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut release_from = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            // Whatever kept this process from beating has most likely kept the others: they have the time of a lapse to say so.
            if self.silent() > Duration::from_micros(LAPSE.unsigned_abs() / 2) {
                release_from = Instant::now() + Duration::from_micros(LAPSE.unsigned_abs());
            }
            let beat = async {
                // First of all: a process that stood still must not free what is its own.
                if self.silent() > BEAT - LOOK / 2 {
                    self.refresh().await?;
                }
                if Instant::now() < release_from { Ok(0) } else { self.store.release_lapsed().await }
            };
            match beat.await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "took over what a lapsed process had not published"),
                Err(error) if self.lapsed() => {
                    tracing::warn!(error = %error, "this process counts as gone: it lets go of what waits, and publishes nothing");
                }
                Err(error) => tracing::warn!(error = %error, "cannot say that this process lives"),
            }
        }
    }

    /// Says that this process leaves, so that others need not wait for it to lapse.
    pub async fn leave(&self) {
        if let Err(error) = self.store.leave(self.me).await {
            tracing::warn!(error = %error, "cannot say goodbye; others take over in {} s", LAPSE / 1_000_000);
        }
    }
}

/// Random by way of UUIDv7's random part, so that no further crate is needed.
fn random_bytes() -> [u8; 8] {
    let bytes = uuid::Uuid::now_v7().into_bytes();
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[8..]);
    // The top bits are the UUID's variant: mix the clock in instead.
    out[0] ^= bytes[5];
    out
}
