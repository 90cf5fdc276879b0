//! `PUT /v1/jobs/{id}/result` and `POST /v1/jobs/{id}/progress`: what whoever holds the token of a run says about it. What follows is up to
//! [`crate::completions`].
//!
//! Cheapest check first: the token is computed from the address, and nothing is read for one that is not right.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use messaging::handler::{Failure, Outcome};
use messaging::message::Run;
use messaging::results::MAX_RESULT;
use messaging::said::Progress;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Api, headers, read};
use crate::completions::{Completion, CompletionError, Told};
use crate::kinds::JSON;
use door::auth::Verifier;
use door::body;
use door::media;
use door::problem::{Code, Document, Problem};

/// The largest body, in bytes: a result with a failure beside it, and how they are written.
const BODY_MAX: usize = MAX_RESULT + 16 * 1024;

/// How a run ended.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunResult)]
pub(super) struct RunResult {
    /// How it ended.
    outcome: Ended,
    /// With `succeeded`: what it made, any JSON of 64 KiB at most, kept as it is written.
    #[schema(value_type = Object, required = false)]
    #[serde(default)]
    result: Option<Box<RawValue>>,
    /// With `failed` and `rejected`: why.
    #[serde(default)]
    failure: Option<RunFailure>,
    /// With `failed`: not before so many milliseconds from now.
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

/// The word for an end, as on `warren.results`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RunOutcome)]
enum Ended {
    /// It worked.
    Succeeded,
    /// It failed and may work later.
    Failed,
    /// It will never work.
    Rejected,
}

/// Why a run did not work.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RunFailure {
    /// Stable, kebab-case; dead letters are grouped by it. Cut to 128 bytes.
    #[schema(example = "out-of-stock")]
    code: String,
    /// For people; cut to 4 KiB.
    #[serde(default)]
    message: String,
}

/// How far a run is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunProgress)]
pub(super) struct RunProgress {
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    percent: u8,
    /// For people; cut to 200 characters.
    #[serde(default)]
    note: String,
}

/// End a run that goes on elsewhere
///
/// For a service that answered a call of a kind with `completion = "async"` with 202: how that run has ended. The token is `Warren-Token`
/// of the call, as it came, and good for one attempt of this job; no other is needed or taken. The answer comes when the end is durable;
/// told again, the same end is answered the same. What comes when the run is over is recorded as late and changes nothing.
#[utoipa::path(
    put,
    path = "/v1/jobs/{id}/result",
    tag = "runs",
    security(("run" = [])),
    params(("id" = String, Path, description = "the job's id, `ce-id` of the call")),
    request_body(content = RunResult, content_type = "application/json"),
    responses(
        (status = 204, description = "the run has ended so"),
        (status = 400, description = "invalid-job-id, invalid-parameter, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid: not that of a run of this job", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 404, description = "job-not-found", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "run-over: the job has ended otherwise, or went on to another attempt", body = Document, content_type = "application/problem+json"),
        (status = 410, description = "purged: not there, and older than the shortest time that ended jobs of any kind are kept", body = Document, content_type = "application/problem+json"),
        (status = 413, description = "body-too-large: the result has over 64 KiB", body = Document, content_type = "application/problem+json"),
        (status = 415, description = "unsupported-media-type, unsupported-content-encoding",
            body = Document, content_type = "application/problem+json"),
        (status = 429, description = "too-many-bad-tokens", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
        (status = 503, description = "store-unavailable", body = Document, content_type = "application/problem+json",
            headers(("Retry-After" = u32, description = "seconds"))),
    ),
)]
pub(super) async fn result(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
    sent: Body,
) -> Result<StatusCode, Problem> {
    let (job, run) = run_of(&api, id, &request)?;
    let outcome = outcome(told(&api, &request, sent).await?)?;
    let ended = api.live().completions.end(Completion { job, run, outcome }).await;
    answer(&api, job, run, ended)
}

