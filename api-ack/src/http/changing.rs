//! `POST /v1/jobs/{id}/cancel` and `PATCH /v1/jobs/{id}`: who may, and what is answered. What happens is up to
//! [`crate::changing`].

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::view::JobView;
use super::{Api, headers, read};
use crate::accept;
use crate::changing::{Cancelled, ChangeError};
use crate::kinds::JSON;
use crate::store::Micros;
use database::clock;
use door::auth::Authenticated;
use door::body;
use door::media;
use door::problem::{Code, Document, Problem};
use door::scope::{JOBS_CANCEL, JOBS_SUBMIT};

/// Cancel a job
///
/// A job that waits (`scheduled`, `accepted`, `queued`, `retrying`) is `cancelled` at once: 200. A job that runs goes on: 202, its
/// handler is told within about a second, and the job ends as it ends: `succeeded` or `dead` when the handler says so, and
/// `cancelled` where it would be tried again. Asked again, the answer is the same. What another program of a kind with the worker
/// `amqp` has taken from the queue counts as waiting: its result is ignored. `jobs:cancel` cancels what the same subject
/// submitted, with `jobs:read:all` all jobs of the tenant.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    tag = "jobs",
    security(("token" = ["jobs:cancel"])),
    params(("id" = String, Path, description = "the job's id, a UUID")),
    responses(
        (status = 200, description = "the job is cancelled", body = JobView),
        (status = 202, description = "the job runs, and its handler is told", body = JobView),
        (status = 400, description = "invalid-job-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "job-not-found: unknown, or not yours", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "job-ended: it ended in another way", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the shortest time that ended jobs of any kind are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    caller.require(JOBS_CANCEL)?;
    headers::refuse_unsupported(&request)?;
    let id = read::find(&api, &caller, read::id_of(id)?).await?.job.id;
    let status = match api.live().changing.cancel(id).await? {
        Cancelled::Done => StatusCode::OK,
        Cancelled::Asked => StatusCode::ACCEPTED,
    };
    tracing::info!(job = %id, tenant = caller.tenant, subject = caller.subject, "a cancel is asked for");
    shown(&api, id, status).await
}

/// What may be changed about a job.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobPatch)]
pub(super) struct Patch {
    /// When the job is to run: RFC 3339, at most 366 days ahead; up to a minute in the past means now. It must be before the job's deadline.
    #[schema(format = DateTime, example = "2030-01-01T00:00:00Z")]
    run_at: String,
}

/// Move a job to another time
///
/// Only while it waits in the store: scheduled, or not yet taken up to be published. The deadline stays. `jobs:submit` moves what
/// the same subject submitted, with `jobs:read:all` all jobs of the tenant.
#[utoipa::path(
    patch,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    security(("token" = ["jobs:submit"])),
    params(("id" = String, Path, description = "the job's id, a UUID")),
    request_body(content = Patch, content_type = "application/json"),
    responses(
        (status = 200, description = "the job, moved", body = JobView),
        (status = 400, description = "invalid-job-id, invalid-parameter, invalid-timing, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "job-not-found: unknown, or not yours", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "job-under-way: published or running, job-ended", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the shortest time that ended jobs of any kind are kept", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn patch(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
    sent: Body,
) -> Result<impl IntoResponse, Problem> {
    caller.require(JOBS_SUBMIT)?;
    headers::refuse_unsupported(&request)?;
    let id = read::id_of(id)?;
    media::content_type(&request, &[JSON])?;
    body::check_encoding(&request)?;
    let sent = body::read(sent, api.options().body_limit, api.options().body_deadline).await?;
    body::check_json(&sent)?;
    let at = run_at(&sent, clock::now())?;
    let id = read::find(&api, &caller, id).await?.job.id;
    api.live().changing.move_to(id, at).await?;
    shown(&api, id, StatusCode::OK).await
}

/// The one member of the body.
fn run_at(sent: &[u8], now: Micros) -> Result<Micros, Problem> {
    // An object first: a list would do for a struct.
    let read = serde_json::from_slice(sent).and_then(|members: Map<String, Value>| serde_json::from_value(members.into()));
    let patch: Patch = read.map_err(|error| {
        Problem::new(Code::InvalidParameter, format!("send `{{\"run_at\": \"<RFC 3339>\"}}` and nothing else: {error}"))
    })?;
    accept::run_at(&patch.run_at, now).map_err(|error| bad_time(error.to_string()))
}

fn bad_time(detail: String) -> Problem {
    Problem::new(Code::InvalidTiming, detail.clone()).pointer("/run_at", detail)
}

async fn shown(api: &Api, id: Uuid, status: StatusCode) -> Result<impl IntoResponse + use<>, Problem> {
    let record = api.store().record_of(id).await?.ok_or_else(|| read::gone(api, id))?;
    Ok((status, [(CACHE_CONTROL, "no-store")], Json(JobView::of(record))))
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unknown(_) => Self::new(Code::JobNotFound, "there is no job with this id any more"),
            ChangeError::Ended(state) => {
                Self::new(Code::JobEnded, format!("the job is {}: nothing about it can be changed", state.name()))
            }
            ChangeError::UnderWay(state) => Self::new(
                Code::JobUnderWay,
                format!("the job is {} and on its way: only one that waits in the store can be moved; cancel it", state.name()),
            ),
            ChangeError::BeyondDeadline(deadline) => bad_time(format!(
                "the job is given up at {}: name an earlier time, or submit a new job with a later deadline",
                clock::timestamp(deadline)
            )),
            ChangeError::Store(error) => error.into(),
        }
    }
}
