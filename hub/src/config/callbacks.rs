//! Callbacks: where they may go, when they are tried again, and what they are signed with.

use std::path::PathBuf;
use std::time::Duration;

use api_ack::callbacks::{CallbackOptions, CallbackSettings, SigningSecret};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use toml::Value;

use super::Secret;
use super::section::Section;
use super::sources::read;
use super::units::{dump_duration, show_duration};
use super::value::FromValue;

/// `[callbacks]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Callbacks {
    /// Whether `http` is taken beside `https`; default false.
    pub allow_http: bool,
    /// The ports that may be called, 1 to 16 of them; default `[443, 8443]`.
    pub ports: Vec<Port>,
    /// Networks that may be called though they are not the Internet, as in `10.0.0.0/8`; none by default.
    pub allow_networks: Vec<IpNet>,
    /// The waits between calls, each varied by a fifth; after the last one a callback is given up. At most 30, each 1 s to 7 d;
    /// default `5s 5m 30m 2h 5h 10h 14h 20h 24h`.
    #[serde(serialize_with = "dump_delays")]
    pub delays: Vec<Duration>,
    /// How long one call may take, from its name's resolution to the end of the answer; 1 s to 1 min, default 15 s.
    #[serde(serialize_with = "dump_duration")]
    pub timeout: Duration,
    /// Calls at one time, per process; 1 to 1000, default 64.
    pub concurrency: u32,
    /// The same to one host and port; 1 to 1000, default 8.
    pub per_host: u32,
    /// The authorities to trust instead of the system's, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// One `[[callback_secret]]`. Of one tenant there may be several: each signs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallbackSecret {
    /// Whose callbacks it signs; required.
    pub tenant: String,
    /// `whsec_` and the base64 of 24 to 64 random bytes; required, or a file that holds it.
    pub secret: Secret,
    /// It signs no longer than this, RFC 3339: the end of a rotation. Absent: as long as it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

/// A port that may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Port(pub u16);

impl FromValue for Port {
    fn from_value(value: &Value) -> Result<Self, String> {
        let port = value.as_integer().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        port.map(Self).ok_or_else(|| "must be numbers from 1 to 65535".to_owned())
    }
}

impl FromValue for Timestamp {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Datetime(at) => Some(at.to_string()),
            other => other.as_str().map(str::to_owned),
        };
        let at = text.and_then(|text| text.parse().ok());
        at.ok_or_else(|| "must be a time with its offset, as in 2030-01-31T09:00:00Z".to_owned())
    }
}

fn dump_delays<S: Serializer>(delays: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(delays.iter().map(|delay| show_duration(*delay)))
}

/// Ports at most: a connection is made by a client of its port, which knows where the hub itself listens.
const PORTS: usize = 16;

/// Waits at most.
const DELAYS: usize = 30;

/// Secrets of one tenant at most: each makes every callback longer.
const SECRETS: usize = 4;

impl Callbacks {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let (settings, options) = (CallbackSettings::default(), CallbackOptions::default());
        let second = Duration::from_secs(1);
        let ports = section.get("ports", settings.ports.into_iter().map(Port).collect::<Vec<_>>());
        if ports.is_empty() || ports.len() > PORTS {
            section.problem("ports", format!("must name 1 to {PORTS} ports"));
        }
        let delays: Vec<Duration> = section.get("delays", settings.delays);
        if delays.len() > DELAYS || delays.iter().any(|delay| !(second..=second * 7 * 86_400).contains(delay)) {
            section.problem("delays", format!("must be {DELAYS} waits at most, each from 1s to 7d"));
        }
        let concurrency = u32::try_from(options.concurrency).unwrap_or(u32::MAX);
        Self {
            allow_http: section.get("allow_http", settings.allow_http),
            ports,
            allow_networks: section.get("allow_networks", settings.allow_networks),
            delays,
            timeout: section.within("timeout", options.timeout, second..=second * 60, "from 1s to 1m"),
            concurrency: section.within("concurrency", concurrency, 1..=1000, "from 1 to 1000"),
            per_host: section.within("per_host", options.per_host, 1..=1000, "from 1 to 1000"),
            ca_file: section.opt("ca_file"),
        }
    }
}

impl CallbackSecret {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let tenant: Option<String> = section.required("tenant", "say whose callbacks it signs");
        let secret: Option<Secret> = section.opt("secret");
        let file: Option<PathBuf> = section.opt("secret_file");
        let not_after: Option<Timestamp> = section.opt("not_after");
        let found = match (secret, file) {
            (Some(secret), None) => Ok(secret),
            (None, Some(path)) => read(&path).map(|text| Secret::new(text.trim())).map_err(|error| ("secret_file", error)),
            _ => Err(("secret", "must be given, or secret_file, and not both".to_owned())),
        };
        let found = found.and_then(|secret| match SigningSecret::parse(secret.expose(), None) {
            Ok(_) => Ok(secret),
            Err(error) => Err(("secret", error.to_string())),
        });
        match found {
            Ok(secret) => Some(Self { tenant: tenant?, secret, not_after }),
            Err((key, text)) => {
                section.problem(key, text);
                None
            }
        }
    }

    /// What signs.
    pub fn signing(&self) -> Option<SigningSecret> {
        SigningSecret::parse(self.secret.expose(), self.not_after.map(|at| at.as_microsecond())).ok()
    }
}

/// Whether one tenant has more secrets than may sign one callback: which one.
pub(super) fn crowded(secrets: &[CallbackSecret]) -> Option<&str> {
    let count = |tenant: &str| secrets.iter().filter(|secret| secret.tenant == tenant).count();
    secrets.iter().map(|secret| secret.tenant.as_str()).find(|tenant| count(tenant) > SECRETS)
}
