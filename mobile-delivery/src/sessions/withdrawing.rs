//! Messages that ended without their devices, cancelled or over, while these are connected: what was given is taken back, and what is under way is
//! not given.
//!
//! Who ended them tells the process that has the session, and that one asks the store how they ended: a notice causes a look and nothing else. One that is
//! lost costs a message that is given once more than its sender wanted.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Sessions;
use crate::protocol::Withdrawal;
use crate::store::{Ending, Number, Reason, State, Withdrawn};

/// Messages in one look.
const TOGETHER: usize = 512;

/// Messages that wait to be looked at; beyond, they are left out.
const MOST: usize = 16_384;

impl Sessions {
    /// Has the process of each session look how its message ended.
    pub(super) fn withdraw(&self, deliveries: &[Withdrawn]) {
        for Withdrawn { device, message, process } in deliveries {
            if *process == self.0.me {
                self.has_ended(*device, *message);
            } else {
                self.0.telling.withdrawn(*process, *device, *message);
            }
        }
    }

    /// A message is said to have ended.
    pub(super) fn has_ended(&self, device: Number, message: Uuid) {
        if self.0.live.get(device).is_some() && self.0.ended.len() < MOST {
            self.0.ended.put((device, message));
        }
    }

    /// Looks how they ended, until `over`.
    pub(super) async fn withdraws(self, over: CancellationToken) {
        while let Some(ended) = self.0.ended.take(TOGETHER, &over).await {
            match self.0.stores.sessions.endings(&ended).await {
                Ok(endings) => endings.iter().for_each(|ending| self.tell_ending(ending)),
                Err(error) => tracing::debug!(error = %error, "cannot look how messages ended; they may still be given"),
            }
        }
    }

    fn tell_ending(&self, ending: &Ending) {
        if let (Some(entry), Ok(seq)) = (self.0.live.get(ending.device), u64::try_from(ending.seq)) {
            entry.post.withdrawn(seq, why(ending));
        }
    }
}

pub(super) fn why(ending: &Ending) -> Withdrawal {
    match (ending.state, ending.reason) {
        (State::Expired, _) => Withdrawal::Expired,
        (_, Some(Reason::Cancelled)) => Withdrawal::Cancelled,
        (_, Some(Reason::Collapsed)) => Withdrawal::Collapsed,
        _ => Withdrawal::Dropped,
    }
}
