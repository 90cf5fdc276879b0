//! The calls of callbacks: over HTTP, to addresses that the rules admit and to no others.
//!
//! A name is resolved for the connection and by nobody else: what was looked at is what is connected to, so that a name that changes
//! in between changes nothing. An answer with one address that is refused is refused whole. Addresses that are written out are
//! checked by the rules with the rest of the URL, right before.
//!
//! Redirects are not followed, proxies of the environment not used, cookies not kept; of an answer 16 KiB are read, and not kept.

mod resolve;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api_ack::callbacks::{CallbackRules, Courier, Post, Reply};
use async_trait::async_trait;
use axum::http::header::CONTENT_TYPE;
use jiff::Timestamp;
use messaging::trace::{Span, Tracer};
use reqwest::{Certificate, Client, Response, Url, redirect};

use self::resolve::{Lookup, Names, Resolver};
use crate::http_worker::{causes, retry_after};

/// How much of an answer is read, in bytes: so much for its connection to be of use again.
const READ: usize = 16 << 10;

/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(30);

/// How long connecting may take, TLS included; the whole call has its own time.
const CONNECT: Duration = Duration::from_secs(10);

/// How long connections are kept in all.
const KEPT: Duration = Duration::from_secs(300);

/// Clients that were made under the same rules.
struct Clients {
    revision: u64,
    made: Instant,
    by_port: HashMap<u16, Client>,
}

impl Default for Clients {
    fn default() -> Self {
        Self { revision: 0, made: Instant::now(), by_port: HashMap::new() }
    }
}

/// Makes the calls.
pub(crate) struct HttpCourier {
    rules: CallbackRules,
    tracer: Tracer,
    names: Arc<dyn Lookup>,
    trusted: Option<Vec<Certificate>>,
    /// One for each port: a resolver is not told which port a name is resolved for, and the hub's own ones are refused. Made anew for
    /// other rules, and now and then: a connection stays where its name led when it was made.
    clients: Mutex<Clients>,
}

impl HttpCourier {
    /// Calls what `rules` admit, and trusts whom `ca_file` names instead of the system's authorities.
    ///
    /// # Errors
    /// With what is wrong with the file, for people.
    pub(crate) fn new(rules: CallbackRules, ca_file: Option<&Path>) -> Result<Self, String> {
        Self::resolving(rules, ca_file, Arc::new(Names))
    }

    /// Tells of each call.
    #[must_use]
    pub(crate) fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    fn resolving(rules: CallbackRules, ca_file: Option<&Path>, names: Arc<dyn Lookup>) -> Result<Self, String> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| format!("callbacks: cannot use {}: {error}", path.display());
        let trusted = match ca_file {
            None => None,
            Some(path) => {
                let text = std::fs::read(path).map_err(|error| unusable(path, &error))?;
                Some(Certificate::from_pem_bundle(&text).map_err(|error| unusable(path, &error))?)
            }
        };
        Ok(Self { rules, tracer: Tracer::default(), names, trusted, clients: Mutex::default() })
    }

    fn client(&self, port: u16) -> Result<Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = self.rules.revision();
        if clients.revision != revision || clients.made.elapsed() >= KEPT {
            *clients = Clients { revision, ..Clients::default() };
        }
        if let Some(client) = clients.by_port.get(&port) {
            return Ok(client.clone());
        }
        let resolver = Resolver { rules: self.rules.clone(), names: self.names.clone(), port };
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")));
        if let Some(trusted) = &self.trusted {
            builder = builder.tls_certs_only(trusted.clone());
        }
        let client = builder.build()?;
        clients.by_port.insert(port, client.clone());
        Ok(client)
    }

    async fn send(&self, post: &Post, span: &mut Option<Span>) -> Result<Response, String> {
        let url = Url::parse(&post.url).map_err(|error| format!("refused: {error}"))?;
        *span = self.tracer.call("POST", &url, post.traceparent.as_deref());
        let traceparent = span.as_ref().map(Span::traceparent).or_else(|| post.traceparent.clone());
        let port = url.port_or_known_default().unwrap_or(443);
        let client = self.client(port).map_err(|error| format!("no-client: {}", causes(&error)))?;
        let request = client
            .post(url)
            .timeout(post.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &post.id)
            .header("webhook-timestamp", post.timestamp)
            .header("webhook-signature", &post.signature)
            .body(post.body.clone());
        let request = match traceparent {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        };
        request.send().await.map_err(|error| match () {
            () if error.is_timeout() => format!("timed-out: no answer within {:?}", post.timeout),
            () if error.is_connect() => format!("connect-failed: {}", causes(&error)),
            () => format!("request-failed: {}", causes(&error)),
        })
    }
}

#[async_trait]
impl Courier for HttpCourier {
    async fn post(&self, post: &Post) -> Reply {
        let mut span = None;
        let mut response = match self.send(post, &mut span).await {
            Ok(response) => response,
            Err(why) => {
                if let Some(span) = &mut span {
                    span.failed(why.split(':').next().unwrap_or_default(), &why);
                }
                return Reply::Failed(why);
            }
        };
        let status = response.status().as_u16();
        if let Some(span) = &mut span {
            span.answered(status);
        }
        let retry_after = retry_after(response.headers(), Timestamp::now());
        let mut read = 0;
        // The status is the answer: a body that breaks off, or has no end, costs no more than its connection.
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > READ {
                break;
            }
        }
        Reply::Answered { status, retry_after }
    }
}

/// Where this hub can be reached on this machine: a listener on all addresses has those of every interface.
pub(crate) fn own(listeners: [SocketAddr; 3]) -> Vec<SocketAddr> {
    let interfaces: Vec<IpAddr> =
        nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|one| ip(one.address.as_ref()?)).collect();
    let of = |listener: SocketAddr| match listener.ip().is_unspecified() {
        false => vec![listener],
        true => interfaces.iter().map(|ip| SocketAddr::new(*ip, listener.port())).collect(),
    };
    listeners.into_iter().flat_map(of).collect()
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests;
