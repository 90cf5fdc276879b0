//! Texts that must not be shown.

use std::fmt;

use reqwest::Url;
use serde::{Serialize, Serializer};

const HIDDEN: &str = "***";

/// A text that is never printed, logged or dumped by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text; the word to look for in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// `url` with its password hidden, in its user part and in a `password=` of its query.
pub fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        // A text that is no URL may still hold a password: show nothing of it.
        return HIDDEN.to_owned();
    };
    let mut touched = parsed.password().is_some() && parsed.set_password(Some(HIDDEN)).is_ok();
    if parsed.query_pairs().any(|(name, _)| name == "password") {
        let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        let mut query = parsed.query_pairs_mut();
        query.clear();
        for (name, value) in &pairs {
            query.append_pair(name, if name == "password" { HIDDEN } else { value });
        }
        touched = true;
    }
    if touched { parsed.into() } else { url.to_owned() }
}
