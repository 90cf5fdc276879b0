//! What a refusal looks like: RFC 9457 problem documents.
//!
//! ```json
//! {"type":"/problems/unknown-kind","title":"There is no such kind of job","status":404,
//!  "detail":"there is no kind `demo.eco`","instance":"urn:uuid:0198...","request_id":"0198...","code":"unknown-kind"}
//! ```
//!
//! `instance` is this very refusal, `request_id` the `X-Request-Id` of the request; both are the same UUID unless the client
//! brought an id of its own. Both are in the log line of the refusal. Nothing that the database or a library says goes out: it is logged.

use std::borrow::Cow;

use axum::Extension;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use database::StoreError;
use serde::Serialize;
use uuid::Uuid;

pub use crate::code::Code;
use crate::current::Current;
use crate::rates::Standing;

/// A refusal, to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub code: Code,
    /// What it is this time: names the thing and the remedy.
    pub detail: Cow<'static, str>,
    /// Which parts of the request are at fault.
    pub errors: Vec<Fault>,
    /// Seconds after which it makes sense to try again.
    pub retry_after: Option<u64>,
    /// The limit that was reached.
    pub standing: Option<Standing>,
}

/// One part of a request that is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Fault {
    /// A JSON Pointer into the body, as a URI fragment (`#/items/0`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The header, if that is where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What is wrong with it.
    pub detail: String,
}

/// A problem document (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// Address of the page about this code.
    #[schema(example = "/problems/unknown-kind")]
    r#type: String,
    /// The same for every problem of this code.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What it is this time.
    detail: &'a str,
    /// This very refusal; the log names it too.
    #[schema(example = "urn:uuid:01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    instance: String,
    /// The request's id, as in the header `X-Request-Id`.
    #[schema(example = "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77")]
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Stable and kebab-case: what a program compares.
    code: &'a str,
    /// Which parts of the request are at fault, when that helps.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    /// A problem with a text for people.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None, standing: None }
    }

    /// Points at a header.
    #[must_use]
    pub fn header(mut self, name: &str, detail: impl Into<String>) -> Self {
        self.errors.push(Fault { pointer: None, header: Some(name.to_owned()), detail: detail.into() });
        self
    }

    /// Points into the body.
    #[must_use]
    pub fn pointer(mut self, pointer: &str, detail: impl Into<String>) -> Self {
        self.errors.push(Fault { pointer: Some(format!("#{pointer}")), header: None, detail: detail.into() });
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The store did not answer; `why` is for the log.
    pub fn store_unavailable(why: &str) -> Self {
        tracing::debug!("the store does not answer: {why}");
        let detail = "the store does not answer: send the same request again, with the same Idempotency-Key if it has one";
        Self::new(Code::StoreUnavailable, detail).retry_after(1)
    }

    fn log(&self, instance: Uuid, request: Option<&Current>) {
        let id = request.map(Current::id_text);
        let client = request.and_then(Current::client).map(tracing::field::display);
        let (code, status) = (self.code.as_str(), self.code.status().as_u16());
        match self.code {
            // Somebody may be knocking at the door; the rest is counted, and would only fill the log.
            Code::TokenInvalid | Code::ScopeMissing => {
                tracing::info!(
                    request.id = id, client, %instance, problem.code = code, http.status = status, "refused: {}", self.detail
                );
            }
            _ => {
                tracing::debug!(
                    request.id = id, client, %instance, problem.code = code, http.status = status, "refused: {}", self.detail
                );
            }
        }
    }

    /// As a document of its own, or as part of an answer to several requests.
    pub fn document(&self) -> Document<'_> {
        let request = Current::get();
        let instance = request.as_ref().and_then(Current::made).unwrap_or_else(Uuid::now_v7);
        self.log(instance, request.as_ref());
        Document {
            r#type: format!("/problems/{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance: format!("urn:uuid:{instance}"),
            request_id: request.as_ref().map(|request| request.id_text().to_owned()),
            code: self.code.as_str(),
            errors: &self.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(standing) = &self.standing {
            standing.write(&mut headers);
        }
        match self.code {
            Code::TokenMissing => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Code::TokenInvalid => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\"")),
            Code::ScopeMissing => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"insufficient_scope\""))
            }
            _ => None,
        };
        // For whoever counts what is refused.
        (self.code.status(), headers, Extension(self.code), body).into_response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::store_unavailable(&error.to_string())
    }
}

/// What a client wrote, fit to be shown: it may be endless, and a line break would forge a line in a log.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}
