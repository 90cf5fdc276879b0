//! The headers of a submission: each is understood, or refused; none that changes what a job means is ignored.

use axum::http::HeaderMap;
use messaging::trace::TraceContext;

use super::refusals;
use crate::accept::{PRIORITY_HEADER, TIMING_HEADERS, Timing, parse_priority};
use crate::callbacks::{CALLBACK_HEADER, CallbackError};
use crate::store::Priority;
use crate::tags::{TAGS_HEADER, Tags};
use door::header;
use door::problem::{Code, Problem};

/// Refuses what a later version will do, so that nobody takes silence for consent.
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), Problem> {
    header::refuse_but(headers, &[])?;
    let waits = headers.get_all("prefer").iter().flat_map(|value| value.as_bytes().split(|b| *b == b',')).any(is_wait);
    if waits {
        let detail = "`Prefer: wait` is taken where one job is submitted, and not here: leave it out";
        return Err(Problem::new(Code::NotSupportedYet, detail).header("prefer", "`wait` is not supported here"));
    }
    Ok(())
}

/// As [`refuse_unsupported`], where a job is submitted.
pub(super) fn refuse_unsupported_of_a_job(headers: &HeaderMap) -> Result<(), Problem> {
    let [run_at, delay, deadline] = TIMING_HEADERS;
    header::refuse_but(headers, &[run_at, delay, deadline, PRIORITY_HEADER, TAGS_HEADER, CALLBACK_HEADER])
}

/// When the job is to run.
pub(super) fn timing(headers: &HeaderMap) -> Result<Timing, Problem> {
    let [run_at, delay, deadline] = TIMING_HEADERS;
    let said = |name: &'static str| match header::once(headers, name) {
        Ok(text) => Ok(text.map(str::to_owned)),
        Err(why) => Err(Problem::new(Code::InvalidTiming, format!("`{name}` {why}")).header(name, why)),
    };
    Ok(Timing { run_at: said(run_at)?, delay: said(delay)?, deadline: said(deadline)? })
}

/// The class that is asked for.
pub(super) fn priority(headers: &HeaderMap) -> Result<Option<Priority>, Problem> {
    match header::once(headers, PRIORITY_HEADER) {
        Ok(text) => text.map(parse_priority).transpose().map_err(|error| refusals::priority(&error)),
        Err(why) => Err(Problem::new(Code::InvalidPriority, format!("`{PRIORITY_HEADER}` {why}")).header(PRIORITY_HEADER, why)),
    }
}

/// Who is to be told of the end.
pub(super) fn callback(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    header::once(headers, CALLBACK_HEADER)
        .map(|text| text.map(str::to_owned))
        .map_err(|why| refusals::callback(&CallbackError::Url(why.to_owned())).header(CALLBACK_HEADER, why))
}

/// The job's tags. Several headers are one list.
pub(super) fn tags(headers: &HeaderMap) -> Result<Tags, Problem> {
    let mut list = String::new();
    for value in headers.get_all(TAGS_HEADER) {
        let Ok(text) = value.to_str() else {
            return Err(no_tags("a tag is not plain text".to_owned()).header(TAGS_HEADER, "not ASCII"));
        };
        list.push_str(text);
        list.push(',');
    }
    Tags::listed(&list).map_err(|error| no_tags(error.to_string()).header(TAGS_HEADER, error.to_string()))
}

pub(crate) fn no_tags(why: String) -> Problem {
    Problem::new(Code::InvalidTags, format!("{why}; 8 tags of 64 characters at most, as in `region=eu, batch-7`"))
}

/// `wait`, `wait=5`, `Wait = "5"; x=y`.
fn is_wait(preference: &[u8]) -> bool {
    let name = preference.split(|b| matches!(b, b'=' | b';')).next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"wait")
}

/// The trace the request belongs to. A malformed one starts none: tracing is no reason to refuse work.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = header::once(headers, "traceparent").ok()??;
    TraceContext::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn wait_is_found_wherever_it_stands() {
        for value in ["wait=5", "respond-async, wait=5", "WAIT", "a=b, Wait = 3; x"] {
            assert!(refuse_unsupported(&headers(&[("prefer", value)])).is_err(), "{value}");
        }
        for value in ["respond-async", "waiting=5", "handling=lenient"] {
            assert!(refuse_unsupported(&headers(&[("prefer", value)])).is_ok(), "{value}");
        }
    }

    #[test]
    fn a_trace_is_taken_only_when_well_formed() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers(&[("traceparent", good)])).as_deref(), Some(good));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(traceparent(&headers(&[("traceparent", bad)])), None, "{bad}");
        }
    }
}
