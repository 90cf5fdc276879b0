//! `GET /v1/kinds` and `GET /v1/kinds/{kind}`: what can be submitted here.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Serialize;

use door::auth::Authenticated;
use door::problem::{Document, Problem};

use super::refusals::unknown_kind;
use super::{Api, headers};
use crate::kinds::{KindSpec, Worker};
use crate::store::Priority;

/// A kind of job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Kind)]
pub(super) struct KindView {
    /// Its name.
    #[schema(example = "demo.echo")]
    kind: String,
    /// For people.
    description: String,
    /// Who does the work: `rust`, `amqp` or `http`.
    #[schema(value_type = String, example = "rust")]
    worker: Worker,
    /// How long one attempt may take, in seconds.
    timeout_seconds: f64,
    /// How long after acceptance a job is given up, in seconds.
    deadline_seconds: f64,
    /// Attempts in all before a job is dead.
    max_attempts: u32,
    /// The class of a job that asks for none; absent when the kind has one queue, and none of its jobs can be `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "normal")]
    priority: Option<Priority>,
    /// Media types taken; the first is meant when a request names none.
    content_types: Vec<String>,
    /// Whether an `Idempotency-Key` must be sent.
    key_required: bool,
    /// The JSON Schema of the body, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<serde_json::Value>,
    /// Whether it is paused: accepted as ever, and delivered when it is resumed.
    paused: bool,
    /// Addresses.
    links: KindLinks,
}

/// Addresses that belong to a kind.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct KindLinks {
    /// The kind.
    #[serde(rename = "self")]
    this: String,
    /// Where jobs of it are submitted.
    jobs: String,
    /// Where they can be submitted as well.
    routes: Vec<String>,
}

/// The kinds of job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Kinds)]
pub(super) struct KindsView {
    /// By name.
    kinds: Vec<KindView>,
}

impl KindView {
    fn of(api: &Api, spec: &KindSpec) -> Self {
        let kind = spec.kind.as_str();
        Self {
            kind: kind.to_owned(),
            description: spec.description.clone(),
            worker: spec.worker,
            timeout_seconds: spec.timeout.as_secs_f64(),
            deadline_seconds: spec.deadline.as_secs_f64(),
            max_attempts: spec.retry.max_attempts,
            priority: spec.priority,
            content_types: spec.content_types.clone(),
            key_required: spec.key_required,
            schema: spec.schema.as_ref().map(|schema| schema.document().clone()),
            paused: api.live().pauses.holds(kind),
            links: KindLinks {
                this: format!("/v1/kinds/{kind}"),
                jobs: format!("/v1/kinds/{kind}/jobs"),
                routes: spec.routes.clone(),
            },
        }
    }
}

/// List the kinds of job
///
/// Any valid token will do.
#[utoipa::path(
    get,
    path = "/v1/kinds",
    tag = "kinds",
    security(("token" = [])),
    responses(
        (status = 200, description = "all kinds", body = KindsView),
        (status = 400, description = "not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn kinds(State(api): State<Api>, _: Authenticated, request: HeaderMap) -> Result<Json<KindsView>, Problem> {
    headers::refuse_unsupported(&request)?;
    Ok(Json(KindsView { kinds: api.acceptor().kinds().iter().map(|spec| KindView::of(&api, &spec)).collect() }))
}

/// Read a kind of job
///
/// Any valid token will do.
#[utoipa::path(
    get,
    path = "/v1/kinds/{kind}",
    tag = "kinds",
    security(("token" = [])),
    params(("kind" = String, Path, description = "the kind of job")),
    responses(
        (status = 200, description = "the kind", body = KindView),
        (status = 400, description = "not-supported-yet", body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 404, description = "unknown-kind", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn kind(
    State(api): State<Api>,
    _: Authenticated,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Json<KindView>, Problem> {
    let Ok(Path(name)) = name else { return Err(unknown_kind("")) };
    let spec = api.acceptor().kinds().get(&name).ok_or_else(|| unknown_kind(&name))?;
    headers::refuse_unsupported(&request)?;
    Ok(Json(KindView::of(&api, &spec)))
}
