//! `POST` of a message to a device, to a user, to a group, to all: the hot path. Checks at the door, cheapest and most telling
//! first; then one durable write.

use std::time::Instant;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use door::problem::{Code, Document, Problem, shown};
use door::rates::Standing;
use door::scope::{MESSAGES_BROADCAST, MESSAGES_SEND};
use door::{body, key};
use messaging::trace::Entered;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::metrics::Sort;
use super::refusals::Place;
use super::view::MessageLinks;
use super::{Api, caller, items};
use crate::sending::{Accepted, Sending};
use crate::store::{Audience, Target};

/// The answer to a send.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SentMessage)]
pub(super) struct SentView {
    /// The message: a UUIDv7.
    #[schema(example = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    pub(super) id: String,
    /// `queued`, or `scheduled` when the request names a time; also on a replay.
    #[schema(example = "queued")]
    pub(super) state: &'static str,
    /// Where it is.
    pub(super) links: MessageLinks,
}

/// Send a message to a device
///
/// 202 means that the message is on disk: it waits until the device has acked it, its time is over, or it is dropped, which is told.
/// The body is opaque bytes of its `Content-Type`, 64 KiB at most unless configured; JSON must be well-formed. With an
/// `Idempotency-Key`, the same request can be sent again until it is answered, and sends one message.
#[utoipa::path(
    post,
    path = "/v1/devices/{id}/messages",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(
        ("id" = String, Path, description = "the device's id", example = "pixel-7"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, quoted or bare; remembered for 7 days"),
        ("Warren-Type" = Option<String>, Header, description = "what it is, by your own names: up to 128 bytes"),
        ("Warren-TTL" = Option<String>, Header, description = "how long it may wait for the device: `30s`, `1h`, `28d`; that of the device's tier unless said"),
        ("Warren-Collapse-Key" = Option<String>, Header, description = "of two undelivered messages with the same key the older is dropped: up to 128 bytes"),
        ("Warren-Priority" = Option<String>, Header, description = "`normal` or `high`: whether it is worth waking the device for; the order is that of sending for both"),
        ("Warren-Run-At" = Option<String>, Header, description = "not before this time: RFC 3339, at most 366 days ahead; one that went by means now"),
        ("Warren-Delay" = Option<String>, Header, description = "not before this long from now: `30s`, `1h 30m`, `7d`"),
        ("Warren-Receipt" = Option<String>, Header, description = "`true`: its end is told by receipts"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the device"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the message, of any type"),
    responses(
        (status = 202, description = "stored", body = SentView, headers(
            ("Location" = String, description = "the message's address"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
            ("RateLimit-Policy" = Option<String>, description = "the limit nearer to its end, if there is one: `\"tenant\";q=1000;w=1`"),
            ("RateLimit" = Option<String>, description = "what is left of it: `\"tenant\";r=999`"),
        )),
        (status = 400, description = "invalid-device, invalid-message, invalid-timing, invalid-priority, invalid-idempotency-key, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "idempotency-key-undecided", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-content-encoding", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "idempotency-key-reused", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "backlog-full, store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 507, description = "device-backlog-full", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn to_device(State(api): State<Api>, id: Result<Path<String>, PathRejection>, request: Request) -> Response {
    take(&api, To::Device(id), request).await
}

/// Send a message to all devices of a user
///
/// As to one device; it is one message, in the order of each device's own. A user whose devices are revoked still has them: their
/// messages wait.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/messages",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(
        ("user" = String, Path, description = "the user, as devices are registered with it", example = "ada"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, quoted or bare; remembered for 7 days"),
        ("Warren-Except" = Option<String>, Header, description = "a device of the user that it does not go to: where it comes from"),
        ("Warren-Type" = Option<String>, Header, description = "what it is, by your own names: up to 128 bytes"),
        ("Warren-TTL" = Option<String>, Header, description = "how long it may wait for a device: `30s`, `1h`, `28d`; that of the device's tier unless said"),
        ("Warren-Collapse-Key" = Option<String>, Header, description = "of two undelivered messages with the same key the older is dropped: up to 128 bytes"),
        ("Warren-Priority" = Option<String>, Header, description = "`normal` or `high`: whether it is worth waking the device for"),
        ("Warren-Run-At" = Option<String>, Header, description = "not before this time: RFC 3339, at most 366 days ahead; one that went by means now"),
        ("Warren-Delay" = Option<String>, Header, description = "not before this long from now: `30s`, `1h 30m`, `7d`"),
        ("Warren-Receipt" = Option<String>, Header, description = "`true`: its ends are told by receipts"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the devices"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the message, of any type"),
    responses(
        (status = 202, description = "stored", body = SentView, headers(
            ("Location" = String, description = "the message's address"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
        )),
        (status = 400, description = "invalid-message, invalid-timing, invalid-priority, invalid-idempotency-key, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "no-devices", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "idempotency-key-undecided, too-many-devices", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-content-encoding", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "idempotency-key-reused", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "backlog-full, store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 507, description = "device-backlog-full", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn to_user(State(api): State<Api>, user: Result<Path<String>, PathRejection>, request: Request) -> Response {
    take(&api, To::User(user), request).await
}

/// Send a message to a group
///
/// One entry of a log, however many devices are in the group: each gets it in the order in which the group's were accepted, those that are away when they come back.
/// Devices that come into the group later do not get it. How many have it is counted; there are no receipts.
#[utoipa::path(
    post,
    path = "/v1/groups/{group}/messages",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(
        ("group" = String, Path, description = "the group: `[a-z0-9][a-z0-9_-]{0,62}`", example = "room-7"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, quoted or bare; remembered for 7 days"),
        ("Warren-Type" = Option<String>, Header, description = "what it is, by your own names: up to 128 bytes"),
        ("Warren-TTL" = Option<String>, Header, description = "how long it may wait for a device: `30s`, `1h`, `28d`; 28 days unless said"),
        ("Warren-Priority" = Option<String>, Header, description = "`normal` or `high`: whether it is worth waking a device for"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the devices"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the message, of any type"),
    responses(
        (status = 202, description = "stored", body = SentView, headers(
            ("Location" = String, description = "the message's address"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
        )),
        (status = 400, description = "invalid-group, invalid-message, invalid-timing, invalid-priority, invalid-idempotency-key, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "no-devices: nobody is in the group", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "idempotency-key-undecided", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-content-encoding", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "idempotency-key-reused", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "backlog-full, store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn to_group(State(api): State<Api>, group: Result<Path<String>, PathRejection>, request: Request) -> Response {
    take(&api, To::Group(group), request).await
}

/// Send a message to all devices
///
/// Of the tenant, or to those with a label: as to a group. It needs a scope of its own.
#[utoipa::path(
    post,
    path = "/v1/broadcasts",
    tag = "messages",
    security(("token" = ["messages:broadcast"])),
    params(
        Wanted,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, quoted or bare; remembered for 7 days"),
        ("Warren-Type" = Option<String>, Header, description = "what it is, by your own names: up to 128 bytes"),
        ("Warren-TTL" = Option<String>, Header, description = "how long it may wait for a device: `30s`, `1h`, `28d`; 28 days unless said"),
        ("Warren-Priority" = Option<String>, Header, description = "`normal` or `high`: whether it is worth waking a device for"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the devices"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the message, of any type"),
    responses(
        (status = 202, description = "stored", body = SentView, headers(
            ("Location" = String, description = "the message's address"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
        )),
        (status = 400, description = "invalid-parameter, invalid-message, invalid-timing, invalid-priority, invalid-idempotency-key, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "no-devices: there is none", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "idempotency-key-undecided", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-content-encoding", body = Document, content_type = "application/problem+json"),
        (status = 422, description = "idempotency-key-reused", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "backlog-full, store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn to_all(State(api): State<Api>, asked: Result<Query<Wanted>, QueryRejection>, request: Request) -> Response {
    take(&api, To::All(asked), request).await
}

/// Which of them a broadcast is for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Those with this label alone, as `<name>=<value>`; all unless said.
    #[param(example = "app=shop")]
    label: Option<String>,
}

fn audience(asked: Result<Query<Wanted>, QueryRejection>) -> Result<Audience, Problem> {
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let Query(Wanted { label }) =
        asked.map_err(|why| wrong(format!("a query parameter is wrong: {}", shown(&why.body_text()))))?;
    let Some(label) = label else { return Ok(Audience::Everyone) };
    match label.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Audience::Label { name: name.to_owned(), value: value.to_owned() }),
        _ => Err(wrong("`label` must be `<name>=<value>`".to_owned())),
    }
}

/// To whom, as the address says it.
enum To {
    Device(Result<Path<String>, PathRejection>),
    User(Result<Path<String>, PathRejection>),
    Group(Result<Path<String>, PathRejection>),
    All(Result<Query<Wanted>, QueryRejection>),
}

impl To {
    /// The address, without what stands in it.
    fn route(&self) -> &'static str {
        match self {
            Self::Device(_) => "/v1/devices/{id}/messages",
            Self::User(_) => "/v1/users/{user}/messages",
            Self::Group(_) => "/v1/groups/{group}/messages",
            Self::All(_) => "/v1/broadcasts",
        }
    }
}

async fn take(api: &Api, to: To, request: Request) -> Response {
    let begun = Instant::now();
    let sent = items::traceparent(request.headers());
    let Entered { traceparent, mut span } = api.parts().tracer.serve("POST", to.route(), sent);
    match accept(api, to, request, traceparent).await {
        Ok(Taken { accepted, sort, state, standing }) => {
            if let Some(span) = &mut span {
                span.answered(StatusCode::ACCEPTED.as_u16());
                span.set("warren.message.id", accepted.id.to_string());
            }
            count(api, sort, accepted.replayed);
            let mut response = answer(accepted, state);
            if let Some(standing) = standing {
                standing.write(response.headers_mut());
            }
            api.metrics().duration.observe(begun.elapsed().as_secs_f64());
            response
        }
        Err(problem) => {
            if let Some(span) = span {
                span.refused(problem.code.status().as_u16(), problem.code.as_str());
            }
            problem.into_response()
        }
    }
}

/// A message that is on disk.
struct Taken {
    accepted: Accepted,
    sort: Sort,
    /// The state that the answer names.
    state: &'static str,
    standing: Option<Standing>,
}

async fn accept(api: &Api, to: To, request: Request, traceparent: Option<String>) -> Result<Taken, Problem> {
    let (parts, sent) = request.into_parts();
    let headers = &parts.headers;
    let caller = api.parts().verifier.authenticate(headers)?;
    caller.require(if matches!(to, To::All(_)) { MESSAGES_BROADCAST } else { MESSAGES_SEND })?;
    let standing = api.rates().take(&caller)?;

    let mut target = match to {
        To::Device(id) => Target::Devices(vec![caller::id_of(id)?]),
        To::User(user) => Target::User { user: items::user_of(user)?, except: None },
        To::Group(group) => Target::Log(Audience::Group(caller::group_of(group)?)),
        To::All(asked) => Target::Log(audience(asked)?),
    };
    let options = items::options(headers, &target)?;
    if let Target::User { except, .. } = &mut target {
        except.clone_from(&options.except);
    }
    let content_type = items::content_type(headers)?;
    body::check_encoding(headers)?;
    let key = key::of(headers)?;
    let sent = body::read(sent, api.options().body_limit, api.options().body_deadline).await?;
    items::check_body(&content_type, &sent)?;

    let (sort, state) = (Sort::of(&target), said_state(options.is_scheduled()));
    let sending = Sending {
        tenant: caller.tenant.clone(),
        sender: caller.subject.clone(),
        publisher: None,
        target,
        content_type,
        body: sent,
        options,
        traceparent,
        key,
    };
    let accepted = api.parts().sender.send(sending).await.map_err(|error| Place::Header.refused(error))?;
    Ok(Taken { accepted, sort, state, standing })
}

/// The state that the answer names. It follows from the request, so that a repetition is answered to the byte.
pub(super) fn said_state(scheduled: bool) -> &'static str {
    if scheduled { "scheduled" } else { "queued" }
}

/// Counts one that was taken.
pub(super) fn count(api: &Api, sort: Sort, replayed: bool) {
    match replayed {
        true => api.metrics().replayed.inc(),
        false => api.metrics().taken(sort),
    }
}

/// The 202. It depends on nothing but the request and the message's id, so a replay is the first answer to the byte.
fn answer(accepted: Accepted, state: &str) -> Response {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = accepted.id.hyphenated().encode_lower(&mut buffer);
    let body = format!(r#"{{"id":"{id}","state":"{state}","links":{{"self":"/v1/messages/{id}"}}}}"#);
    door::accepted(Some(format!("/v1/messages/{id}")), body, accepted.replayed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_handwritten_answer_is_what_the_schema_says() {
        let id = Uuid::now_v7();
        let view = SentView { id: id.to_string(), state: "queued", links: MessageLinks::of(id) };
        let answer = answer(Accepted { id, replayed: false }, "queued").into_body();
        let written = axum::body::to_bytes(answer, usize::MAX).await.unwrap();
        assert_eq!(written, serde_json::to_vec(&view).unwrap());
    }
}
