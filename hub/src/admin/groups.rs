//! Open dead letters, grouped by what they died of.

use axum::Json;
use axum::extract::State;
use door::problem::Problem;
use serde::Deserialize;

use super::AdminApi;
use super::caller::{Admin, Parameters};
use super::view::{GroupLine, GroupPage};

/// Groups of a page, unless asked otherwise.
const PAGE: u32 = 100;
/// At most.
const PAGE_MAX: u32 = 200;
/// Letters of a group that are counted: a page reads 2,000,000 entries of an index at worst.
const COUNTED: u32 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListGroups {
    kind: Option<String>,
    reason: Option<String>,
    tenant: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<ListGroups>,
) -> Result<Json<GroupPage>, Problem> {
    let Ok(tenant) = admin.listed(asked.tenant) else { return Ok(Json(GroupPage { items: Vec::new(), next: None })) };
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = asked.cursor.unwrap_or_default();
    let mut groups = api.stores.dead.dead_groups(tenant.as_deref(), &after, limit, COUNTED).await?;
    let next = groups.last().map(|group| group.fingerprint.hash.clone()).filter(|_| groups.len() >= limit as usize);
    // All letters of a group are of one kind and reason.
    groups.retain(|group| asked.kind.as_ref().is_none_or(|kind| group.kind == *kind));
    groups.retain(|group| asked.reason.as_ref().is_none_or(|reason| group.reason == *reason));
    groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.latest_at)));
    let line = |group| GroupLine::new(group, COUNTED.into());
    Ok(Json(GroupPage { items: groups.into_iter().map(line).collect(), next }))
}
