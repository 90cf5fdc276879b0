//! The headers of a submission: each is understood, or refused; none that changes what a job means is ignored.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};

use super::problem::{Code, Problem};
use crate::accept::parse_key;

/// The only media type taken.
pub(super) const JSON: &str = "application/json";

/// Refuses what a later version will do, so that nobody takes silence for consent.
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(name) = headers.keys().find(|name| name.as_str().starts_with("warren-")) {
        let name = name.as_str();
        let detail = format!("the header `{name}` is not supported: leave it out");
        return Err(Problem::new(Code::NotSupportedYet, detail).header(name, "not supported"));
    }
    let waits = headers.get_all("prefer").iter().flat_map(|value| value.as_bytes().split(|b| *b == b',')).any(is_wait);
    if waits {
        let detail = "`Prefer: wait` is not supported: leave it out, and ask the address in `Location`";
        return Err(Problem::new(Code::NotSupportedYet, detail).header("prefer", "`wait` is not supported"));
    }
    Ok(())
}

/// `wait`, `wait=5`, `Wait = "5"; x=y`.
fn is_wait(preference: &[u8]) -> bool {
    let name = preference.split(|b| matches!(b, b'=' | b';')).next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"wait")
}

/// JSON, said or unsaid.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.is_empty() || value == JSON || is_json(value) => Ok(()),
        _ => {
            Err(Problem::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`")
                .header("content-type", "not JSON"))
        }
    }
}

/// `application/json` in any case, with no charset but UTF-8.
fn is_json(value: &HeaderValue) -> bool {
    let mut parts = value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case(JSON.as_bytes())
        && parts.all(|parameter| {
            let charset = parameter.split_at_checked(8).filter(|(name, _)| name.eq_ignore_ascii_case(b"charset="));
            charset.is_none_or(|(_, value)| value.eq_ignore_ascii_case(b"utf-8") || value.eq_ignore_ascii_case(b"\"utf-8\""))
        })
}

/// Nothing is unpacked: a few bytes could become gigabytes.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Problem::new(Code::UnsupportedContentEncoding, "send the body as it is, without Content-Encoding")
            .header("content-encoding", "not supported")),
    }
}

/// The `Idempotency-Key`, if there is one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused = |detail: String| Problem::new(Code::InvalidIdempotencyKey, detail.clone()).header("idempotency-key", detail);
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse_key(value.as_bytes()).map(Some).map_err(|error| refused(error.to_string())),
        _ => Err(refused("the request has more than one Idempotency-Key".to_owned())),
    }
}

/// The trace the request belongs to. A malformed one starts none: tracing is no reason to refuse work.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let well_formed = version == "00"
        && parts.next().is_none()
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && !zero(trace)
        && !zero(parent);
    well_formed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn json_is_json_in_any_dress() {
        for value in
            ["application/json", "", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\""]
        {
            assert!(check_media_type(&headers(&[("content-type", value)])).is_ok(), "{value}");
        }
        for value in
            ["text/plain", "application/jsonl", "application/json; charset=latin1", "application/cloudevents+json", "json"]
        {
            assert!(check_media_type(&headers(&[("content-type", value)])).is_err(), "{value}");
        }
        let mut twice = headers(&[("content-type", "application/json")]);
        twice.append(CONTENT_TYPE, HeaderValue::from_static(JSON));
        assert!(check_media_type(&twice).is_err());
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
