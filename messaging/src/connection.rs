//! Supervised connections: one task keeps one connection up, for ever.
//!
//! lapin's own recovery stays off: it gives up after a while, knows one host, and replays declarations that may have changed.
//! Here a lost connection is replaced by a new one, with jittered backoff, over a list of URLs; whoever used it opens new
//! channels and starts again from the store. Publishing and consuming take separate links, since lapin writes nothing at all,
//! not even acks, on a connection the broker has blocked.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// How to reach the broker.
#[derive(Clone)]
pub struct BrokerOptions {
    /// `amqp://user:password@host:5672/vhost` or `amqps://...`, tried in order, in a circle.
    pub urls: Vec<String>,
    /// Replaces the vhost of every URL.
    pub vhost: Option<String>,
    /// Shown in the management UI, followed by the purpose of each connection.
    pub name: String,
    /// PEM of the authorities to trust for `amqps`; the system's when absent.
    pub ca: Option<String>,
    /// PEM of a client certificate and of its PKCS#8 key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Both sides count a peer as dead after twice this without a byte.
    pub heartbeat: Duration,
    /// For TCP, TLS and the AMQP handshake together.
    pub connect_timeout: Duration,
}

impl BrokerOptions {
    /// Options for one URL: heartbeat 5 s, connect timeout 10 s, no client certificate.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            vhost: None,
            name: name.into(),
            ca: None,
            identity: None,
            heartbeat: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// # Errors
    /// Names the URL (its password left out) and what is wrong with it.
    pub fn check(&self) -> Result<(), ConnectError> {
        if self.urls.is_empty() {
            return Err(ConnectError::Url { url: String::new(), why: "give at least one broker URL".into() });
        }
        self.urls.iter().try_for_each(|url| self.uri(url).map(drop))
    }

    fn uri(&self, url: &str) -> Result<AMQPUri, ConnectError> {
        let refused = |why: String| ConnectError::Url { url: without_password(url), why };
        // lapin replaces an IPv6 literal by `localhost` without a word.
        if url
            .split('@')
            .next_back()
            .is_some_and(|rest| rest.trim_start_matches("amqps://").trim_start_matches("amqp://").starts_with('['))
        {
            return Err(refused("an IPv6 address is not supported here: use a host name".into()));
        }
        let mut uri: AMQPUri = url.parse().map_err(refused)?;
        if let Some(vhost) = &self.vhost {
            uri.vhost.clone_from(vhost);
        }
        if uri.vhost.is_empty() {
            return Err(refused(
                "the path is an empty vhost name: write `/%2f` for the vhost `/`, or leave the slash out".into(),
            ));
        }
        // What RabbitMQ offers anyway. Said beforehand, the library sizes its buffers once; otherwise it fills and copies them when
        // the connection is tuned, which holds 8 MiB per connection that nobody uses.
        uri.query.frame_max.get_or_insert(131_072);
        uri.query.heartbeat = Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        Ok(uri)
    }

    /// Opens one connection, once.
    ///
    /// # Errors
    /// As [`ConnectError`].
    pub async fn connect(&self, url: &str, purpose: &str) -> Result<Connection, ConnectError> {
        let uri = self.uri(url)?;
        let shown = without_password(url);
        let properties = ConnectionProperties::default().with_connection_name(format!("{} {purpose}", self.name).into());
        let tls = OwnedTLSConfig {
            identity: self.identity.clone().map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
            cert_chain: self.ca.clone(),
        };
        let secure = uri.scheme == AMQPScheme::AMQPS;
        let runtime = lapin::runtime::default_runtime().map_err(|e| ConnectError::from_lapin(&shown, secure, &e))?;
        // The URI's own connection timeout is not looked at by lapin's async path.
        match tokio::time::timeout(self.connect_timeout, Connection::connect_uri_with_config(uri, properties, tls, runtime)).await
        {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(ConnectError::from_lapin(&shown, secure, &error)),
            Err(_) => Err(ConnectError::Timeout { url: shown, after: self.connect_timeout }),
        }
    }
}

/// What client and broker agreed on at a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The largest frame in bytes; 0 is no limit.
    pub frame_max: u32,
    /// How often each side says that it lives; zero is never.
    pub heartbeat: Duration,
}

impl BrokerOptions {
    /// Logs in and out again, and tells what was agreed on.
    ///
    /// # Errors
    /// As [`ConnectError`].
    pub async fn try_out(&self, url: &str, purpose: &str) -> Result<Negotiated, ConnectError> {
        let connection = self.connect(url, purpose).await?;
        let agreed = connection.configuration();
        let heartbeat = Duration::from_secs(agreed.heartbeat().into());
        let negotiated = Negotiated { frame_max: agreed.frame_max(), heartbeat };
        let _ = tokio::time::timeout(Duration::from_secs(2), connection.close(200, "checked".into())).await;
        Ok(negotiated)
    }
}

impl BrokerOptions {
    /// Whether the broker at `url` takes its user and password, even where it then refuses the virtual host; `None` when it did not
    /// come to that.
    pub async fn knows(&self, url: &str, purpose: &str) -> Option<bool> {
        match self.try_out(url, purpose).await {
            Ok(_) => Some(true),
            Err(ConnectError::Refused { known, .. }) => Some(known),
            Err(_) => None,
        }
    }
}

