//! Many things asked for in one request, each with a fate of its own: a JSON array, or NDJSON with one item per line.
//!
//! Limits: [`ITEMS`] items, [`BYTES`] in all. What an item is, is for whoever takes it: here they are told apart and left unread.

use std::fmt;

use axum::http::HeaderMap;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::media::{self, JSON};
use crate::problem::{Code, Problem};

/// Items in one batch at most.
pub const ITEMS: usize = 1000;

/// Bytes in one batch, unless a single body may be larger.
pub const BYTES: usize = 8 << 20;

/// An array, or one item per line by any of its names.
const TAKEN: [&str; 4] = [JSON, "application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Whether the items of this request stand on lines of their own.
///
/// # Errors
/// `unsupported-media-type`.
pub fn is_by_line(headers: &HeaderMap) -> Result<bool, Problem> {
    Ok(media::content_type(headers, &TAKEN)? != JSON)
}

/// The items, at least one.
///
/// # Errors
/// `empty-body`, `malformed-json`, `malformed-batch`, `batch-too-large`.
pub fn items(body: &[u8], by_line: bool) -> Result<Vec<&str>, Problem> {
    if by_line { self::by_line(body) } else { by_element(body) }
}

/// The elements of a JSON array, unread.
fn by_element(body: &[u8]) -> Result<Vec<&str>, Problem> {
    if body.is_empty() {
        return Err(Problem::new(Code::EmptyBody, "the body is empty: send a JSON array of items"));
    }
    let Elements { first, count } = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::new(Code::MalformedBatch, format!("a batch is a JSON array: {error}")),
        _ => Problem::new(Code::MalformedJson, error.to_string()),
    })?;
    bounded(first, count)
}

/// The elements of an array, up to [`ITEMS`] of them, and how many there are: megabytes of commas take no memory.
struct Elements<'a> {
    first: Vec<&'a str>,
    count: usize,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Counting)
    }
}

struct Counting;

impl<'de> Visitor<'de> for Counting {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Elements<'de>, A::Error> {
        let mut first = Vec::new();
        while first.len() < ITEMS
            && let Some(element) = array.next_element::<&RawValue>()?
        {
            first.push(element.get());
        }
        let mut count = first.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Elements { first, count })
    }
}

/// The lines that are not blank.
fn by_line(body: &[u8]) -> Result<Vec<&str>, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| Problem::new(Code::MalformedJson, format!("not UTF-8: {error}")))?;
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    bounded(lines().take(ITEMS).collect(), lines().count())
}

fn bounded(items: Vec<&str>, count: usize) -> Result<Vec<&str>, Problem> {
    match count {
        0 => Err(Problem::new(Code::MalformedBatch, "the batch has no items")),
        1..=ITEMS => Ok(items),
        many => Err(Problem::new(Code::BatchTooLarge, format!("the batch has {many} items, {ITEMS} at most are taken"))),
    }
}
