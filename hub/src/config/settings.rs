//! The small concerns: store, limits, retention, drain, log, roles.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::secret::without_password;
use super::section::Section;
use super::units::{dump_duration, dump_size};
use super::value::{FromValue, Size, words};
use super::{Rate, Secret};

const TEN: NonZeroU32 = NonZeroU32::new(10).expect("it is not 0");
const DAY: Duration = Duration::from_secs(86_400);

/// Where jobs and dead letters are kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Store {
    /// `sqlite://path` for one process, `postgres://user:password@host/database` for several.
    /// Default: `warren.db` in the data folder.
    #[serde(serialize_with = "dump_url")]
    pub url: Secret,
}

impl Store {
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        let url = section.get("url", StoreUrl(format!("sqlite://{}", data_dir.join("warren.db").display())));
        Self { url: Secret::new(url.0) }
    }

    /// The URL with its password hidden.
    pub fn shown(&self) -> String {
        let url = self.url.expose();
        if url.starts_with("sqlite:") { url.to_owned() } else { without_password(url) }
    }

    /// Whether it is the embedded one, which belongs to one process.
    pub fn is_sqlite(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }
}

fn dump_url<S: Serializer>(url: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Store { url: url.clone() }.shown())
}

struct StoreUrl(String);

impl FromValue for StoreUrl {
    fn from_value(value: &Value) -> Result<Self, String> {
        let known = |url: &&str| ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        let url = value.as_str().filter(known).map(|url| Self(url.to_owned()));
        url.ok_or_else(|| "must be a URL such as \"sqlite://warren.db\" or \"postgres://user:password@host/database\"".to_owned())
    }
}

/// What is refused at the door.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// The largest body in bytes, up to 8 MiB; default 1 MiB. Larger ones are answered 413.
    #[serde(serialize_with = "dump_size")]
    pub body: u64,
    /// Jobs accepted and not yet handed to the broker, in all; default 1,000,000. Beyond it: 503 with `Retry-After`.
    pub backlog_total: u32,
    /// The same for one tenant; default 250,000.
    pub backlog_per_tenant: u32,
    /// How fast one tenant may submit jobs to this process; absent: as fast as it can. Beyond it: 429 with `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_tenant: Option<Rate>,
    /// How many a tenant may submit at once after a pause; default: the count of its rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_per_tenant: Option<NonZeroU32>,
    /// The same for one subject of a tenant, which is the `sub` of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_subject: Option<Rate>,
    /// How many a subject may submit at once after a pause; default: the count of its rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_per_subject: Option<NonZeroU32>,
    /// How many tokens that no key here signed one client address is told about; default `10/m`. Beyond it: 429 instead of 401.
    pub bad_tokens_per_client: Rate,
}

impl Limits {
    /// The largest `body` that can be configured.
    pub const MAX_BODY: u64 = 8 << 20;

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            body: section.within("body", Size(1 << 20), Size(1)..=Size(Self::MAX_BODY), "from 1B to 8MiB").0,
            backlog_total: section.within("backlog_total", 1_000_000, 1..=u32::MAX, "at least 1"),
            backlog_per_tenant: section.within("backlog_per_tenant", 250_000, 1..=u32::MAX, "at least 1"),
            rate_per_tenant: section.opt("rate_per_tenant"),
            burst_per_tenant: section.opt("burst_per_tenant"),
            rate_per_subject: section.opt("rate_per_subject"),
            burst_per_subject: section.opt("burst_per_subject"),
            bad_tokens_per_client: section.get("bad_tokens_per_client", Rate::per_minute(TEN)),
        }
    }
}

/// How long what is done is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retention {
    /// Ended jobs, unless their kind says it; default 7 days.
    #[serde(serialize_with = "dump_duration")]
    pub jobs: Duration,
    /// Idempotency keys; default 7 days.
    #[serde(serialize_with = "dump_duration")]
    pub keys: Duration,
    /// Dead letters; default 90 days.
    #[serde(serialize_with = "dump_duration")]
    pub dead_letters: Duration,
}

impl Retention {
    /// What can be configured, for all kinds or for one.
    pub(super) const RANGE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3650 * 86_400);

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mut kept = |key, days| section.within(key, DAY * days, Self::RANGE, "from 1m to 3650d");
        Self { jobs: kept("jobs", 7), keys: kept("keys", 7), dead_letters: kept("dead_letters", 90) }
    }
}

/// How a process leaves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drain {
    /// How long running work may take to finish after SIGTERM before it is given back; default 25 s.
    #[serde(serialize_with = "dump_duration")]
    pub grace: Duration,
}

impl Drain {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { grace: section.within("grace", Duration::from_secs(25), Duration::ZERO..=DAY, "from 0s to 1d") }
    }
}

/// What is logged, on stderr.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    /// `json` for machines (default), `text` for people.
    pub format: LogFormat,
    /// `info` (default), or directives such as `warn,messaging=debug`.
    pub level: String,
}

impl Log {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let level = section.get("level", "info".to_owned());
        if EnvFilter::try_new(&level).is_err() {
            section.problem("level", "must be error, warn, info, debug or trace, or directives such as \"warn,messaging=debug\"");
        }
        Self { format: section.get("format", LogFormat::Json), level }
    }
}

words! {
    /// How a log line looks.
    LogFormat {
        /// One JSON object per line.
        Json = "json",
        /// For people.
        Text = "text",
    }
}

words! {
    /// What a process does.
    Role {
        /// Answers HTTP and publishes what it accepted.
        Api = "api",
        /// Runs handlers.
        Worker = "worker",
        /// Moves dead letters into the store.
        Keeper = "keeper",
        /// Takes messages to devices and serves their connections.
        Devices = "devices",
    }
}

/// A list of roles, or the text `api,worker`; sorted, each once.
pub(super) struct RoleList(pub(super) Vec<Role>);

impl FromValue for RoleList {
    fn from_value(value: &Value) -> Result<Self, String> {
        let words: Vec<String> = match value {
            Value::String(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
            _ => FromValue::from_value(value)?,
        };
        if words.is_empty() {
            return Err("must name at least one role".to_owned());
        }
        let role = |word| Role::from_value(&Value::String(word));
        let mut roles = words.into_iter().map(role).collect::<Result<Vec<_>, _>>()?;
        roles.sort();
        roles.dedup();
        Ok(Self(roles))
    }
}