impl std::fmt::Debug for BrokerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_password(url)).collect();
        f.debug_struct("BrokerOptions")
            .field("urls", &urls)
            .field("vhost", &self.vhost)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A URL as it may be shown.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}:***@{host}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

/// Why a connection could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is unusable; trying again gives the same.
    #[error("broker URL `{url}`: {why}")]
    Url {
        /// Without its password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Wrong user, password or vhost. Tried again, slowly: it may be put right on the broker.
    #[error("the broker at {url} refuses us: {why}; check user, password and vhost in the URL")]
    Refused {
        /// Without its password.
        url: String,
        /// The broker's words.
        why: String,
        /// Whether user and password were right, and what is refused is the virtual host, or one more connection.
        known: bool,
    },
    /// We do not accept the broker's certificate, or there is no TLS at its end.
    #[error("no TLS with the broker at {url}: {why}; check the CA, the host name and the certificate's dates")]
    Tls {
        /// Without its password.
        url: String,
        /// What the library says.
        why: String,
    },
    /// The broker ended the handshake: it does not accept our certificate, or misses one.
    #[error(
        "the broker at {url} refuses TLS with us: {why}; check the client certificate and its key, and which authority the broker trusts"
    )]
    OurCertificate {
        /// Without its password.
        url: String,
        /// What the library says.
        why: String,
    },
    /// Nobody listens, or the network is away.
    #[error("no broker at {url}: {why}")]
    Unreachable {
        /// Without its password.
        url: String,
        /// What the library says.
        why: String,
    },
    /// No answer in time.
    #[error("the broker at {url} does not answer within {after:?}")]
    Timeout {
        /// Without its password.
        url: String,
        /// How long we waited.
        after: Duration,
    },
}

/// How AMQP refuses a virtual host.
const NOT_ALLOWED: u16 = 530;

impl ConnectError {
    fn from_lapin(url: &str, secure: bool, error: &lapin::Error) -> Self {
        let (url, why) = (url.to_owned(), error.to_string());
        match error.kind() {
            // It looks at the virtual host, and at limits, once it knows who asks.
            ErrorKind::ProtocolError(error) => Self::Refused { url, why, known: error.get_id() == NOT_ALLOWED },
            // The library has no type for an alert.
            ErrorKind::IOError(e) if secure && e.to_string().contains("received fatal alert") => {
                Self::OurCertificate { url, why }
            }
            // An access refusal reaches us as a closed socket on old brokers; a TLS failure as an I/O error.
            ErrorKind::IOError(e) if secure && !matches!(e.kind(), std::io::ErrorKind::ConnectionRefused) => {
                Self::Tls { url, why }
            }
            _ => Self::Unreachable { url, why },
        }
    }
}

/// What a link is doing.
#[derive(Clone, Debug, Default)]
pub enum LinkState {
    /// Not up; the latest reason, if there was an attempt.
    #[default]
    Starting,
    /// Not up, and why.
    Down(ConnectError),
    /// Lost, and being replaced.
    Lost(String),
    /// Up.
    Up(Live),
    /// The process drains.
    Stopped,
}

/// A connection that was up when it was handed out.
#[derive(Clone, Debug)]
pub struct Live {
    /// The connection.
    pub(crate) connection: Arc<Connection>,
    /// The broker's reason for not reading what we publish, while it does not.
    pub blocked: Option<Arc<str>>,
}

/// One supervised connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link {
    state: watch::Receiver<LinkState>,
}

/// The link was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process is shutting down")]
pub struct Stopped;

impl Link {
    /// Starts keeping a connection up until `stop`. The `purpose` is a label of metrics: one of few.
    pub fn start(
        options: Arc<BrokerOptions>,
        purpose: impl Into<Cow<'static, str>>,
        tasks: &TaskTracker,
        stop: CancellationToken,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, state) = watch::channel(LinkState::Starting);
        let supervisor = Supervisor { options, purpose: purpose.into(), state: sender, stop, metrics };
        tasks.spawn(supervisor.run());
        Self { state }
    }

    /// The connection, once it is up.
    ///
    /// # Errors
    /// When the process drains.
    pub async fn live(&self) -> Result<Live, Stopped> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                LinkState::Up(live) if live.connection.status().connected() => return Ok(live.clone()),
                LinkState::Stopped => return Err(Stopped),
                _ => {}
            }
            state.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// The connection that replaces `old`, once it is up.
    ///
    /// # Errors
    /// When the process drains.
    pub async fn replaced(&self, old: &Live) -> Result<Live, Stopped> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                LinkState::Up(live) if !Arc::ptr_eq(&live.connection, &old.connection) => return Ok(live.clone()),
                LinkState::Stopped => return Err(Stopped),
                _ => {}
            }
            state.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// What it is doing now.
    pub fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Whether it is up and not blocked.
    pub fn is_usable(&self) -> bool {
        matches!(&*self.state.borrow(), LinkState::Up(live) if live.blocked.is_none())
    }

    /// Waits while the broker has blocked this connection.
    pub(crate) async fn unblocked(&self) {
        let mut state = self.state.clone();
        let _ = state.wait_for(|s| !matches!(s, LinkState::Up(live) if live.blocked.is_some())).await;
    }

    /// Whether the broker has blocked this connection.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(&*self.state.borrow(), LinkState::Up(live) if live.blocked.is_some())
    }
}

