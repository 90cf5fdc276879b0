//! `GET /v1/devices`: the tenant's devices, in the order of their registration. A page costs a bounded walk, however rare the matches.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use door::auth::Authenticated;
use door::header;
use door::problem::{Code, Document, Problem};
use door::scope::DEVICES_READ;
use serde::{Deserialize, Serialize};

use super::Api;
use super::registering::parameter;
use super::view::DeviceView;
use crate::store::{Filter, Order, Presence};

/// Devices of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 200;
/// Devices a page looks at, at most.
const SCAN: u32 = 5000;

/// What is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only this user's.
    user: Option<String>,
    /// Only those in this group.
    group: Option<String>,
    /// Only those with this label: `os=android`.
    #[param(example = "os=android")]
    label: Option<String>,
    /// Only those that are `online`, or `offline`.
    presence: Option<String>,
    /// Only those with at least so many messages to get.
    backlog: Option<i64>,
    /// Devices of a page, 1 to 200; 50 by default.
    limit: Option<u32>,
    /// `next` of the page before, with the same parameters.
    cursor: Option<String>,
}

/// A page of devices.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Devices)]
pub(super) struct PageView {
    /// Those registered first come first. A page looks at 5,000 devices at most: it may hold fewer than `limit`, or none, and have a
    /// `next`.
    items: Vec<DeviceView>,
    /// The `cursor` of the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List devices
///
/// Follow `next` until it is absent: a page looks at 5,000 devices at most, so it may be short or empty before the end. By user, group,
/// label and `presence=online` those alone are looked at.
#[utoipa::path(
    get,
    path = "/v1/devices",
    tag = "devices",
    security(("token" = ["devices:read"])),
    params(Asked),
    responses(
        (status = 200, description = "a page of devices", body = PageView),
        (status = 400, description = "invalid-parameter, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn devices(
    State(api): State<Api>,
    caller: Authenticated,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(DEVICES_READ)?;
    header::refuse_but(&headers, &[])?;
    let Query(asked) = asked.map_err(|error| parameter(&error))?;
    let found = api.parts().devices.list(&filter(&caller.tenant, asked)?).await?;
    let page = PageView {
        items: found.devices.into_iter().map(|device| DeviceView::of(device, api.parts().broker.as_ref())).collect(),
        next: found.next.map(|after| after.to_string()),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(page)))
}

/// What is looked for.
fn filter(tenant: &str, asked: Asked) -> Result<Filter, Problem> {
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    // No device has such a user, group or label; and what the database cannot read it should not be asked for.
    let text = |name: &str, text: Option<String>| match text {
        Some(text) if text.len() > 200 || text.chars().any(char::is_control) => {
            Err(wrong(format!("`{name}` must have up to 200 bytes and no control characters")))
        }
        text => Ok(text),
    };
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong(format!("`limit` is {limit}: it may be 1 to {PAGE_MAX}")));
    }
    let label = match text("label", asked.label)? {
        None => None,
        Some(text) => match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => return Err(wrong("`label` must be a name and a value, as in `os=android`".to_owned())),
        },
    };
    let presence = match asked.presence.as_deref() {
        None => None,
        Some("online") => Some(Presence::Online),
        Some("offline") => Some(Presence::Offline),
        Some(_) => return Err(wrong("`presence` must be `online` or `offline`".to_owned())),
    };
    let order = Order::Registered;
    let after =
        asked.cursor.map(|cursor| order.after(&cursor).ok_or_else(|| wrong("`cursor` is not the `next` of a page".to_owned())));
    Ok(Filter {
        user: text("user", asked.user)?,
        group: text("group", asked.group)?,
        label,
        presence,
        backlog: asked.backlog,
        order,
        after: after.transpose()?,
        limit,
        scan: SCAN,
        ..Filter::of(tenant)
    })
}
