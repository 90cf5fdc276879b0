//! What a request does of what a session does: polls, and acks.

use database::clock;
use door::problem::{Code, Problem};
use tokio::sync::oneshot;

use super::Sessions;
use super::claiming::NotBegun;
use super::hearing::{Hears, HearsFor};
use super::log::Listener;
use super::settling::{Settlement, Waiter};
use super::tenure::Tenure;
use crate::poll::Polling;
use crate::protocol::Close;
use crate::store::{Ack, Acked, Device, Heard, Hearing, Limit, Number, Pending, Standing, Tail, Transport};

impl Sessions {
    /// The poll sessions.
    pub(crate) fn polling(&self) -> &Polling {
        &self.0.polling
    }

    /// Makes the caller the session of the device.
    pub(crate) async fn claim_for(&self, device: &Device, transport: Transport) -> Result<(Tenure, Standing), Problem> {
        match self.claim(device, transport).await {
            Ok(begun) => Ok((begun.tenure, begun.standing)),
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

    /// What the device has not heard of the log after `after`.
    pub(crate) async fn unheard(&self, device: Number, after: i64, limit: Limit) -> Result<Tail, Problem> {
        // Closed never.
        let _turn = self.0.reads.acquire().await;
        Ok(self.0.stores.log.unheard(device, after, limit, clock::now()).await?)
    }

    /// The last entry of a tenant's log; 0 of one that has none.
    pub(crate) async fn head(&self, tenant: &str) -> Result<i64, Problem> {
        let heads = self.0.stores.log.heads(&[tenant.to_owned()]).await?;
        Ok(heads.into_iter().map(|(_, head)| head).max().unwrap_or_default())
    }

    /// Stores what a device has heard, together with what others have.
    pub(crate) async fn has_heard(&self, hearing: Hearing) -> Result<Heard, Problem> {
        let (reply, heard) = oneshot::channel();
        self.0.hearing.put(Hears { hearing, who: HearsFor::Request(reply) });
        match heard.await {
            Ok(heard) => Ok(heard?),
            Err(_) => Err(Problem::store_unavailable("the process is shutting down")),
        }
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

/// Why a poll that waits is woken.
pub(crate) enum Rung {
    /// There may be something for it.
    Look,
    /// The tags of its device may be others now.
    Retagged,
    /// It is over.
    Over(Close),
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
    pub(crate) async fn news(&self) -> Rung {
        let news = self.post.next().await;
        if let Some((close, why)) = news.end {
            // For whoever polls next.
            self.post.end(close, why);
            return Rung::Over(close);
        }
        if news.retagged { Rung::Retagged } else { Rung::Look }
    }

    /// Hears of what is logged for the device from now on.
    pub(crate) fn listens(&self, standing: Standing) -> Listener {
        Listener::new(&self.sessions, &self.identity, &self.post, standing)
    }

    /// The tags of the device as they are now.
    pub(crate) async fn standing(&self) -> Result<Option<Standing>, Problem> {
        Ok(self.sessions.0.stores.log.standing(self.identity.number).await?)
    }
}
