//! `GET /v1/jobs`: the caller's jobs, newest first. A page costs a bounded walk down the primary key, however rare the matches.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::view::Links;
use super::{Api, headers};
use crate::store::{Job, JobFilter, JobSearch, Priority, State as JobState};
use crate::tags::Tags;
use database::clock;
use door::auth::{Authenticated, Caller};
use door::problem::{Code, Document, Problem, shown};
use door::scope::{JOBS_READ, JOBS_READ_ALL};

/// Jobs of a page, unless asked otherwise.
const PAGE: u32 = 50;
/// At most.
const PAGE_MAX: u32 = 200;
/// Rows a page looks at, at most.
const SCAN: u32 = 5000;

/// What is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only this kind.
    kind: Option<String>,
    /// Only this state.
    #[param(value_type = Option<String>, example = "dead")]
    state: Option<JobState>,
    /// Only what this subject submitted; another than the token's needs `jobs:read:all`.
    subject: Option<String>,
    /// Only jobs accepted at this time or later: RFC 3339, to the millisecond.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only jobs accepted before this time: RFC 3339, to the millisecond.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Only jobs with this tag; with several, separated by commas, only jobs that have them all: `region=eu,batch-7`.
    #[param(example = "batch-7")]
    tag: Option<String>,
    /// Jobs of a page, 1 to 200; 50 by default.
    limit: Option<u32>,
    /// `next` of the page before, with the same parameters.
    cursor: Option<String>,
}

/// A job in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = JobLine)]
pub(super) struct LineView {
    /// UUIDv7.
    id: String,
    /// Its kind.
    kind: String,
    /// Its state.
    #[schema(value_type = String, example = "succeeded")]
    state: JobState,
    /// `normal`, or `high`: before the normal jobs of its kind.
    #[schema(value_type = String, example = "normal")]
    priority: Priority,
    /// From 1; grows with every redrive.
    epoch: i32,
    /// The attempt that runs, ran last, or comes next; from 1.
    attempt: i32,
    /// Why it is dead, cancelled, expired or retrying, or why the broker does not take it: a stable code.
    reason: Option<String>,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Words to find it by.
    tags: Vec<String>,
    /// Addresses.
    links: Links,
}

/// A page of jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Jobs)]
pub(super) struct PageView {
    /// Newest first. A page looks at 5,000 jobs at most: it may hold fewer than `limit`, or none, and have a `next`.
    items: Vec<LineView>,
    /// The `cursor` of the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl LineView {
    fn of(tags: Tags, job: Job) -> Self {
        let Job { id, kind, priority, status, .. } = job;
        Self {
            id: id.to_string(),
            kind,
            state: status.state,
            priority,
            epoch: status.epoch,
            attempt: status.attempt,
            reason: status.reason,
            tags: tags.into_words(),
            accepted_at: clock::timestamp(clock::made_at(id).unwrap_or_default()),
            ended_at: status.ended_at.map(clock::timestamp),
            links: Links::of(id),
        }
    }
}

/// List jobs
///
/// Newest first. With `jobs:read` what the same subject submitted, with `jobs:read:all` all jobs of the tenant. Follow `next` until
/// it is absent: a page looks at 5,000 jobs of the hub at most, so it may be short or empty before the end.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    security(("token" = ["jobs:read"]), ("token" = ["jobs:read:all"])),
    params(Asked),
    responses(
        (status = 200, description = "a page of jobs", body = PageView),
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
pub(super) async fn jobs(
    State(api): State<Api>,
    caller: Authenticated,
    asked: Result<Query<Asked>, QueryRejection>,
    request: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if !caller.has(JOBS_READ_ALL) {
        caller.require(JOBS_READ)?;
    }
    headers::refuse_unsupported(&request)?;
    let Query(asked) = asked.map_err(|error| {
        let text = error.body_text();
        let why = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, why)| why);
        Problem::new(Code::InvalidParameter, format!("a query parameter is wrong: {}", shown(why)))
    })?;
    let found = api.store().search(&search(&caller, asked)?).await?;
    let ids: Vec<Uuid> = found.jobs.iter().map(|job| job.id).collect();
    let mut tags = api.store().tags(&ids).await?;
    let page = PageView {
        items: found.jobs.into_iter().map(|job| LineView::of(tags.remove(&job.id).unwrap_or_default(), job)).collect(),
        next: found.next.map(|id| id.simple().to_string()),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(page)))
}

/// What is looked for on behalf of `caller`.
fn search(caller: &Caller, asked: Asked) -> Result<JobSearch, Problem> {
    let wrong = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let subject = match asked.subject {
        _ if caller.has(JOBS_READ_ALL) => asked.subject,
        Some(subject) if subject != caller.subject => {
            return Err(Problem::new(Code::ScopeMissing, "jobs of another subject need a token with the scope `jobs:read:all`"));
        }
        _ => Some(caller.subject.clone()),
    };
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong(format!("`limit` is {limit}: it may be 1 to {PAGE_MAX}")));
    }
    let time = |name: &str, text: Option<String>| {
        let parsed = text.map(|text| text.parse::<Timestamp>().map(Timestamp::as_microsecond)).transpose();
        parsed
            .map_err(|_| wrong(format!("`{name}` is no RFC 3339 time, such as 2026-01-31T12:00:00Z (a `+` must be sent as %2B)")))
    };
    let (since, until) = (time("since", asked.since)?, time("until", asked.until)?);
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(wrong("`since` is not before `until`: nothing lies between".to_owned()));
    }
    let cursor = asked.cursor.map(|cursor| Uuid::try_parse(&cursor)).transpose();
    let before = cursor.map_err(|_| wrong("`cursor` is not the `next` of a page".to_owned()))?;
    let tags = Tags::listed(asked.tag.as_deref().unwrap_or_default()).map_err(|error| wrong(format!("`tag`: {error}")))?;
    let filter = JobFilter { tenant: Some(caller.tenant.clone()), kind: asked.kind, state: asked.state, before, limit };
    Ok(JobSearch { filter, tags, subject, since, until, scan: SCAN })
}
