//! The body of a request: read up to a limit, and checked without building anything from it.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::problem::{Code, Problem};

/// How much beyond the limit is still read, and thrown away: a client that is cut off while it sends does not see the answer.
const DISCARD: usize = 1 << 20;

/// Reads a body, `limit` bytes at most, within `deadline`. What counts is what arrives, whatever was declared.
///
/// # Errors
/// `body-too-large`, `body-too-slow` or `body-incomplete`.
pub async fn read(body: Body, limit: usize, deadline: Duration) -> Result<Bytes, Problem> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit.saturating_add(DISCARD) {
        return Err(too_large(limit));
    }
    // The usual body is here already, in one piece: then no timer is set and nothing is copied.
    match tokio::time::timeout(deadline, collect(body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(Code::BodyTooSlow, format!("the body must arrive within {} s", deadline.as_secs_f32()))),
    }
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut frames = body.into_data_stream();
    let (mut first, mut rest, mut read) = (Bytes::new(), BytesMut::new(), 0usize);
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Problem::new(Code::BodyIncomplete, "the body broke off or is not framed correctly"))?;
        read = read.saturating_add(frame.len());
        if read > limit {
            if read > limit.saturating_add(DISCARD) {
                break;
            }
        } else if first.is_empty() {
            first = frame;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&frame);
        }
    }
    match (read > limit, rest.is_empty()) {
        (true, _) => Err(too_large(limit)),
        (false, true) => Ok(first),
        (false, false) => Ok(rest.freeze()),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body has over {limit} bytes: store large data elsewhere and send its address"))
}

/// Nothing is unpacked: a few bytes could become gigabytes.
///
/// # Errors
/// `unsupported-content-encoding`.
pub fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Problem::new(Code::UnsupportedContentEncoding, "send the body as it is, without Content-Encoding")
            .header("content-encoding", "not supported")),
    }
}

/// Whether the bytes are one JSON value that every reader can read: UTF-8, well formed, not too deep.
///
/// # Errors
/// `empty-body`, `malformed-json` or `too-deep`.
pub fn check_json(body: &[u8]) -> Result<(), Problem> {
    parse::<WellFormed>(body).map(drop)
}

/// The body as JSON, refused as [`check_json`] refuses it.
///
/// # Errors
/// As [`check_json`].
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::new(Code::EmptyBody, "the body is empty: send JSON, `null` if there is nothing to say"));
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        // The parser counts levels and stops at its own limit; it tells so in words only.
        Err(error) if error.to_string().starts_with("recursion limit") => {
            Err(Problem::new(Code::TooDeep, "arrays and objects may be nested 127 levels deep"))
        }
        Err(error) => Err(Problem::new(Code::MalformedJson, error.to_string())),
    }
}

/// Any JSON value, forgotten while it is read.
///
/// `serde::de::IgnoredAny` is faster by a little, but `serde_json` skips for it: no limit on depth and no look at UTF-8, so
/// what it lets through fails in the worker.
struct WellFormed;

impl<'de> Deserialize<'de> for WellFormed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = WellFormed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_str<E>(self, _: &str) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_unit<E>(self) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<WellFormed, A::Error> {
        while let Some(WellFormed) = seq.next_element()? {}
        Ok(WellFormed)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WellFormed, A::Error> {
        while let Some((WellFormed, WellFormed)) = map.next_entry()? {}
        Ok(WellFormed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> Option<Code> {
        check_json(body).err().map(|problem| problem.code)
    }

    #[test]
    fn json_passes() {
        for body in ["{}", "null", "[1,-2,3.5e10,true,\"\\u00e4\",{\"a\":[]}]", " \"ü\" ", "0"] {
            assert_eq!(code(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_json_does_not() {
        let bad: [&[u8]; 14] = [
            b"{",
            b"{\"a\":}",
            b"{} {}",
            b"[1,]",
            b"'a'",
            b"NaN",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"{\"\xc0\xaf\":1}",
            b"\"\\ud800\"",
            b"\"a\nb\"",
            b"1e999",
            b" ",
            b"\0",
        ];
        for body in bad {
            assert_eq!(code(body), Some(Code::MalformedJson), "{}", body.escape_ascii());
        }
        assert_eq!(code(b""), Some(Code::EmptyBody));
    }

    #[test]
    fn depth_is_limited_and_never_costs_the_stack() {
        let arrays = |n| [vec![b'['; n], vec![b']'; n]].concat();
        assert_eq!(code(&arrays(127)), None);
        assert_eq!(code(&arrays(129)), Some(Code::TooDeep));
        assert_eq!(code(&arrays(100_000)), Some(Code::TooDeep));
        assert_eq!(code("{\"a\":".repeat(100_000).as_bytes()), Some(Code::TooDeep));
    }

    #[test]
    fn what_passes_is_read_by_a_worker() {
        let body = [vec![b'['; 127], vec![b']'; 127]].concat();
        assert!(check_json(&body).is_ok() && serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}
