//! What a device publishes, whichever way it comes: counted, checked, and put behind what was put before.

use bytes::Bytes;
use door::problem::{Code, Problem};

use super::Rooms;
use crate::http::items::{check_body, typed};
use crate::http::refusals::Place;
use crate::sending::{Accepted, Options, Sending, Undecided};
use crate::store::{Audience, Number, Target};

/// A device that publishes.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    pub(crate) tenant: String,
    pub(crate) number: Number,
    pub(crate) id: String,
}

/// What it publishes.
pub(crate) struct Said {
    pub(crate) group: String,
    pub(crate) kind: Option<String>,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    pub(crate) key: Option<String>,
}

impl Rooms {
    /// Puts a message that was counted behind those that were put before, also of the same device.
    pub(crate) fn put(&self, publisher: Publisher, said: Said) -> Result<Undecided, Problem> {
        let Said { group, kind, content_type, body, key } = said;
        if body.len() > self.payload {
            let detail = format!("the payload has {} bytes, {} at most are taken", body.len(), self.payload);
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        let content_type = typed(&content_type).map_err(|why| Place::Header.wrong(Code::InvalidMessage, "content_type", why))?;
        check_body(&content_type, &body)?;
        let Some(sender) = self.sender() else {
            return Err(Problem::store_unavailable("the process is about to leave, or has just come"));
        };
        let sending = Sending {
            sender: publisher.id,
            tenant: publisher.tenant,
            publisher: Some(publisher.number),
            target: Target::Log(Audience::Group(group)),
            content_type,
            body,
            options: Options { kind, ..Options::default() },
            traceparent: None,
            key,
        };
        sender.put(sending).map_err(|error| Place::Header.refused(error))
    }

    /// Counts something that a device wants: before anything else is done for it.
    pub(crate) fn takes_of(&self, device: Number) -> Result<(), Problem> {
        self.device.take(&device).map(drop)
    }

    /// Counts what a member has for a room. Who is not in it takes nothing away from those who are.
    pub(crate) fn takes_for(&self, tenant: &str, group: &str) -> Result<(), Problem> {
        self.room.take(&(tenant, group)).map(drop)
    }
}

/// What became of it.
pub(crate) async fn decided(undecided: Undecided) -> Result<Accepted, Problem> {
    undecided.decided().await.map_err(|error| Place::Header.refused(error))
}
