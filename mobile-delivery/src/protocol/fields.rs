//! A JSON object taken apart field by field, so that an error can name the field that is wrong.
//!
//! Nothing is built of fields that nobody asks for, and no number is read that is not needed: unknown fields cost a walk. What is too
//! deep is refused before anything is parsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Malformed;

/// Fields that one object may have.
const MAX_FIELDS: usize = 64;

/// The fields of one object, which borrow from the text.
pub(super) struct Fields<'a> {
    /// Where the object is: empty, or `window.`.
    path: &'static str,
    list: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// The frame itself, of a depth that it may have.
    pub(super) fn parse(text: &'a str, deepest: usize) -> Result<Self, Malformed> {
        if is_deeper(text.as_bytes(), deepest) {
            return Err(Malformed::frame(format!("arrays and objects may be nested {deepest} levels deep")));
        }
        let list: Listed<'a> =
            serde_json::from_str(text).map_err(|error| Malformed::frame(format!("not a JSON object: {error}")))?;
        Ok(Self { path: "", list: list.0 })
    }

    /// The object in a field.
    pub(super) fn object(&self, name: &'static str, path: &'static str) -> Result<Option<Self>, Malformed> {
        let list = self.optional::<Listed<'a>>(name)?;
        Ok(list.map(|list| Self { path, list: list.0 }))
    }

    /// A field that may be absent or `null`.
    pub(super) fn optional<T: Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, Malformed> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) => match serde_json::from_str(raw.get()) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(self.wrong(name, error_text(&error))),
            },
        }
    }

    /// A field that must be there.
    pub(super) fn required<T: Deserialize<'a>>(&self, name: &'static str) -> Result<T, Malformed> {
        self.optional(name)?.ok_or_else(|| self.wrong(name, "it is missing"))
    }

    /// A list of `most` at most; absent is empty.
    pub(super) fn list<T: Deserialize<'a>>(&self, name: &'static str, most: usize) -> Result<Vec<T>, Malformed> {
        let list: Vec<T> = self.optional(name)?.unwrap_or_default();
        if list.len() > most {
            return Err(self.wrong(name, format_args!("it has {} entries, {most} at most are taken", list.len())));
        }
        Ok(list)
    }

    /// A text of `most` bytes at most.
    pub(super) fn text(&self, name: &'static str, most: usize) -> Result<Option<String>, Malformed> {
        let text: Option<String> = self.optional(name)?;
        match text {
            Some(text) if text.len() > most => {
                Err(self.wrong(name, format_args!("it has {} bytes, {most} at most are taken", text.len())))
            }
            text => Ok(text),
        }
    }

    /// The name of a device or a group, which must be there.
    pub(super) fn word(&self, name: &'static str) -> Result<String, Malformed> {
        self.is_word(name, self.required(name)?)
    }

    /// The names of devices or groups, `most` at most.
    pub(super) fn words(&self, name: &'static str, most: usize) -> Result<Vec<String>, Malformed> {
        self.list(name, most)?.into_iter().map(|word| self.is_word(name, word)).collect()
    }

    fn is_word(&self, name: &'static str, word: String) -> Result<String, Malformed> {
        let in_grammar = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        match (1..=63).contains(&word.len()) && word.bytes().all(in_grammar) && !word.starts_with(['_', '-']) {
            true => Ok(word),
            false => Err(self.wrong(name, "a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or digit")),
        }
    }

    /// A whole number within limits.
    pub(super) fn number(&self, name: &'static str, limits: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Malformed> {
        match self.optional::<u64>(name)? {
            Some(number) if !limits.contains(&number) => {
                Err(self.wrong(name, format_args!("it is {number}, and must be {} to {}", limits.start(), limits.end())))
            }
            number => Ok(number),
        }
    }

    /// The JSON of a field as it stands; none for an absent one and for `null`.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.list.iter().find(|(known, _)| known == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// As [`Fields::raw`], where `null` is a value like others.
    pub(super) fn raw_or_null(&self, name: &str) -> Option<&'a RawValue> {
        self.list.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw)
    }

    /// An error about a field.
    pub(super) fn wrong(&self, name: &'static str, what: impl fmt::Display) -> Malformed {
        let field = Cow::Owned(format!("{}{name}", self.path));
        Malformed { field: if self.path.is_empty() { Cow::Borrowed(name) } else { field }, ..Malformed::frame(what.to_string()) }
    }
}

/// Without the place: it is a place in the field, which nobody counts from.
fn error_text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

struct Listed<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Listed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Listed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut list: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            if list.iter().any(|(known, _)| *known == name) {
                return Err(serde::de::Error::custom(format_args!("`{}` is there twice", shown(&name))));
            }
            if list.len() == MAX_FIELDS {
                return Err(serde::de::Error::custom(format_args!("it has over {MAX_FIELDS} fields")));
            }
            list.push((name, value));
        }
        Ok(Listed(list))
    }
}

/// What a client wrote may be long.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A name of a field; borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether brackets are nested deeper than this, outside of texts. `serde_json` skips what is not asked for without a limit.
pub(super) fn is_deeper(json: &[u8], deepest: usize) -> bool {
    // Nearly always there are not so many brackets at all, which is seen many bytes at a time.
    if json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= deepest {
        return false;
    }
    let (mut now, mut in_text, mut escaped) = (0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                now += 1;
                if now > deepest {
                    return true;
                }
            }
            b']' | b'}' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    false
}
