//! `PUT` and `GET /v1/groups/{group}`: what is said of a group; `PUT` and `DELETE /v1/groups/{group}/members/{device}`: who is in it. A group is there while a device is in it.

use std::ops::RangeInclusive;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use database::{Micros, clock};
use door::auth::{Authenticated, Caller};
use door::problem::{Code, Document, Problem, shown};
use door::scope::{DEVICES_READ, DEVICES_WRITE};
use door::{body, header, media, timing};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::caller::group_of;
use super::refusals::no_device;
use super::{Api, refusals};
use crate::store::{GROUPS, Group, GroupRules, HISTORY, Membership, check_group, check_id};

/// The largest body, in bytes.
const BODY: usize = 4 << 10;

/// How long what devices publish can be kept, in microseconds: 1 s to 28 days.
const TTL: RangeInclusive<Micros> = 1_000_000..=28 * 24 * 3_600_000_000;

/// What is said of a group, in full: what is left out is as it is of a group of which nothing was said.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = GroupRules, example = json!({"publish": "members", "history": 100}))]
pub(super) struct Wanted {
    /// Who may publish besides back ends: `members`, then it is a room, of 1000 devices at most, in which each sees who is there; or `none`, which is the default.
    publish: Option<String>,
    /// How many of the newest messages each member may read back, also from before it came in: 0 to 1000; 0 by default.
    history: Option<u32>,
    /// How long what devices publish is kept for those who are away: `1h`, `7d`; 1 s to 28 days, which is the default.
    ttl: Option<String>,
}

impl Wanted {
    fn rules(&self) -> Result<GroupRules, Problem> {
        let wrong = |field: &str, must: &str| {
            Problem::new(Code::InvalidGroup, format!("`{field}` {must}")).pointer(&format!("/{field}"), must)
        };
        let publish = match self.publish.as_deref() {
            Some("members") => true,
            None | Some("none") => false,
            Some(_) => return Err(wrong("publish", "must be `members` or `none`")),
        };
        let history = self.history.unwrap_or(0);
        let history = u16::try_from(history).ok().filter(|many| *many <= HISTORY);
        let history = history.ok_or_else(|| wrong("history", &format!("must be 0 to {HISTORY}")))?;
        let ttl = self.ttl.as_deref().map(|text| timing::span("ttl", text)).transpose();
        let ttl = ttl.map_err(|error| wrong("ttl", &error.why))?;
        match ttl {
            Some(ttl) if !TTL.contains(&ttl) => Err(wrong("ttl", "must be 1 s to 28 days")),
            ttl => Ok(GroupRules { publish, history, ttl }),
        }
    }
}

/// A group.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Group)]
pub(super) struct GroupView {
    /// Its name.
    #[schema(example = "room-7")]
    group: String,
    /// `members` or `none`.
    #[schema(example = "members")]
    publish: &'static str,
    /// How many of the newest messages members may read back.
    #[schema(example = 100)]
    history: u16,
    /// How long what devices publish is kept, if it was said: ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "PT168H")]
    ttl: Option<String>,
    /// Devices in it; 100,000 are counted at most.
    #[schema(example = 3)]
    members: i64,
    /// Those of them that are connected.
    #[schema(example = 2)]
    present: i64,
}

impl GroupView {
    fn of(name: String, group: Group) -> Self {
        let Group { rules, members, present } = group;
        Self {
            group: name,
            publish: if rules.publish { "members" } else { "none" },
            history: rules.history,
            ttl: rules.ttl.map(|ttl| SignedDuration::from_micros(ttl).to_string()),
            members,
            present,
        }
    }
}

/// Say what a group is
///
/// Whether its devices may publish to it, which makes it a room, and how much they may read back. The full state: what is left out is as it was at first. It counts from the next message on.
#[utoipa::path(
    put,
    path = "/v1/groups/{group}",
    tag = "groups",
    security(("token" = ["devices:write"])),
    params(("group" = String, Path, description = "the group: `[a-z0-9][a-z0-9_-]{0,62}`", example = "room-7")),
    request_body(content = Wanted, content_type = "application/json"),
    responses(
        (status = 200, description = "it is as it was said", body = GroupView),
        (status = 400, description = "invalid-group, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "group-too-large: over 1000 devices are in it", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Authenticated,
    group: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<impl IntoResponse, Problem> {
    caller.require(DEVICES_WRITE)?;
    api.rates().take(&caller)?;
    header::refuse_but(&headers, &[])?;
    let group = group_of(group)?;
    media::content_type(&headers, &[media::JSON])?;
    body::check_encoding(&headers)?;
    let sent = body::read(sent, BODY, api.options().body_deadline).await?;
    // An object first: a list would do for a struct.
    let members: Map<String, Value> = body::parse(&sent)?;
    let wanted: Wanted = serde_json::from_value(members.into()).map_err(|error| {
        let detail = format!("send `publish`, `history`, `ttl`, as far as wanted: {}", shown(&error.to_string()));
        Problem::new(Code::InvalidGroup, detail)
    })?;
    let (groups, rules) = (&api.parts().groups, wanted.rules()?);
    if !groups.set_group(&caller.tenant, &group, &rules, clock::now()).await? {
        return Err(refusals::crowded(&group));
    }
    api.parts().follow.regrouped(&caller.tenant, &group);
    let found = groups.group(&caller.tenant, &group).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(GroupView::of(group, found))))
}

/// Read a group
///
/// What was said of it, and how many are in it. Who they are: `GET /v1/devices?group=`.
#[utoipa::path(
    get,
    path = "/v1/groups/{group}",
    tag = "groups",
    security(("token" = ["devices:read"])),
    params(("group" = String, Path, description = "the group", example = "room-7")),
    responses(
        (status = 200, description = "the group; one that nobody has heard of has nobody in it", body = GroupView),
        (status = 400, description = "invalid-group, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Authenticated,
    group: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(DEVICES_READ)?;
    header::refuse_but(&headers, &[])?;
    let group = group_of(group)?;
    let found = api.parts().groups.group(&caller.tenant, &group).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(GroupView::of(group, found))))
}

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
        (status = 409, description = "too-many-groups: 64 for a device; group-too-large: 1000 in a room", body = Document, content_type = "application/problem+json"),
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
        Membership::Crowded => Err(refusals::crowded(&group)),
        Membership::Full => {
            let detail = format!("the device is in {GROUPS} groups: take it out of one that it does not need any more first");
            Err(Problem::new(Code::TooManyGroups, detail))
        }
    }
}
