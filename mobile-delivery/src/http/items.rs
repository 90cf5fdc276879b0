//! A message as it is asked for: in headers and a body of its own, or as an item of a batch.

use std::borrow::Cow;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use door::problem::{Code, Problem};
use door::{body, header, media};
use messaging::trace::TraceContext;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::refusals::Place;
use crate::sending::Options;
use crate::store::{Audience, Target, check_group, check_id};

/// The type of a body that says none: bytes.
const BYTES: &str = "application/octet-stream";

/// The longest user, in bytes.
const USER: usize = 128;

/// Headers of ours that a message may have.
const KNOWN: [&str; 8] = [
    "warren-type",
    "warren-ttl",
    "warren-collapse-key",
    "warren-priority",
    "warren-run-at",
    "warren-delay",
    "warren-receipt",
    "warren-except",
];

/// Those that what goes to many may have: it is one entry for all of them, and has no state of each to act on.
const KNOWN_OF_LOG: [&str; 3] = ["warren-type", "warren-ttl", "warren-priority"];

/// What the headers of a message ask for. Only what goes to a user can leave a device out.
pub(super) fn options(headers: &HeaderMap, to: &Target) -> Result<Options, Problem> {
    let known: &[&str] = match to {
        Target::Devices(_) => &KNOWN[..7],
        Target::User { .. } => &KNOWN,
        Target::Log(_) => &KNOWN_OF_LOG,
    };
    header::refuse_but(headers, known)?;
    options_of(|name| header::once(headers, name).map(|text| text.map(str::to_owned)))
}

/// The same of headers in whatever form: `once` reads one by its name, or says what is wrong with it.
pub(crate) fn options_of(once: impl Fn(&'static str) -> Result<Option<String>, &'static str>) -> Result<Options, Problem> {
    let said = |field: &str, code, name| once(name).map_err(|why| Place::Header.wrong(code, field, why));
    let receipt = match said("receipt", Code::InvalidMessage, "warren-receipt")?.as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Place::Header.wrong(Code::InvalidMessage, "receipt", "must be `true` or `false`")),
    };
    let except = said("except", Code::InvalidMessage, "warren-except")?;
    except.as_deref().map_or(Ok(()), |id| named(&Place::Header, "except", id))?;
    Ok(Options {
        kind: said("type", Code::InvalidMessage, "warren-type")?,
        ttl: said("ttl", Code::InvalidMessage, "warren-ttl")?,
        collapse_key: said("collapse_key", Code::InvalidMessage, "warren-collapse-key")?,
        priority: said("priority", Code::InvalidPriority, "warren-priority")?,
        run_at: said("run_at", Code::InvalidTiming, "warren-run-at")?,
        delay: said("delay", Code::InvalidTiming, "warren-delay")?,
        receipt,
        except,
    })
}

/// What a device says of what it publishes.
pub(crate) fn type_alone(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    header::refuse_but(headers, &KNOWN_OF_LOG[..1])?;
    let text = header::once(headers, KNOWN_OF_LOG[0]);
    Ok(text.map_err(|why| Place::Header.wrong(Code::InvalidMessage, "type", why))?.map(str::to_owned))
}

/// The media type of a message's body, as the device gets it.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |why: &str| Place::Header.wrong(Code::InvalidMessage, "content_type", why);
    let text = header::once(headers, CONTENT_TYPE.as_str()).map_err(wrong)?.filter(|text| !text.is_empty());
    typed(text.unwrap_or(BYTES)).map_err(wrong)
}

/// `type/subtype`, with whatever parameters.
pub(crate) fn typed(text: &str) -> Result<String, &'static str> {
    let token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b));
    let essence = text.split(';').next().unwrap_or_default().trim();
    let good = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    match good && text.len() <= media::LONGEST && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        true => Ok(text.to_owned()),
        false => Err("must be a media type of up to 255 bytes, such as `application/json` or `text/plain; charset=utf-8`"),
    }
}

/// Whether bytes are what their type says: a device gets JSON as JSON, and would choke on anything else. All other types are opaque.
pub(crate) fn check_body(content_type: &str, bytes: &[u8]) -> Result<(), Problem> {
    if media::is_json(content_type) { body::check_json(bytes) } else { Ok(()) }
}

/// The user in an address.
pub(super) fn user_of(user: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let user = user.map(|Path(user)| user).unwrap_or_default();
    match is_user(&user) {
        true => Ok(user),
        false => Err(Problem::new(Code::InvalidMessage, format!("a user has 1 to {USER} bytes without control characters"))),
    }
}

pub(crate) fn is_user(user: &str) -> bool {
    (1..=USER).contains(&user.len()) && !user.chars().any(char::is_control)
}

pub(crate) fn named(place: &Place<'_>, field: &str, id: &str) -> Result<(), Problem> {
    check_id(id).map_err(|error| place.wrong(Code::InvalidMessage, field, &error.why))
}

/// The trace the request belongs to. A malformed one starts none: tracing is no reason to refuse a message.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = header::once(headers, "traceparent").ok()??;
    TraceContext::parse(text).map(|_| text.to_owned())
}

