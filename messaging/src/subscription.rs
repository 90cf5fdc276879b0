//! Consumers that nobody is left with.
//!
//! lapin keeps a consumer whose opening was given up (a time-out, a stop) registered and its channel open: the broker goes on handing it
//! deliveries, and nobody reads them until the connection ends. So an opening is not given up here, but what it comes to is.

use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

/// Consumes from `queue` on a channel that has no other use.
///
/// # Errors
/// What the broker refuses it with.
///
/// # Cancel safety
/// Of a dropped call nothing is left once the broker has answered: the consumer is cancelled and the channel closed, so that what was
/// delivered is back in its queue.
pub(crate) async fn consume(
    channel: &Channel,
    queue: ShortString,
    options: BasicConsumeOptions,
    arguments: FieldTable,
) -> Result<Consumer, lapin::Error> {
    let channel = channel.clone();
    #[expect(clippy::disallowed_methods, reason = "the only one, and on no tracker: a drain need not wait for what nobody wants")]
    let opening = tokio::spawn(async move { channel.basic_consume(queue, "".into(), options, arguments).await });
    match opening.await {
        Ok(opened) => opened,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        // The runtime is on its way down, and takes this call with it.
        Err(_) => std::future::pending().await,
    }
}
