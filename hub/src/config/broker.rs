//! RabbitMQ: where it is, and what may be declared there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::{Serialize, Serializer};
use toml::Value;

use super::secret::without_password;
use super::section::Section;
use super::shard::ShardConfig;
use super::units::dump_duration;
use super::value::{FromValue, words};

/// How RabbitMQ is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broker {
    /// `url`: one, or a list of the nodes of one cluster, tried in turn. Default: a broker on this machine.
    #[serde(rename = "url")]
    pub urls: Vec<BrokerUrl>,
    /// The virtual host; default: the one in the URL, or `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// Goes before every name Warren declares, for brokers shared with others; default: empty.
    pub prefix: String,
    /// A PEM file of the authorities that `amqps` certificates are checked against; default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A PEM file with our certificate, for brokers that ask for one; needs `client_key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with the key of `client_cert_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// A connection that is silent for twice this long is given up; 1 s to 10 min, default 5 s.
    #[serde(serialize_with = "dump_duration")]
    pub heartbeat: Duration,
    /// How long the broker lets a delivery go without an ack (its `consumer_timeout`); default 30 min.
    #[serde(serialize_with = "dump_duration")]
    pub consumer_timeout: Duration,
    /// The management API, `http` or `https`, user and password in it if they are not those of AMQP; default: the hosts of `url`, port
    /// 15672, with `amqps` 15671. Commands that look at the broker from outside use it, and the look-out for drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_url: Option<ManagementUrl>,
    /// More brokers that devices are spread over, one `[[broker.shard]]` each; this one has its share of them too.
    #[serde(rename = "shard", skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardConfig>,
    /// Whether it is one of those, and has what devices share and nothing else. Not to be set.
    #[serde(skip)]
    pub is_shard: bool,
}

impl Broker {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            urls: section.opt("url").map_or_else(local_broker, |urls: OneOrMore| urls.0),
            vhost: section.opt("vhost"),
            prefix: section.get("prefix", String::new()),
            ca_file: section.opt("ca_file"),
            client_cert_file: section.opt("client_cert_file"),
            client_key_file: section.opt("client_key_file"),
            heartbeat: section.within("heartbeat", minute / 12, minute / 60..=minute * 10, "from 1s to 10m"),
            consumer_timeout: section.within("consumer_timeout", minute * 30, minute..=minute * 60 * 24 * 30, "from 1m to 30d"),
            management_url: section.opt("management_url"),
            shards: section.sections("shard").iter_mut().filter_map(ShardConfig::read).collect(),
            is_shard: false,
        }
    }

    /// The virtual host that is connected to.
    pub fn vhost_name(&self) -> String {
        let of_url = || {
            let path = self.urls.first()?.0.path().trim_start_matches('/');
            Some(percent_decoded(path)).filter(|path| !path.is_empty())
        };
        self.vhost.clone().or_else(of_url).unwrap_or_else(|| "/".to_owned())
    }

    /// The URLs to connect to, with the virtual host and the heartbeat in them. They hold the password.
    pub fn connect_urls(&self) -> Vec<String> {
        self.urls.iter().map(|url| url.complete(self.vhost.as_deref(), self.heartbeat)).collect()
    }
}

/// `amqp://user:password@host:port/vhost`, or `amqps`; printed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(Url);

