//! More brokers, for devices alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::broker::{BrokerUrl, ManagementUrl, OneOrMore};
use super::section::Section;
use super::{Broker, Config};

/// What `[broker]` itself is called among the shards.
pub(crate) const MAIN: &str = messaging::devices::MAIN;

/// The longest name.
const NAME: usize = 32;

/// One `[[broker.shard]]`: a broker that has queues of devices and nothing else. Prefix, heartbeat and what else is not here are those of `[broker]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardConfig {
    /// What it is called, for good: where a device belongs is derived from it; required, `[a-z0-9][a-z0-9-]{0,31}`, not `main`.
    pub name: String,
    /// `url` as in `[broker]`, or `url_file`, a file with one URL; one of them is required.
    #[serde(rename = "url")]
    pub urls: Vec<BrokerUrl>,
    /// As in `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// As in `[broker]`; default: those of `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// As in `[broker]`; default: that of `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// As in `[broker]`; default: that of `[broker]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// As in `[broker]`; default: the hosts of `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_url: Option<ManagementUrl>,
    /// Whether it is emptied: it takes no devices, and those that are there leave; default `false`.
    pub drain: bool,
}

impl ShardConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name: Option<String> = section.required("name", "say what the shard is called");
        if let Some(name) = &name
            && let Err(why) = named(name)
        {
            section.problem("name", why);
        }
        let urls: Option<OneOrMore> = section.opt("url");
        let file: Option<PathBuf> = section.opt("url_file");
        let urls = match (urls, file) {
            (Some(urls), None) => Some(urls.0),
            (None, Some(path)) => match from_file(&path) {
                Ok(url) => Some(vec![url]),
                Err(why) => {
                    section.problem("url_file", why);
                    None
                }
            },
            _ => {
                section.problem("url", "must be given, or url_file, and not both");
                None
            }
        };
        let (vhost, ca_file) = (section.opt("vhost"), section.opt("ca_file"));
        let (client_cert_file, client_key_file) = (section.opt("client_cert_file"), section.opt("client_key_file"));
        let (management_url, drain) = (section.opt("management_url"), section.get("drain", false));
        Some(Self { name: name?, urls: urls?, vhost, ca_file, client_cert_file, client_key_file, management_url, drain })
    }
}

fn named(name: &str) -> Result<(), String> {
    let fits = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if name.is_empty() || name.len() > NAME || !fits || name.starts_with('-') {
        return Err(format!("must be 1 to {NAME} of a-z, 0-9 and `-`, as in \"north\""));
    }
    if name == MAIN {
        return Err(format!("is `{MAIN}`, which is what [broker] itself is called: use another"));
    }
    Ok(())
}

fn from_file(path: &std::path::Path) -> Result<BrokerUrl, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {}: {error}", path.display()))?;
    BrokerUrl::parse(text.trim()).map_err(|why| format!("{}: the URL in it {why}", path.display()))
}

impl Config {
    /// The same for one shard: its broker, and what is declared there. `None`: there is none of this name.
    pub(crate) fn of_shard(&self, name: &str) -> Option<Self> {
        let shard = self.broker.shards.iter().find(|shard| shard.name == name)?;
        Some(Self {
            broker: self.broker.of_shard(shard),
            kinds: Vec::new(),
            cron: Vec::new(),
            exchanges: Vec::new(),
            queues: Vec::new(),
            bindings: Vec::new(),
            policies: Vec::new(),
            ..self.clone()
        })
    }
}

impl Broker {
    /// How a shard is reached.
    pub(crate) fn of_shard(&self, shard: &ShardConfig) -> Self {
        // Files of `[broker]` are for TLS, which this one need not speak.
        let is_tls = shard.urls.iter().any(BrokerUrl::is_tls);
        let inherited = |file: &Option<PathBuf>| file.clone().filter(|_| is_tls);
        let own = shard.client_cert_file.is_some() || shard.client_key_file.is_some();
        let (certificate, key) = match own {
            true => (shard.client_cert_file.clone(), shard.client_key_file.clone()),
            false => (inherited(&self.client_cert_file), inherited(&self.client_key_file)),
        };
        Self {
            urls: shard.urls.clone(),
            vhost: shard.vhost.clone(),
            ca_file: shard.ca_file.clone().or_else(|| inherited(&self.ca_file)),
            client_cert_file: certificate,
            client_key_file: key,
            management_url: shard.management_url.clone(),
            shards: Vec::new(),
            is_shard: true,
            ..self.clone()
        }
    }

    /// Hosts with the virtual host: what no other broker of a configuration may be as well.
    pub(super) fn places(&self) -> impl Iterator<Item = String> {
        let vhost = self.vhost_name();
        self.urls.iter().map(move |url| format!("{} (virtual host `{vhost}`)", url.authority()))
    }
}

/// Of the brokers of a configuration, those that are another one as well: the key of the later, and what both have.
pub(super) fn twice(broker: &Broker) -> Vec<(String, String)> {
    let mut known: BTreeMap<String, &str> = broker.places().map(|place| (place, MAIN)).collect();
    let mut found = Vec::new();
    for (index, shard) in broker.shards.iter().enumerate() {
        let all: Vec<String> = broker.of_shard(shard).places().collect();
        if let Some((place, other)) = all.iter().find_map(|place| Some((place, *known.get(place)?))) {
            found.push((format!("broker.shard[{index}].url"), format!("is {place}, and so is the one of `{other}`")));
        }
        known.extend(all.into_iter().map(|place| (place, shard.name.as_str())));
    }
    found
}
