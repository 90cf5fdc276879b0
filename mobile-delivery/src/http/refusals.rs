//! What is refused of devices and their messages, as problem documents.

use database::StoreError;
use door::problem::{Code, Problem, shown};

use crate::sending::SendError;
use crate::store::{RECIPIENTS, ROOM};
use crate::tokens::{Token, Tokens};

/// Where a part of a message stands in a request: in a header of its own, or in a member of a batch's item.
pub(crate) enum Place<'a> {
    /// A request of its own.
    Header,
    /// An item of a batch, by its JSON Pointer.
    Item(&'a str),
}

impl Place<'_> {
    /// Points at a part, as batches call it.
    fn at(&self, problem: Problem, field: &str, why: &str) -> Problem {
        match self {
            Self::Item(item) if matches!(field, "sender" | "item") => problem.pointer(item, why),
            Self::Item(item) => problem.pointer(&format!("{item}/{field}"), why),
            Self::Header => match header(field) {
                Some(header) => problem.header(header, why),
                None => problem,
            },
        }
    }

    /// How a part is called there.
    fn name<'f>(&self, field: &'f str) -> &'f str {
        match self {
            Self::Header => header(field).unwrap_or(field),
            Self::Item(_) => field,
        }
    }

    /// A part of the message is wrong.
    pub(crate) fn wrong(&self, code: Code, field: &str, why: &str) -> Problem {
        self.at(Problem::new(code, format!("`{}` {why}", self.name(field))), field, why)
    }

    /// Why a message was not sent.
    pub(crate) fn refused(&self, error: SendError) -> Problem {
        match error {
            SendError::Invalid { field, why } => self.wrong(Code::InvalidMessage, field, &why),
            SendError::Timing(error) => self.wrong(Code::InvalidTiming, error.field, &error.why),
            SendError::Priority => self.wrong(Code::InvalidPriority, "priority", "must be `normal` or `high`"),
            SendError::KeyReused => Problem::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used for a message with another body, type or options: take a fresh key for a new message",
            ),
            SendError::Undecided => Problem::new(
                Code::IdempotencyKeyUndecided,
                "the first request with this Idempotency-Key is not decided yet: send the same request again",
            )
            .retry_after(1),
            SendError::UnknownDevice(id) => no_device(&id),
            SendError::Revoked(id) => revoked(&id),
            SendError::NoDevices => Problem::new(Code::NoDevices, "there is no device here that this could go to"),
            SendError::TooMany => Problem::new(
                Code::TooManyDevices,
                format!("a message goes to {RECIPIENTS} devices at most: send the others one of their own, in a batch"),
            ),
            SendError::NotAMember => not_a_member(),
            SendError::NotARoom => not_a_room(),
            SendError::TenantFull => Problem::new(
                Code::DeviceBacklogFull,
                "the devices of this tenant have as much to get as they may: send the same request again later",
            )
            .retry_after(30),
            SendError::Full => {
                Problem::new(Code::BacklogFull, "messages come faster than they can be stored: send the same request again later")
                    .retry_after(1)
            }
            SendError::Unavailable(why) => Problem::store_unavailable(&why),
            SendError::Refused(why) => {
                tracing::warn!("the store refused a message: {why}");
                Problem::new(Code::Refused, "the database refuses this very message; the hub's log says why")
            }
        }
    }
}

/// The header that says what batches call `field`.
fn header(field: &str) -> Option<&'static str> {
    Some(match field {
        "type" => "warren-type",
        "ttl" => "warren-ttl",
        "collapse_key" => "warren-collapse-key",
        "priority" => "warren-priority",
        "run_at" => "warren-run-at",
        "delay" => "warren-delay",
        "receipt" => "warren-receipt",
        "except" => "warren-except",
        "content_type" => "content-type",
        _ => return None,
    })
}

/// The refusal of a device that is not there.
pub(crate) fn no_device(id: &str) -> Problem {
    let id = shown(id);
    Problem::new(Code::DeviceNotFound, format!("there is no device `{id}`: PUT /v1/devices/{id} registers it"))
}

