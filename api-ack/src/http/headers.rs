//! The headers of a submission: each is understood, or refused; none that changes what a job means is ignored.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use messaging::trace::TraceContext;

use super::refusals;
use crate::accept::{PRIORITY_HEADER, TIMING_HEADERS, Timing, parse_priority};
use crate::callbacks::{CALLBACK_HEADER, CallbackError};
use crate::kinds::is_json;
use crate::store::Priority;
use crate::tags::{TAGS_HEADER, Tags};
use door::problem::{Code, Problem};

/// Refuses what a later version will do, so that nobody takes silence for consent.
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), Problem> {
    refuse_but(headers, &[])?;
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
    refuse_but(headers, &[run_at, delay, deadline, PRIORITY_HEADER, TAGS_HEADER, CALLBACK_HEADER])
}

fn refuse_but(headers: &HeaderMap, known: &[&str]) -> Result<(), Problem> {
    let unknown = |name: &&HeaderName| name.as_str().starts_with("warren-") && !known.contains(&name.as_str());
    if let Some(name) = headers.keys().find(unknown) {
        let name = name.as_str();
        let detail = format!("the header `{name}` is not supported here: leave it out");
        return Err(Problem::new(Code::NotSupportedYet, detail).header(name, "not supported"));
    }
    Ok(())
}

/// When the job is to run.
pub(super) fn timing(headers: &HeaderMap) -> Result<Timing, Problem> {
    let [run_at, delay, deadline] = TIMING_HEADERS;
    let said = |name: &'static str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                Ok(text) => Ok(Some(text.trim().to_owned())),
                Err(_) => Err(Problem::new(Code::InvalidTiming, format!("`{name}` is not plain text")).header(name, "not ASCII")),
            },
            _ => Err(Problem::new(Code::InvalidTiming, format!("`{name}` is given twice")).header(name, "given twice")),
        }
    };
    Ok(Timing { run_at: said(run_at)?, delay: said(delay)?, deadline: said(deadline)? })
}

/// The class that is asked for.
pub(super) fn priority(headers: &HeaderMap) -> Result<Option<Priority>, Problem> {
    let mut values = headers.get_all(PRIORITY_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        // What is no text is none of the words.
        (Some(value), None) => match parse_priority(value.to_str().unwrap_or_default()) {
            Ok(priority) => Ok(Some(priority)),
            Err(error) => Err(refusals::priority(&error)),
        },
        _ => Err(Problem::new(Code::InvalidPriority, format!("`{PRIORITY_HEADER}` is given twice"))
            .header(PRIORITY_HEADER, "given twice")),
    }
}

/// Who is to be told of the end.
pub(super) fn callback(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused =
        |why: &str| Err(refusals::callback(&CallbackError::Url(why.to_owned())).header(CALLBACK_HEADER, why.to_owned()));
    let mut values = headers.get_all(CALLBACK_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => refused("is not plain text"),
        },
        _ => refused("is given twice"),
    }
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

/// The media type of the body, if it is one of those `taken`.
pub(super) fn content_type(headers: &HeaderMap, taken: &[impl AsRef<str>]) -> Result<String, Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => takes(taken, None),
        (Some(value), None) => takes(taken, Some(value.to_str().unwrap_or("?"))),
        _ => takes(taken, Some("two of them")),
    }
}

/// The media type that was `said`, if it is one of those `taken`: as it is stored and handed to the worker. Unsaid, it is the first.
pub(crate) fn takes(taken: &[impl AsRef<str>], said: Option<&str>) -> Result<String, Problem> {
    let refused = || {
        let taken: Vec<&str> = taken.iter().map(AsRef::as_ref).collect();
        Problem::new(Code::UnsupportedMediaType, format!("this is sent with `Content-Type`: {}", taken.join(", ")))
            .header("content-type", "not taken")
    };
    let Some(text) = said.map(str::trim).filter(|text| !text.is_empty()) else {
        return taken.first().map(|first| first.as_ref().to_owned()).ok_or_else(refused);
    };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim().to_ascii_lowercase();
    if !taken.iter().any(|one| one.as_ref() == essence) || text.len() > LONGEST {
        return Err(refused());
    }
    match (is_json(&essence), is_utf8(parameters)) {
        // JSON is UTF-8, said or unsaid: one spelling, so that a repetition is the same request.
        (true, true) => Ok(essence),
        (true, false) => Err(refused()),
        (false, _) => Ok(text.to_owned()),
    }
}

/// The longest media type, in bytes: a short string in AMQP.
const LONGEST: usize = 255;

/// No charset but UTF-8.
fn is_utf8(parameters: &str) -> bool {
    parameters.split(';').map(str::trim).all(|parameter| {
        let charset = parameter.split_at_checked(8).filter(|(name, _)| name.eq_ignore_ascii_case("charset="));
        charset.is_none_or(|(_, value)| value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("\"utf-8\""))
    })
}

/// The trace the request belongs to. A malformed one starts none: tracing is no reason to refuse work.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    TraceContext::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::kinds::JSON;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn json_is_json_in_any_dress() {
        let spec = [JSON];
        for value in
            ["application/json", "", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\""]
        {
            assert_eq!(content_type(&headers(&[("content-type", value)]), &spec).unwrap(), JSON, "{value}");
        }
        for value in
            ["text/plain", "application/jsonl", "application/json; charset=latin1", "application/cloudevents+json", "json"]
        {
            assert!(content_type(&headers(&[("content-type", value)]), &spec).is_err(), "{value}");
        }
        let mut twice = headers(&[("content-type", "application/json")]);
        twice.append(CONTENT_TYPE, HeaderValue::from_static(JSON));
        assert!(content_type(&twice, &spec).is_err());
    }

    #[test]
    fn a_kind_takes_its_own_types_and_hands_them_on_as_they_came() {
        let spec = ["application/xml", "application/vnd.shop+json"];
        let said = |value| content_type(&headers(&[("content-type", value)]), &spec);
        assert_eq!(said("").unwrap(), "application/xml");
        assert_eq!(said("Application/XML; charset=latin1").unwrap(), "Application/XML; charset=latin1");
        assert_eq!(said("application/vnd.shop+json; charset=utf-8").unwrap(), "application/vnd.shop+json");
        assert!(said("application/json").is_err());
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