/// Say how far a run is
///
/// As for a result, while the run goes on; about once a second at most. It is shown with the job and told to who follows it.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/progress",
    tag = "runs",
    security(("run" = [])),
    params(("id" = String, Path, description = "the job's id, `ce-id` of the call")),
    request_body(content = RunProgress, content_type = "application/json"),
    responses(
        (status = 204, description = "put down"),
        (status = 400, description = "invalid-job-id, invalid-parameter, empty-body, malformed-json, too-deep, body-incomplete, not-supported-yet",
            body = Document, content_type = "application/problem+json"),
        (status = 401, description = "token-missing, token-invalid: not that of a run of this job", body = Document, content_type = "application/problem+json",
            headers(("WWW-Authenticate" = String, description = "`Bearer`"))),
        (status = 404, description = "job-not-found", body = Document, content_type = "application/problem+json"),
        (status = 408, description = "body-too-slow", body = Document, content_type = "application/problem+json"),
        (status = 409, description = "run-over: the job has ended, or went on to another attempt", body = Document, content_type = "application/problem+json"),
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
pub(super) async fn progress(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
    sent: Body,
) -> Result<StatusCode, Problem> {
    let (job, run) = run_of(&api, id, &request)?;
    let RunProgress { percent, note } = told(&api, &request, sent).await?;
    if percent > 100 {
        return Err(wrong("/percent", "may be 0 to 100"));
    }
    let said = api.live().completions.progress(job, run, Progress::now(percent, &note)).await;
    answer(&api, job, run, said)
}

/// The job of the address and the run of the token, which must be one of that job.
fn run_of(api: &Api, id: Result<Path<String>, PathRejection>, request: &HeaderMap) -> Result<(Uuid, Run), Problem> {
    let token = Verifier::bearer_of(request)?;
    let job = read::id_of(id)?;
    let run = std::str::from_utf8(token).ok().and_then(|token| api.live().tokens.run_of(job, token));
    run.map(|run| (job, run)).ok_or_else(|| api.verifier().refuse("it is not that of a run of this job", NO_RUN))
}

const NO_RUN: &str =
    "this is not the token of a run of this job: send `Warren-Token` of the call as it came, with the id it came with";

/// The body: one object with known members.
async fn told<T: DeserializeOwned>(api: &Api, request: &HeaderMap, sent: Body) -> Result<T, Problem> {
    headers::refuse_unsupported(request)?;
    media::content_type(request, &[JSON])?;
    body::check_encoding(request)?;
    let sent = body::read(sent, BODY_MAX, api.options().body_deadline).await?;
    body::check_json(&sent)?;
    // A list would do for a struct.
    let object = sent.trim_ascii_start().starts_with(b"{");
    let read = object.then(|| serde_json::from_slice(&sent));
    match read {
        Some(Ok(told)) => Ok(told),
        Some(Err(error)) => Err(Problem::new(Code::InvalidParameter, format!("the body is not as it should be: {error}"))),
        None => Err(Problem::new(Code::InvalidParameter, "the body must be an object")),
    }
}

fn outcome(told: RunResult) -> Result<Outcome, Problem> {
    let RunResult { outcome, result, failure, retry_after_ms } = told;
    // `null` is no result, as it is for whoever reports by message.
    let result = result.filter(|result| result.get() != "null");
    if result.is_some() && outcome != Ended::Succeeded {
        return Err(wrong("/result", "goes with `succeeded` only: say why it failed in `failure`"));
    }
    if failure.is_some() && outcome == Ended::Succeeded {
        return Err(wrong("/failure", "does not go with `succeeded`"));
    }
    if retry_after_ms.is_some() && outcome != Ended::Failed {
        return Err(wrong("/retry_after_ms", "goes with `failed` only"));
    }
    if result.as_ref().is_some_and(|result| result.get().len() > MAX_RESULT) {
        let detail = format!("the result has over {MAX_RESULT} bytes: store it elsewhere and send its address");
        return Err(Problem::new(Code::BodyTooLarge, detail).pointer("/result", "too large"));
    }
    let failure = || match failure {
        Some(RunFailure { code, message }) => Failure::new(code, message),
        None => Failure::new("unknown", "the service gave no reason"),
    };
    Ok(match outcome {
        Ended::Succeeded => Outcome::Done(result.map(|result| Bytes::copy_from_slice(result.get().as_bytes()))),
        Ended::Rejected => Outcome::Reject(failure()),
        Ended::Failed => match retry_after_ms {
            Some(wait) => Outcome::RetryAfter(Duration::from_millis(wait), failure()),
            None => Outcome::Retry(failure()),
        },
    })
}

fn answer(api: &Api, job: Uuid, run: Run, told: Result<Told, CompletionError>) -> Result<StatusCode, Problem> {
    match told {
        Ok(Told::Heard) => Ok(StatusCode::NO_CONTENT),
        Ok(Told::Unknown) => Err(read::gone(api, job)),
        Ok(Told::Over(state, now)) => {
            let detail = match now == run {
                true => format!("the job is {}: what ended it stands, and this changes nothing", state.name()),
                false => format!(
                    "the job is {} and at attempt {} of epoch {}, and this is of attempt {} of epoch {}: it changes nothing",
                    state.name(),
                    now.attempt,
                    now.epoch,
                    run.attempt,
                    run.epoch
                ),
            };
            Err(Problem::new(Code::RunOver, detail))
        }
        Err(CompletionError::Store(error)) => Err(error.into()),
        Err(CompletionError::Busy) => {
            let detail = "too many ends of runs wait to be stored: send the same request again";
            Err(Problem::new(Code::StoreUnavailable, detail).retry_after(1))
        }
    }
}

fn wrong(pointer: &str, detail: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("`{}` {detail}", &pointer[1..])).pointer(pointer, detail)
}
