//! Which pages may call the public API from a browser.

use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use toml::Value;

use super::section::Section;
use super::units::dump_duration;
use super::value::FromValue;

/// Cross-origin requests; off without an origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cors {
    /// Origins such as `https://app.example.com`, or `*` for all; none by default.
    pub origins: Vec<String>,
    /// Whether a browser may send cookies and the like along; no by default, and never to `*`.
    pub credentials: bool,
    /// How long a browser may remember what it was told, up to 1 day; default 10 min.
    #[serde(serialize_with = "dump_duration")]
    pub max_age: Duration,
}

impl Cors {
    /// Every origin.
    pub const ANY: &str = "*";

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let s = Duration::from_secs;
        Self {
            origins: section.get("origins", Vec::<Origin>::new()).into_iter().map(|origin| origin.0).collect(),
            credentials: section.get("credentials", false),
            max_age: section.within("max_age", s(600), s(0)..=s(86_400), "from 0s to 1d"),
        }
    }
}

/// An origin to the letter, as a browser sends it: anything else would never match.
struct Origin(String);

impl FromValue for Origin {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = String::from_value(value)?;
        if text == Cors::ANY {
            return Ok(Self(text));
        }
        let sent = Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .map(|url| url.origin().ascii_serialization());
        match sent {
            Some(sent) if sent == text => Ok(Self(text)),
            Some(sent) => Err(format!("holds `{text}`, which no browser sends: write \"{sent}\"")),
            None => Err(format!("holds `{text}`, which is no origin: write one such as \"https://app.example.com\", or \"*\"")),
        }
    }
}