/// The refusal of a device that was revoked.
pub(crate) fn revoked(id: &str) -> Problem {
    let id = shown(id);
    let detail = format!("the device `{id}` was revoked: PUT /v1/devices/{id}?rotate=true lets it in again");
    Problem::new(Code::DeviceRevoked, detail)
}

/// The refusal of a device that is not in the group.
pub(crate) fn not_a_member() -> Problem {
    Problem::new(Code::NotAMember, "the device is not in this group: its back end has to take it in")
}

/// The refusal where devices may not publish.
pub(crate) fn not_a_room() -> Problem {
    Problem::new(Code::PublishNotAllowed, "devices may not publish to this group: its back end has to open it to them")
}

/// The refusal of one more member.
pub(super) fn crowded(group: &str) -> Problem {
    let group = shown(group);
    let detail = format!(
        "devices publish to the group `{group}`, which has {ROOM} members already: take one out first, or let nobody publish"
    );
    Problem::new(Code::GroupTooLarge, detail)
}

/// What a store refuses of a registration, and that it does not answer.
pub(super) fn registration(error: StoreError) -> Problem {
    match error {
        StoreError::Refused(why) => {
            tracing::warn!("the store refused a device: {why}");
            Problem::new(Code::Refused, "the database refuses this very device; the hub's log says why")
        }
        error => error.into(),
    }
}

/// The refusal where there is no key to sign with.
pub(crate) fn no_tokens() -> Problem {
    let detail = "this hub has no key to sign devices' tokens with: set `devices.token_key`, or take them from your own issuer";
    Problem::new(Code::NoTokens, detail)
}

/// A token for a device that is let in.
pub(crate) fn token(tokens: &Tokens, tenant: &str, id: &str) -> Result<Token, Problem> {
    tokens.mint(tenant, id).map_err(|error| {
        tracing::error!("a device's token was not made: {error}");
        no_tokens()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_code_and_says_when_to_come_back() {
        let secret = || "password=canary".to_owned();
        let all = [
            (SendError::Invalid { field: "ttl", why: "is bad".to_owned() }, Code::InvalidMessage, None),
            (SendError::Priority, Code::InvalidPriority, None),
            (SendError::KeyReused, Code::IdempotencyKeyReused, None),
            (SendError::Undecided, Code::IdempotencyKeyUndecided, Some(1)),
            (SendError::UnknownDevice("a\nb".to_owned()), Code::DeviceNotFound, None),
            (SendError::Revoked("a\nb".to_owned()), Code::DeviceRevoked, None),
            (SendError::NoDevices, Code::NoDevices, None),
            (SendError::TooMany, Code::TooManyDevices, None),
            (SendError::NotAMember, Code::NotAMember, None),
            (SendError::NotARoom, Code::PublishNotAllowed, None),
            (SendError::TenantFull, Code::DeviceBacklogFull, Some(30)),
            (SendError::Full, Code::BacklogFull, Some(1)),
            (SendError::Unavailable(secret()), Code::StoreUnavailable, Some(1)),
            (SendError::Refused(secret()), Code::Refused, None),
        ];
        for (error, code, retry_after) in all {
            for place in [Place::Header, Place::Item("/3")] {
                let problem = place.refused(error.clone());
                assert_eq!((problem.code, problem.retry_after), (code, retry_after));
                assert!(!problem.detail.contains("canary") && !problem.detail.contains('\n'), "{}", problem.detail);
            }
        }
    }

    #[test]
    fn a_part_is_called_as_its_sender_knows_it() {
        let refused = |place: Place<'_>| place.refused(SendError::Invalid { field: "ttl", why: "is bad".to_owned() });
        let (alone, within) = (refused(Place::Header), refused(Place::Item("/3")));
        assert_eq!((&*alone.detail, alone.errors[0].header.as_deref()), ("`warren-ttl` is bad", Some("warren-ttl")));
        assert_eq!((&*within.detail, within.errors[0].pointer.as_deref()), ("`ttl` is bad", Some("#/3/ttl")));
    }
}
