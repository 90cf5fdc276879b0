//! Rows that this process owns and does not hold: nobody else takes them, and it does not know of them.
//!
//! They come from writes without an answer: the store took the row and went away before it said so, or took it later, once it
//! moved again. And from a lapse, after which the memory is forgotten since others may have taken its rows. So they are looked
//! for now and then, and soon and often after a doubt; what is found is freed for anybody to claim.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::room::Rooms;
use crate::store::{JobStore, ProcessId, StoreError};

/// How often it is looked without a doubt. It reads every row under way.
const SELDOM: Duration = Duration::from_secs(60);

/// How often it is looked in doubt.
const OFTEN: Duration = Duration::from_secs(2);

/// How long after the store answers again a write from before may still take effect: its statement was cut short or ended by
/// then, whatever stood still.
const LATE: Duration = Duration::from_secs(30);

/// When to look for them.
#[derive(Debug)]
pub(super) struct Strays {
    doubt: Arc<Notify>,
    next: Instant,
    often_until: Instant,
}

impl Strays {
    /// `doubt` is told when a write had no answer.
    pub(super) fn new(doubt: Arc<Notify>) -> Self {
        let now = Instant::now();
        Self { doubt, next: now + SELDOM, often_until: now }
    }

    /// Looks if it is time to; answers how many rows were freed.
    pub(super) async fn look(&mut self, store: &dyn JobStore, rooms: &Rooms, me: ProcessId) -> u64 {
        use futures::FutureExt;
        let now = Instant::now();
        if self.doubt.notified().now_or_never().is_some() {
            self.often_until = now + LATE;
            self.next = self.next.min(now + OFTEN);
        }
        if now < self.next {
            return 0;
        }
        match free(store, rooms, me).await {
            Ok(freed) => {
                self.next = Instant::now() + if now < self.often_until { OFTEN } else { SELDOM };
                if freed > 0 {
                    tracing::warn!(rows = freed, "freed rows that were stored without an answer, or let go of in a lapse");
                }
                freed
            }
            Err(error) => {
                tracing::debug!(error = %error, "cannot look for rows this process owns and does not hold");
                self.often_until = Instant::now() + LATE;
                self.next = Instant::now() + OFTEN;
                0
            }
        }
    }
}

async fn free(store: &dyn JobStore, rooms: &Rooms, me: ProcessId) -> Result<u64, StoreError> {
    // Of all this process holds and as much again.
    let limit = u32::try_from(2 * rooms.size()).unwrap_or(u32::MAX);
    let mut owned = store.owned(me, limit).await?;
    // A ticket is there before its row is, so a row that was seen and has none now is either a stray or was settled since; that
    // changed its version.
    owned.retain(|job| !rooms.holds(job.id));
    super::free::free(store, &owned.iter().map(|job| (job, None)).collect::<Vec<_>>()).await
}
