//! Where spans go.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Serialize;
use toml::Value;

use super::Secret;
use super::http::HeaderText;
use super::section::Section;
use super::value::FromValue;

/// Traces, exported over OTLP; off without an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracing {
    /// The collector: base URL of OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added unless it ends so. None by
    /// default: then nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Which share of the traces that begin here are kept, 0.0 to 1.0; default 1.0. A trace that the client began is kept if the
    /// client keeps it.
    pub sample: f64,
    /// `service.name` of the spans; default `warren`.
    pub service: String,
    /// Sent with each export, such as `authorization`: a text, or `{ file = "/run/secrets/token" }`. Hidden wherever they are shown.
    pub headers: BTreeMap<String, Secret>,
}

impl Tracing {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let service = section.get("service", "warren".to_owned());
        if service.is_empty() || service.len() > 255 {
            section.problem("service", "must have 1 to 255 bytes");
        }
        let headers: BTreeMap<String, HeaderText> = section.map("headers");
        Self {
            endpoint: section.opt("endpoint").map(|endpoint: Endpoint| endpoint.0),
            sample: section.within("sample", 1.0, 0.0..=1.0, "from 0.0 to 1.0"),
            service,
            headers: headers.into_iter().map(|(name, HeaderText(value))| (name.to_ascii_lowercase(), value)).collect(),
        }
    }
}

struct Endpoint(String);

impl FromValue for Endpoint {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = value.as_str().filter(|text| {
            let url = Url::parse(text).ok();
            url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none())
        });
        let text = text.ok_or("must be the URL of a collector that speaks OTLP over HTTP, such as \"http://127.0.0.1:4318\"")?;
        if text.contains('@') {
            return Err("holds a user or a password: put it into `headers` as `authorization`, where it is hidden".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}
