//! `POST /v1/devices/{id}/token`: a device exchanges its refresh token for the next token and the next refresh token.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use database::clock;
use door::problem::{Code, Document, Problem};
use door::{body, header, media};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::caller::id_of;
use super::refusals::{no_tokens, token};
use super::registering::TokensView;
use super::{Api, micros, refusals};
use crate::store::{Hash, Refreshed};

/// The largest body, in bytes.
const BODY: usize = 4 << 10;

/// What a device shows.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refresh)]
pub(super) struct Shown {
    /// The newest refresh token that it has.
    refresh_token: String,
}

/// What it gets.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Refreshed)]
pub(super) struct RefreshedView {
    /// The device.
    #[schema(example = "pixel-7")]
    id: String,
    #[serde(flatten)]
    tokens: TokensView,
}

/// Get a device its next token
///
/// Needs no other token. Store the new refresh token before the new token is used: the one that was shown counts no more once the new
/// one was. When the answer is lost, show the same again: it is answered the same. A refresh token that was exchanged before the last
/// one, shown again, says that somebody has a copy, and the device is revoked.
#[utoipa::path(
    post,
    path = "/v1/devices/{id}/token",
    tag = "devices",
    security(()),
    params(("id" = String, Path, description = "the device's id", example = "pixel-7")),
    request_body(content = Shown, content_type = "application/json"),
    responses(
        (status = 200, description = "the next ones", body = RefreshedView),
        (status = 400, description = "invalid-device, invalid-parameter, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-invalid: no refresh token of this device", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked: before, or by this", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 501, description = "no-tokens: the hub has no key to sign with", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn refresh(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<impl IntoResponse, Problem> {
    let id = id_of(id)?;
    header::refuse_but(&headers, &[])?;
    let tokens = api.parts().tokens.as_ref().ok_or_else(no_tokens)?;
    media::content_type(&headers, &[media::JSON])?;
    body::check_encoding(&headers)?;
    let sent = body::read(sent, BODY, api.options().body_deadline).await?;
    let shown = shown(&sent)?;

    let unknown = |why: &str| {
        api.parts().verifier.refuse(why, "this is no refresh token of this device: show the newest one, or register it anew")
    };
    let fresh = tokens.next(&id, &shown).ok_or_else(|| unknown("it is no refresh token of the device that the address names"))?;
    let grace = micros(api.options().refresh_grace);
    let devices = &api.parts().devices;
    match devices.refresh(Hash::of(&shown), Hash::of(&fresh), clock::now(), grace).await? {
        Refreshed::Done { tenant, .. } => {
            let token = token(tokens, &tenant, &id)?;
            api.metrics().refreshed.inc();
            let answer = RefreshedView { id, tokens: TokensView::of(Some(token), Some(fresh)) };
            Ok(([(CACHE_CONTROL, "no-store")], Json(answer)))
        }
        Refreshed::Reused { device, session } => {
            if let Some(session) = &session {
                api.parts().follow.put_out(device, session);
            }
            if let Ok(Some(found)) = devices.numbered(device).await {
                api.parts().follow.shut_out(&found.registration.tenant, &found.registration.id);
            }
            api.metrics().reused.inc();
            tracing::warn!(
                device.number = device.0,
                "a refresh token was shown again: somebody has a copy, the device is revoked"
            );
            Err(refusals::revoked(&id))
        }
        Refreshed::Revoked { .. } => Err(refusals::revoked(&id)),
        Refreshed::Unknown => Err(unknown("nobody has such a refresh token")),
    }
}

/// The one member of the body.
fn shown(sent: &[u8]) -> Result<String, Problem> {
    // An object first: a list would do for a struct. What is wrong is not repeated: it may be a secret in the wrong place.
    let members: Value = body::parse(sent)?;
    let read = serde_json::from_value(members).and_then(|members: Map<String, Value>| serde_json::from_value(members.into()));
    read.map(|Shown { refresh_token }| refresh_token)
        .map_err(|_| Problem::new(Code::InvalidParameter, "send `{\"refresh_token\": \"...\"}` and nothing else"))
}
