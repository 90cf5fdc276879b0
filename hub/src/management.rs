//! RabbitMQ's management HTTP API, as far as Warren uses it: asking a live broker what it is and what it holds.
//!
//! Owns the client: where the API is, who asks, and what is said when it does not answer. What is asked for, and what the answers mean,
//! belongs to those who ask. Nothing of the main job needs it: a broker without the plugin serves jobs like any other.
//!
//! The API is eventually exact: what was declared shows at once, counters of messages lag by up to five seconds.

mod observer;
mod reason;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::DATE;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Broker, percent_decoded, without_password};
use crate::http_worker::causes;

/// For connecting, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// For one whole answer: listing 10,000 queues takes a broker seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the nodes of one broker, the first that answers.
#[derive(Clone)]
pub(crate) struct Management {
    http: Client,
    nodes: Vec<Node>,
    vhost: String,
}

#[derive(Clone)]
struct Node {
    /// Ends with `/`, and holds neither user nor password.
    base: Url,
    user: String,
    password: String,
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(Node::at).collect();
        f.debug_struct("Management").field("nodes", &nodes).field("vhost", &self.vhost).finish_non_exhaustive()
    }
}

/// Why the management API was of no use. Each says whom was asked, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagementError {
    /// Nobody answers there.
    #[error(
        "no management API answers at {at}: {why}; turn the plugin on (`rabbitmq-plugins enable rabbitmq_management`), or say where \
         it is with broker.management_url"
    )]
    Silent { at: String, why: String },
    /// Its certificate is not accepted, or there is no TLS at its end.
    #[error(
        "no TLS with the management API at {at}: {why}; check broker.ca_file, the host name and the certificate's dates, or set \
         broker.management_url"
    )]
    Tls { at: String, why: String },
    /// It answers, and takes too long.
    #[error("the management API at {at} does not answer in {PATIENCE:?}: look at the broker's load and its log")]
    Slow { at: String },
    /// What is there is something else.
    #[error("what answers at {at} is no RabbitMQ management API ({why}): say where it is with broker.management_url")]
    Stranger { at: String, why: String },
    /// User or password are wrong, or the user has no tag that lets it in.
    #[error(
        "the management API at {at} does not let the user `{user}` in: check its password, and give it the tag it needs with \
         `rabbitmqctl set_user_tags {user} monitoring`"
    )]
    Credentials { at: String, user: String },
    /// The user may not do this.
    #[error("the user `{user}` may not {what}: {why}; docs/permissions.md says what it needs")]
    Forbidden { user: String, what: String, why: String },
    /// It said no.
    #[error("RabbitMQ refuses to {what}: {why} (status {status})")]
    Refused { what: String, status: u16, why: String },
}

/// The most that RabbitMQ puts on a page.
const LARGEST_PAGE: u32 = 500;

/// A part of a list.
#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    filtered_count: u64,
    page_count: u32,
}

