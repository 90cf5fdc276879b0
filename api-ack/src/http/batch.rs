//! `POST /v1/jobs`: many jobs in one request, each with a fate of its own.
//!
//! Not atomic: one bad item fails alone. All that are taken share commits with whoever else is waiting; the answer comes when
//! the last of them is decided. Limits: 1,000 items, each as large as a body of its own may be, 8 MiB or one such body in all.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use messaging::trace::Entered;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use door::auth::Caller;
use door::batch;
use door::body;
use door::key;
use door::problem::{Code, Document, Problem};
use door::scope;

use super::refusals::unknown_kind;
use super::submit::{check_key, check_payload, route_of, said_state, store};
use super::view::Links;
use super::{Api, headers, refusals};
use crate::accept::{AcceptError, PriorityError, Submission, Timing, parse_priority};
use crate::kinds::is_json;
use crate::tags::Tags;

/// Items of one batch that wait for their commit at once: a few batches do not fill the writer's queue.
const AT_ONCE: usize = 256;

/// One job of a batch.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchItem)]
pub(super) struct Item<'a> {
    /// Its kind, which must take JSON.
    #[schema(example = "demo.echo")]
    kind: String,
    /// The payload, any JSON.
    #[serde(borrow)]
    #[schema(value_type = serde_json::Value)]
    data: &'a RawValue,
    /// What `Idempotency-Key` is on a request of its own; the same key there and here is the same job.
    key: Option<String>,
    /// As `Warren-Run-At`.
    run_at: Option<String>,
    /// As `Warren-Delay`.
    delay: Option<String>,
    /// As `Warren-Deadline`.
    deadline: Option<String>,
    /// As `Warren-Priority`.
    priority: Option<String>,
    /// As `Warren-Callback`.
    #[schema(example = "https://example.com/hook")]
    callback: Option<String>,
    /// Words to find it by, as `Warren-Tags`.
    #[schema(example = json!(["region=eu", "batch-7"]))]
    tags: Option<Vec<String>>,
}

/// What became of one item, in the place it had.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BatchAnswer)]
pub(super) struct ItemAnswer<'a> {
    /// What a request of its own would have been answered with: 202 when the job is on disk.
    status: u16,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    /// `accepted`, or `scheduled` when the item names a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// `true` when this is the first answer again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document<'a>>,
}

/// What became of a batch.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Batch)]
pub(super) struct BatchAnswer<'a> {
    /// Items whose job is on disk.
    accepted: usize,
    /// Items that were refused.
    refused: usize,
    /// One answer for each item, in order.
    items: Vec<ItemAnswer<'a>>,
}

