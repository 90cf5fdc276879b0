//! Jobs: looked at, and cancelled.

use api_ack::changing::Cancelled;
use api_ack::http::problem::{Code, Problem};
use api_ack::store::{JobFilter, JobRecord, State as JobState};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::AdminApi;
use super::caller::{Admin, Named, Parameters};
use super::view::{JobDetail, JobLine, Page};

/// Jobs of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListJobs {
    kind: Option<String>,
    state: Option<JobState>,
    tenant: Option<String>,
    cursor: Option<Uuid>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<AdminApi>,
    admin: Admin,
    Parameters(asked): Parameters<ListJobs>,
) -> Result<Json<Page<JobLine>>, Problem> {
    let Ok(tenant) = admin.listed(asked.tenant) else { return Ok(Json(Page { items: Vec::new(), next: None })) };
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    // One more than asked tells whether there is a next page.
    let filter = JobFilter { tenant, kind: asked.kind, state: asked.state, before: asked.cursor, limit: limit + 1 };
    let items = api.stores.jobs.list(&filter).await?.into_iter().map(JobLine::from).collect();
    Ok(Json(page(items, limit, |job| job.id)))
}

/// Cuts a list that may hold one too many.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> Uuid) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().map(id).filter(|_| more);
    Page { items, next }
}

pub(super) async fn show(State(api): State<AdminApi>, admin: Admin, Named(id): Named) -> Result<Json<JobDetail>, Problem> {
    Ok(Json(find(&api, &admin, &id).await?.into()))
}

pub(super) async fn cancel(
    State(api): State<AdminApi>,
    admin: Admin,
    Named(id): Named,
) -> Result<(StatusCode, Json<JobDetail>), Problem> {
    let job = find(&api, &admin, &id).await?.job.id;
    let status = match api.changing.cancel(job).await? {
        Cancelled::Done => StatusCode::OK,
        Cancelled::Asked => StatusCode::ACCEPTED,
    };
    tracing::info!(job = %job, actor = admin.actor(), "a cancel is asked for");
    Ok((status, Json(find(&api, &admin, &id).await?.into())))
}

async fn find(api: &AdminApi, admin: &Admin, id: &str) -> Result<JobRecord, Problem> {
    let id = Uuid::parse_str(id).map_err(|_| Problem::new(Code::InvalidJobId, "the id of a job is a UUID"))?;
    let record = api.stores.jobs.record_of(id).await?.filter(|record| admin.sees(&record.job.tenant));
    record.ok_or_else(|| Problem::new(Code::JobNotFound, format!("there is no job {id}, or it was purged")))
}
