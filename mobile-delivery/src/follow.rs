//! What follows a commit elsewhere in the hub: the relay has something to publish, now or later, a session has to end.
//!
//! It makes things quick, and nothing rests on it: a process that dies between the commit and the call costs the time until somebody
//! looks at the store by himself. So whoever listens must look there too, every now and then.

use std::sync::Arc;

use crate::store::{Entry, Message, Micros, Number, Placed, Recalled, Session, Withdrawn};

/// A delivery that was committed just now, with what it carries.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Its place.
    pub placed: Placed,
    /// What was sent.
    pub message: Arc<Message>,
}

/// An entry of a log that was committed just now.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Whose log it is.
    pub tenant: Arc<str>,
    /// The entry.
    pub entry: Arc<Entry>,
}

/// Hears of commits. Called by whoever committed, who waits for it: it must neither block nor fail.
pub trait Follow: Send + Sync + 'static {
    /// These deliveries have their places. [`slot_of`](crate::store::slot_of) tells whose relay each is for.
    fn placed(&self, deliveries: &[Placed]);

    /// The same, and what they carry is at hand: of each device in the order of `seq`.
    fn stored(&self, deliveries: &[Fresh]) {
        let placed: Vec<Placed> = deliveries.iter().map(|fresh| fresh.placed).collect();
        self.placed(&placed);
    }

    /// These entries are in the logs of their tenants.
    fn logged(&self, _entries: &[NewEntry]) {}

    /// This entry was withdrawn.
    fn recalled(&self, _recalled: &Recalled) {}

    /// Something else is said of a group now.
    fn regrouped(&self, _tenant: &str, _group: &str) {}

    /// Messages are scheduled, the first of them for then, and have no places yet.
    fn scheduled(&self, due_at: Micros);

    /// This session is to look: its device was removed or revoked, an operator ended it, or took away what it had to give.
    fn put_out(&self, device: Number, session: &Session);

    /// This device is not let in any more: it was revoked or removed. What it has open at the broker is to be closed.
    fn shut_out(&self, _tenant: &str, _id: &str) {}

    /// These deliveries ended without their devices, which are connected.
    fn withdrawn(&self, deliveries: &[Withdrawn]);
}

/// Nobody listens.
impl Follow for () {
    fn placed(&self, _: &[Placed]) {}

    fn scheduled(&self, _: Micros) {}

    fn put_out(&self, _: Number, _: &Session) {}

    fn withdrawn(&self, _: &[Withdrawn]) {}
}
