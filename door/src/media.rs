//! Media types of bodies.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use crate::problem::{Code, Problem};

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// The longest media type, in bytes: a short string in AMQP.
pub const LONGEST: usize = 255;

/// Whether a media type is JSON, whatever its parameters and its case.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let suffix = essence.len().checked_sub("+json".len()).and_then(|at| essence.get(at..));
    essence.eq_ignore_ascii_case(JSON) || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}

/// The media type of the body, if it is one of those `taken`.
///
/// # Errors
/// `unsupported-media-type`.
pub fn content_type(headers: &HeaderMap, taken: &[impl AsRef<str>]) -> Result<String, Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => takes(taken, None),
        (Some(value), None) => takes(taken, Some(value.to_str().unwrap_or("?"))),
        _ => takes(taken, Some("two of them")),
    }
}

/// The media type that was `said`, if it is one of those `taken`: as it is stored and handed to the worker. Unsaid, it is the first.
///
/// # Errors
/// `unsupported-media-type`.
pub fn takes(taken: &[impl AsRef<str>], said: Option<&str>) -> Result<String, Problem> {
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

/// No charset but UTF-8.
fn is_utf8(parameters: &str) -> bool {
    parameters.split(';').map(str::trim).all(|parameter| {
        let charset = parameter.split_at_checked(8).filter(|(name, _)| name.eq_ignore_ascii_case("charset="));
        charset.is_none_or(|(_, value)| value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("\"utf-8\""))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

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
}