struct Supervisor {
    options: Arc<BrokerOptions>,
    purpose: Cow<'static, str>,
    state: watch::Sender<LinkState>,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Supervisor {
    async fn run(self) {
        self.metrics.connected(&self.purpose, 0);
        let mut urls = self.options.urls.iter().cycle();
        let mut backoff = fresh_backoff();
        while !self.stop.is_cancelled() {
            let Some(url) = urls.next() else { break };
            let wait = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                connected = self.options.connect(url, &self.purpose) => match connected {
                    Ok(connection) => {
                        backoff = fresh_backoff();
                        self.hold(connection).await;
                        // The broker that just went may come back at once; everybody coming back at once is what jitter is for.
                        backoff.next()
                    }
                    Err(error) => {
                        tracing::warn!(purpose = &*self.purpose, error = %error, "cannot connect to the broker, trying again");
                        let wait = backoff.next();
                        let slow = matches!(error, ConnectError::Refused { .. } | ConnectError::Url { .. });
                        self.state.send_replace(LinkState::Down(error));
                        if slow { wait.map(|w| w.max(Duration::from_secs(5))) } else { wait }
                    }
                },
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(wait.unwrap_or(MAX_BACKOFF)) => {}
            }
        }
        self.state.send_replace(LinkState::Stopped);
    }

    /// Hands the connection out and watches it until it ends.
    async fn hold(&self, connection: Connection) {
        let connection = Arc::new(connection);
        // One listener only: several would compete for the events.
        let mut events = std::pin::pin!(connection.events_listener());
        let up = |blocked| LinkState::Up(Live { connection: connection.clone(), blocked });
        self.metrics.connected(&self.purpose, 1);
        tracing::info!(purpose = &*self.purpose, "connected to the broker");
        self.state.send_replace(up(None));
        // An error between the handshake and the listener would go unseen: look at the status now and then.
        let mut glance = tokio::time::interval(Duration::from_secs(1));
        let why = loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    let _ = tokio::time::timeout(Duration::from_secs(2), connection.close(200, "drain".into())).await;
                    break "the process is shutting down".to_owned();
                }
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(purpose = &*self.purpose, reason, "the broker has blocked this connection");
                        self.state.send_replace(up(Some(reason.as_str().into())));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!(purpose = &*self.purpose, "the broker has unblocked this connection");
                        self.state.send_replace(up(None));
                    }
                    Some(Event::Error(error)) if !connection.status().connected() => break error.to_string(),
                    Some(_) => {}
                    None => break "the connection ended".to_owned(),
                },
                _ = glance.tick() => if !connection.status().connected() {
                    break "the connection ended".to_owned();
                },
            }
        };
        self.metrics.connected(&self.purpose, -1);
        if !self.stop.is_cancelled() {
            tracing::warn!(purpose = &*self.purpose, error = why, "lost the connection to the broker");
        }
        self.state.send_replace(LinkState::Lost(why));
    }
}

const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Full jitter between 0.2 s and 15 s, without end.
fn fresh_backoff() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_BACKOFF)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_password("amqp://u:p@ss@h:5672/%2f"), "amqp://u:***@h:5672/%2f");
        assert!(!format!("{:?}", BrokerOptions::new("amqp://u:secret@h", "n")).contains("secret"));
    }

    #[test]
    fn urls_of_hosted_brokers_are_read_as_they_are_given() {
        let uri = |url: &str| BrokerOptions::new(url, "n").uri(url).unwrap_or_else(|error| unreachable!("{error}"));
        let given = uri("amqps://acme:p%40ss%2Fw%3A%25@moose.rmq.cloudamqp.com/acme");
        let (at, user) = (&given.authority, &given.authority.userinfo);
        assert_eq!((at.host.as_str(), at.port), ("moose.rmq.cloudamqp.com", 5671));
        assert_eq!((user.username.as_str(), user.password.as_str()), ("acme", "p@ss/w:%"));
        assert_eq!(given.vhost, "acme");
        assert_eq!(uri("amqp://h/a%2Fb").vhost, "a/b");
        assert_eq!((uri("amqps://h").vhost.as_str(), uri("amqp://h").authority.port), ("/", 5672));
        assert_eq!(uri("amqps://h:443/v").authority.port, 443);
    }

    #[test]
    fn urls_that_would_go_elsewhere_are_refused() {
        for bad in ["amqp://[::1]:5672", "amqp://u:p@[::1]", "amqp://h/", "http://h"] {
            assert!(BrokerOptions::new(bad, "n").check().is_err(), "{bad}");
        }
        for good in ["amqp://h", "amqps://u:p@h:5671/%2f", "amqp://h/v"] {
            assert!(BrokerOptions::new(good, "n").check().is_ok(), "{good}");
        }
    }
}
