//! What AMQP tells without any further right: a greeting, a login, and whether queues are there.

use std::time::Duration;

use broker_topology::Topology;
use messaging::apply::{self, Sight};
use messaging::connection::BrokerOptions;
use reqwest::Url;

use super::Amqp;
use crate::config::{Config, without_password};
use crate::doctor::snapshot::Queue;
use crate::hub::broker::Session;

/// For the addresses of a name.
const NAMES: Duration = Duration::from_secs(10);

/// For a look at all queues, one after the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// One node, as it was met.
pub(super) struct Met {
    pub(super) amqp: Amqp,
    /// The certificate that it showed, DER.
    pub(super) certificate: Option<Vec<u8>>,
    /// With user and password.
    url: String,
}

/// The first node that lets us in, or else the last one; `None` when there is none.
pub(super) async fn look(config: &Config, options: &BrokerOptions) -> Option<Met> {
    let mut latest = None;
    for (url, configured) in options.urls.iter().zip(&config.broker.urls) {
        let (glance, login) = tokio::join!(options.glance(url), options.try_out(url, "doctor"));
        let at = configured.authority();
        let good = login.is_ok();
        let amqp = Amqp {
            secure: configured.is_tls(),
            loopback: is_loopback(&at).await,
            at,
            greeting: glance.greeting.unwrap_or_else(|| Err("no answer".to_owned())),
            login: login.map_err(|error| error.to_string()),
            guest: None,
            queues: None,
        };
        latest = Some(Met { amqp, certificate: glance.certificate, url: url.clone() });
        if good {
            break;
        }
    }
    latest
}

/// Whether `at`, a host with its port, is this machine.
pub(super) async fn is_loopback(at: &str) -> bool {
    let addresses = tokio::time::timeout(NAMES, tokio::net::lookup_host(at)).await;
    addresses.is_ok_and(|found| found.is_ok_and(|mut all| all.all(|one| one.ip().is_loopback())))
}

impl Met {
    /// Whether `guest` gets in with its default password, where that one answered.
    pub(super) async fn knows_guest(&self, options: &BrokerOptions) -> Option<bool> {
        let mut url = Url::parse(&self.url).ok()?;
        url.set_username("guest").ok()?;
        url.set_password(Some("guest")).ok()?;
        options.knows(url.as_str(), "doctor").await
    }
}

/// The queues of `topology` that are there, with their depth and consumers.
///
/// # Errors
/// With a sentence, when the broker does not answer, or does not let this user see one of them.
pub(super) async fn queues(options: BrokerOptions, topology: &Topology) -> Result<Vec<Queue>, String> {
    let shown = options.urls.first().map(|url| without_password(url)).unwrap_or_default();
    let session = Session::open(options, "doctor")?;
    let names: Vec<String> = topology.queues.iter().map(|queue| queue.name.clone()).collect();
    let seen = tokio::time::timeout(PATIENCE, apply::sight(&session.link, &names)).await;
    session.close().await;
    let seen = seen.map_err(|_| format!("{shown} did not tell of {} queues in {PATIENCE:?}", names.len()))?;
    let mut queues = Vec::new();
    for (name, sight) in names.into_iter().zip(seen.map_err(|error| error.to_string())?) {
        match sight {
            Sight::There(look) => {
                let (messages, consumers) = (Some(look.ready.into()), Some(look.consumers.into()));
                queues.push(Queue { name, messages, consumers, ..Queue::default() });
            }
            Sight::Missing => {}
            // One that may be there is not to be called missing.
            Sight::Kept(why) => return Err(why),
        }
    }
    Ok(queues)
}