impl BrokerUrl {
    /// # Errors
    /// With what is wrong with `text`, without repeating it, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "amqp" | "amqps") && url.has_host());
        let url = url.ok_or("must be a URL such as \"amqp://user:password@host:5672/vhost\" (or amqps)")?;
        // The AMQP client would silently go to localhost instead.
        if url.host_str().is_some_and(|host| host.starts_with('[')) {
            return Err("holds an IPv6 address, which the AMQP client cannot use: write a host name".to_owned());
        }
        if url.path().chars().filter(|c| *c == '/').count() > 1 {
            return Err("names a virtual host with a bare `/` in it: write it as %2f".to_owned());
        }
        Ok(Self(url))
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "amqps"
    }

    /// The whole text, password included.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        let port = self.0.port().unwrap_or(if self.is_tls() { 5671 } else { 5672 });
        format!("{}:{port}", self.0.host_str().unwrap_or_default())
    }

    /// User and password; `guest` for either that is left out, as AMQP clients do.
    pub(crate) fn credentials(&self) -> (String, String) {
        let user = Some(self.0.username()).filter(|user| !user.is_empty());
        (percent_decoded(user.unwrap_or("guest")), percent_decoded(self.0.password().unwrap_or("guest")))
    }

    /// Where the management API of this host is by default, with the same user.
    pub(crate) fn management(&self) -> Option<Url> {
        let (scheme, port) = if self.is_tls() { ("https", 15671) } else { ("http", 15672) };
        let mut url = Url::parse(&format!("{scheme}://{}:{port}", self.0.host_str()?)).ok()?;
        let (user, password) = self.credentials();
        url.set_username(&user).ok()?;
        url.set_password(Some(&password)).ok()?;
        Some(url)
    }

    fn complete(&self, vhost: Option<&str>, heartbeat: Duration) -> String {
        let mut url = self.0.clone();
        match vhost {
            Some(vhost) => url.set_path(&format!("/{}", percent_encoded(vhost))),
            // A bare trailing slash would mean the virtual host with the empty name.
            None if matches!(url.path(), "" | "/") => url.set_path("/%2f"),
            None => {}
        }
        if !url.query_pairs().any(|(name, _)| name == "heartbeat") {
            url.query_pairs_mut().append_pair("heartbeat", &heartbeat.as_secs().to_string());
        }
        url.into()
    }
}

/// `text` with each `%` and two hexadecimal digits as the byte they stand for; any other `%` stays.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn percent_encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(self.expose()))
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `http://user:password@host:port`, or `https`; printed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagementUrl(Url);

impl ManagementUrl {
    /// # Errors
    /// With what is wrong with `text`, without repeating it, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none());
        url.map(Self).ok_or_else(|| "must be a URL such as \"http://host:15672\" (or https)".to_owned())
    }

    /// The whole URL, password included.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }
}

impl FromValue for ManagementUrl {
    fn from_value(value: &Value) -> Result<Self, String> {
        Self::parse(value.as_str().unwrap_or_default())
    }
}

impl fmt::Display for ManagementUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(self.0.as_str()))
    }
}

impl fmt::Debug for ManagementUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ManagementUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn local_broker() -> Vec<BrokerUrl> {
    BrokerUrl::parse("amqp://guest:guest@127.0.0.1:5672/%2f").into_iter().collect()
}

pub(super) struct OneOrMore(pub(super) Vec<BrokerUrl>);

impl FromValue for OneOrMore {
    fn from_value(value: &Value) -> Result<Self, String> {
        let one = |value: &Value| BrokerUrl::parse(value.as_str().unwrap_or_default());
        match value {
            Value::Array(list) if list.is_empty() => Err("must name at least one broker".to_owned()),
            Value::Array(list) => list.iter().map(one).collect::<Result<_, _>>().map(Self),
            _ => one(value).map(|url| Self(vec![url])),
        }
    }
}

/// What Warren may do to the broker's topology.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Topology {
    /// Who declares exchanges and queues; default: Warren does.
    pub manage: Manage,
    /// How often `serve` compares the broker with the topology, over the management API; 0s is never, 1 day at most, default 5 min.
    #[serde(serialize_with = "dump_duration")]
    pub check_every: Duration,
}

impl Topology {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            manage: section.get("manage", Manage::Declare),
            check_every: section.within("check_every", minute * 5, Duration::ZERO..=minute * 60 * 24, "from 0s to 1d"),
        }
    }
}

words! {
    /// Who declares exchanges and queues.
    Manage {
        /// Warren declares what is missing at start.
        Declare = "declare",
        /// Warren checks that all is there, says what is missing, and works once nothing is.
        Check = "check",
        /// Warren neither declares nor checks.
        Off = "off",
    }
}
