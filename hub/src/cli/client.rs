//! The admin API of a running hub, as commands call it.

use std::time::Duration;

use clap::Args;
use door::scope::JOBS_ADMIN;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Surroundings;
use super::failure::Failure;
use super::settings::Settings;
use super::token;

/// How the hub is reached.
#[derive(Clone, Debug, Args)]
pub(super) struct Reach {
    /// The admin listener of the hub [default: listen.admin of the configuration, http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", env = "WARREN_ADMIN_URL", hide_env_values = true)]
    admin_url: Option<String>,
    /// A token with the scope jobs:admin [default: one made here, from the configured HS256 key or that of `warren dev`]
    #[arg(long, env = "WARREN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// A hub that can be asked.
pub(super) struct Hub {
    http: reqwest::Client,
    base: Url,
    token: String,
}

/// Longer than this for an answer, and the hub is in trouble.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the hub did not do it.
pub(super) enum Denied {
    /// It said no: code, status, and a sentence.
    Refused(String),
    /// It could not be asked; asking for something else makes no difference.
    Broken(Failure),
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused(text) => Self::failed(text),
            Denied::Broken(failure) => failure,
        }
    }
}

impl Reach {
    /// The configuration's.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn hub(&self, around: &Surroundings) -> Result<Hub, Failure> {
        let (url, token) = match (&self.admin_url, &self.token) {
            (Some(url), Some(token)) => (url.clone(), token.clone()),
            (url, token) => {
                let config = self.settings.load(around)?;
                let token = match token {
                    Some(token) => token.clone(),
                    None => token::own(&config, around).unwrap_or_else(|| {
                        Err(Failure::usage(format!(
                            "there is no token: give --token or WARREN_TOKEN one with the scope {JOBS_ADMIN}, or run this where \
                             an HS256 key is configured or `warren dev` ran"
                        )))
                    })?,
                };
                (url.clone().unwrap_or_else(|| local(config.listen.admin)), token)
            }
        };
        Hub::new(&url, token)
    }
}

/// The URL of a listener of this machine.
pub(super) fn local(mut address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

impl Hub {
    fn new(url: &str, token: String) -> Result<Self, Failure> {
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let mut base = base.ok_or_else(|| Failure::usage(format!("`{url}` is no URL such as http://127.0.0.1:8081")))?;
        // So that joining keeps a path in front, as behind a gateway.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut builder = reqwest::Client::builder().timeout(PATIENCE).connect_timeout(Duration::from_secs(5));
        if matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Failure::failed(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { http, base, token })
    }

    /// Asks for `path`; parameters without a value are left out.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, Option<String>)]) -> Result<T, Denied> {
        self.ask(Method::GET, path, query, |request| request).await
    }

    /// Sends `body` to `path`.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: Value) -> Result<T, Denied> {
        self.ask(Method::POST, path, &[], |request| request.json(&body)).await
    }

    /// Sends bytes as they are to `path`, under a name by which the hub knows the request again.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, Option<String>)],
        name: &str,
        body: Vec<u8>,
    ) -> Result<T, Denied> {
        self.ask(Method::POST, path, query, |request| request.header("idempotency-key", name).body(body)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, Option<String>)],
        filled: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<T, Denied> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("admin").extend(path);
        }
        let given: Vec<(&str, &str)> = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
        let request = filled(self.http.request(method, url).bearer_auth(&self.token));
        let answer = request.send().await.map_err(|error| self.silent(&error))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| self.silent(&error))?;
        if !status.is_success() {
            return Err(self.refused(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|_| self.stranger())
    }

    fn silent(&self, error: &reqwest::Error) -> Denied {
        let base = self.base.as_str().trim_end_matches('/');
        let text = if error.is_timeout() && !error.is_connect() {
            format!("the hub at {base} does not answer in time: look at its log, and at its store")
        } else {
            format!(
                "no hub answers at {base}: start one with `warren serve` or `warren dev`, or name its admin listener with --admin-url"
            )
        };
        Denied::Broken(Failure::failed(text))
    }

    fn stranger(&self) -> Denied {
        let base = self.base.as_str().trim_end_matches('/');
        let text =
            format!("what answers at {base} is not the admin API of this version: name its admin listener with --admin-url");
        Denied::Broken(Failure::failed(text))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Denied {
        #[derive(Deserialize)]
        struct Problem {
            code: String,
            detail: String,
        }
        let Ok(Problem { code, detail }) = serde_json::from_slice(body) else { return self.stranger() };
        let told = super::print::shown(&format!("{detail} ({code})"));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Denied::Broken(Failure::failed(format!(
                "the hub refuses the token: {told}; give --token or WARREN_TOKEN one with the scope {JOBS_ADMIN}"
            ))),
            StatusCode::SERVICE_UNAVAILABLE => Denied::Broken(Failure::failed(told)),
            _ => Denied::Refused(told),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn when_nobody_answers_the_remedy_is_told() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let hub = Hub::new(&format!("http://127.0.0.1:{port}"), "x".to_owned()).ok().unwrap();
        let Err(denied) = hub.get::<Value>(&["jobs"], &[]).await else { panic!("somebody answered") };
        let text = Failure::from(denied).to_string();
        assert_eq!(
            text,
            format!(
                "warren: no hub answers at http://127.0.0.1:{port}: start one with `warren serve` or `warren dev`, or name its \
                 admin listener with --admin-url"
            )
        );
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_this_machine() {
        assert_eq!(local("0.0.0.0:8081".parse().unwrap()), "http://127.0.0.1:8081");
        assert!(Hub::new("127.0.0.1:8081", String::new()).is_err());
    }
}
