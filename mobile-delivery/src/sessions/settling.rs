//! Acks of all sessions in one statement: the group commit of what devices are done with.

use std::sync::Arc;
use std::time::Duration;

use database::clock;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::tenure::DISPLACED;
use super::{Post, Sessions};
use crate::protocol::Close;
use crate::store::{Ack, Acked, StoreError};

/// Acks in one statement.
const TOGETHER: usize = 512;

/// From the beginning of one statement to that of the next: the first ack goes at once, and those that follow go together. Who waits for that is a
/// device with a full window, and a request that acks.
const PACE: Duration = Duration::from_millis(20);

/// An ack, and who waits for it.
pub(super) struct Settlement {
    pub(super) ack: Ack,
    pub(super) waiter: Waiter,
}

/// Who waits for an ack to be stored.
pub(super) enum Waiter {
    /// A session that goes on, with what it named.
    Session(Arc<Post>, Vec<u64>),
    /// A request.
    Request(oneshot::Sender<Result<Acked, StoreError>>),
    /// Nobody: a session that has ended.
    Nobody,
}

impl Waiter {
    fn told(self, acked: Result<Acked, StoreError>) {
        match (self, acked) {
            (Self::Request(reply), acked) => {
                let _ = reply.send(acked);
            }
            (Self::Session(post, seqs), Ok(Acked::Ended { .. })) => post.settled(&seqs),
            (Self::Session(post, _), Ok(Acked::Fenced { .. })) => post.end(Close::Displaced, DISPLACED),
            (Self::Session(post, _), Ok(Acked::Unknown)) => {
                post.end(Close::DeviceUnknown, "the device was removed: register it again");
            }
            (Self::Session(post, _), Err(error)) => {
                tracing::error!(error = %error, "the store refuses an ack");
                post.end(Close::Internal, "the acks could not be stored");
            }
            (Self::Nobody, _) => {}
        }
    }

    /// Whether it pays to wait for the store: a request is answered by its client's own trying again.
    fn is_patient(&self) -> bool {
        !matches!(self, Self::Request(_))
    }
}

impl Sessions {
    /// Settles what waits, until `over` and nothing is left. A session's acks are tried until the store has them.
    pub(super) async fn settles(self, over: CancellationToken) {
        let inner = &self.0;
        while let Some(mut batch) = inner.settling.take(TOGETHER, &over).await {
            let next = Instant::now() + PACE;
            let mut wait = Duration::from_millis(50);
            while !batch.is_empty() {
                let acks: Vec<Ack> = batch.iter().map(|one| one.ack.clone()).collect();
                match inner.stores.sessions.settle(&acks, clock::now()).await {
                    Ok(acked) => {
                        inner.metrics.settled(&acks, &acked);
                        if let Some(outlet) = &inner.outlet {
                            outlet.written();
                        }
                        batch.drain(..).zip(acked).for_each(|(one, acked)| one.waiter.told(Ok(acked)));
                    }
                    // One that is bad fails alone.
                    Err(StoreError::Refused(_)) if batch.len() > 1 => {
                        let rest = batch.split_off(batch.len() / 2);
                        rest.into_iter().for_each(|one| inner.settling.put(one));
                    }
                    Err(error @ (StoreError::Refused(_) | StoreError::Unusable(_))) => {
                        batch.drain(..).for_each(|one| one.waiter.told(Err(error.clone())));
                    }
                    Err(error) => {
                        let (patient, others): (Vec<_>, Vec<_>) = batch.drain(..).partition(|one| one.waiter.is_patient());
                        others.into_iter().for_each(|one| one.waiter.told(Err(error.clone())));
                        if over.is_cancelled() {
                            tracing::warn!(error = %error, acks = patient.len(), "acks are not stored; their messages come once more");
                            break;
                        }
                        batch = patient;
                        tracing::warn!(error = %error, acks = batch.len(), "cannot store acks, trying again");
                        tokio::select! {
                            () = tokio::time::sleep(wait) => {}
                            () = over.cancelled() => {}
                        }
                        wait = (wait * 2).min(Duration::from_secs(2));
                    }
                }
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = over.cancelled() => {}
            }
        }
    }
}
