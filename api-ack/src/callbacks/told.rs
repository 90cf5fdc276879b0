//! What a callback says.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::split_result;
use crate::store::{JobRecord, State};
use database::clock;

/// The body of a callback. It follows from the row of the job, so that it is the same on every call.
#[derive(Serialize)]
struct Told<'a> {
    /// `job.succeeded`, `job.dead`, `job.cancelled`, `job.expired`.
    r#type: String,
    /// When the job ended.
    timestamp: Timestamp,
    data: Ended<'a>,
}

/// The job, in the words of `GET /v1/jobs/{id}`, but for its attempts.
#[derive(Serialize)]
struct Ended<'a> {
    id: String,
    kind: &'a str,
    tenant: &'a str,
    state: State,
    epoch: i32,
    attempt: i32,
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    error: Option<&'a str>,
    reason: Option<&'a str>,
    accepted_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_from: Option<String>,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
}

/// The body about a job that has ended; `None` if it has not.
pub(super) fn body(record: &JobRecord) -> Option<Bytes> {
    let (job, status) = (&record.job, &record.job.status);
    let ended_at = clock::timestamp(status.ended_at?);
    let (result, result_base64) = split_result(record.result.as_deref());
    let told = Told {
        r#type: format!("job.{}", status.state.name()),
        timestamp: ended_at,
        data: Ended {
            id: job.id.to_string(),
            kind: &job.kind,
            tenant: &job.tenant,
            state: status.state,
            epoch: status.epoch,
            attempt: status.attempt,
            tags: record.tags.iter().collect(),
            result,
            result_base64,
            error: status.error.as_deref(),
            reason: status.reason.as_deref(),
            accepted_at: clock::timestamp(clock::made_at(job.id).unwrap_or_default()),
            started_at: status.started_at.map(clock::timestamp),
            ended_at,
            edited_from: record.edited_from.map(|id| id.to_string()),
            links: Links { this: format!("/v1/jobs/{}", job.id) },
        },
    };
    serde_json::to_vec(&told).ok().map(Bytes::from)
}
