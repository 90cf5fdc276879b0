//! `/v1/device/groups`: what a device asks of its groups, and publishes to them, by requests.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use database::clock;
use door::auth::Verifier;
use door::problem::{Code, Document, Problem, shown};
use door::{body, key};
use serde::{Deserialize, Serialize};

use super::publishing::{Publisher, Said, decided};
use crate::http::{group_of, items, refusals};
use crate::protocol::MAX_SEQ;
use crate::protocol::poll::Polled;
use crate::sessions::Sessions;
use crate::sessions::rows::given_of_log;
use crate::store::{Device, Limit, Registration};

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Messages that are read back at once.
const PAGE: u32 = 100;

/// Bytes of them, and one message whatever its size.
const PAGE_BYTES: i64 = 1 << 20;

/// The groups that a device is in.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeviceGroups)]
pub(crate) struct GroupsView {
    /// By name.
    groups: Vec<GroupOfView>,
}

/// One of them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeviceGroup)]
pub(crate) struct GroupOfView {
    /// Its name.
    #[schema(example = "room-7")]
    group: String,
    /// Whether the device may publish to it, and sees who is there.
    publish: bool,
    /// How many of the newest messages it may read back.
    #[schema(example = 100)]
    history: u16,
}

/// Who is in a room.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RoomMembers)]
pub(crate) struct MembersView {
    /// As they were registered; nobody where devices do not publish.
    members: Vec<MemberView>,
}

/// One of them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RoomMember)]
pub(crate) struct MemberView {
    /// The device's id.
    #[schema(example = "pixel-7")]
    device: String,
    /// Whose it is.
    #[schema(example = "ada")]
    user: String,
    /// Whether it is connected.
    present: bool,
}

/// What is on disk.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PublishedMessage)]
pub(crate) struct PublishedView {
    /// The id that all members get it by.
    #[schema(example = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    id: String,
}

/// What is to be read back.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// What came before this entry; the newest unless said.
    #[param(example = 31)]
    before: Option<u64>,
    /// Messages at most, 1 to 100; 50 by default.
    limit: Option<u32>,
}

/// Who asks, as a device; it is counted.
async fn device_of(sessions: &Sessions, headers: &HeaderMap) -> Result<Device, Problem> {
    let bearer = sessions.bearer(Verifier::bearer_of(headers)?)?;
    let device = sessions.admit(&bearer.caller).await?;
    sessions.rooms().takes_of(device.number)?;
    Ok(device)
}

