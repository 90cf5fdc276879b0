//! What an answer means: for the job, and for the destination.

use std::error::Error;
use std::time::Duration;

use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use messaging::handler::{Failure, Outcome};
use messaging::ledger::End;
use messaging::results::MAX_RESULT;
use reqwest::Response;

/// How much of a body goes into an error's text, in bytes.
const SHOWN: usize = 1024;

/// The longest wait a destination may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a call says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    Failed,
    /// It asks to be left alone for so long.
    Throttled(Duration),
}

/// A call that is over.
pub(super) struct Answer {
    pub(super) end: End,
    pub(super) health: Health,
    /// For the metric: `2xx` to `5xx`, or the code of the failure.
    pub(super) result: &'static str,
}

/// Reads an answer, its body no further than is of use. With `later` 202 is a promise and no result.
pub(super) async fn read(mut response: Response, later: bool, now: Timestamp) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match body(&mut response, &headers).await {
        Ok(body) => body,
        // Whether it worked is in doubt as long as the answer is not whole.
        Err(error) if status.is_success() => return failed("answer-broken", "the answer broke off", &error),
        Err(_) => Some(Bytes::new()),
    };
    let wait = retry_after(&headers, now);
    let failure = || failure(status, body.as_deref().unwrap_or_default());
    let result = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let health = match (status, wait) {
        (StatusCode::TOO_MANY_REQUESTS, Some(wait)) if !wait.is_zero() => Health::Throttled(wait),
        _ if is_transient(status) => Health::Failed,
        _ => Health::Well,
    };
    let outcome = match wait {
        // What counts is the promise, whatever came with it.
        _ if later && status == StatusCode::ACCEPTED => return Answer { end: End::Parked, health, result },
        _ if status.is_success() => Outcome::Done(body.filter(|body| !body.is_empty())),
        Some(wait) if is_transient(status) => Outcome::RetryAfter(wait, failure()),
        None if is_transient(status) => Outcome::Retry(failure()),
        _ => Outcome::Reject(failure()),
    };
    Answer { end: outcome.into(), health, result }
}

/// A call without an answer.
pub(super) fn failed(code: &'static str, what: &str, error: &reqwest::Error) -> Answer {
    let outcome = Outcome::Retry(Failure::new(code, format!("{what}: {}", causes(error))));
    Answer { end: outcome.into(), health: Health::Failed, result: code }
}

/// A call whose time was up.
pub(super) fn timed_out(after: Duration) -> Answer {
    let outcome = Outcome::Retry(Failure::new("timed-out", format!("no answer within {after:?}")));
    Answer { end: outcome.into(), health: Health::Failed, result: "timed-out" }
}

/// What is worth another attempt.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let shown: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = match (status.is_redirection(), shown.trim()) {
        (true, _) => "answered with a redirect, which is not followed: write the url it leads to".to_owned(),
        (false, "") => format!("answered {status}"),
        (false, shown) => format!("answered {status}: {shown}"),
    };
    Failure::new(format!("http-{}", status.as_u16()), text)
}

/// The body, or `None` if it is longer than a result may be; reading stops there.
async fn body(response: &mut Response, headers: &HeaderMap) -> Result<Option<Bytes>, reqwest::Error> {
    let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if response.status().is_success() && told.is_some_and(|length| length > MAX_RESULT as u64) {
        return Ok(None);
    }
    let mut read = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if read.len() + chunk.len() > MAX_RESULT {
            let cut = !response.status().is_success();
            // Of a refusal the beginning is enough.
            return Ok(cut.then(|| read.freeze()));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(Some(read.freeze()))
}

/// `Retry-After` in seconds or as a date, an hour at most.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            // A date that is past means at once.
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// An error with what caused it, and without the url, which may hold a secret.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() { "no reason is known".to_owned() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let of = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 01 Mar 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(of("Sun, 01 Mar 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((of("999999999"), of("soon"), of("-1")), (Some(LONGEST_WAIT), None, None));
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_failure_shows_the_beginning_of_the_answer_in_one_line() {
        let shown = failure(StatusCode::UNPROCESSABLE_ENTITY, b"no\nsuch\0order");
        assert_eq!(
            (shown.code.as_str(), shown.message.as_str()),
            ("http-422", "answered 422 Unprocessable Entity: no such order")
        );
        assert!(failure(StatusCode::BAD_REQUEST, &[0xff; 5000]).message.len() < 4096);
        assert_eq!(failure(StatusCode::BAD_GATEWAY, b"").message, "answered 502 Bad Gateway");
    }
}