/// One message of a batch: to `device`, to `devices` or to `user`, with `data` or `data_base64`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MessageItem, example = json!({"device": "pixel-7", "type": "order.shipped", "data": {"order": 4711}, "ttl": "2d"}))]
pub(super) struct Item<'a> {
    /// To this device.
    device: Option<String>,
    /// To these, 1 to 100.
    devices: Option<Vec<String>>,
    /// To all devices of this user.
    user: Option<String>,
    /// To all devices of this group; with none of `except`, `collapse_key`, `run_at`, `delay` and `receipt`.
    group: Option<String>,
    /// With `user`: but not to this device.
    except: Option<String>,
    /// What it is, by the sender's own names: up to 128 bytes.
    r#type: Option<String>,
    /// Of the data; `application/json` unless said, and `application/octet-stream` for `data_base64`.
    content_type: Option<String>,
    /// Any JSON; with a `content_type` that is not JSON a text, which is sent in UTF-8.
    #[serde(borrow, default, deserialize_with = "present")]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<&'a RawValue>,
    /// Any bytes, as base64 (RFC 4648 section 4, with padding).
    data_base64: Option<String>,
    /// What `Idempotency-Key` is on a request of its own; the same key there and here is the same message.
    pub(super) key: Option<String>,
    /// As `Warren-TTL`.
    ttl: Option<String>,
    /// As `Warren-Collapse-Key`.
    collapse_key: Option<String>,
    /// As `Warren-Priority`.
    priority: Option<String>,
    /// As `Warren-Run-At`.
    run_at: Option<String>,
    /// As `Warren-Delay`.
    delay: Option<String>,
    /// As `Warren-Receipt`.
    receipt: Option<bool>,
}

/// A member that is there is there, also when it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// What an item asks for.
pub(super) struct Wanted {
    pub(super) target: Target,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    pub(super) options: Options,
}

impl Item<'_> {
    /// What it asks for, with a body of `limit` bytes at most. `place` is where it stands.
    pub(super) fn wanted(self, limit: usize, place: &str) -> Result<Wanted, Problem> {
        let at = Place::Item(place);
        let wrong = |field: &str, why: &str| at.wrong(Code::InvalidMessage, field, why);
        let target = match (self.device, self.devices, self.user, self.group) {
            (Some(id), None, None, None) => Target::Devices(vec![id]),
            (None, Some(ids), None, None) => Target::Devices(ids),
            (None, None, Some(user), None) if is_user(&user) => Target::User { user, except: self.except.clone() },
            (None, None, Some(_), None) => return Err(wrong("user", "must have 1 to 128 bytes and no control characters")),
            (None, None, None, Some(group)) => {
                check_group(&group).map_err(|error| wrong("group", &error.why))?;
                Target::Log(Audience::Group(group))
            }
            _ => return Err(wrong("item", "needs one of `device`, `devices`, `user` and `group`, and no other")),
        };
        match &target {
            Target::Devices(ids) if ids.is_empty() => return Err(wrong("devices", "is empty")),
            Target::Devices(_) if self.except.is_some() => return Err(wrong("except", "goes with `user` alone")),
            Target::Devices(ids) => ids.iter().try_for_each(|id| named(&at, "device", id))?,
            Target::User { except, .. } => except.as_deref().map_or(Ok(()), |id| named(&at, "except", id))?,
            Target::Log(_) => {
                let said = [
                    ("except", self.except.is_some()),
                    ("collapse_key", self.collapse_key.is_some()),
                    ("run_at", self.run_at.is_some()),
                    ("delay", self.delay.is_some()),
                    ("receipt", self.receipt.is_some()),
                ];
                if let Some((field, _)) = said.into_iter().find(|(_, said)| *said) {
                    return Err(at.wrong(
                        Code::NotSupportedYet,
                        field,
                        "does not go with `group`: it is one entry for all of them",
                    ));
                }
            }
        }
        let usual = if self.data.is_some() { media::JSON } else { BYTES };
        let content_type = typed(self.content_type.as_deref().unwrap_or(usual)).map_err(|why| wrong("content_type", why))?;
        let (field, body) = match (self.data, &self.data_base64) {
            // A copy: a slice would keep the whole batch in memory for as long as the message is.
            (Some(data), None) if media::is_json(&content_type) => ("data", Bytes::copy_from_slice(data.get().as_bytes())),
            (Some(data), None) => {
                let text: Result<Cow<'_, str>, _> = serde_json::from_str(data.get());
                let why = "must be a text where `content_type` is not JSON; send other bytes as `data_base64`";
                ("data", Bytes::from(text.map_err(|_| wrong("data", why))?.into_owned()))
            }
            (None, Some(coded)) => {
                let bytes = STANDARD.decode(coded).map_err(|_| wrong("data_base64", "must be base64 with its padding"))?;
                ("data_base64", Bytes::from(bytes))
            }
            _ => return Err(wrong("item", "needs one of `data` and `data_base64`, and no other")),
        };
        let pointer = format!("{place}/{field}");
        if body.len() > limit {
            let detail =
                format!("the data of the message has over {limit} bytes: store large data elsewhere and send its address");
            return Err(Problem::new(Code::BodyTooLarge, detail).pointer(&pointer, "too large"));
        }
        check_body(&content_type, &body).map_err(|problem| problem.pointer(&pointer, "is no well-formed JSON"))?;
        let options = Options {
            kind: self.r#type,
            ttl: self.ttl,
            collapse_key: self.collapse_key,
            priority: self.priority,
            run_at: self.run_at,
            delay: self.delay,
            receipt: self.receipt,
            except: self.except,
        };
        Ok(Wanted { target, content_type, body, options })
    }
}
