//! What outsiders are to hear.

use uuid::Uuid;

use super::{Micros, Reason, State};

/// That a message has ended for a device, or was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its own; to be dropped by who has seen it.
    pub number: i64,
    /// Whose.
    pub tenant: String,
    /// Which message.
    pub message: Uuid,
    /// For which device, by its id.
    pub device: String,
    /// Of which user.
    pub user: String,
    /// What it became: [`State::Delivered`], [`State::Read`], [`State::Expired`] or [`State::Dropped`].
    pub state: State,
    /// Why, if it was dropped; and whether it was inferred, if it was delivered.
    pub reason: Option<Reason>,
    /// What the device said when it refused it, if it did.
    pub detail: Option<String>,
    /// When.
    pub at: Micros,
}