impl Management {
    /// The API of `broker`: `management_url`, or that of the hosts in its URLs under the default port. User and password are those of
    /// the AMQP URL unless `management_url` has its own; authorities and certificate are those of AMQP.
    ///
    /// # Errors
    /// With what is wrong with a file or a URL, for people.
    pub(crate) fn new(broker: &Broker) -> Result<Self, String> {
        let nodes: Vec<Node> = match &broker.management_url {
            Some(url) => {
                let own = Node::of(url.expose());
                let amqp = broker.urls.first().map(|url| url.credentials()).unwrap_or_default();
                vec![if own.user.is_empty() { Node { user: amqp.0, password: amqp.1, ..own } } else { own }]
            }
            None => broker.urls.iter().filter_map(|url| Some(Node::of(&url.management()?))).collect(),
        };
        if nodes.is_empty() {
            return Err("where the management API is cannot be told from broker.url: set broker.management_url".to_owned());
        }
        let read =
            |path: &std::path::Path| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &broker.ca_file {
            let unusable = |error| format!("cannot use {}: {error}", path.display());
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&read(path)?).map_err(unusable)?);
        }
        if let (Some(certificate), Some(key)) = (&broker.client_cert_file, &broker.client_key_file) {
            let pem = [read(certificate)?, read(key)?].join(&b"\n"[..]);
            let unusable = |error| format!("cannot use {} with {}: {error}", certificate.display(), key.display());
            builder = builder.identity(Identity::from_pem(&pem).map_err(unusable)?);
        }
        let http = builder.build().map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self { http, nodes, vhost: broker.vhost_name() })
    }

    /// The virtual host that the hub works in.
    pub(crate) fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Where it is, for people.
    pub(crate) fn at(&self) -> &str {
        self.nodes.first().map_or("", |node| node.base.as_str()).trim_end_matches('/')
    }

    /// `GET /api/<path>`, each part of `path` one segment, as it is.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ManagementError> {
        let (node, answer) = self.send(Method::GET, path, query, |request| request).await?;
        node.read(accepted(node, &Method::GET, path, answer).await?).await
    }

    /// All of a list whose names match `name`, a regular expression of PCRE, page by page.
    pub(crate) async fn matching<T: DeserializeOwned>(
        &self,
        path: &[&str],
        name: &str,
        columns: &str,
    ) -> Result<Vec<T>, ManagementError> {
        let mut all = Vec::new();
        for number in 1_u32.. {
            let page: Page<T> = self.page(path, name, columns, number, LARGEST_PAGE).await?;
            all.extend(page.items);
            if number >= page.page_count {
                break;
            }
        }
        Ok(all)
    }

    /// The first of them, `most` up to 500; and how many there are.
    pub(crate) async fn some<T: DeserializeOwned>(
        &self,
        path: &[&str],
        name: &str,
        columns: &str,
        most: u32,
    ) -> Result<(Vec<T>, u64), ManagementError> {
        let page = self.page(path, name, columns, 1, most.min(LARGEST_PAGE)).await?;
        Ok((page.items, page.filtered_count))
    }

    async fn page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        name: &str,
        columns: &str,
        number: u32,
        size: u32,
    ) -> Result<Page<T>, ManagementError> {
        let (number, size) = (number.to_string(), size.to_string());
        let page = [("page", &*number), ("page_size", &size)];
        self.get(path, &[&page[..], &[("name", name), ("use_regex", "true"), ("columns", columns)]].concat()).await
    }

    /// As [`Management::get`], with the broker's clock, to the second, and ours, half-way between question and answer.
    pub(crate) async fn get_dated<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<(T, Option<(Timestamp, Timestamp)>), ManagementError> {
        let asked = Timestamp::now();
        let (node, answer) = self.send(Method::GET, path, &[], |request| request).await?;
        let half_way = asked + Timestamp::now().duration_since(asked) / 2;
        let answer = accepted(node, &Method::GET, path, answer).await?;
        let theirs = answer.headers().get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
        Ok((node.read(answer).await?, theirs.map(|date| (date.timestamp(), half_way))))
    }

    /// As [`Management::get`]; what is not there is `None`.
    pub(crate) async fn find<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, ManagementError> {
        let (node, answer) = self.send(Method::GET, path, &[], |request| request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        node.read(accepted(node, &Method::GET, path, answer).await?).await.map(Some)
    }

    /// `PUT /api/<path>`.
    pub(crate) async fn put(&self, path: &[&str], body: &impl Serialize) -> Result<(), ManagementError> {
        let (node, answer) = self.send(Method::PUT, path, &[], |request| request.json(body)).await?;
        accepted(node, &Method::PUT, path, answer).await.map(drop)
    }

    /// `POST /api/<path>`; the answer's body is not looked at.
    pub(crate) async fn post(&self, path: &[&str], body: &impl Serialize) -> Result<(), ManagementError> {
        let (node, answer) = self.send(Method::POST, path, &[], |request| request.json(body)).await?;
        accepted(node, &Method::POST, path, answer).await.map(drop)
    }

    /// `DELETE /api/<path>`; false when it was not there.
    pub(crate) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<bool, ManagementError> {
        let (node, answer) = self.send(Method::DELETE, path, query, |request| request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        accepted(node, &Method::DELETE, path, answer).await.map(|_| true)
    }

    /// Asks one node after another until one can be reached.
    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        filled: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<(&Node, Response), ManagementError> {
        let mut latest = None;
        for node in &self.nodes {
            let mut url = node.base.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().push("api").extend(path);
            }
            if !query.is_empty() {
                url.query_pairs_mut().extend_pairs(query);
            }
            let request = filled(self.http.request(method.clone(), url)).basic_auth(&node.user, Some(&node.password));
            match request.send().await {
                Ok(answer) => return Ok((node, answer)),
                Err(error) if error.is_connect() => latest = Some(node.silent(&error)),
                Err(error) => return Err(node.silent(&error)),
            }
        }
        Err(latest.unwrap_or_else(|| ManagementError::Silent { at: String::new(), why: "there is no node".to_owned() }))
    }
}

