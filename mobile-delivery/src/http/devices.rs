//! `GET` and `DELETE /v1/devices/{id}`, and `POST /v1/devices/{id}/revoke`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use database::clock;
use door::auth::Authenticated;
use door::header;
use door::problem::{Document, Problem};
use door::scope::{DEVICES_READ, DEVICES_WRITE};

use super::Api;
use super::caller::{as_itself_or, id_of};
use super::refusals::no_device;
use super::view::DeviceView;

/// Read a device
///
/// With `devices:read` any of the tenant; with its own token a device reads itself.
#[utoipa::path(
    get,
    path = "/v1/devices/{id}",
    tag = "devices",
    security(("token" = ["devices:read"]), ("token" = ["device"])),
    params(("id" = String, Path, description = "the device's id", example = "pixel-7")),
    responses(
        (status = 200, description = "the device", body = DeviceView),
        (status = 400, description = "invalid-device, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked: with its own token", body = Document, content_type = "application/problem+json"),
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
    let id = id_of(id)?;
    let devices = &*api.parts().devices;
    let itself = as_itself_or(devices, &caller, DEVICES_READ, &id).await?;
    header::refuse_but(&headers, &[])?;
    let device = match itself {
        Some(device) => device,
        None => devices.get(&caller.tenant, &id).await?.ok_or_else(|| no_device(&id))?,
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(DeviceView::of(device, api.parts().broker.as_ref()))))
}

/// Remove a device
///
/// Its messages end as `dropped`, its session is closed, its tokens count no more. A device may sign itself out so.
#[utoipa::path(
    delete,
    path = "/v1/devices/{id}",
    tag = "devices",
    security(("token" = ["devices:write"]), ("token" = ["device"])),
    params(("id" = String, Path, description = "the device's id", example = "pixel-7")),
    responses(
        (status = 204, description = "it is gone"),
        (status = 400, description = "invalid-device, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found: also after it was removed", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked: with its own token", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let id = id_of(id)?;
    let devices = &*api.parts().devices;
    as_itself_or(devices, &caller, DEVICES_WRITE, &id).await?;
    header::refuse_but(&headers, &[])?;
    let removed = devices.remove(&caller.tenant, &id, clock::now()).await?.ok_or_else(|| no_device(&id))?;
    if let Some(session) = &removed.session {
        api.parts().follow.put_out(removed.device, session);
    }
    api.parts().follow.shut_out(&caller.tenant, &id);
    api.metrics().removed.inc();
    tracing::info!(device.number = removed.device.0, tenant = caller.tenant, subject = caller.subject, "a device was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke a device
///
/// It is not let in any more, and its session is closed; its messages stay. Registering it with `rotate` lets it in again.
#[utoipa::path(
    post,
    path = "/v1/devices/{id}/revoke",
    tag = "devices",
    security(("token" = ["devices:write"])),
    params(("id" = String, Path, description = "the device's id", example = "pixel-7")),
    responses(
        (status = 200, description = "the device, revoked now or before", body = DeviceView),
        (status = 400, description = "invalid-device, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(DEVICES_WRITE)?;
    let id = id_of(id)?;
    header::refuse_but(&headers, &[])?;
    let devices = &*api.parts().devices;
    let missing = || no_device(&id);
    let number = devices.get(&caller.tenant, &id).await?.ok_or_else(missing)?.number;
    let session = devices.revoke(number, clock::now()).await?.ok_or_else(missing)?;
    if let Some(session) = &session {
        api.parts().follow.put_out(number, session);
    }
    api.parts().follow.shut_out(&caller.tenant, &id);
    api.metrics().revoked.inc();
    tracing::info!(device.number = number.0, tenant = caller.tenant, subject = caller.subject, "a device was revoked");
    let device = devices.get(&caller.tenant, &id).await?.ok_or_else(missing)?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(DeviceView::of(device, api.parts().broker.as_ref()))))
}
