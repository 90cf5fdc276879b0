//! What a request does of what a session does: polls, and acks.

use database::clock;
use door::problem::{Code, Problem};
use tokio::sync::oneshot;

use super::Sessions;
use super::claiming::NotBegun;
use super::settling::{Settlement, Waiter};
use super::tenure::Tenure;
use crate::poll::Polling;
use crate::protocol::Close;
use crate::store::{Ack, Acked, Device, Limit, Number, Pending, Transport};

impl Sessions {
    /// The poll sessions.
    pub(crate) fn polling(&self) -> &Polling {
        &self.0.polling
    }

    /// Makes the caller the session of the device.
    pub(crate) async fn claim_for(&self, device: &Device, transport: Transport) -> Result<Tenure, Problem> {
        match self.claim(device, transport).await {
            Ok(begun) => Ok(begun.tenure),
            Err(NotBegun::Revoked) => Err(Problem::new(Code::DeviceRevoked, "the device was revoked")),
            Err(NotBegun::Unknown) => Err(Problem::new(Code::DeviceNotFound, "the device was removed: register it again")),
            Err(NotBegun::Away(error)) => Err(error.into()),
        }
    }

    pub(crate) async fn pending(&self, device: Number, after: i64, limit: Limit) -> Result<Pending, Problem> {
        // Closed never.
        let _turn = self.0.reads.acquire().await;
        let pending = self.0.stores.sessions.pending(device, after, limit, clock::now()).await?;
        self.0.metrics.rows_read.inc_by(pending.messages.len() as u64);
        Ok(pending)
    }

    /// Settles, together with what others settle.
    pub(crate) async fn settle(&self, ack: Ack) -> Result<Acked, Problem> {
        let (reply, acked) = oneshot::channel();
        self.0.settling.put(Settlement { ack, waiter: Waiter::Request(reply) });
        match acked.await {
            Ok(acked) => Ok(acked?),
            Err(_) => Err(Problem::store_unavailable("the process is shutting down")),
        }
    }

    pub(crate) async fn told(&self, device: Number, fence: i64, number: i64) -> Result<bool, Problem> {
        Ok(self.0.stores.sessions.told(device, fence, number).await?)
    }

    /// Waits until the process drains.
    pub(crate) async fn leaving(&self) {
        self.0.drain.cancelled().await;
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.0.drain.is_cancelled()
    }
}

/// Somebody waits, and no lane wakes him. Until it is dropped.
pub(crate) struct WaitsWithoutLane<'a>(&'a Tenure);

impl Drop for WaitsWithoutLane<'_> {
    fn drop(&mut self) {
        self.0.post.stands(self.0.post.cursor(), false, false);
    }
}

impl Tenure {
    pub(crate) fn device(&self) -> Number {
        self.identity.number
    }

    pub(crate) fn fence(&self) -> i64 {
        self.fence
    }

    /// Has the round look for what comes after `cursor`.
    pub(crate) fn waits_without_lane(&self, cursor: i64) -> WaitsWithoutLane<'_> {
        self.post.stands(cursor, false, true);
        WaitsWithoutLane(self)
    }

    /// Waits for a reason to look, or for why it is over. Cancel-safe.
    pub(crate) async fn news(&self) -> Option<Close> {
        let news = self.post.next().await;
        if let Some((close, why)) = news.end {
            // For whoever polls next.
            self.post.end(close, why);
            return Some(close);
        }
        None
    }
}
