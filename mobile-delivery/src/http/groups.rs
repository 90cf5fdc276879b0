//! `PUT` and `DELETE /v1/groups/{group}/members/{device}`: who is in a group. A group is there while a device is in it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use database::clock;
use door::auth::{Authenticated, Caller};
use door::header;
use door::problem::{Code, Document, Problem};
use door::scope::DEVICES_WRITE;

use super::Api;
use super::refusals::no_device;
use crate::store::{GROUPS, Membership, check_group, check_id};

/// Add a device to a group
///
/// From now on it gets what is sent to the group. Again: nothing changes.
#[utoipa::path(
    put,
    path = "/v1/groups/{group}/members/{device}",
    tag = "groups",
    security(("token" = ["devices:write"])),
    params(
        ("group" = String, Path, description = "the group: `[a-z0-9][a-z0-9_-]{0,62}`", example = "room-7"),
        ("device" = String, Path, description = "the device's id", example = "pixel-7"),
    ),
    responses(
        (status = 204, description = "it is in the group"),
        (status = 400, description = "invalid-group, invalid-device, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "too-many-groups: 64 for a device", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn join(
    State(api): State<Api>,
    caller: Authenticated,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    member(&api, &caller, path, &headers, true).await
}

/// Take a device out of a group
///
/// It gets nothing more of the group, also of what it has not heard yet. Again: nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/groups/{group}/members/{device}",
    tag = "groups",
    security(("token" = ["devices:write"])),
    params(
        ("group" = String, Path, description = "the group", example = "room-7"),
        ("device" = String, Path, description = "the device's id", example = "pixel-7"),
    ),
    responses(
        (status = 204, description = "it is not in the group"),
        (status = 400, description = "invalid-group, invalid-device, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn leave(
    State(api): State<Api>,
    caller: Authenticated,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    member(&api, &caller, path, &headers, false).await
}

async fn member(
    api: &Api,
    caller: &Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: &HeaderMap,
    is_in: bool,
) -> Result<StatusCode, Problem> {
    caller.require(DEVICES_WRITE)?;
    api.rates().take(caller)?;
    header::refuse_but(headers, &[])?;
    let (group, id) = path.map(|Path(both)| both).unwrap_or_default();
    check_group(&group).map_err(|error| Problem::new(Code::InvalidGroup, error.to_string()))?;
    check_id(&id).map_err(|error| Problem::new(Code::InvalidDevice, error.to_string()))?;
    match api.parts().devices.member(&caller.tenant, &group, &id, is_in, clock::now()).await? {
        Membership::Done { changed, device, session } => {
            // It goes by its groups as they were until it has looked.
            if let Some(session) = session.filter(|_| changed) {
                api.parts().follow.put_out(device, &session);
            }
            Ok(StatusCode::NO_CONTENT)
        }
        Membership::Unknown => Err(no_device(&id)),
        Membership::Full => {
            let detail = format!("the device is in {GROUPS} groups: take it out of one that it does not need any more first");
            Err(Problem::new(Code::TooManyGroups, detail))
        }
    }
}