impl Node {
    fn of(url: &Url) -> Self {
        let mut base = url.clone();
        let (user, password) = (percent_decoded(url.username()), percent_decoded(url.password().unwrap_or_default()));
        let _ = base.set_username("");
        let _ = base.set_password(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Self { base, user, password }
    }

    fn at(&self) -> String {
        without_password(self.base.as_str().trim_end_matches('/'))
    }

    fn silent(&self, error: &reqwest::Error) -> ManagementError {
        let (at, why) = (self.at(), causes(error));
        match () {
            () if error.is_timeout() && !error.is_connect() => ManagementError::Slow { at },
            // The library has no type for it.
            () if ["certificate", "TLS", "corrupt message", "fatal alert"].iter().any(|word| why.contains(word)) => {
                ManagementError::Tls { at, why }
            }
            () => ManagementError::Silent { at, why },
        }
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, ManagementError> {
        let bytes = answer.bytes().await.map_err(|error| self.silent(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| ManagementError::Stranger { at: self.at(), why: error.to_string() })
    }
}

/// The answer, if it is one of success.
async fn accepted(node: &Node, method: &Method, path: &[&str], answer: Response) -> Result<Response, ManagementError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    // Its errors are `{"error": ..., "reason": ...}`; the reason may be any JSON.
    let body: Option<serde_json::Value> = answer.bytes().await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let why = body.as_ref().and_then(|body| body.get("reason").or_else(|| body.get("error")));
    let why = match why {
        Some(why) => reason::readable(why),
        None => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    let what = format!("{} {}", method.as_str().to_ascii_lowercase(), path.join("/"));
    Err(match status {
        _ if body.is_none() && status != StatusCode::UNAUTHORIZED => {
            ManagementError::Stranger { at: node.at(), why: format!("it answers {} without JSON", status.as_u16()) }
        }
        // Also for a password that is right, of a user who has no tag for the API.
        StatusCode::UNAUTHORIZED
            if ["Not_Authorized", "Login failed", "Not management user"].contains(&why.as_str()) || body.is_none() =>
        {
            ManagementError::Credentials { at: node.at(), user: node.user.clone() }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ManagementError::Forbidden { user: node.user.clone(), what, why },
        _ => ManagementError::Refused { what, status: status.as_u16(), why },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_password_is_in_what_is_logged() {
        let node = Node::of(&"http://warren:canary@localhost:15672".parse().unwrap());
        assert_eq!(node.password, "canary");
        let management = Management { http: Client::builder().build().unwrap(), nodes: vec![node], vhost: "/".to_owned() };
        let shown = format!("{management:?}");
        assert!(shown.contains("http://localhost:15672") && !shown.contains("canary"), "{shown}");
    }
}
