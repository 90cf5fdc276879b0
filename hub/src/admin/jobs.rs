//! Jobs: looked at, and cancelled.

use api_ack::changing::Cancelled;
use api_ack::store::{Job, JobFilter, JobRecord, JobSearch, State as JobState};
use api_ack::tags::Tags;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use door::problem::{Code, Problem};
use serde::Deserialize;
use uuid::Uuid;

use super::AdminApi;
use super::caller::{Admin, Named, Parameters};
use super::view::{JobDetail, JobLine, Page};

/// Jobs of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 500;
/// Rows a page looks at, at most.
const SCAN: u32 = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListJobs {
    kind: Option<String>,
    state: Option<JobState>,
    tenant: Option<String>,
    /// One or several, separated by commas.
    tag: Option<String>,
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
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let tags = Tags::listed(asked.tag.as_deref().unwrap_or_default()).map_err(|error| wrong(format!("`tag`: {error}")))?;
    if !tags.is_empty() && tenant.is_none() {
        return Err(wrong("tags are each tenant's own: name a `tenant` beside `tag`".to_owned()));
    }
    // One more than asked tells whether there is a next page.
    let filter = JobFilter { tenant, kind: asked.kind, state: asked.state, before: asked.cursor, limit: limit + 1 };
    let found = api.stores.jobs.search(&JobSearch { filter, tags, scan: SCAN, ..JobSearch::default() }).await?;
    let ids: Vec<Uuid> = found.jobs.iter().map(|job| job.id).collect();
    let mut tags = api.stores.jobs.tags(&ids).await?;
    let line = |job: Job| JobLine { tags: tags.remove(&job.id).unwrap_or_default().into_words(), ..JobLine::from(job) };
    let page = page(found.jobs.into_iter().map(line).collect(), limit, |job| job.id);
    // A page that has looked far enough says where to go on, however few it found.
    Ok(Json(Page { next: page.next.or(found.next), ..page }))
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
    Ok(Json(detail(&api, find(&api, &admin, &id).await?).await?))
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
    Ok((status, Json(detail(&api, find(&api, &admin, &id).await?).await?)))
}

async fn detail(api: &AdminApi, record: JobRecord) -> Result<JobDetail, Problem> {
    let traceparent = api.stores.jobs.traceparent_of(record.job.id).await?;
    Ok(JobDetail::new(record, traceparent))
}

async fn find(api: &AdminApi, admin: &Admin, id: &str) -> Result<JobRecord, Problem> {
    let id = Uuid::parse_str(id).map_err(|_| Problem::new(Code::InvalidJobId, "the id of a job is a UUID"))?;
    let record = api.stores.jobs.record_of(id).await?.filter(|record| admin.sees(&record.job.tenant));
    record.ok_or_else(|| Problem::new(Code::JobNotFound, format!("there is no job {id}, or it was purged")))
}
