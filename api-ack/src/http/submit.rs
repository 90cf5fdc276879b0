//! `POST /v1/kinds/{kind}/jobs`: the hot path. Checks at the door, cheapest and most telling first; then one durable write.

use std::time::Instant;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use messaging::trace::Entered;
use serde::Serialize;

use door::body;
use door::key;
use door::media;
use door::pages;
use door::problem::{Code, Document, Problem};
use door::scope;

use super::refusals::unknown_kind;
use super::view::{JobView, Links};
use super::wait::Waited;
use super::{Api, headers, wait};
use broker_topology::Priority;
use door::rates::Standing;

use crate::accept::{AcceptError, Accepted, Acceptor, Submission, Timing};
use crate::kinds::{KindSpec, is_json};

/// When a job will start that has to wait, as far as is known.
const ESTIMATED_START: &str = "warren-estimated-start";

/// The answer to a submission.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Accepted)]
pub(super) struct AcceptedView {
    /// The job: a UUIDv7.
    #[schema(example = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    id: String,
    /// Its kind.
    kind: String,
    /// `accepted`, or `scheduled` when the request names a time; also on a replay.
    #[schema(example = "accepted")]
    state: &'static str,
    /// Where it is.
    links: Links,
}

/// Submit a job
///
/// 202 means that the job is on disk: it will end as `succeeded`, `dead`, `cancelled` or `expired`, whatever dies meanwhile.
/// With an `Idempotency-Key`, the same request can be sent again until it is answered, and makes one job.
#[utoipa::path(
    post,
    path = "/v1/kinds/{kind}/jobs",
    tag = "jobs",
    security(("token" = ["jobs:submit"])),
    params(
        ("kind" = String, Path, description = "the kind of job"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, quoted or bare; remembered for 7 days"),
        ("Warren-Run-At" = Option<String>, Header, description = "run not before this time: RFC 3339, at most 366 days ahead"),
        ("Warren-Delay" = Option<String>, Header, description = "run not before this long from now: `30s`, `1h 30m`, `7d`"),
        ("Warren-Deadline" = Option<String>, Header, description = "give up at this time: RFC 3339, after the start"),
        ("Warren-Priority" = Option<String>, Header, description = "`high`: before the normal jobs of its kind, if the kind has a queue for it; or `normal`. The kind's own unless said"),
        ("Warren-Tags" = Option<String>, Header, description = "words to find the job by: `region=eu, batch-7`; 8 at most, each 1 to 64 letters, digits and `. _ - : = @ /`"),
        ("Warren-Callback" = Option<String>, Header, description = "an `https` URL that is told when the job has ended, signed after Standard Webhooks; the kind's own unless said"),
        ("Prefer" = Option<String>, Header, description = "`wait=5`: answer with the ended job if it ends in so many seconds, 30 at most; needs `jobs:read`"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the worker"),
    ),
    request_body(content = serde_json::Value, content_type = "application/json", description = "the payload, any JSON"),
    responses(
        (status = 200, description = "with `Prefer: wait`: stored, and ended in time, well or not", body = JobView,
            headers(("Preference-Applied" = String, description = "`wait=5`"))),
        (status = 202, description = "stored", body = AcceptedView, headers(
            ("Location" = String, description = "the job's address"),
            ("Retry-After" = u32, description = "seconds after which asking for the state makes sense"),
            ("Warren-Estimated-Start" = Option<String>, description = "RFC 3339: when the job will start, as far as is known, if it has to wait: what its kind calls is held back, or others are before it"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
            ("RateLimit-Policy" = Option<String>, description = "the limit nearer to its end, if there is one: `\"tenant\";q=1000;w=1`"),
            ("RateLimit" = Option<String>, description = "what is left of it: `\"tenant\";r=999`"),
        )),
        (status = 400, description = "empty-body, malformed-json, too-deep, body-incomplete, invalid-idempotency-key, idempotency-key-required, invalid-timing, invalid-priority, invalid-tags, not-supported-yet, refused",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 403, description = "scope-missing", body = Document, content_type = "application/problem+json"),
        (status = 404, description = "unknown-kind", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "idempotency-key-undecided", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 413, description = "body-too-large", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 422, description = "schema-violation, idempotency-key-reused, invalid-callback, callback-secret-missing", body = Document, content_type = "application/problem+json"),
        (status = 429, description = "rate-limited, too-many-bad-tokens", body = Document, content_type = "application/problem+json", headers(
            ("Retry-After" = u32, description = "seconds"),
            ("RateLimit-Policy" = String, description = "the limit: `\"tenant\";q=1000;w=1`"),
            ("RateLimit" = String, description = "what is left, and seconds until there is more: `\"tenant\";r=0;t=1`"),
        )),
        (status = 503, description = "backlog-full, overloaded, store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn submit(State(api): State<Api>, kind: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let kind = kind.map(|Path(kind)| kind).unwrap_or_default();
    take(&api, &kind, None, request).await
}

/// A request to an address that no route has: maybe one that the configuration maps to a kind.
pub(super) async fn mapped(State(api): State<Api>, request: Request) -> Response {
    let route = request.uri().path().to_owned();
    match api.acceptor().kinds().at(&route) {
        Some(spec) if request.method() == Method::POST => take(&api, spec.kind.as_str(), Some(route), request).await,
        Some(_) => {
            let refused = pages::method_not_allowed(request.method().clone(), request.uri().clone()).await;
            ([(ALLOW, "POST")], refused).into_response()
        }
        None => pages::not_found(request.uri().clone()).await.into_response(),
    }
}

/// Takes a submission of `kind`, which came by `route` if not by the kind's own address.
async fn take(api: &Api, kind: &str, route: Option<String>, request: Request) -> Response {
    let begun = Instant::now();
    let address = route.as_deref().unwrap_or("/v1/kinds/{kind}/jobs");
    let Entered { traceparent, mut span } =
        api.acceptor().tracer().serve("POST", address, headers::traceparent(request.headers()));
    match accept(api, kind, route, request, traceparent).await {
        Ok(Taken { accepted, class, state, standing, wait }) => {
            if let Some(span) = &mut span {
                span.answered(StatusCode::ACCEPTED.as_u16());
                span.set("warren.job.id", accepted.id.to_string());
                span.set("warren.job.kind", kind);
            }
            // As with the duration: the wait is the client's wish.
            drop(span);
            if accepted.replayed {
                api.metrics().replayed.inc();
            } else {
                api.metrics().accepted(kind);
            }
            let mut response = answer(kind, accepted, state);
            if let Some(standing) = standing {
                standing.write(response.headers_mut());
            }
            // A replay is the first answer again, and that job may be over; one for later names its own time.
            let now = !accepted.replayed && state == "accepted";
            let starts_at = if now { api.acceptor().starts_at(kind, class) } else { None };
            if let Some(at) = starts_at.and_then(|at| HeaderValue::try_from(database::clock::timestamp(at).to_string()).ok()) {
                response.headers_mut().insert(ESTIMATED_START, at);
            }
            // The wait is the client's wish, and none of this measures it.
            api.metrics().duration.observe(begun.elapsed().as_secs_f64());
            match wait {
                Some(seconds) => wait_for_end(api, accepted.id, seconds, response).await,
                None => response,
            }
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

/// A submission that is on disk.
struct Taken {
    accepted: Accepted,
    class: Priority,
    /// The state that the answer names.
    state: &'static str,
    standing: Option<Standing>,
    /// How many seconds the client would wait for its end.
    wait: Option<u64>,
}

/// The ended job instead of the 202, if it ends in time; the headers of the 202 either way, but for those that speak of its start.
async fn wait_for_end(api: &Api, id: uuid::Uuid, seconds: u64, mut accepted: Response) -> Response {
    let waited = wait::for_end(api, id, seconds).await;
    if !matches!(waited, Waited::Not) {
        accepted.headers_mut().insert("preference-applied", wait::applied(seconds));
    }
    let Waited::Ended(record) = waited else { return accepted };
    let mut headers = std::mem::take(accepted.headers_mut());
    headers.remove(RETRY_AFTER);
    headers.remove(CONTENT_LENGTH);
    headers.remove(ESTIMATED_START);
    (StatusCode::OK, headers, Json(JobView::of(*record))).into_response()
}

async fn accept(
    api: &Api,
    kind: &str,
    route: Option<String>,
    request: Request,
    traceparent: Option<String>,
) -> Result<Taken, Problem> {
    let (parts, body) = request.into_parts();
    let caller = api.verifier().authenticate(&parts.headers)?;
    caller.require(scope::JOBS_SUBMIT)?;
    let standing = api.rates().take(&caller)?;

    let Some(spec) = api.acceptor().kinds().get(kind) else { return Err(unknown_kind(kind)) };
    headers::refuse_unsupported_of_a_job(&parts.headers)?;
    let content_type = media::content_type(&parts.headers, &spec.content_types)?;
    body::check_encoding(&parts.headers)?;
    let timing = headers::timing(&parts.headers)?;
    let priority = headers::priority(&parts.headers)?;
    let tags = headers::tags(&parts.headers)?;
    let callback = headers::callback(&parts.headers)?;
    let body = body::read(body, api.options().body_limit, api.options().body_deadline).await?;
    let checked = check_payload(&spec, &content_type, &body, "");
    let key = key::of(&parts.headers)?;
    check_key(&spec, key.as_deref())?;

    let state = said_state(&timing);
    let submission = Submission {
        tenant: caller.tenant.clone(),
        subject: caller.subject.clone(),
        // Only the scope of a key asks for it.
        route: if key.is_some() { route.unwrap_or_else(|| route_of(kind)) } else { String::new() },
        content_type,
        body,
        traceparent,
        key,
        timing,
        priority,
        tags,
        callback,
        patient: false,
        kind: kind.to_owned(),
    };
    // What is scheduled ends when it is due, at the soonest.
    let wait = wait::wanted(&parts.headers, &caller).filter(|_| state == "accepted");
    let accepted = store(api.acceptor(), submission, checked, Problem::from).await?;
    Ok(Taken { accepted, class: priority.or(spec.priority).unwrap_or_default(), state, standing, wait })
}

/// Stores a submission whose payload was `checked`. What was answered once is answered so again, though a schema that came since
/// would refuse it.
pub(crate) async fn store<E: From<Problem>>(
    acceptor: &Acceptor,
    submission: Submission,
    checked: Result<(), Problem>,
    refused: impl Fn(AcceptError) -> E,
) -> Result<Accepted, E> {
    match checked {
        Ok(()) => acceptor.accept(submission).await.map_err(refused),
        Err(problem) if problem.code == Code::SchemaViolation => {
            acceptor.first_answer(&submission).await.map_err(refused)?.ok_or_else(|| problem.into())
        }
        Err(problem) => Err(problem.into()),
    }
}

/// The address that every kind has.
pub(super) fn route_of(kind: &str) -> String {
    format!("/v1/kinds/{kind}/jobs")
}

/// Whether a payload is one that `spec` takes. `place` is where it stands in the body, as a JSON Pointer.
///
/// # Errors
/// What is wrong with it, as the door would refuse it.
pub fn check_payload(spec: &KindSpec, content_type: &str, payload: &[u8], place: &str) -> Result<(), Problem> {
    if !is_json(content_type) {
        return Ok(());
    }
    let Some(schema) = &spec.schema else { return body::check_json(payload) };
    let violations = schema.violations(&body::parse(payload)?);
    let Some(first) = violations.first() else { return Ok(()) };
    let detail = format!("`{}` at `#{place}{}`: GET /v1/kinds/{} shows the schema", first.why, first.pointer, spec.kind);
    let refused = Problem::new(Code::SchemaViolation, detail);
    Err(violations.iter().fold(refused, |refused, one| refused.pointer(&format!("{place}{}", one.pointer), one.why.clone())))
}

/// Whether `spec` does with this key, or without one.
pub(super) fn check_key(spec: &KindSpec, key: Option<&str>) -> Result<(), Problem> {
    if spec.key_required && key.is_none() {
        let why = "send an `Idempotency-Key`, one for each job you want, and the same one when you try again";
        return Err(Problem::new(Code::IdempotencyKeyRequired, why).header("idempotency-key", "missing"));
    }
    Ok(())
}

/// The state that the answer names. It follows from the request, so that a repetition is answered to the byte.
pub(super) fn said_state(timing: &Timing) -> &'static str {
    if timing.is_scheduled() { "scheduled" } else { "accepted" }
}

/// The 202. It depends on nothing but the request and the job's id, so a replay is the first answer to the byte.
fn answer(kind: &str, accepted: Accepted, state: &str) -> Response {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id: &str = accepted.id.hyphenated().encode_lower(&mut buffer);
    // A kind's grammar has nothing that JSON would escape.
    let body = format!(r#"{{"id":"{id}","kind":"{kind}","state":"{state}","links":{{"self":"/v1/jobs/{id}"}}}}"#);
    let mut response = door::accepted(Some(format!("/v1/jobs/{id}")), body, accepted.replayed);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_handwritten_answer_is_what_the_schema_says() {
        let id = uuid::Uuid::now_v7();
        let view = AcceptedView { id: id.to_string(), kind: "demo.echo".to_owned(), state: "accepted", links: Links::of(id) };
        let answer = answer("demo.echo", Accepted { id, replayed: false }, "accepted").into_body();
        let written = axum::body::to_bytes(answer, usize::MAX).await.unwrap();
        assert_eq!(written, serde_json::to_vec(&view).unwrap());
    }
}
