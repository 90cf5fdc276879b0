//! What the broker says of single queues before they go. Asked one by one: the list of all queues says nothing of dead letters that wait
//! for their target, and says 0 where it knows nothing yet.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use messaging::migration::Observer;
use tokio::time::Instant;

/// Queues asked about at one time.
const AT_ONCE: usize = 8;

/// Between two questions about a queue that has no figures yet.
const AGAIN: Duration = Duration::from_millis(500);

/// How long the first figures of a queue may take; a new quorum queue had them after 7 to 12 s (3.10.8).
pub(crate) const FIRST: Duration = Duration::from_secs(20);

/// Messages that go with a queue and are not ready ([`messaging::migration::LiveQueue::held`]), of those of `queues` that are there. A
/// queue without figures is asked about until `until`.
///
/// # Errors
/// With a sentence, when the API is of no use.
pub(crate) async fn held(
    observer: &impl Observer,
    queues: &[String],
    until: Instant,
) -> Result<BTreeMap<String, Option<u64>>, String> {
    let asking = queues.iter().map(|queue| async move {
        loop {
            match observer.queue(queue).await.map_err(|error| format!("queue {queue}: {error}"))? {
                Some(found) if found.held.is_none() && Instant::now() < until => tokio::time::sleep(AGAIN).await,
                found => return Ok(found.map(|found| (queue.clone(), found.held))),
            }
        }
    });
    stream::iter(asking).buffer_unordered(AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
}
