//! Who is there, for whoever wants to hear of it.

use database::{Micros, clock};
use uuid::Uuid;

use super::Sessions;
use super::tenure::Identity;
use crate::store::Transport;

/// That a device has come, or has gone. A session that takes the place of another is neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whose device.
    pub tenant: String,
    /// Its id.
    pub device: String,
    /// Who uses it.
    pub user: String,
    /// Whether it is there now.
    pub online: bool,
    /// Of which session this is the begin or the end.
    pub session: Uuid,
    /// How it is there.
    pub transport: Transport,
    /// When, by this process.
    pub at: Micros,
}

impl Presence {
    pub(super) fn of(identity: &Identity, session: Uuid, transport: Transport, online: bool) -> Self {
        let text = |text: &str| text.to_owned();
        let (tenant, device, user) = (text(&identity.tenant), text(&identity.id), text(&identity.user));
        Self { tenant, device, user, online, session, transport, at: clock::now() }
    }
}

impl Sessions {
    /// Hands it out, if there is room: nothing rests on it, and who is there is in the store.
    pub(super) fn presence(&self, presence: Presence) {
        if let Some(outlet) = &self.0.presence
            && outlet.try_send(presence).is_err()
        {
            self.0.metrics.presence_dropped.inc();
        }
    }
}
