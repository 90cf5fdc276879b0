//! `GET` and `DELETE /v1/messages/{id}`: what became of a message, and taking it back; `POST .../pause` and `.../resume`, of what goes to many.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use database::clock;
use door::auth::Authenticated;
use door::header;
use door::problem::{Code, Document, Problem};
use door::scope::{MESSAGES_READ, MESSAGES_SEND};
use serde::Serialize;
use uuid::Uuid;

use super::view::{MessageLinks, MessageView, PAUSED};
use super::{Api, micros};
use crate::follow::NewEntry;
use crate::store::{Pausing, State as MessageState};

/// What a cancel came to.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CancelledMessage)]
pub(super) struct CancelledView {
    /// The message.
    id: String,
    /// Devices that would still have got it and do not any more; 0 when it had ended for all before.
    cancelled: u32,
    /// Where it is.
    links: MessageLinks,
}

/// What a pause came to.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PausedMessage)]
pub(super) struct PausedView {
    /// The message.
    id: String,
    /// `paused` or `queued`, of those who have not got it.
    #[schema(example = "paused")]
    state: &'static str,
    /// Where it is.
    links: MessageLinks,
}

impl PausedView {
    fn answer(id: Uuid, state: &'static str) -> impl IntoResponse {
        let view = Self { id: id.to_string(), state, links: MessageLinks::of(id) };
        ([(CACHE_CONTROL, "no-store")], Json(view))
    }
}

/// Read a message
///
/// What became of it for each of its devices; of more than 20, how many it is in which state for. Its body is not told.
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    tag = "messages",
    security(("token" = ["messages:read"])),
    params(("id" = String, Path, description = "the message's id, a UUID")),
    responses(
        (status = 200, description = "the message", body = MessageView),
        (status = 400, description = "invalid-message-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "message-not-found", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the time that ended messages are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(MESSAGES_READ)?;
    header::refuse_but(&headers, &[])?;
    let id = id_of(id)?;
    let record = api.parts().messages.record(&caller.tenant, id).await?.ok_or_else(|| gone(&api, id))?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(MessageView::of(record))))
}

/// Cancel a message
///
/// What is not delivered yet ends as `dropped`, reason `cancelled`; a connected device that has it and has not acked it is told to take it back, and one that just gets it may still have it. Again: nothing more.
#[utoipa::path(
    delete,
    path = "/v1/messages/{id}",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(("id" = String, Path, description = "the message's id, a UUID")),
    responses(
        (status = 200, description = "nothing more of it is delivered", body = CancelledView),
        (status = 400, description = "invalid-message-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "message-not-found", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the time that ended messages are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(MESSAGES_SEND)?;
    header::refuse_but(&headers, &[])?;
    let id = id_of(id)?;
    let cancelled = api.parts().messages.cancel(&caller.tenant, id, clock::now()).await?;
    if !cancelled.known {
        return Err(gone(&api, id));
    }
    if !cancelled.withdrawn.is_empty() {
        api.parts().follow.withdrawn(&cancelled.withdrawn);
    }
    if let Some(recalled) = &cancelled.recalled {
        api.parts().follow.recalled(recalled);
    }
    api.metrics().cancelled.inc_by(cancelled.count.into());
    tracing::info!(message = %id, tenant = caller.tenant, subject = caller.subject, "a message was cancelled");
    let answer = CancelledView { id: id.to_string(), cancelled: cancelled.count, links: MessageLinks::of(id) };
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)))
}

/// Pause a message
///
/// Of one to a group or to all: it is given to nobody more for now. A connected device that has it and has not acked it is told to take it back. Again: nothing more. Its time goes on.
#[utoipa::path(
    post,
    path = "/v1/messages/{id}/pause",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(("id" = String, Path, description = "the message's id, a UUID")),
    responses(
        (status = 200, description = "it is given to nobody for now", body = PausedView),
        (status = 400, description = "invalid-message-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "message-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "message-direct, message-over", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the time that ended messages are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn pause(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(MESSAGES_SEND)?;
    header::refuse_but(&headers, &[])?;
    let id = id_of(id)?;
    let paused = is_done(&api, id, api.parts().messages.pause(&caller.tenant, id, clock::now()).await?)?;
    if let Some(recalled) = &paused {
        api.parts().follow.recalled(recalled);
        tracing::info!(message = %id, tenant = caller.tenant, subject = caller.subject, "a message was paused");
    }
    Ok(PausedView::answer(id, PAUSED))
}

/// Have a paused message go on
///
/// To those who are in its audience now. Who had it before the pause gets it once more, with the same id. Again: nothing more.
#[utoipa::path(
    post,
    path = "/v1/messages/{id}/resume",
    tag = "messages",
    security(("token" = ["messages:send"])),
    params(("id" = String, Path, description = "the message's id, a UUID")),
    responses(
        (status = 200, description = "it is given again", body = PausedView),
        (status = 400, description = "invalid-message-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "message-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "message-direct, message-over", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the time that ended messages are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn resume(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(MESSAGES_SEND)?;
    header::refuse_but(&headers, &[])?;
    let id = id_of(id)?;
    let resumed = is_done(&api, id, api.parts().messages.resume(&caller.tenant, id, clock::now()).await?)?;
    if let Some(entry) = resumed {
        api.parts().follow.logged(&[NewEntry { tenant: caller.tenant.as_str().into(), entry: Arc::new(entry) }]);
        tracing::info!(message = %id, tenant = caller.tenant, subject = caller.subject, "a message goes on");
    }
    Ok(PausedView::answer(id, MessageState::Queued.name()))
}

/// What is refused of a pause.
fn is_done<T>(api: &Api, id: Uuid, pausing: Pausing<T>) -> Result<Option<T>, Problem> {
    match pausing {
        Pausing::Done(done) => Ok(done),
        Pausing::Unknown => Err(gone(api, id)),
        Pausing::Direct => {
            let detail = "this message goes to devices by their names: only what goes to a group or to all is paused; DELETE takes it back";
            Err(Problem::new(Code::MessageDirect, detail))
        }
        Pausing::Over => {
            Err(Problem::new(Code::MessageOver, "this message was withdrawn, or its time is over: nobody gets it any more"))
        }
    }
}

/// The id in an address.
fn id_of(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.ok_or_else(|| Problem::new(Code::InvalidMessageId, "a message's id is the UUID that sending it answered"))
}

/// Why there is no such message. Alike for what is not there and what is another tenant's.
fn gone(api: &Api, id: Uuid) -> Problem {
    match clock::made_at(id) {
        Some(made) if made < clock::now().saturating_sub(micros(api.options().retention)) => {
            Problem::new(Code::Purged, "a message of this age may be purged already: if there was one of your tenant, it is gone")
        }
        _ => Problem::new(Code::MessageNotFound, "there is no message with this id in this tenant"),
    }
}