/// List the groups of a device
///
/// Of the device that asks.
#[utoipa::path(
    get,
    path = "/v1/device/groups",
    tag = "device",
    security(("token" = ["device"])),
    responses(
        (status = 200, description = "the groups that it is in", body = GroupsView),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "via-differs", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(crate) async fn groups(State(sessions): State<Sessions>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    let device = device_of(&sessions, &headers).await?;
    let found = sessions.stores().groups.groups_of(device.number).await?;
    let group = |(group, rules): (String, crate::store::GroupRules)| GroupOfView {
        group,
        publish: rules.publish,
        history: rules.history,
    };
    Ok(fresh(GroupsView { groups: found.into_iter().map(group).collect() }))
}

/// List the members of a room
///
/// Who else is in a group that the device is in, and whether they are connected.
#[utoipa::path(
    get,
    path = "/v1/device/groups/{group}/members",
    tag = "device",
    security(("token" = ["device"])),
    params(("group" = String, Path, description = "the group", example = "room-7")),
    responses(
        (status = 200, description = "its members; none where devices do not publish", body = MembersView),
        (status = 400, description = "invalid-group", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing, not-a-member", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "via-differs", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(crate) async fn members(
    State(sessions): State<Sessions>,
    headers: HeaderMap,
    group: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let device = device_of(&sessions, &headers).await?;
    let group = group_of(group)?;
    let found = sessions.stores().groups.members(device.number, &group).await?.ok_or_else(refusals::not_a_member)?;
    let member = |member: crate::store::Member| MemberView {
        device: member.author.device,
        user: member.author.user,
        present: member.present,
    };
    Ok(fresh(MembersView { members: found.into_iter().map(member).collect() }))
}

/// Read messages of a group back
///
/// Of the newest that the group shows its members: the last of them before an entry, in order. What was withdrawn or has expired is not among them. Reading acks nothing.
#[utoipa::path(
    get,
    path = "/v1/device/groups/{group}/messages",
    tag = "device",
    security(("token" = ["device"])),
    params(("group" = String, Path, description = "the group", example = "room-7"), Asked),
    responses(
        (status = 200, description = "messages in the order of `entry`, perhaps none; `more`: there are some before the first of them", body = serde_json::Value,
            example = json!({"messages": [{"entry": 31, "group": "room-7", "from": {"device": "pixel-7", "user": "ada"}, "id": "0192f3c4-5b6a-7c8d-9e0f-112233445566",
                "type": "chat.message", "time": "2026-11-22T11:15:00Z", "content_type": "application/json", "data": {"text": "hello"}}], "more": false})),
        (status = 400, description = "invalid-group, invalid-parameter", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing, not-a-member", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "via-differs", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "device-revoked", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(crate) async fn history(
    State(sessions): State<Sessions>,
    headers: HeaderMap,
    group: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let device = device_of(&sessions, &headers).await?;
    let group = group_of(group)?;
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let Query(Asked { before, limit }) =
        asked.map_err(|why| wrong(format!("a query parameter is wrong: {}", shown(&why.body_text()))))?;
    let limit = limit.unwrap_or(PAGE / 2);
    if !(1..=PAGE).contains(&limit) {
        return Err(wrong(format!("`limit` must be 1 to {PAGE}")));
    }
    let before = i64::try_from(before.unwrap_or(MAX_SEQ).min(MAX_SEQ)).unwrap_or(i64::MAX);
    let limit = Limit { messages: limit, bytes: PAGE_BYTES };
    let found = {
        let _turn = sessions.turn().await;
        sessions.stores().groups.history(device.number, &group, before, limit, clock::now()).await?
    };
    let found = found.ok_or_else(refusals::not_a_member)?;
    let messages = found.entries.iter().map(given_of_log).collect();
    let body = Polled { messages, more: found.more, gap: None }.encode();
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body))
}

/// Publish to a room
///
/// 202 means that the message is on disk, at its place in the order that all members get. The device gets it, too. With an `Idempotency-Key`, the same request can be sent again until it is answered,
/// and publishes one message.
#[utoipa::path(
    post,
    path = "/v1/device/groups/{group}/messages",
    tag = "device",
    security(("token" = ["device"])),
    params(
        ("group" = String, Path, description = "the group", example = "room-7"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, quoted or bare; remembered for 7 days"),
        ("Warren-Type" = Option<String>, Header, description = "what it is, by the device's own names: up to 128 bytes"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "the message, of any type"),
    responses(
        (status = 202, description = "stored", body = PublishedView, headers(
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
        )),
        (status = 400, description = "invalid-group, invalid-message, invalid-idempotency-key, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing, not-a-member, publish-not-allowed", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "device-not-found", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "via-differs, idempotency-key-undecided", body = Document, content_type = "application/problem+json"),
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
pub(crate) async fn publish(
    State(sessions): State<Sessions>,
    group: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, sent) = request.into_parts();
    let headers = &parts.headers;
    let device = device_of(&sessions, headers).await?;
    let group = group_of(group)?;
    let kind = items::type_alone(headers)?;
    let content_type = items::content_type(headers)?;
    body::check_encoding(headers)?;
    let key = key::of(headers)?;
    let rooms = sessions.rooms();
    let body = body::read(sent, rooms.payload, BODY_WITHIN).await?;
    let Registration { tenant, id, groups, .. } = device.registration;
    if groups.contains(&group) {
        rooms.takes_for(&tenant, &group)?;
    }
    let said = Said { group, kind, content_type, body, key };
    let accepted = decided(rooms.put(Publisher { tenant, number: device.number, id }, said)?).await?;
    let body = format!(r#"{{"id":"{}"}}"#, accepted.id);
    Ok(door::accepted(None, body, accepted.replayed))
}

/// It is true now, and not later.
fn fresh<T: Serialize>(view: T) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], Json(view))
}
