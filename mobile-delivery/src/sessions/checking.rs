//! Acks that came by requests, and the sessions that gave what was acked: each is told, here or in another process, and asks what became of what it
//! holds; all that ask are answered by one statement.
//!
//! A word of an ack leads to a look at the store and nothing else. One that is lost is mended by the session, which asks by itself about what it has held for
//! a while ([`Limits::check_every`](crate::session::Limits::check_every)).

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::withdrawing::why;
use super::{Post, Sessions};
use crate::store::{Ending, Number, Reason, Session, State, Transport};

/// Sessions in one statement, each with a window of messages.
const TOGETHER: usize = 64;

/// What a session holds and asks about.
pub(super) struct Check {
    pub(super) device: Number,
    /// By `seq` and id.
    pub(super) held: Vec<(i64, Uuid)>,
    pub(super) post: Arc<Post>,
}

impl Sessions {
    /// A device has acked something by a request, and the store has it: tells its session, wherever that is.
    pub(crate) fn acked(&self, device: Number, session: &Session) {
        if session.transport == Transport::Poll {
            // It holds leases, which the request itself has ended where they are.
            return;
        }
        if session.process == self.0.me {
            self.has_acked(device);
        } else {
            self.0.telling.acked(session.process, device);
        }
    }

    pub(super) fn has_acked(&self, device: Number) {
        if let Some(entry) = self.0.live.get(device) {
            entry.post.acked();
        }
    }

    /// Up to where the session of this fence has given, if it is here and has given something.
    pub(crate) fn given_here(&self, device: Number, fence: i64) -> Option<i64> {
        let entry = self.0.live.get(device).filter(|entry| entry.fence == fence)?;
        Some(entry.post.cursor()).filter(|cursor| *cursor > 0)
    }

    /// Answers what became of what sessions hold, until `over`.
    pub(super) async fn checks(self, over: CancellationToken) {
        while let Some(checks) = self.0.checking.take(TOGETHER, &over).await {
            let held = checks.iter().flat_map(|check| check.held.iter().map(|(seq, id)| (check.device, *seq, *id)));
            match self.0.stores.sessions.became(&held.collect::<Vec<_>>()).await {
                Ok(endings) => {
                    let mut by_device: HashMap<Number, Vec<Ending>> = HashMap::new();
                    endings.into_iter().for_each(|ending| by_device.entry(ending.device).or_default().push(ending));
                    let none = Vec::new();
                    checks.iter().for_each(|check| check.answer(by_device.get(&check.device).unwrap_or(&none)));
                }
                Err(error) => {
                    tracing::debug!(error = %error, "cannot look what devices have acked; their sessions ask again");
                    checks.iter().for_each(|check| check.answer(&[]));
                }
            }
        }
    }
}

impl Check {
    fn answer(&self, endings: &[Ending]) {
        let mut acked = Vec::with_capacity(endings.len());
        for ending in endings {
            let Ok(seq) = u64::try_from(ending.seq) else { continue };
            // What a device refuses has ended by its word as well.
            match (ending.state, ending.reason) {
                (State::Dropped, Some(Reason::Rejected)) => acked.push(seq),
                (State::Expired | State::Dropped, _) => self.post.withdrawn(seq, why(ending)),
                _ => acked.push(seq),
            }
        }
        self.post.checked(acked);
    }
}
