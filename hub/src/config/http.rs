//! What a kind with `worker = "http"` calls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use reqwest::Url;
use serde::{Serialize, Serializer};
use toml::Value;

use super::Secret;
use super::section::Section;
use super::units::dump_duration;
use super::value::{FromValue, words};

/// One `[kind.http]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpCall {
    /// Where each attempt is sent, `http` or `https`; required.
    #[serde(serialize_with = "dump_url")]
    pub url: Url,
    /// The method; default `POST`.
    pub method: Method,
    /// How long connecting may take, TLS included; 1 ms to 1 min, default 5 s. The whole call has the kind's `timeout`.
    #[serde(serialize_with = "dump_duration")]
    pub connect_timeout: Duration,
    /// When the job is done; default `sync`: with the answer.
    pub completion: Completion,
    /// What is sick or well as one: the name of a `[[destination]]`; default the scheme, host and port of `url`.
    pub destination: String,
    /// Sent with each call, such as `authorization`: a text, or `{ file = "/run/secrets/token" }`. Hidden wherever they are shown.
    pub headers: BTreeMap<String, Secret>,
}

words! {
    /// The method of a call. Each has a body.
    Method {
        /// `POST`.
        Post = "POST",
        /// `PUT`.
        Put = "PUT",
        /// `PATCH`.
        Patch = "PATCH",
    }
}

words! {
    /// When a called job is done.
    Completion {
        /// With the answer: any 2xx.
        Sync = "sync",
        /// After an answer of 202, when the service says so: `PUT /v1/jobs/{id}/result`. With any other 2xx at once.
        Async = "async",
    }
}

impl HttpCall {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let (moment, minute) = (Duration::from_millis(1), Duration::from_secs(60));
        let url: Option<CallUrl> = section.required("url", "say where the calls go, such as \"https://orders.internal/place\"");
        let method = section.get("method", Method::Post);
        let connect_timeout = section.within("connect_timeout", Duration::from_secs(5), moment..=minute, "from 1ms to 1m");
        let destination: Option<String> = section.opt("destination");
        let headers: BTreeMap<String, HeaderText> = section.map("headers");
        let mut sent = BTreeMap::new();
        for (name, HeaderText(value)) in headers {
            match refused(&name) {
                Some(why) => section.problem("headers", format!("holds `{name}`, {why}")),
                None => drop(sent.insert(name.to_ascii_lowercase(), value)),
            }
        }
        let CallUrl(url) = url?;
        Some(Self {
            destination: destination.unwrap_or_else(|| origin(&url)),
            url,
            method,
            connect_timeout,
            completion: section.get("completion", Completion::Sync),
            headers: sent,
        })
    }

    /// Scheme, host and port of `url`: its destination unless another is named.
    pub fn origin(&self) -> String {
        origin(&self.url)
    }
}

fn origin(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Headers that belong to Warren or to HTTP itself.
const OURS: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "idempotency-key",
    "traceparent",
    "te",
    "upgrade",
];

fn refused(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    if HeaderName::try_from(&lower).is_err() {
        return Some("which is no name of a header");
    }
    let ours = OURS.contains(&lower.as_str()) || lower.starts_with("ce-") || lower.starts_with("warren-");
    ours.then_some("which Warren sets itself: remove it")
}

fn dump_url<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(url.as_str())
}

struct CallUrl(Url);

impl FromValue for CallUrl {
    fn from_value(value: &Value) -> Result<Self, String> {
        let url = value.as_str().and_then(|text| Url::parse(text).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or("must be a URL such as \"https://orders.internal/place\"")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password: put it into `headers` as `authorization`, where it is hidden".to_owned());
        }
        if url.fragment().is_some() {
            return Err("holds a `#`, which is never sent: remove it and what follows".to_owned());
        }
        Ok(Self(url))
    }
}

/// The value of a header: the text itself, or the file that holds it.
pub(super) struct HeaderText(pub(super) Secret);

impl FromValue for HeaderText {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Table(table) if table.len() == 1 && table.contains_key("file") => {
                let path = PathBuf::from_value(&table["file"]).map_err(|wants| format!("in `file` {wants}"))?;
                let text = std::fs::read_to_string(&path);
                text.map_err(|error| format!("cannot read {}: {error}", path.display()))?.trim().to_owned()
            }
            _ => return Err("must be a text in quotes, or { file = \"/run/secrets/token\" }".to_owned()),
        };
        match HeaderValue::try_from(&text) {
            Ok(_) => Ok(Self(Secret::new(text))),
            Err(_) => Err("holds what no header may hold, such as a line break".to_owned()),
        }
    }
}