/// Submit many jobs
///
/// A JSON array, or NDJSON with one item per line; at most 1,000. Not atomic: each item has its own answer, and one bad item
/// fails alone. The answer comes when all that were taken are on disk.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    tag = "jobs",
    security(("token" = ["jobs:submit"])),
    params(("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the workers")),
    request_body(content = Vec<Item>, content_type = "application/json", description = "the jobs"),
    responses(
        (status = 200, description = "decided, each item for itself: 202, or invalid-item, or what a request of its own would be refused with",
            body = BatchAnswer),
        (status = 400, description = "malformed-batch, empty-body, malformed-json, body-incomplete, not-supported-yet",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large, batch-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited: each item counts as a request; too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn submit(State(api): State<Api>, request: Request) -> Response {
    let Entered { traceparent, mut span } =
        api.acceptor().tracer().serve("POST", "/v1/jobs", headers::traceparent(request.headers()));
    match take(&api, request, traceparent.as_deref()).await {
        Ok(response) => {
            if let Some(span) = &mut span {
                span.answered(response.status().as_u16());
            }
            response
        }
        Err(problem) => {
            api.metrics().refused(problem.code);
            if let Some(span) = span {
                span.refused(problem.code.status().as_u16(), problem.code.as_str());
            }
            problem.into_response()
        }
    }
}

async fn take(api: &Api, request: Request, traceparent: Option<&str>) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = api.verifier().authenticate(&parts.headers)?;
    caller.require(scope::JOBS_SUBMIT)?;
    refuse_for_all(&parts.headers)?;
    body::check_encoding(&parts.headers)?;
    let lines = batch::is_by_line(&parts.headers)?;
    let mut standing = api.rates().take(&caller)?;
    let body = body::read(body, api.options().body_limit.max(batch::BYTES), api.options().body_deadline).await?;
    let raw = batch::items(&body, lines)?;
    // The first was counted before the body was read.
    let more = u32::try_from(raw.len() - 1).unwrap_or(u32::MAX);
    standing = api.rates().take_more(&caller, more)?.or(standing);

    let submitted = raw.iter().enumerate().map(|(index, raw)| one(api, &caller, index, raw, traceparent));
    let submitted: Vec<_> = submitted.collect();
    let submitted: Vec<_> = stream::iter(submitted).buffered(AT_ONCE).collect().await;
    let accepted = submitted.iter().filter(|item| item.is_ok()).count();
    let answer = BatchAnswer {
        accepted,
        refused: submitted.len() - accepted,
        items: submitted.iter().map(|item| told(api, item)).collect(),
    };
    let mut response = ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response();
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    Ok(response)
}

/// What stands for one job cannot stand for all of them.
fn refuse_for_all(headers: &HeaderMap) -> Result<(), Problem> {
    headers::refuse_unsupported(headers)?;
    if headers.contains_key("idempotency-key") {
        let why = "an `Idempotency-Key` is for one job: give each item a `key` of its own";
        return Err(Problem::new(Code::MalformedBatch, why).header("idempotency-key", "not taken with a batch"));
    }
    Ok(())
}

/// A job of a batch that is on disk.
struct Taken {
    id: Uuid,
    kind: String,
    state: &'static str,
    replayed: bool,
}

async fn one(api: &Api, caller: &Caller, index: usize, raw: &str, traceparent: Option<&str>) -> Result<Taken, Problem> {
    // Reading megabytes of items is work that others wait for.
    tokio::task::coop::consume_budget().await;
    let place = format!("/{index}");
    let at = |member: &str| format!("{place}/{member}");
    let item: Item<'_> = serde_json::from_str(raw)
        .map_err(|error| Problem::new(Code::InvalidItem, format!("item {index}: {error}")).pointer(&place, error.to_string()))?;
    let spec =
        api.acceptor().kinds().get(&item.kind).ok_or_else(|| unknown_kind(&item.kind).pointer(&at("kind"), "no such kind"))?;
    let data = item.data.get().as_bytes();
    let json = spec.content_types.iter().find(|content_type| is_json(content_type)).ok_or_else(|| {
        let why = format!("the kind `{}` takes no JSON: submit its jobs one by one", spec.kind);
        Problem::new(Code::UnsupportedMediaType, why).pointer(&at("kind"), "takes no JSON")
    })?;
    if data.len() > api.options().body_limit {
        let why = format!("the data of item {index} has over {} bytes", api.options().body_limit);
        return Err(Problem::new(Code::BodyTooLarge, why).pointer(&at("data"), "too large"));
    }
    let checked = check_payload(&spec, json, data, &at("data"));
    let key = item.key.as_ref().map(|key| key::parse(key.as_bytes())).transpose();
    let key =
        key.map_err(|error| Problem::new(Code::InvalidIdempotencyKey, error.to_string()).pointer(&at("key"), error.to_string()))?;
    check_key(&spec, key.as_deref())?;
    let tags = Tags::of(item.tags.iter().flatten().map(String::as_str))
        .map_err(|error| headers::no_tags(error.to_string()).pointer(&at("tags"), error.to_string()))?;
    let timing = Timing { run_at: item.run_at, delay: item.delay, deadline: item.deadline };
    let state = said_state(&timing);
    let of_priority = |error: PriorityError| {
        Problem::new(Code::InvalidPriority, format!("`priority` {error}")).pointer(&at("priority"), error.to_string())
    };
    let priority = item.priority.map(|text| parse_priority(&text)).transpose().map_err(of_priority)?;
    let submission = Submission {
        kind: item.kind.clone(),
        tenant: caller.tenant.clone(),
        subject: caller.subject.clone(),
        route: if key.is_some() { route_of(&item.kind) } else { String::new() },
        content_type: json.clone(),
        // A copy: a slice would keep the whole batch in memory until its last job is published.
        body: Bytes::copy_from_slice(data),
        traceparent: traceparent.map(str::to_owned),
        key,
        timing,
        priority,
        tags,
        callback: item.callback,
        patient: false,
    };
    let accepted = store(api.acceptor(), submission, checked, |error| match error {
        AcceptError::Timing(error) => Problem::new(Code::InvalidTiming, error.to_string()).pointer(&at(error.field), error.why),
        AcceptError::Priority(error) => of_priority(error),
        AcceptError::Callback(error) => refusals::callback(&error).pointer(&at("callback"), error.to_string()),
        error => Problem::from(error),
    });
    let accepted = accepted.await?;
    Ok(Taken { id: accepted.id, kind: item.kind, state, replayed: accepted.replayed })
}

fn told<'a>(api: &Api, item: &'a Result<Taken, Problem>) -> ItemAnswer<'a> {
    match item {
        Ok(taken) => {
            if taken.replayed {
                api.metrics().replayed.inc();
            } else {
                api.metrics().accepted(&taken.kind);
            }
            ItemAnswer {
                status: 202,
                id: Some(taken.id.to_string()),
                kind: Some(&taken.kind),
                state: Some(taken.state),
                replayed: taken.replayed,
                links: Some(Links::of(taken.id)),
                problem: None,
            }
        }
        Err(problem) => {
            api.metrics().refused(problem.code);
            ItemAnswer {
                status: problem.code.status().as_u16(),
                id: None,
                kind: None,
                state: None,
                replayed: false,
                links: None,
                problem: Some(problem.document()),
            }
        }
    }
}
