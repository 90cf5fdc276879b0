//! Headers that say what a request means: each is understood, or refused; none is ignored.

use axum::http::{HeaderMap, HeaderName};

use crate::problem::{Code, Problem};

/// What a header says that may be there once, without the blanks around it.
///
/// # Errors
/// What is wrong with it, to be said after its name.
pub fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| "is not plain text"),
        _ => Err("is given twice"),
    }
}

/// Refuses every `Warren-*` header that is not `known` here, so that nobody takes silence for consent. Names are in lower case.
///
/// # Errors
/// `not-supported-yet`.
pub fn refuse_but(headers: &HeaderMap, known: &[&str]) -> Result<(), Problem> {
    let unknown = |name: &&HeaderName| name.as_str().starts_with("warren-") && !known.contains(&name.as_str());
    let Some(name) = headers.keys().find(unknown) else { return Ok(()) };
    let detail = format!("the header `{name}` is not supported here: leave it out");
    Err(Problem::new(Code::NotSupportedYet, detail).header(name.as_str(), "not supported"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_that_is_there_twice_or_is_no_text_says_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(once(&headers, "warren-delay"), Ok(None));
        headers.append("warren-delay", HeaderValue::from_static(" 30s\t"));
        assert_eq!(once(&headers, "warren-delay"), Ok(Some("30s")));
        headers.append("warren-delay", HeaderValue::from_static("30s"));
        assert_eq!(once(&headers, "warren-delay"), Err("is given twice"));
        headers.insert("warren-delay", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(once(&headers, "warren-delay"), Err("is not plain text"));
    }

    #[test]
    fn of_ours_only_the_known_pass() {
        let headers: HeaderMap = ["warren-ttl", "accept"]
            .into_iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("")))
            .collect();
        assert!(refuse_but(&headers, &["warren-ttl"]).is_ok());
        assert_eq!(refuse_but(&headers, &[]).unwrap_err().code, Code::NotSupportedYet);
    }
}
