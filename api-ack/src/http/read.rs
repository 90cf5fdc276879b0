//! `GET /v1/jobs/{id}`. A job that is not yours and a job that never was are the same answer.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use uuid::Uuid;

use super::view::JobView;
use super::{Api, headers};
use crate::store::JobRecord;
use database::clock;
use door::auth::{Authenticated, Caller};
use door::problem::{Code, Document, Problem};
use door::scope::{JOBS_READ, JOBS_READ_ALL};

/// Read a job
///
/// Its state, its attempts, its result or its error. `jobs:read` reads what the same subject submitted, `jobs:read:all` all
/// jobs of the tenant.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    security(("token" = ["jobs:read"]), ("token" = ["jobs:read:all"])),
    params(("id" = String, Path, description = "the job's id, a UUID")),
    responses(
        (status = 200, description = "the job", body = JobView),
        (status = 400, description = "invalid-job-id, not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "job-not-found: unknown, or not yours", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the shortest time that ended jobs of any kind are kept", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn job(
    State(api): State<Api>,
    caller: Authenticated,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if !caller.has(JOBS_READ_ALL) {
        caller.require(JOBS_READ)?;
    }
    headers::refuse_unsupported(&request)?;
    let record = find(&api, &caller, id_of(id)?).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(JobView::of(record))))
}

/// The id in an address.
pub(super) fn id_of(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.ok_or_else(|| Problem::new(Code::InvalidJobId, "a job's id is the UUID that its acceptance answered"))
}

/// The job of that id, if it is the caller's: submitted by the same subject, or by anybody of the tenant with
/// `jobs:read:all`.
pub(super) async fn find(api: &Api, caller: &Caller, id: Uuid) -> Result<JobRecord, Problem> {
    match api.store().record_of(id).await? {
        Some(record) if may_read(caller, &record) => Ok(record),
        // Alike for what is not there and what is not yours, or the answer would tell which ids exist.
        _ => Err(gone(api, id)),
    }
}

fn may_read(caller: &Caller, record: &JobRecord) -> bool {
    caller.tenant == record.job.tenant && (caller.has(JOBS_READ_ALL) || caller.subject == record.payload.subject)
}

/// Why there is no such job for anybody, or for the caller.
pub(super) fn gone(api: &Api, id: Uuid) -> Problem {
    // Of what is gone nothing is left to tell its kind by: the shortest age at which anything goes is the one to go by.
    let own = api.acceptor().kinds().iter().filter_map(|spec| spec.retention).min();
    let retention = own.map_or(api.options().retention, |own| own.min(api.options().retention));
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    match clock::made_at(id) {
        Some(made) if made < clock::now().saturating_sub(retention) => {
            Problem::new(Code::Purged, "a job of this age may be purged already: if there was one that was yours, it is gone")
        }
        _ => Problem::new(Code::JobNotFound, "there is no job with this id, or it is not yours to read"),
    }
}
