//! `POST /v1/device/acks`: what a device is done with, whichever way it came, at any process.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use door::auth::{Caller, Verifier};
use door::body;
use door::problem::{Code, Document, Problem};

use super::asking::replaced;
use crate::protocol::MAX_FRAME;
use crate::protocol::poll::Acks;
use crate::sessions::Sessions;
use crate::store::{Ack, Acked, Device, Heard, Hearing, Outcome, Which};

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Statements for one request, each of some thousand messages.
const MOST: usize = 16;

/// How often a newer session may come between, or a group that the session has not heard of; and the time between two tries, more with each.
const TRIES: u32 = 3;
const REST: Duration = Duration::from_millis(100);

/// Ack messages
///
/// One or more of `up_to` (all that the device was given up to this `seq`), `ids` (up to 256), `entry` (all that it was given of groups and broadcasts up to this entry), `gap`. Again: nothing more happens.
#[utoipa::path(
    post,
    path = "/v1/device/acks",
    tag = "device",
    security(("token" = ["device"])),
    request_body(content = serde_json::Value, content_type = "application/json", description = "what the device is done with",
        example = json!({"up_to": 7, "ids": ["0192f3c4-5b6a-7c8d-9e0f-112233445577"], "gap": 3})),
    responses(
        (status = 204, description = "it is stored"),
        (status = 400, description = "malformed-json, body-incomplete", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "session-replaced: newer sessions came between again and again; ack again", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-content-encoding", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn ack(State(sessions): State<Sessions>, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    let bearer = sessions.bearer(Verifier::bearer_of(&headers)?)?;
    body::check_encoding(&headers)?;
    let body = body::read(body, MAX_FRAME, BODY_WITHIN).await?;
    let acks = Acks::decode(&body).map_err(|wrong| {
        let problem = Problem::new(Code::MalformedJson, wrong.to_string());
        if wrong.field.is_empty() { problem } else { problem.pointer(&format!("/{}", wrong.field.replace('.', "/")), wrong.what) }
    })?;
    acked(&sessions, &bearer.caller, &acks).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stores what a device says it is done with, and has its session hear of it, wherever that is; answers the device as it was.
pub(crate) async fn acked(sessions: &Sessions, caller: &Caller, acks: &Acks) -> Result<Device, Problem> {
    for tried in 0..TRIES {
        tokio::time::sleep(REST * tried).await;
        let device = sessions.admit(caller).await?;
        if settle(sessions, &device, acks).await? {
            if let Some(session) = &device.session {
                sessions.acked(device.number, session);
            }
            return Ok(device);
        }
        // Somebody claimed it between the look and the write; the device is still the one who acks.
    }
    Err(replaced())
}

/// Settles under the fence that the device has; whether it counted.
async fn settle(sessions: &Sessions, device: &Device, acks: &Acks) -> Result<bool, Problem> {
    let fence = device.fence;
    let poll = sessions.polling().get(device.number, fence);
    let given = match &poll {
        Some(session) => Some(session.kept().highest).filter(|highest| *highest > 0),
        None => sessions.given_here(device.number, fence),
    };
    // What another process gave is not known here: then it is what the device can have been given.
    let given = given.unwrap_or(device.seq);
    let mut whiches = Vec::new();
    if let Some(up_to) = acks.up_to {
        whiches.push(Which::UpTo { seq: i64::try_from(up_to).unwrap_or(i64::MAX), given });
    }
    if !acks.ids.is_empty() {
        whiches.push(Which::Messages(acks.ids.clone()));
    }
    for which in whiches {
        for _ in 0..MOST {
            let ack = Ack { device: device.number, fence, which: which.clone(), outcome: Outcome::Delivered };
            match sessions.settle(ack).await? {
                Acked::Ended { more: true, .. } => {}
                Acked::Ended { more: false, .. } => break,
                Acked::Fenced { .. } => return Ok(false),
                Acked::Unknown => return Err(Problem::new(Code::DeviceNotFound, "the device was removed: register it again")),
            }
        }
    }
    let heard = match poll.as_ref().filter(|session| session.kept().log.has_given()) {
        Some(session) => session.kept().log.hears(acks),
        // As above.
        None => match acks.entry {
            Some(entry) => Some(sessions.head(&device.registration.tenant).await?.min(i64::try_from(entry).unwrap_or(i64::MAX))),
            None => None,
        },
    };
    if let Some(entry) = heard {
        match sessions.has_heard(Hearing { device: device.number, fence, roster: None, entry }).await? {
            Heard::Done => {
                if let Some(session) = &poll {
                    session.kept().log.stored(entry);
                }
            }
            // The session has yet to hear of a group that its device came into: it may have passed over something by then.
            Heard::Stale => {
                if let Some(session) = &device.session {
                    sessions.put_out_session(device.number, session);
                }
                return Ok(false);
            }
            Heard::Fenced => return Ok(false),
            Heard::Unknown => return Err(Problem::new(Code::DeviceNotFound, "the device was removed: register it again")),
        }
    }
    if let Some(session) = poll {
        session.kept().acked(acks);
    }
    if let Some(number) = acks.gap {
        sessions.told(device.number, fence, i64::try_from(number).unwrap_or(i64::MAX)).await?;
    }
    Ok(true)
}
