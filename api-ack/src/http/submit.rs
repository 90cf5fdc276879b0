//! `POST /v1/kinds/{kind}/jobs`: the hot path. Checks at the door, cheapest and most telling first; then one durable write.

use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{Code, Document, Problem, unknown_kind};
use super::view::Links;
use super::{Api, auth, body, headers};
use crate::accept::{Accepted, Submission};

/// The answer to a submission.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Accepted)]
pub(super) struct AcceptedView {
    /// The job: a UUIDv7.
    #[schema(example = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    id: String,
    /// Its kind.
    kind: String,
    /// Always `accepted`, also on a replay.
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
        ("traceparent" = Option<String>, Header, description = "W3C trace context, handed on to the worker"),
    ),
    request_body(content = serde_json::Value, content_type = "application/json", description = "the payload, any JSON"),
    responses(
        (status = 202, description = "stored", body = AcceptedView, headers(
            ("Location" = String, description = "the job's address"),
            ("Retry-After" = u32, description = "seconds after which asking for the state makes sense"),
            ("Warren-Estimated-Start" = Option<String>, description = "RFC 3339: when the job will start, if what its kind calls is held back"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this is the first answer again"),
        )),
        (status = 400, description = "empty-body, malformed-json, too-deep, body-incomplete, invalid-idempotency-key, idempotency-key-required, not-supported-yet, refused",
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
        (status = 422, description = "idempotency-key-reused", body = Document, content_type = "application/problem+json"),
        (status = 503, description = "backlog-full, overloaded, store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn submit(State(api): State<Api>, kind: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let begun = Instant::now();
    match take(&api, kind, request).await {
        Ok((kind, accepted)) => {
            if accepted.replayed {
                api.metrics().replayed.inc();
            } else {
                api.metrics().accepted(&kind);
            }
            // A replay is the first answer again, and that job may be over.
            let starts_at = if accepted.replayed { None } else { api.acceptor().starts_at(&kind) };
            let mut response = answer(&kind, accepted);
            if let Some(at) = starts_at.and_then(|at| HeaderValue::try_from(crate::clock::timestamp(at).to_string()).ok()) {
                response.headers_mut().insert("warren-estimated-start", at);
            }
            api.metrics().duration.observe(begun.elapsed().as_secs_f64());
            response
        }
        Err(problem) => {
            api.metrics().refused(problem.code);
            problem.into_response()
        }
    }
}

async fn take(api: &Api, kind: Result<Path<String>, PathRejection>, request: Request) -> Result<(String, Accepted), Problem> {
    let (parts, body) = request.into_parts();
    let caller = api.verifier().authenticate(&parts.headers)?;
    caller.require(auth::JOBS_SUBMIT)?;

    let Ok(Path(kind)) = kind else { return Err(unknown_kind("")) };
    let Some(spec) = api.acceptor().kinds().get(&kind) else { return Err(unknown_kind(&kind)) };
    headers::refuse_unsupported(&parts.headers)?;
    headers::check_media_type(&parts.headers)?;
    headers::check_encoding(&parts.headers)?;
    let body = body::read(body, api.options().body_limit, api.options().body_deadline).await?;
    body::check_json(&body)?;
    let key = headers::key(&parts.headers)?;
    if spec.key_required && key.is_none() {
        let why = "send an `Idempotency-Key`, one for each job you want, and the same one when you try again";
        return Err(Problem::new(Code::IdempotencyKeyRequired, why).header("idempotency-key", "missing"));
    }

    let submission = Submission {
        tenant: caller.tenant.clone(),
        subject: caller.subject.clone(),
        // Only the scope of a key asks for it.
        route: if key.is_some() { format!("/v1/kinds/{kind}/jobs") } else { String::new() },
        content_type: headers::JSON.to_owned(),
        body,
        traceparent: headers::traceparent(&parts.headers),
        key,
        kind: kind.clone(),
    };
    let accepted = api.acceptor().accept(submission).await?;
    Ok((kind, accepted))
}

/// The 202. It depends on nothing but the job's id and kind, so a replay is the first answer to the byte.
fn answer(kind: &str, accepted: Accepted) -> Response {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id: &str = accepted.id.hyphenated().encode_lower(&mut buffer);
    // A kind's grammar has nothing that JSON would escape.
    let body = format!(r#"{{"id":"{id}","kind":"{kind}","state":"accepted","links":{{"self":"/v1/jobs/{id}"}}}}"#);
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{id}")) {
        headers.insert(LOCATION, location);
    }
    if accepted.replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    (StatusCode::ACCEPTED, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_handwritten_answer_is_what_the_schema_says() {
        let id = uuid::Uuid::now_v7();
        let view = AcceptedView { id: id.to_string(), kind: "demo.echo".to_owned(), state: "accepted", links: Links::of(id) };
        let answer = answer("demo.echo", Accepted { id, replayed: false }).into_body();
        let written = axum::body::to_bytes(answer, usize::MAX).await.unwrap();
        assert_eq!(written, serde_json::to_vec(&view).unwrap());
    }
}
